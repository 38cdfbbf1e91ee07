"""Every behaviour of the contract over every kind of mailbox: IMAP, Maildir, the engine's fake, and a plug-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probe.mailboxes import kinds
from tests.mailboxes import conformance_account, conformance_placing  # noqa: F401 - they join those of conformance
from tests.mailboxes import conformance_worlds as worlds
from tests.mailboxes.conformance import BEHAVIOURS, run
from tests.worlds.dovecot import Dovecot

PLUGINS = Path(__file__).parent / "plugin_kind"
WORLDS: dict[str, Any] = {
    "imap": worlds.ImapWorld,
    "maildir": worlds.MaildirWorld,
    "fake": worlds.FakeWorld,
    "shelf": worlds.ShelfWorld,
}
CASES = [(kind, name) for kind, world in WORLDS.items() for name in BEHAVIOURS if name not in world.cannot]
REAL = [name for kind, name in CASES if kind == "imap"]


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other distribution is installed: its metadata lies on the path, as pip would put it."""
    monkeypatch.syspath_prepend(PLUGINS)


@pytest.mark.parametrize("name", REAL)
def test_imap(dovecot: Dovecot, name: str) -> None:
    run(name, worlds.ImapWorld(dovecot))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("kind", "name"), [case for case in CASES if case[0] != "imap"])
def test_without_a_server(kind: str, name: str, tmp_path: Path) -> None:
    world = worlds.FakeWorld() if kind == "fake" else WORLDS[kind](tmp_path)
    run(name, world)


def test_a_kind_says_why_it_cannot() -> None:
    for world in WORLDS.values():
        for name, reason in world.cannot.items():
            assert name in BEHAVIOURS
            assert len(reason) > 20


def test_every_kind_there_is_has_a_world() -> None:
    assert set(kinds.names()) <= set(WORLDS)


@pytest.mark.usefixtures("plugins")
def test_a_kind_of_another_distribution_is_found() -> None:
    assert set(kinds.names()) == {"imap", "maildir", "shelf"}
    assert kinds.kind("shelf").KIND == "shelf"
