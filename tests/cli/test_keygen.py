"""``mailcanary keygen``: the file it makes, and the one it will not touch."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from probe.cli.main import COMMANDS, main
from probe.config.load import parse

REST = """
senders: {relay: {kind: smtp, host: smtp.example.org}}
mailboxes: {inbox: {kind: imap, host: imap.example.org, username: u, password: {env: PASSWORD}}}
routes: {in: {sender: relay, mail_from: a@b.example, rcpt_to: c@d.example, mailbox: inbox}}
"""


def test_a_key_is_made_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "k1.key"
    old = os.umask(0o277)
    try:
        result = CliRunner().invoke(main, ["keygen", str(file)])
    finally:
        os.umask(old)
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", file.read_text())
    assert file.read_text().strip() not in result.output


def test_two_keys_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        CliRunner().invoke(main, ["keygen", str(tmp_path / name)])
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_the_snippet_it_prints_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "Key_1.pem"
    printed = CliRunner().invoke(main, ["keygen", str(file)]).output
    by_file, by_credential = re.findall(r"  (keys:\n    - .*\n)", printed)
    config = parse(by_file.replace("    -", "  -") + REST, "c", environ={"PASSWORD": "x"})
    assert config.keys[0].id == "key-1"
    assert config.keys[0].secret == file.read_bytes().rstrip(b"\n")
    assert "{credential: key-1}" in by_credential


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling"])
def test_nothing_is_ever_overwritten(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "k1"
    if kind == "file":
        file.write_text("old")
    else:
        if kind == "symlink":
            (tmp_path / "other").write_text("old")
        file.symlink_to(tmp_path / "other")
    result = CliRunner().invoke(main, ["keygen", str(file)])
    assert result.exit_code == 1
    assert result.stderr == f"mailcanary: {file} is there already and was left as it is; choose another name\n"
    assert kind != "dangling" or not (tmp_path / "other").exists()
    assert kind == "dangling" or file.read_text() == "old"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["keygen", str(tmp_path / "none" / "k1")])
    assert result.exit_code == 1
    assert "cannot be made: No such file or directory" in result.stderr


def test_usage_errors_exit_with_2() -> None:
    assert CliRunner().invoke(main, ["keygen"]).exit_code == 2
    assert CliRunner().invoke(main, ["keygenn"]).exit_code == 2
    assert CliRunner().invoke(main, ["keygen", "a", "b"]).exit_code == 2


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\n"
        "from probe.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "main(['keygen', '--help'], standalone_mode=False)\n"
        "libraries = {'aiohttp', 'aiosmtplib', 'imapclient', 'sqlalchemy', 'yaml', 'prometheus_client'}\n"
        "heavy = libraries & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert re.fullmatch(r"mailcanary, version \d+\.\d+\S*\n", result.output)
