"""The web side's door: who is let in, and by what."""

import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme

from probe.errors import ConfigError
from probe.exposition.guard import Credentials, server_context
from probe.exposition.web import WebServer, make_app
from tests.exposition.exposition_fakes import StillLive, four_lives

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


async def test_https_with_the_configured_certificate(live: StillLive, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    server = WebServer(make_app(live), server_context(tmp_path / "cert.pem", tmp_path / "key.pem"))
    await server.start("127.0.0.1", 0)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        assert server.url.startswith("https://")
        async with aiohttp.ClientSession() as session, session.get(server.url + "/healthz", ssl=trusting) as answer:
            assert answer.status == 200
    finally:
        await server.stop()


def test_a_certificate_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.tls_cert: .*none\.pem"):
        server_context(tmp_path / "none.pem", tmp_path / "none.key")
