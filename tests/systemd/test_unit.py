"""The unit file: systemd understands every line, and its exposure score stays low. Needs no running systemd."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from probe.config.model import Config  # the seam whose default the unit must match
from probe.errors import ConfigError, LedgerError

UNIT = Path(__file__).parents[2] / "systemd" / "mailcanary.service"
HIGHEST_EXPOSURE = 1.5

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_systemd_understands_every_line() -> None:
    """A wrong key is a warning only, so stderr must be silent but for the program that is not installed here."""
    lines = [line for line in analyze("verify", UNIT).stderr.splitlines() if UNIT.name in line]
    assert [line for line in lines if "is not executable" not in line] == []


def test_a_wrong_key_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / UNIT.name
    wrong.write_text(UNIT.read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in analyze("verify", wrong).stderr


def test_the_exposure_is_low() -> None:
    threshold = str(int(HIGHEST_EXPOSURE * 10))
    done = analyze("security", "--offline=true", f"--threshold={threshold}", "--no-pager", UNIT)
    (score,) = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    print(score)
    assert float(score.partition(": ")[2].split()[0]) <= HIGHEST_EXPOSURE
    assert done.returncode == 0


def test_what_the_unit_leaves_open() -> None:
    done = analyze("security", "--offline=true", "--json=short", "--no-pager", UNIT)
    open_points = {each["json_field"] for each in json.loads(done.stdout) if each["set"] is False}
    expected = {
        "IPAddressDeny",  # it must reach mail servers anywhere
        "PrivateNetwork",
        "RestrictAddressFamilies_AF_INET_INET6",
        "RestrictAddressFamilies_AF_UNIX",  # the control socket and sd_notify
        "DeviceAllow",  # DevicePolicy=closed: null, zero, random and their like
        "ProcSubset",  # process metrics
        "RootDirectoryOrRootImage",
    }
    assert open_points == expected


def test_the_unit_agrees_with_the_program() -> None:
    settings = dict(
        line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")
    )
    assert settings["Type"] == "notify"
    assert settings["RestartPreventExitStatus"].split() == [str(ConfigError.exit_code), str(LedgerError.exit_code)]
    control = {each.name: each for each in Config.__dataclass_fields__.values()}["control"].default
    assert control == Path("/run") / settings["RuntimeDirectory"] / "control.sock"
