"""``mailcanary trace`` against a daemon that says what the test wants: what is shown and masked, which exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from probe.cli.trace_text import Teller
from probe.errors import LedgerUnwritable, MailCanaryError, UsageError
from probe.ledger.store import Ledger
from tests.cli.trace_daemon import ID, FakeDaemon, answer, attempt, ended, serving
from tests.exposition.exposition_fakes import EVIL, TOKEN, StillClock
from tests.exposition.ledger_config import write_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(short_tmp: Path) -> Path:
    path = write_config(short_tmp)
    path.write_text(f"control: {short_tmp}/c.sock\n{path.read_text()}")
    return path


@pytest.fixture
def daemon(config: Path) -> Iterator[FakeDaemon]:
    with serving(config.parent / "c.sock") as one:
        yield one


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["trace", "-c", str(config), *arguments])


def test_a_trace_is_told_phase_by_phase_and_nothing_hostile_or_secret_is_shown(
    daemon: FakeDaemon, config: Path
) -> None:
    daemon.script = [
        answer("smtp"),
        answer("retry", attempt(1, "deferred", detail=f"450 later {EVIL}"), version=2),
        answer("arrival", attempt(1, "deferred"), attempt(2), version=3),
        ended(),
    ]
    daemon.script[-1]["canary"]["smtp"] = [attempt(1, "deferred"), attempt(2)]  # type: ignore[index]
    result = run(config, "inbound", "--mx", "mx1.example.org")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"canary {ID}: route inbound, mx mx1.example.org, to mailbox support"
    wanted = [
        "attempt 1: talking to the server, no content yet: 2.5 s",
        "attempt 1: 192.0.2.1, TLSv1.3",
        "  connect    10 ms  192.0.2.1:25: connected",
        "  dot       200 ms  250 queued as 4XYZ",
        "next try in 2.5 s",
        "attempt 2: 192.0.2.1, TLSv1.3",
        "  accepted",
        "waiting for it in mailbox support: 2.5 s",
        "  folder   INBOX",
        "  latency  3.1 s (within 310 ms)",
        "  transit  3 s",
        "Received",
        "  from b by a",
    ]
    assert [line for line in lines if line in wanted] == [
        *wanted[:5],
        wanted[5],
        *wanted[2:4],
        *wanted[6:],
    ]
    mail = next(line for line in lines if line.startswith("  mail "))
    assert mail.index("3 ms") < mail.index("250 <script>")
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert TOKEN not in result.output
    assert TOKEN[:8] in result.stdout
    assert daemon.asked[0] == {"command": "trace", "route": "inbound", "mx": "mx1.example.org"}
    assert [request["seen"] for request in daemon.asked[1:]] == [0, 1, 2, 3]


def test_json_is_one_object_without_tokens(daemon: FakeDaemon, config: Path) -> None:
    daemon.script = [answer("arrival", attempt()), ended()]
    result = run(config, "inbound", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    canary = json.loads(result.stdout)
    assert (canary["id"], canary["outcome"], canary["hops"]) == (ID, "delivered", [])
    assert canary["smtp"][0]["phases"] == {"dot": 0.2, "connect": 0.01, "mail": 0.003}
    assert canary["received"][1] == "from b by a"
    assert TOKEN not in result.stdout
    assert set(canary) == set(ended()["canary"])


@pytest.mark.parametrize("state", ["late", "lost", "bounced", "refused", "unsent", "unknown"])
def test_only_delivered_is_0(state: str, daemon: FakeDaemon, config: Path) -> None:
    daemon.script = [ended(state)]
    result = run(config, "inbound")
    assert result.exit_code == 1
    assert f"\n{state}: so it is" in result.stdout


def test_the_time_out_ends_the_following_only(daemon: FakeDaemon, config: Path) -> None:
    daemon.script = [answer("arrival", attempt())]
    result = run(config, "inbound", "--timeout", "200ms", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["outcome"] is None
    assert f"the daemon goes on following it: `mailcanary explain {ID}`" in result.stderr
    assert daemon.orders.count("trace") == 1
    assert len(daemon.orders) > 2


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (MailCanaryError("nothing was sent: the limit total has no room"), 1),
        (UsageError("there is no route 'inbound'; there is none"), 2),
        (LedgerUnwritable("the ledger cannot be written, so nothing was sent"), 4),
    ],
)
def test_a_refusal_keeps_its_exit_code(refusal: MailCanaryError, code: int, daemon: FakeDaemon, config: Path) -> None:
    daemon.begins = refusal
    result = run(config, "inbound", "--json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert str(refusal) in result.stderr
    assert daemon.orders == ["trace"]


def test_an_order_that_is_not_answered_is_not_given_again(daemon: FakeDaemon, config: Path) -> None:
    """Whatever became of it: no second canary, and no engine beside the daemon."""
    daemon.begins = ValueError("the daemon drops the connection")
    result = run(config, "inbound")
    assert result.exit_code == 1
    assert "closed the connection" in result.stderr
    assert daemon.orders == ["trace"]
    assert not (config.parent / "ledger.sqlite").exists()


def test_a_daemon_that_ends_meanwhile_is_exit_3(daemon: FakeDaemon, config: Path) -> None:
    daemon.script = [answer("arrival", attempt())]
    daemon.before_answers = (config.parent / "c.sock").unlink
    result = run(config, "inbound")
    assert result.exit_code == 3
    assert f"`mailcanary explain {ID}` tells what becomes of it" in result.stderr


def test_without_daemon_and_lock_it_is_exit_4(config: Path) -> None:
    secret = config.parent / "missing"
    secret.touch(mode=0o600)
    secret.write_text("k" * 48)
    ledger = Ledger(config.parent / "ledger.sqlite", StillClock(), inline=True)
    try:
        result = run(config, "inbound")
    finally:
        ledger.close()
    assert result.exit_code == 4
    assert "another mailcanary holds this ledger" in result.stderr
    assert "No daemon answers on" in result.stderr


def test_a_damaged_ledger_is_left_to_the_daemon(config: Path) -> None:
    secret = config.parent / "missing"
    secret.touch(mode=0o600)
    secret.write_text("k" * 48)
    ledger = config.parent / "ledger.sqlite"
    ledger.write_bytes(b"no database" * 100)
    result = run(config, "inbound")
    assert result.exit_code == 4
    assert "cannot be read" in result.stderr
    assert ledger.read_bytes() == b"no database" * 100


@pytest.mark.parametrize("arguments", [[], ["inbound", "--timeout", "soon"], ["inbound", "--timeout", "0s"]])
def test_wrong_calls_exit_2(arguments: list[str], config: Path) -> None:
    result = run(config, *arguments)
    assert result.exit_code == 2
    assert "timeout" in result.stderr or "ROUTE" in result.stderr


def test_help_has_examples(config: Path) -> None:
    out = run(config, "--help").stdout
    assert "mailcanary trace support-inbound --mx mx2.example.com --timeout 10m" in out
    assert "0 delivered; 1 otherwise" in out


def on_a_terminal(config: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and all that a terminal of 60 columns was sent."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "probe.cli.main", "trace", "-c", str(config), *arguments],
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "TERM": "xterm"},
        )
        os.close(theirs)
        said = b""
        try:
            while part := terminal.read(4096):
                said += part
        except OSError:
            pass  # EIO: the other side was closed
        return process.wait(30), said.decode()


def test_on_a_terminal_the_waiting_is_written_over(daemon: FakeDaemon, config: Path) -> None:
    second = answer("arrival", attempt(result="started"))
    second["seconds"] = 3.5
    second["overdue"] = True
    second["mailbox"]["searches"] = 1
    daemon.script = [answer("arrival", attempt(result="started")), second, ended()]
    code, said = on_a_terminal(config, "inbound")
    assert code == 0, said
    before, between, after = said.split("\r\x1b[K")
    assert before.endswith("\x1b[2mwaiting for it in mailbox support: 2.5 s\x1b[0m")
    assert between.startswith("\x1b[2mwaiting for it in mailbox support: 3.5 s, overdue, every")
    assert "\n" not in between
    assert len(between) < 60 + len("\x1b[2m\x1b[0m")
    assert "attempt 1: 192.0.2.1" not in between
    assert "\x1b[32m\x1b[1mdelivered: so it is" in after
    assert "\x1b[31m" not in after  # the server's own colour


def test_in_a_pipe_waiting_is_said_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(quiet=False)
    for second in range(25):
        teller.tell({**answer("arrival", attempt()), "seconds": float(second)})
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("waiting")]
    assert [line.rpartition(": ")[2] for line in told] == ["0 ms", "10 s", "20 s"]


def test_the_phase_of_an_attempt_under_way_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(quiet=False)
    phases = {"dns": 0.002, "connect": 0.03, "banner": 4.0}
    for stage, address in (("dns", ""), ("banner", EVIL), ("banner", EVIL)):
        under_way = {"stage": stage, "phases": dict(phases), "address": address}
        teller.tell({**answer("smtp", attempt(result="started")), "attempt": under_way})
        phases["banner"] += 4
    out = capsys.readouterr().out
    first, second = out.splitlines()  # a third time only ten seconds later
    assert first == "attempt 1: dns 2 ms (after connect 30 ms, banner 4 s)"
    assert second.startswith("attempt 1 with <script>")
    assert second.endswith(": banner 8 s (after dns 2 ms, connect 30 ms)")
    assert "\x1b" not in out


def test_trouble_is_told_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("blind", "problem"):
        one = answer("arrival")
        one["mailbox"][key] = f"away{EVIL}"
        Teller(quiet=False).tell(one)
    Teller(quiet=False).tell(answer("answer"))
    Teller(quiet=False).end(answer("arrival", state="late", arrived_at="x", folder="INBOX"))
    out = capsys.readouterr().out
    assert "the mailbox cannot be read: away<script>" in out
    assert "the other folders cannot be searched: away<script>" in out
    assert "attempt 1: the final dot is sent, waiting for the answer to it: 2.5 s" in out
    assert "not known" in out
    assert "\u202e" not in out
