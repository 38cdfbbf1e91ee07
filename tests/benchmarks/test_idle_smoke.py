"""The benchmark of IDLE runs, in a tiny form, and yields what the report needs. No figure is asserted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import idle, pushing, report, scripted

FACTS = {"machine": report.machine(), "quick": True, "load_after": 0.0}


@pytest.mark.usefixtures("dovecot_server")  # skips where no real server can run; the benchmark starts its own
def test_error_of_the_latency_with_idle_and_without() -> None:
    figures = idle.measure(tiny=True)
    assert figures["servers"].keys() == {"pushes", "dovecot", "without"}
    for one in figures["servers"].values():
        for hold in figures["holds_seconds"]:
            found = one["held"][f"{hold:g}"]
            assert found["canaries"] >= 2
            assert found["error_p50_ms"] <= found["error_p95_ms"] <= found["error_max_ms"]
            assert found["commands_per_canary"] >= 2  # one NOOP and one FETCH at least
        # Two processes count, and either may be held up for a moment: not to the millisecond.
        assert one["held"]["0.6"]["true_latency_p50_ms"] > 0
    json.dumps(figures)
    text = report.document({**FACTS, "idle": figures})
    for title in idle.SERVERS.values():
        assert len(re.findall(rf"\| error of the latency, {title}, held", text)) == 2


class Transport:
    """What a server writes."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class Session(pushing.Imap):
    """A logged-in session without a network."""

    def __init__(self, account: bytes) -> None:
        self.transport = Transport()  # type: ignore[assignment]
        self.buffer, self.waiting = bytearray(), bytearray()
        self.account, self.told = account, 0

    def asked(self, data: bytes) -> bytes:
        """The answer to ``data``."""
        assert isinstance(self.transport, Transport)
        self.transport.written = b""
        self.data_received(data)
        return self.transport.written


def test_the_pushing_server_tells_at_once_and_in_idle_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = tmp_path / "arrivals"
    held = pushing.Held(0.0, arrivals)
    monkeypatch.setitem(scripted.FOLDERS, b"box", held)
    session = Session(b"box")
    assert isinstance(session.transport, Transport)
    assert session.asked(b"a SELECT INBOX\r\n") == (
        b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1] ok\r\na OK done\r\n"
    )
    held.land(b"Message-ID: <one@lab.test>\r\n\r\n\r\n")
    assert session.asked(b"b IDLE\r\n") == b"+ idling\r\n* 1 EXISTS\r\n"
    session.transport.written = b""
    held.land(b"Message-ID: <two@lab.test>\r\n\r\n\r\n")
    assert bytes(session.transport.written) == b"* 2 EXISTS\r\n"
    assert session.asked(b"DONE\r\n") == b"b OK done\r\n"
    session.transport.written = b""
    held.land(b"no identity\r\n\r\n\r\n")
    assert session.transport.written == b""
    assert session.asked(b"c NOOP\r\n") == b"* 3 EXISTS\r\nc OK done\r\n"
    assert [line.split()[0] for line in arrivals.read_text().splitlines()] == ["<one@lab.test>", "<two@lab.test>"]
