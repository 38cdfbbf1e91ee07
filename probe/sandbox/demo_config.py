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


def route_of(intake_host: str) -> str:
    """The name of the demo's route through an intake: ``demo-mx1``."""
    return f"demo-{intake_host.partition('.')[0]}"


def write_config(
    folder: Path, sandbox: Sandbox, *, listen: str, every: timedelta, overdue_after: timedelta, lost_after: timedelta
) -> Path:
    """Write ``config.yaml``, a signing key (kept if it is there) and the mailbox's password into ``folder``.

    One route through each intake of the started ``sandbox``, all into its one mailbox. Returns the path of the
    configuration; the loader judges what the user asked for. Raises OSError.
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
    # Half as much again as the routes send, for the tries that a fault may add.
    per_route = math.ceil(timedelta(minutes=1) / every * 1.5)
    together = per_route * len(sandbox.intakes)
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
        f"  per_route: {per_route}/min",
        f"  per_domain: {together}/min",
        f"  total: {together}/min",
        "senders:",
    ]
    for intake in sandbox.intakes:
        lines += [
            f"  {intake.host.partition('.')[0]}:",
            "    kind: smtp",
            f"    host: {_quoted(intake.address)}",
            f"    port: {intake.port}",
            "    tls: none # loopback",
            "    helo: prober.sandbox.test",
        ]
    lines += [
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
    ]
    for intake in sandbox.intakes:
        lines += [
            f"  {route_of(intake.host)}:",
            f"    sender: {intake.host.partition('.')[0]}",
            "    mail_from: prober@prober.sandbox.test",
            f"    rcpt_to: {_quoted(sandbox.recipient)}",
            "    mailbox: demo",
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
