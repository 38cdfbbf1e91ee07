"""The IMAP server of the sandbox: pymap's in-memory backend, run inside this process.

pymap 0.36.7 offers UIDPLUS, MOVE, IDLE, LITERAL+, UID SEARCH, STATUS and partial FETCH. What it lacks is mended here:
* RFC 6154: no special use. LIST marks the folder Junk with the attribute of that name; CAPABILITY says SPECIAL-USE.
* its service keeps no list of its connections, so they could not be ended: we run the listener ourselves.
* its greeting asks the resolver for the host's name at each connection, which blocks the loop: ours is fixed.
* passwords are hashed in a thread pool that nothing shuts down: ours is random, lives as long as the process, and is
  compared in constant time without a hash.
No TLS: loopback only.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from argparse import Namespace
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Any

from proxyprotocol.noop import ProxyProtocolNoop
from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import Config, Identity, Login, Session
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxSet
from pymap.concurrent import Subsystem
from pymap.config import BackendCapability
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.selected import SelectedMailbox
from pymap.user import UserMetadata
from pysasl.creds.server import ServerCredentials
from pysasl.hashing import Cleartext

from probe.clock import Clock
from probe.sandbox.stores import StoredMessage, in_header

LONGEST_LINE = 64 * 1024
LARGEST_APPEND = 16 * 1024 * 1024
MOST_CONNECTIONS = 100
INBOX = "INBOX"
JUNK = "Junk"

_log = logging.getLogger(__name__)


class _Config(Config):
    """pymap's configuration with the two answers changed that the module docstring names."""

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=True, object_id=True, multi_append=True, custom=[b"SPECIAL-USE"])

    @property
    def greeting(self) -> bytes:
        return b"mailcanary sandbox ready"


class _Session(Session):
    """A session that names the special use of the junk folder (RFC 6154 section 2)."""

    async def list_mailboxes(
        self, ref_name: str, filter_: str, subscribed: bool = False, selected: SelectedMailbox | None = None
    ) -> tuple[Iterable[tuple[str, str | None, Sequence[bytes]]], SelectedMailbox | None]:
        entries, updates = await super().list_mailboxes(ref_name, filter_, subscribed, selected)
        marked = [
            (name, separator, [*attributes, b"Junk"] if name == JUNK else attributes)
            for name, separator, attributes in entries
        ]
        return marked, updates


class _Login(Login):
    """One user; every session sees the same folders."""

    def __init__(self, config: Config, mailboxes: MailboxSet) -> None:
        super().__init__(config)
        self.mailboxes = mailboxes

    async def authenticate(self, credentials: ServerCredentials) -> Identity:
        identity = await super().authenticate(credentials)
        return _Identity(identity.name, self, None, identity.roles)

    async def authorize(self, authenticated: Any, authzid: str) -> Identity:
        identity = await super().authorize(authenticated, authzid)
        return _Identity(identity.name, self, None, identity.roles)


class _Identity(Identity):
    @asynccontextmanager
    async def new_session(self) -> AsyncIterator[Session]:
        await self.get()  # raises where the user does not exist
        if not isinstance(self.login, _Login):
            raise TypeError("an identity of another login")
        yield _Session(self.name, self.config, self.login.mailboxes, FilterSet())


class ImapServer:
    """An account with the folders INBOX and Junk, on a free port of loopback, without TLS. The mail lives in memory."""

    def __init__(self, user: str, password: str, address: str = "127.0.0.1", *, clock: Clock) -> None:
        self.user = user
        self.password = password
        self.address = address
        self.port = 0
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._session: _Session | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._imap: IMAPServer | None = None

    async def start(self) -> None:
        """Make the account and listen. Raises OSError where the address cannot be bound."""
        config = _Config(
            Namespace(),
            host=self.address,
            port=0,
            demo_data=False,
            demo_user=self.user,
            demo_password=self.password,
            # Named here so that pymap reads no certificate out of the environment; never used: TLS is off.
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            tls_enabled=False,
            proxy_protocol=ProxyProtocolNoop(),
            invalid_user_sleep=0.0,
            hash_context=Cleartext(),
            cpu_subsystem=Subsystem.for_asyncio(),
            max_append_len=LARGEST_APPEND,
        )
        config.apply_context()
        mailboxes = MailboxSet()
        await mailboxes.add_mailbox(JUNK)
        login = _Login(config, mailboxes)
        await login.demo_user_identity.set(UserMetadata(config, self.user, password=self.password))
        self._session = _Session(self.user, config, mailboxes, FilterSet())
        self._imap = IMAPServer(login, config)
        self._server = await asyncio.start_server(self._connected, self.address, 0, limit=LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is None:
            return
        self._server.close()
        connections = dict(self._connections)
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def deliver(self, message: StoredMessage, folder: str = INBOX) -> None:
        """Put a message into the account, a copy for each recipient, with the headers of delivery (RFC 5321 4.4)."""
        if self._session is None:
            raise RuntimeError("the IMAP server was not started")
        for recipient in message.rcpt_to:
            head = f"Return-Path: <{in_header(message.mail_from)}>\r\nDelivered-To: {in_header(recipient)}\r\n"
            copy = AppendMessage(head.encode("ascii") + message.content, self._clock.now().utc)
            await self._session.append_messages(folder, [copy])

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._imap is None:
            raise RuntimeError("the IMAP server was not started")
        try:
            await self._imap(reader, writer, SocketInfo.get(writer, None, unique_id=token_bytes(8)))
        except Exception:
            # pymap raises whatever its parser met after it has told the client; one connection must not end the demo.
            _log.debug("sandbox: an IMAP connection ended by an error", exc_info=True)
        finally:
            writer.close()
