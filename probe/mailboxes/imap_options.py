"""The keys of a mailbox of kind ``imap``, their defaults and the rules between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from probe.mailboxes.cleanup import Cleanup, cleanup_breaches
from probe.mailboxes.control import CONTROL_DEFAULT, CONTROL_DOC, control_rule
from probe.mailboxes.imap_idle import Idle
from probe.mailboxes.imap_session import canonical
from probe.options import Rate, Secret, option


class Tls(StrEnum):
    """How the connection is encrypted; never "if offered", for a password goes over it."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


def _port(value: int) -> str | None:
    return None if 1 <= value <= 65535 else "a port is between 1 and 65535"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapKeys:
    """The keys of a mailbox of kind ``imap``."""

    host: str = option("The IMAP server.")
    port: int = option("Its port.", default=993, check=_port)
    tls: Tls = option("Encryption; none must be written out.", default=Tls.IMPLICIT)
    verify: bool = option("Whether the server's certificate is checked.", default=True)
    ca_file: Path | None = option("CA certificates (PEM) to trust instead of the system's.", default=None)
    username: str = option("The account's user name.")
    password: Secret = option("The account's password.")
    folders: tuple[str, ...] = option(
        "Folders to watch; the first is polled fast; junk stands for the one flagged \\Junk.", default=("INBOX",)
    )
    exclusive: bool = option("Nobody else deletes or moves mail here.", default=False)
    cleanup: Cleanup = option("Removal of old canaries.", default=Cleanup())
    idle_poll: timedelta = option("The longest time between two reads.", default=timedelta(seconds=30))
    idle: Idle = option(
        "Whether IDLE (RFC 2177) may tell between reads that one is due; auto: where the server offers it and behaves.",
        default=Idle.AUTO,
    )
    poll_rate: Rate = option("Most polls of the first folder.", default=Rate(10, timedelta(seconds=1)))
    control_canary: timedelta | None = option(CONTROL_DOC, default=CONTROL_DEFAULT, check=control_rule)

    @property
    def insecure(self) -> bool:
        """Whether the certificate or the encryption was written out of it."""
        return not self.verify or self.tls is Tls.NONE

    def breaches(self) -> Iterable[tuple[str, str]]:
        """Rules between keys that are broken."""
        if not self.folders:
            yield "folders", "at least one folder must be watched"
        if len(set(map(canonical, self.folders))) != len(self.folders):
            yield "folders", "a folder is named twice"
        yield from cleanup_breaches(self.cleanup, self.folders, canonical)
