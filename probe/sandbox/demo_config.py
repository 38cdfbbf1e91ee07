"""The configuration of the demo: a real one, written to a file, so that every command can be pointed at it."""

from __future__ import annotations

import json
import math
import os
import secrets
from datetime import timedelta
from pathlib import Path

from probe.sandbox.system import Sandbox

LEAST_WATCH = timedelta(hours=1)
LEAST_KEEP = timedelta(days=1)
LONGEST_RETRY = timedelta(seconds=2)
MOST_A_MINUTE = 1200  # of a route: no configuration can pass it


def write_config(
    folder: Path, sandbox: Sandbox, *, listen: str, every: timedelta, overdue_after: timedelta, lost_after: timedelta
) -> Path:
    """Write ``config.yaml``, a signing key (kept if it is there) and the mailbox's password into ``folder``.

    One route, by the MX records of the started ``sandbox``: a leg for each of its intakes, into its one mailbox, to
    which bounces come back as well. Returns the path of the configuration; the loader judges what the user asked for.
    Raises OSError.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    key, password = folder / "demo.key", folder / "mailbox.password"
    if not key.exists():
        _write_private(key, secrets.token_hex(32) + "\n")
    _write_private(password, sandbox.password + "\n")
    config = folder / "config.yaml"
    _write_private(config, _text(folder, sandbox, listen, every, overdue_after, lost_after))
    return config


def _text(
    folder: Path, sandbox: Sandbox, listen: str, every: timedelta, overdue_after: timedelta, lost_after: timedelta
) -> str:
    watch_for = max(LEAST_WATCH, lost_after)
    host, port = sandbox.imap_address
    # Every canary twice, as greylisting needs, and half a one for a burst.
    together = math.ceil(timedelta(minutes=1) / every * len(sandbox.intakes) * 2.5)
    # Soon enough for a canary that was put off to be in time.
    retry = min(LONGEST_RETRY, overdue_after * 0.4)
    lines = [
        "# Written by `mailcanary demo` and overwritten at each start: the ports are new each time.",
        "prober: demo",
        f"ledger: {_quoted(folder / 'ledger.sqlite')}",
        f"control: {_quoted(folder / 'control.sock')}",
        f"listen: {_quoted(listen)}",
        f"keep: {_duration(max(LEAST_KEEP, watch_for))}",
        f"keys: [{{id: demo, secret: {{file: {_quoted(folder / 'demo.key')}}}}}]",
        "limits:",
        f"  per_recipient: {together}/min",
        f"  per_route: {min(together, MOST_A_MINUTE)}/min",
        f"  per_domain: {together}/min",
        f"  total: {together}/min",
        "senders:",
        "  demo:",
        "    kind: smtp",
        "    via: mx",
        f"    resolver: [{_quoted(sandbox.resolver)}] # the sandbox's own zone",
        f"    port: {sandbox.intakes[0].port}",
        "    tls: none # loopback",
        "    helo: prober.sandbox.test",
        f"    retry: [{_duration(retry)}, {_duration(2 * retry)}]",
        "mailboxes:",
        "  demo:",
        "    kind: imap",
        f"    host: {_quoted(host)}",
        f"    port: {port}",
        "    tls: none # loopback",
        f"    username: {_quoted(sandbox.user)}",
        f"    password: {{file: {_quoted(folder / 'mailbox.password')}}}",
        "    folders: [INBOX, junk]",
        "    exclusive: true",
        "    cleanup: {mode: delete, after: 10m}",
        "    idle_poll: 5s",
        "routes:",
        "  demo:",
        "    sender: demo",
        f"    mail_from: {_quoted(sandbox.prober)}",
        f"    rcpt_to: {_quoted(sandbox.recipient)}",
        "    mailbox: demo",
        "    bounces: demo",
        f"    every: {_duration(every)}",
        f"    overdue_after: {_duration(overdue_after)}",
        f"    lost_after: {_duration(lost_after)}",
        f"    watch_for: {_duration(watch_for)}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: str | Path) -> str:
    """A double-quoted scalar: JSON's strings are YAML's."""
    return json.dumps(str(value))


def _duration(value: timedelta) -> str:
    return f"{value // timedelta(milliseconds=1)}ms"


def _write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(path)
