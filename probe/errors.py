"""Every error this program raises on purpose.

    MailCanaryError                     exit 1
     ├ ConfigError                      exit 2   the configuration breaks a rule (all breaches at once)
     ├ UsageError                       exit 2   the command was called wrongly
     ├ UnreachableError                 exit 3   a server or the daemon cannot be reached
     │  └ NoHosts                                a domain has no host to send to (senders/base.py)
     ├ LedgerError                      exit 4
     │  ├ LedgerLocked                           another prober holds it
     │  ├ LedgerTooNew                           written by a newer version
     │  ├ LedgerMissing                          a reading command found no ledger
     │  └ LedgerUnwritable                       a commit failed: nothing may be sent
     ├ MailboxError                              a mailbox could not be read: blind, never loss
     │  ├ LoginRefused                           wrong credentials: try rarely
     │  ├ FolderMissing                          the folder named does not exist
     │  └ MailboxHostile                         the server broke a limit or the protocol
     └ IllegalMove                               an observation that the table of life.py does not allow

The classes of mailboxes and senders never leave their own floor untranslated: foreign exceptions are
caught at one door per kind and raised as one of these, ``from`` the cause.
"""

from __future__ import annotations

from dataclasses import dataclass


class MailCanaryError(Exception):
    """Base of all; ``exit_code`` is what a command that meets it exits with."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule of the configuration: where, what stands there, which rule, and the nearest valid name."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(MailCanaryError):
    """The configuration breaks one or more rules; ``breaches`` holds all of them in file order."""

    exit_code = 2

    def __init__(self, source: str, breaches: list[Breach]) -> None:
        self.source = source
        self.breaches = breaches
        super().__init__("\n".join(f"{source}: {breach}" for breach in breaches))


class UsageError(MailCanaryError):
    """The command line was wrong."""

    exit_code = 2


class UnreachableError(MailCanaryError):
    """A server, or the running daemon, could not be reached."""

    exit_code = 3


class LedgerError(MailCanaryError):
    """The ledger cannot be used."""

    exit_code = 4


class LedgerLocked(LedgerError):
    """Another prober holds the ledger's lock."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a newer version; it is left untouched."""


class LedgerMissing(LedgerError):
    """A reading command found no ledger at the configured path."""


class LedgerUnwritable(LedgerError):
    """A commit failed. What it would have recorded must not be acted on."""


class MailboxError(MailCanaryError):
    """A mailbox could not be read. The prober is blind there; nothing may be judged from it.

    ``reason`` is one of a closed set and doubles as a metric label:
    connect, tls, auth, auth_temporary, timeout, protocol, disconnected, throttled, folder, limit, other.
    """

    exit_code = 3

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class LoginRefused(MailboxError):
    """The server refused our credentials."""


class FolderMissing(MailboxError):
    """A configured folder does not exist, or no folder carries the special use asked for."""


class MailboxHostile(MailboxError):
    """The server broke one of our limits, or the protocol."""


class IllegalMove(MailCanaryError):
    """An observation was applied to a canary whose state does not allow it. A bug, never silently ignored."""
