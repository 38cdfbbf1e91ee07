"""Kinds are found by folder and by entry point; a helper module is none, and a broken import is not hidden."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from probe import kinds as finding
from probe.kinds import Kinds, UnknownKind
from probe.senders import kinds, smtp


def test_the_kinds_of_sender() -> None:
    assert kinds.names() == ("smtp",)
    assert kinds.kind("smtp") is smtp


def test_an_unknown_kind_names_the_known() -> None:
    with pytest.raises(UnknownKind, match="smtp") as raised:
        kinds.kind("smpt")
    assert raised.value.names == ("smtp",)


def test_helpers_beside_a_kind_are_none() -> None:
    for name in ("base", "kinds", "resolve", "mx", "smtp_text", "smtp_wire", "../smtp", "smtp.x", ""):
        with pytest.raises(UnknownKind):
            kinds.kind(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "some_seam"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.fixture(autouse=True)
def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "some_seam"]:
        del sys.modules[name]


def test_listing_imports_nothing(folder: Path) -> None:
    (folder / "good.py").write_text('KIND = "good"\n')
    (folder / "broken.py").write_text('KIND: str = "broken"\nimport no_such_library\n')
    (folder / "helper.py").write_text("raise RuntimeError\n")
    found = Kinds("some_seam", "mailcanary.nothing")
    assert found.names() == ("broken", "good")
    assert found.kind("good").KIND == "good"
    assert "some_seam.broken" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        found.kind("broken")


def test_a_kind_goes_by_the_name_of_its_module(folder: Path) -> None:
    (folder / "one.py").write_text('KIND = "other"\n')
    with pytest.raises(ImportError, match="'other'"):
        Kinds("some_seam", "mailcanary.nothing").kind("one")


def test_a_kind_of_another_distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lmtp.py").write_text('KIND = "lmtp"\n')
    point = EntryPoint("lmtp", "some_seam.lmtp", "mailcanary.senders")
    asked: list[str] = []

    def entry_points(*, group: str) -> EntryPoints:
        asked.append(group)
        return EntryPoints([point])

    monkeypatch.setattr(finding, "entry_points", entry_points)
    assert kinds.names() == ("lmtp", "smtp")
    assert kinds.kind("lmtp").KIND == "lmtp"
    assert set(asked) == {"mailcanary.senders"}
