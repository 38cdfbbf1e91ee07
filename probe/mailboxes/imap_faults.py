"""Foreign exceptions of the IMAP kind become MailboxError here, and nowhere else. Pure.

Whatever is not known to be the network's doing is the server's: imaplib's and the parsers' exceptions on bad input
are many (ValueError, IndexError, RecursionError, UnicodeError …) and new ones come with every release, so the rest
is "hostile".
"""

from __future__ import annotations

import imaplib
import ssl

from probe.errors import MailboxError, MailboxHostile
from probe.mailboxes.imap_parse import readable, response_code

# RFC 5530, and what Gmail says in their stead: the server means "not now".
THROTTLING = {"INUSE", "LIMIT", "OVERQUOTA", "THROTTLED"}
TEMPORARY = {"UNAVAILABLE", "SERVERBUG"} | THROTTLING


def translate(error: Exception, doing: str, *, connecting: bool) -> MailboxError:
    """``error``, met while ``doing`` (``reading INBOX``), as one of our own. ``connecting``: no session yet."""
    text = f"{doing}: {readable(str(error)) or type(error).__name__}"
    if isinstance(error, MailboxError):
        return error
    if isinstance(error, TimeoutError):
        return MailboxError("timeout", text)
    if isinstance(error, ssl.SSLError):
        return MailboxError("tls", text)
    if isinstance(error, imaplib.IMAP4.abort):
        return _aborted(error, text)
    if isinstance(error, OSError):
        return MailboxError("connect" if connecting else "disconnected", text)
    return MailboxHostile("protocol", text)


def _aborted(error: imaplib.IMAP4.abort, text: str) -> MailboxError:
    """imaplib's abort: the end of the stream, a BYE, or a response that cannot be one."""
    said = str(error).rpartition("=> ")[2]
    if said.startswith("unexpected"):
        return MailboxHostile("protocol", text)
    if response_code(said.encode()) in TEMPORARY:
        return MailboxError("throttled", text)
    return MailboxError("disconnected", text)
