"""alerts/alertmanager.yml, as it is and as a test can run it: the same routes and rules, other addresses and times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.rule_files import ALERTMANAGER
from tests.worlds.ports import LOOPBACK

SECRETS = "/etc/prometheus/secrets/"
_HOSTS = re.compile(r"https://([a-z-]+)\.example\.org/[a-z]+")


def text() -> str:
    return ALERTMANAGER.read_text(encoding="utf-8")


def configuration() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(text())
    return whole


def on_this_machine(port: int, folder: Path) -> str:
    """The shipped file with its receivers at ``port`` of loopback: paths ``pagerduty``, ``slack``, and the first word
    of each webhook's host. Waits are a second. Nothing else is changed. Secrets are written into ``folder``."""
    shipped = text()
    for name in set(re.findall(re.escape(SECRETS) + r"([a-z-]+)", shipped)):
        secret = f"http://{LOOPBACK}:{port}/slack" if name == "slack-url" else f"secret-of-{name}"
        (folder / name).write_text(secret + "\n")
    local = shipped.replace(SECRETS, f"{folder}/")
    local = _HOSTS.sub(lambda match: f"http://{LOOPBACK}:{port}/{match[1]}", local)
    local = re.sub(r"(group_wait|group_interval): \S+", r"\1: 1s", local)
    return f"global: {{pagerduty_url: 'http://{LOOPBACK}:{port}/pagerduty'}}\n{local}"


def ways_out(receiver: str, whole: dict[str, Any]) -> set[str]:
    """The integrations of a receiver, such as ``pagerduty`` and ``email``."""
    (found,) = [each for each in whole["receivers"] if each["name"] == receiver]
    return {key.removesuffix("_configs") for key, value in found.items() if key.endswith("_configs") and value}
