"""Logging in over IMAP, and telling "wrong password" from "not now" (RFC 5530). Nothing is sent that was not asked for.

A wrong answer here is dear: taken for a refusal, a short outage of the server's user database would stop the watch for
minutes; taken for an outage, a wrong password would be tried until the account is locked.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from probe.errors import LoginRefused, MailboxError
from probe.mailboxes.imap_faults import THROTTLING
from probe.mailboxes.imap_parse import readable, response_code
from probe.mailboxes.imap_session import tagged_text
from probe.mailboxes.imap_wire import CappedIMAP4
from probe.options import Secret

_TOO_MANY = re.compile(r"too many (?:simultaneous )?connections|maximum number of connections", re.IGNORECASE)


def tls_context(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """A client's context: TLS 1.2 at least, chain and name checked unless ``verify`` is False. Raises MailboxError."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise MailboxError("tls", f"ca_file {ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def log_in(wire: CappedIMAP4, username: str, password: Secret) -> None:
    """LOGIN, or AUTHENTICATE PLAIN (RFC 4616) where LOGIN cannot carry the characters or is disabled.

    Raises LoginRefused, or MailboxError (auth, auth_temporary, throttled) where the credentials are not to blame.
    """
    if wire.state != "NONAUTH":
        raise MailboxError("protocol", "the server let us in without a login (PREAUTH): whose mail it shows is unknown")
    secret = password.text()
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in username + secret):
        raise LoginRefused("auth", "user name or password holds a control character; nothing was sent")
    disabled = "LOGINDISABLED" in wire.capabilities
    if disabled and "AUTH=PLAIN" not in wire.capabilities:
        raise MailboxError("auth", "the server allows no login here (LOGINDISABLED); nothing was sent")
    way = _authenticate_plain if disabled or not (username + secret).isascii() else _login
    try:
        refusal = way(wire, username, secret)
    except wire.error as error:
        # A server may quote the line that it did not like.
        raise type(error)(_masked(str(error), secret)) from None
    if refusal is not None:
        raise _refused(_masked(refusal, secret))


def _login(wire: CappedIMAP4, username: str, secret: str) -> str | None:
    """None when let in, else what the server said."""
    typ, data = wire.run("LOGIN", _quoted(username), _quoted(secret))
    if typ == "OK":
        wire.state = "AUTH"
        return None
    return tagged_text(data)


def _authenticate_plain(wire: CappedIMAP4, username: str, secret: str) -> str | None:
    response = b"\0" + username.encode() + b"\0" + secret.encode()
    try:
        wire.authenticate("PLAIN", lambda _: response)
    except wire.abort:
        raise
    except wire.error as refusal:
        return readable(str(refusal))
    return None


def _masked(text: str, secret: str) -> str:
    for form in {secret, _quoted(secret)[1:-1], repr(secret)[1:-1], repr(_quoted(secret))[1:-1]} - {""}:
        text = text.replace(form, "***")
    return text


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _refused(text: str) -> MailboxError:
    code = response_code(text.encode())
    if code in {"UNAVAILABLE", "SERVERBUG"}:
        return MailboxError("auth_temporary", f"the server cannot check logins now: {text}")
    if code in THROTTLING or _TOO_MANY.search(text):
        return MailboxError("throttled", f"the server limits logins: {text}")
    return LoginRefused("auth", f"login refused: {text}")
