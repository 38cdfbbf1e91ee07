"""The web side's door: who is let in, and by what."""

import asyncio
import base64
import hmac
import io
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from probe.errors import ConfigError
from probe.exposition.guard import LOOK_EVERY, Certificate, Credentials, server_context
from probe.exposition.journal import Journal
from probe.exposition.web import WebServer, make_app
from tests.exposition.exposition_fakes import StillClock, StillLive, four_lives

BOTH = Credentials(b"prometheus:s3cret", b"a-token-of-sixteen")


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[StillLive]:
    still = await four_lives(tmp_path / "ledger.sqlite")
    yield still
    still.ledger.close()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "opens"),
    [
        (basic("prometheus:s3cret"), True),
        ("Bearer a-token-of-sixteen", True),
        ("bearer a-token-of-sixteen", True),
        (basic("prometheus:wrong"), False),
        (basic("prometheus"), False),
        ("Basic not-base64!", False),
        ("Bearer a-token-of-sixteen-and-more", False),
        ("Bearer s3cret", False),
        ("Digest whatever", False),
        ("", False),
        ("Bearer \udcff", False),
    ],
)
def test_only_a_configured_credential_opens(header: str, opens: bool) -> None:
    assert BOTH.open_to(header) is opens


def test_without_credentials_no_header_opens_anything() -> None:
    assert not Credentials().open_to(basic(":"))
    assert not Credentials().open_to("Bearer ")
    assert not Credentials(token=b"a-token-of-sixteen").open_to(basic("prometheus:s3cret"))


@pytest.mark.parametrize("given", ["Xrometheus:s3cret", "prometheus:s3creX", "prometheus:s3cret"])
def test_logins_and_tokens_are_compared_in_constant_time(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr("probe.exposition.guard.hmac.compare_digest", watched)
    right = given == "prometheus:s3cret"
    assert BOTH.open_to(basic(given)) is right
    assert Credentials(token=b"prometheus:s3cret").open_to(f"Bearer {given}") is right
    assert compared == [(given.encode(), b"prometheus:s3cret")] * 2


async def test_every_page_but_the_two_checks_needs_it(live: StillLive) -> None:
    server = WebServer(make_app(live, credentials=BOTH))
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            codes = {}
            for path in ("/", "/metrics", "/api/status", "/canaries/x", "/healthz", "/readyz"):
                async with session.get(server.url + path) as answer:
                    codes[path] = answer.status
            assert codes == {
                "/": 401, "/metrics": 401, "/api/status": 401, "/canaries/x": 401, "/healthz": 200, "/readyz": 200
            }  # fmt: skip
            headers = {"Authorization": "Bearer a-token-of-sixteen"}
            async with session.get(server.url + "/metrics", headers=headers) as answer:
                assert answer.status == 200
    finally:
        await server.stop()


@dataclass
class Served:
    """A server with a certificate of its own in files, and a clock that goes on when told to."""

    folder: Path
    clock: "TurnedClock"
    said: io.StringIO = field(default_factory=io.StringIO)
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.journal = Journal(self.said, self.clock)
        self.files = (self.folder / "cert.pem", self.folder / "key.pem")
        self.issue("first.example.org")

    def issue(self, name: str) -> None:
        """Replace both files, each at once, as tools that renew certificates do."""
        issued = self.authority.issue_cert(name, "127.0.0.1")
        self.replace(0, issued.cert_chain_pems[0].bytes())
        self.replace(1, issued.private_key_pem.bytes())

    def replace(self, which: int, content: bytes) -> None:
        new = self.files[which].with_suffix(".new")
        new.write_bytes(content)
        os.replace(new, self.files[which])

    def server(self, live: StillLive) -> WebServer:
        return WebServer(make_app(live), Certificate(*self.files, self.clock, self.journal))

    async def shown(self, server: WebServer, *, named: bool = True) -> str:
        """The name in the certificate that a new connection gets, from a client that trusts the authority only."""
        trusting = ssl.create_default_context()
        self.authority.configure_trust(trusting)
        trusting.check_hostname = False  # the chain is checked; the name is the answer
        host = "first.example.org" if named else ""
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname=host)
        names = writer.get_extra_info("peercert")["subjectAltName"]
        writer.close()
        return str(next(name for kind, name in names if kind == "DNS"))


class TurnedClock(StillClock):
    """Sleeps end when the test says so; ``asked`` tells how long the last one was to be."""

    def __init__(self) -> None:
        super().__init__()
        self.turned: asyncio.Queue[None] = asyncio.Queue()
        self.asked: asyncio.Queue[timedelta] = asyncio.Queue()

    async def sleep(self, duration: timedelta) -> None:
        self.asked.put_nowait(duration)
        await self.turned.get()
        self.instant += duration


@pytest.fixture
async def served(live: StillLive, tmp_path: Path) -> AsyncIterator[Served]:
    one = Served(tmp_path, TurnedClock())
    yield one
    one.journal.close()


@pytest.fixture
async def https(live: StillLive, served: Served) -> AsyncIterator[WebServer]:
    server = served.server(live)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def test_https_with_the_configured_certificate(served: Served, https: WebServer) -> None:
    trusting = ssl.create_default_context()
    served.authority.configure_trust(trusting)
    assert https.url.startswith("https://")
    async with aiohttp.ClientSession() as session, session.get(https.url + "/healthz", ssl=trusting) as answer:
        assert answer.status == 200


async def test_new_connections_get_a_renewed_certificate(served: Served, https: WebServer) -> None:
    assert await https.reload() is False  # nothing has changed
    assert await served.shown(https) == "first.example.org"
    served.issue("second.example.org")
    assert await served.shown(https) == "first.example.org"
    assert await https.reload() is True
    assert await served.shown(https) == "second.example.org"
    assert await https.reload() is False
    served.journal.close()
    assert served.said.getvalue().count("event=certificate_reloaded") == 1


async def test_a_client_that_names_no_host_gets_it_too(served: Served, https: WebServer) -> None:
    served.issue("second.example.org")
    assert await https.reload() is True
    assert await served.shown(https, named=False) == "second.example.org"


async def test_it_is_looked_at_every_minute(served: Served, https: WebServer) -> None:
    assert await served.clock.asked.get() == LOOK_EVERY <= timedelta(seconds=60)
    served.issue("second.example.org")
    served.clock.turned.put_nowait(None)
    await served.clock.asked.get()  # the look is over, and the next minute begins
    assert await served.shown(https) == "second.example.org"


@pytest.mark.parametrize("broken", ["not a key", "another key", "gone"])
async def test_a_broken_certificate_changes_nothing_and_is_said(served: Served, https: WebServer, broken: str) -> None:
    before = served.files[1].read_bytes()
    if broken == "gone":
        served.files[1].unlink()
    else:
        other = served.authority.issue_cert("other.example.org").private_key_pem.bytes()
        served.replace(1, other if broken == "another key" else b"nonsense")
    for _ in range(3):
        assert await https.reload() is False
    assert await served.shown(https) == "first.example.org"
    served.replace(1, before)
    assert await https.reload() is True
    assert await served.shown(https) == "first.example.org"
    served.journal.close()
    refusals = [line for line in served.said.getvalue().splitlines() if "event=certificate_refused" in line]
    assert len(refusals) == 1
    assert "key.pem cannot be loaded" in refusals[0]
    assert "the old one stays in use" in refusals[0]
    assert "level=error" in refusals[0]


async def test_without_tls_there_is_nothing_to_reload(live: StillLive) -> None:
    assert await WebServer(make_app(live)).reload() is False


@pytest.fixture
def locked_key(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate, and its key under a password."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "key.pem").write_bytes(locked)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_an_encrypted_key_is_an_error_and_not_a_question(locked_key: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match=r"web\.tls_cert: .*key\.pem cannot be loaded"):
        server_context(*locked_key)


def test_a_certificate_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.tls_cert: .*none\.pem"):
        server_context(tmp_path / "none.pem", tmp_path / "none.key")
