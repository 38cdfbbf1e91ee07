"""``mailcanary incidents`` and ``mark-false`` on a real ledger; the daemon is a control socket that answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from probe.cli.main import main
from probe.detection.record import Incident, State
from probe.engine.control import ControlSocket
from probe.errors import MailCanaryError
from probe.ledger.batch import IncidentRow
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries
from probe.ledger.store import Ledger
from tests.exposition.exposition_fakes import TOKEN, StillClock
from tests.exposition.incident_ledger import OVER, PARTIAL, PASSED, RUNNING, broken, fill, partial_loss
from tests.exposition.ledger_config import write_config


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    (await fill(tmp_path / "ledger.sqlite")).ledger.close()
    path = write_config(tmp_path)
    path.write_text(path.read_text() + f"control: {tmp_path / 'control.sock'}\n")
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["incidents", "-c", str(config), *arguments])


def stored(config: Path, incident_id: str) -> tuple[IncidentRow, Incident]:
    queries = Queries(open_for_reading(config.parent / "ledger.sqlite"))
    try:
        row = queries.incident(incident_id)
    finally:
        queries.close()
    assert row is not None
    return row, Incident.from_json(json.loads(row.record))


def test_a_table_newest_first_without_colours_and_without_what_passed(config: Path) -> None:
    result = run(config)
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [RUNNING, OVER, PARTIAL]
    assert head.split("  ")[0] == "ID"
    dark, _, partial = lines
    for words in ("other", "total loss", "open", "2026-09-09 10:00:00 UTC", "any"):
        assert words in dark
    for words in ("partial loss", "identified", "mx3 of 4", "2026-09-09 09:50 UTC to 2026-09-09 12:00 UTC"):
        assert words in partial
    assert "\x1b" not in result.stdout


def test_the_loss_is_the_records_own(config: Path) -> None:
    loss = partial_loss().loss
    assert f"{loss.estimate:.2%} ({loss.lower:.2%} to {loss.upper:.2%}) of {loss.judged}" in run(config).stdout
    assert 0 < loss.lower < loss.estimate < loss.upper


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--route", "inbound"], [OVER, PARTIAL]),
        (["--route", "other"], [RUNNING]),
        (["--active"], [RUNNING, PARTIAL]),
        (["--active", "--route", "inbound"], [PARTIAL]),
        (["--limit", "1"], [RUNNING]),
        (["--limit", "1", "--route", "inbound", "--active"], [PARTIAL]),
        (["--all"], [RUNNING, OVER, PARTIAL, PASSED]),
    ],
)
def test_filters(arguments: list[str], found: list[str], config: Path) -> None:
    rows = [json.loads(line) for line in run(config, "--json", *arguments).stdout.splitlines()]
    assert [row["id"] for row in rows] == found


def test_json_is_the_record_without_tokens(config: Path) -> None:
    out = run(config, "--json", "--active", "--route", "inbound").stdout
    record = json.loads(out)
    assert (record["schema"], record["state"], record["affected"]["legs"]) == (1, "identified", ["mx3"])
    assert record["requeue"]["from"] == "2026-09-09T09:50:00.000000Z"
    assert Incident.from_json(record).id == PARTIAL
    assert TOKEN not in out
    assert "abcdefgh…" in record["counts"]["losses"][0][2]


def test_nothing_there_is_said(config: Path, tmp_path: Path) -> None:
    empty = run(config, "--route", "nowhere")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no incident in the ledger matches" in empty.stderr
    (tmp_path / "other").mkdir()
    missing = run(write_config(tmp_path / "other"))
    assert missing.exit_code == 4
    assert "no ledger there" in missing.stderr
    assert run(config, "--limit", "0").exit_code == 2


async def test_a_record_of_a_newer_version_hides_no_other(tmp_path: Path) -> None:
    (await fill(tmp_path / "ledger.sqlite", broken())).ledger.close()
    result = await asyncio.to_thread(run, write_config(tmp_path), "--json")
    assert len(result.stdout.splitlines()) == 3
    assert "the record of incident 2026-09-12-inbound-1 cannot be read" in result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_mark_false_without_a_daemon(before: bool, config: Path) -> None:
    """The configuration may stand before the subcommand or after it."""
    where = ["-c", str(config)]
    words = ["incidents", *(where if before else []), "mark-false", *([] if before else where), PARTIAL]
    result = CliRunner().invoke(main, [*words, "--reason", "the relay was restarted"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"incident {PARTIAL} is marked false\n"
    row, incident = stored(config, PARTIAL)
    assert (row.state, incident.state, row.work) == ("false", State.FALSE, '{"kept": 1}')
    assert incident.false_by == "an operator: the relay was restarted"
    assert incident.reasons[-1][1] == "marked false by an operator: the relay was restarted"
    assert row.updated_at > row.opened_at
    assert "marked false" in run(config, "--route", "inbound").stdout
    queries = Queries(open_for_reading(config.parent / "ledger.sqlite"))
    try:
        assert queries.events(1)[0]["kind"] == "incident_marked_false"
    finally:
        queries.close()


@pytest.mark.parametrize(
    ("incident", "code", "says"),
    [
        (PASSED, 1, "is passed without a page: only one that paged can be marked false"),
        ("2026-01-01-nowhere-1", 1, "no incident '2026-01-01-nowhere-1' in the ledger; `mailcanary incidents` lists"),
        ("\x1b[31m", 1, "\\x1b[31m"),
    ],
)
def test_what_cannot_be_marked_is_said(incident: str, code: int, says: str, config: Path) -> None:
    result = run(config, "mark-false", incident)
    assert result.exit_code == code
    assert says in result.stderr
    assert "\x1b" not in result.stderr
    assert stored(config, PARTIAL)[1].state is State.IDENTIFIED


def test_mark_false_json_and_a_reason_too_long(config: Path) -> None:
    assert run(config, "mark-false", PARTIAL, "--json").stdout == f'{{"marked": "{PARTIAL}"}}\n'
    assert stored(config, PARTIAL)[1].false_by == "an operator"
    again = run(config, "mark-false", PARTIAL)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is marked false: only one that paged" in again.stderr
    assert run(config, "mark-false", OVER, "--reason", "x" * 501).exit_code == 2


def test_a_locked_ledger_and_none(config: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", StillClock())
    try:
        locked = run(config, "mark-false", PARTIAL)
    finally:
        ledger.close()
    assert locked.exit_code == 4
    assert "No daemon answers on" in locked.stderr
    (tmp_path / "ledger.sqlite").unlink()
    assert run(config, "mark-false", PARTIAL).exit_code == 4
    assert not (tmp_path / "ledger.sqlite").exists()


async def test_mark_false_goes_to_the_daemon(config: Path, tmp_path: Path) -> None:
    heard: list[Mapping[str, Any]] = []

    async def handler(request: Mapping[str, Any]) -> Mapping[str, Any]:
        heard.append(request)
        if request["incident"] == OVER:
            raise MailCanaryError("that one is over")
        return {"marked": request["incident"]}

    socket = ControlSocket(tmp_path / "control.sock", {"mark_false": handler})
    await socket.start()
    try:
        done = await asyncio.to_thread(run, config, "mark-false", PARTIAL, "--reason", "a deploy")
        refused = await asyncio.to_thread(run, config, "mark-false", OVER)
    finally:
        await socket.stop()
    assert (done.exit_code, done.stdout) == (0, f"incident {PARTIAL} is marked false\n")
    assert heard[0] == {"command": "mark_false", "incident": PARTIAL, "reason": "a deploy"}
    assert refused.exit_code == 1
    assert "that one is over" in refused.stderr
    assert stored(config, PARTIAL)[1].state is State.IDENTIFIED  # the daemon's to write, not the command's
