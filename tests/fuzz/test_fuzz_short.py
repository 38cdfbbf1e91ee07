"""Hostile bytes into every parser, briefly, by fixed seeds; ``make fuzz`` is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import fuzz, replay
from tests.fuzz.targets import REGRESSIONS, TARGETS, Target
from tests.fuzz.wires import BREAK, close_loops, imap_heard

INPUTS = {"yaml": 200, "imap": 1500, "token": 20_000, "answer": 20_000}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_uncaught_and_nothing_forged_is_believed(name: str, tmp_path: Path) -> None:
    inputs = INPUTS.get(name, 3000)
    done = fuzz(TARGETS[name], seed=1, inputs=inputs, folder=tmp_path)
    assert (done.inputs, done.faults, done.forgeries, done.saved) == (inputs, {}, 0, [])


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_mutated_is_harmless_itself(name: str) -> None:
    for data in TARGETS[name].corpus():
        assert TARGETS[name].run(data) is False
    close_loops()


def test_the_dialogue_of_imap_goes_to_its_end() -> None:
    """Else a mutation of what comes late would never be read."""
    whole = TARGETS["imap"].corpus()[0]
    assert len(imap_heard(whole)) == whole.count(BREAK)


@pytest.mark.parametrize("path", sorted(REGRESSIONS.iterdir()), ids=lambda path: path.name)
def test_what_once_did_harm_is_harmless(path: Path) -> None:
    assert replay(path)


def _planted(data: bytes) -> bool:
    if b"\0" in data:
        raise IndexError("planted")
    return data.startswith(b"ham")


def test_a_planted_bug_is_found_and_its_input_saved(tmp_path: Path) -> None:
    target = Target("planted", _planted, lambda: [b"spam and ham"])
    done = fuzz(target, seed=1, inputs=3000, folder=tmp_path)
    assert not done.sound
    assert [fault.partition(" ")[0] for fault in done.faults] == ["IndexError"]
    assert done.forgeries > 0
    found = sorted(tmp_path.iterdir())
    assert sorted(done.saved) == [path.name for path in found]
    harmful = next(path for path in found if b"\0" in path.read_bytes())
    with pytest.raises(IndexError, match="planted"):
        replay(harmful, _planted)


def test_the_same_seed_makes_the_same_inputs(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def hear(data: bytes) -> bool:
        heard.append(data)
        return False

    target = Target("heard", hear, lambda: [b"one line\r\nand another\r\n"])
    for seed in (1, 1, 2):
        fuzz(target, seed=seed, inputs=100, folder=tmp_path)
    assert heard[:100] == heard[100:200] != heard[200:]
