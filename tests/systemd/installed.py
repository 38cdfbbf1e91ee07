"""The unit as docs/install.md sets it up, with a configuration that needs no mail server."""

from __future__ import annotations

from pathlib import Path

from tests.worlds.systemd import Systemd

UNIT = Path(__file__).parents[2] / "systemd" / "mailcanary.service"

# Nobody listens on port 1: the daemon is up, and blind. Being ready must not depend on a mail server.
CONFIGURATION = """\
prober: p1
keys: [{id: k1, secret: {credential: signing-key}}]
senders:
  relay: {kind: smtp, host: 127.0.0.1, port: 1, tls: none}
mailboxes:
  inbox: {kind: imap, host: 127.0.0.1, port: 1, tls: none, username: u, password: {credential: imap-password}}
routes:
  in: {sender: relay, mail_from: probe@example.org, rcpt_to: canary@example.org, mailbox: inbox}
"""
PASSWORD = "correct horse battery"


def install(machine: Systemd) -> None:
    """Configuration, secrets and credentials, and an empty state directory; nothing runs."""
    machine.reset()
    machine.write("/etc/mailcanary/config.yaml", CONFIGURATION)
    machine.write("/etc/mailcanary/secrets/signing-key", "k" * 32, 0o600)
    machine.write("/etc/mailcanary/secrets/imap-password", PASSWORD, 0o600)
    machine.path("/etc/mailcanary/secrets").chmod(0o700)
    machine.drop_in(
        "credentials",
        [
            "LoadCredential=signing-key:/etc/mailcanary/secrets/signing-key",
            "LoadCredential=imap-password:/etc/mailcanary/secrets/imap-password",
        ],
    )
