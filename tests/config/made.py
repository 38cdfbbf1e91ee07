"""Bad configurations that are too large, or too bound to files of this machine, to lie in bad/ as they are.

Each takes an empty folder and returns the file's bytes, or None where there shall be no file; its message is in bad/
like that of the others, with the folder's name as FOLDER.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from probe.canary.identity import SigningKey

GOOD = """\
prober: p1
keys: [{id: k1, secret: {env: KEY}}]
senders:
  relay: {kind: smtp, host: smtp.example.org}
mailboxes:
  inbox: {kind: imap, host: imap.example.org, username: u, password: {env: PASSWORD}}
routes:
  in:
    sender: relay
    mail_from: probe@example.org
    rcpt_to: canary@example.org
    mailbox: inbox
"""
_ROUTE = "  {name}: {{sender: relay, mail_from: a@b, rcpt_to: c@d, mailbox: inbox, every: 365d}}\n"


def _secret_file(content: bytes | None, mode: int = 0o600) -> Callable[[Path], bytes]:
    """GOOD with a key from a file of that content and mode; None makes it a directory."""

    def make(folder: Path) -> bytes:
        path = folder / "secret"
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
            path.chmod(mode)
        return GOOD.replace("{env: KEY}", f"{{file: {path}}}").encode()

    return make


def _same_byte(_: Path) -> bytes:
    first = SigningKey("k1", b"k" * 32).key_id
    other = next(f"x{n}" for n in range(10_000) if SigningKey(f"x{n}", b"k" * 32).key_id == first)
    return GOOD.replace("}}]", f"}}}}, {{id: {other}, secret: {{env: KEY}}}}]").encode()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "config.yaml")


MADE: dict[str, Callable[[Path], bytes | None]] = {
    "file-missing": lambda _: None,
    "file-pipe": _pipe,
    "file-too-large": lambda _: b"#" * (1024 * 1024 + 1),
    "file-not-utf8": lambda _: b"prober: p1\nkeep: \xff\n",
    "breaches-too-many": lambda _: GOOD.encode() + b"limits:\n" + b"  total: *a\n" * 101,
    "key-byte-shared": _same_byte,
    "list-too-long": lambda _: GOOD.replace("kind: imap,", f"kind: imap, folders: [{'x,' * 1001}],").encode(),
    "names-too-many": lambda _: GOOD.replace(
        "  relay:", "".join(f"  s{n}: x\n" for n in range(20_000)) + "  relay:"
    ).encode(),
    "series-too-many": lambda _: (
        GOOD.replace("    mailbox: inbox\n", "    mailbox: inbox\n    every: 365d\n").encode()
        + "".join(_ROUTE.format(name=f"r{n}") for n in range(2_083)).encode()
    ),
    "secret-directory": _secret_file(None),
    "secret-empty": _secret_file(b"\n"),
    "secret-mode": _secret_file(b"x" * 32, 0o640),
    "secret-too-large": _secret_file(b"x" * (64 * 1024 + 1)),
    "text-too-long": lambda _: GOOD.replace("smtp.example.org", "x" * 1025).encode(),
}
