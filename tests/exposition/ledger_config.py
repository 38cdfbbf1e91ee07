"""The smallest configuration that names a ledger, for commands that only read it."""

from __future__ import annotations

from pathlib import Path

_TEXT = """\
ledger: {ledger}
prober: prober-1
keys: [{{id: k1, secret: {{file: {missing}}}}}]
senders: {{relay: {{kind: smtp, host: 127.0.0.1, port: 25, tls: none}}}}
mailboxes: {{support: {{kind: imap, host: 127.0.0.1, username: u, password: {{file: {missing}}}}}}}
routes:
  inbound: {{sender: relay, mail_from: a@example.org, rcpt_to: b@example.org, mailbox: support}}
"""


def write_config(folder: Path) -> Path:
    """A configuration whose secrets are not there: reading commands need none."""
    path = folder / "config.yaml"
    path.write_text(_TEXT.format(ledger=folder / "ledger.sqlite", missing=folder / "missing"), encoding="utf-8")
    return path
