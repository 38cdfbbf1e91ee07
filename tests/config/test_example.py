"""config.example.yaml is loaded, follows the advice, and leaves no option out."""

import re
from pathlib import Path

import pytest

from probe.config import load as loading
from probe.config.load import declared_options, load
from probe.config.model import Config, Key, Route
from probe.mailboxes import kinds as mailbox_kinds
from probe.senders import kinds as sender_kinds

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
CREDENTIALS = sorted(set(re.findall(r"\{credential: ([a-z-]+)\}", TEXT)))


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        url = "https://switch.example.net/" if name.endswith("-url") else ""
        (tmp_path / name).write_text(url + "0123456789abcdef" * 4 + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))


@pytest.mark.usefixtures("credentials")
def test_it_loads_and_is_the_advised_set_up() -> None:
    config = load(EXAMPLE)
    assert config.mailboxes["canaries"].exclusive is True
    assert config.keys[0].secret == b"0123456789abcdef" * 4
    assert config.senders["relay"].password.source == "credential:smtp-password"
    assert not config.mailboxes["canaries"].insecure


@pytest.mark.usefixtures("credentials")
def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    # an option that a later version brings, or that excludes what is shown beside it
    left_out = re.compile(r"# +(via|bounces|ca_file|folder|resolver):")
    lines = [line for line in TEXT.splitlines() if not left_out.search(line)]
    # the remark at the top, up to the first empty line, holds words that look like keys
    head = lines.index("")
    text = "\n".join(re.sub(r"^( *)# ( *[a-z_]+:(?: |$))", r"\1\2", line) for line in lines[head:])
    path = tmp_path / "all.yaml"
    path.write_text(text)
    config = load(path)
    assert config.web.username == "prometheus"
    assert config.detection.stall_limit is not None


def options() -> list[str]:
    declared = [*declared_options(Config), *declared_options(Key), *declared_options(Route)]
    for kinds, wanted in ((sender_kinds, "smtp"), (mailbox_kinds, "imap")):
        assert wanted in kinds.names()
        declared += declared_options(kinds.kind(wanted).OPTIONS)
    return sorted(set(declared) | set(loading.SECTIONS))


@pytest.mark.parametrize("option", options())
def test_every_option_is_explained(option: str) -> None:
    name = option.rpartition(".")[2]
    assert re.search(rf"^[ #-]*\b{name}:", TEXT, re.MULTILINE), f"{option} is not in config.example.yaml"


def test_it_has_no_line_that_is_too_long() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > 120] == []
