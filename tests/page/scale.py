"""The shipped rules and routes as a proof runs them: as they are, or with every time in them divided alike.

At full scale the rule files are not touched. Scaled are: ``for``, ``keep_firing_for``, the groups' ``interval``, ranges
and offsets (``[5m]``, ``offset 6h``), the seconds that ``time() - …`` is compared with, and Alertmanager's waits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.rule_files import ALERTMANAGER, RECORDING, RULES, seconds
from tests.worlds.ports import LOOPBACK

_IN_BRACKETS = re.compile(r"\[(\w+)\]")
_OFFSET = re.compile(r"\boffset (\w+)")
_AGE = re.compile(r"(?<=> )\d+(?!\s*\*|\d|\.)")  # of an expression with time(); 14 * 86400 is a certificate's
_LEAST = re.compile(r"(clamp_min\(.*, )(\d+)\)")
_WAITS = ("group_wait", "group_interval", "repeat_interval")


@dataclass(frozen=True, slots=True)
class Scale:
    """``factor``: what all times are multiplied with; ``scrape``: seconds between scrapes and between evaluations."""

    factor: float
    scrape: float

    @property
    def full(self) -> bool:
        return self.factor == 1.0

    def of(self, real: float) -> float:
        """Seconds here for ``real`` seconds."""
        return real * self.factor

    def text(self, real: str) -> str:
        """A duration of a rule; in milliseconds where it is scaled."""
        return real if self.full else f"{max(1, round(self.of(seconds(real)) * 1000))}ms"


FULL = Scale(1.0, 5.0)
SHORT = Scale(1 / 12, 1.0)


def rule_files(folder: Path, scale: Scale) -> list[Path]:
    """The rules for Prometheus: the shipped files, or scaled ones in ``folder``."""
    if scale.full:
        return [RULES, RECORDING]
    made = []
    for path in (RULES, RECORDING):
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in whole["groups"]:
            _scale_keys(group, ("interval",), scale)
            for rule in group["rules"]:
                _scale_keys(rule, ("for", "keep_firing_for"), scale)
                rule["expr"] = expression(rule["expr"], scale)
        made.append(folder / path.name)
        made[-1].write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return made


def expression(text: str, scale: Scale) -> str:
    """PromQL with its times scaled."""
    text = _IN_BRACKETS.sub(lambda found: f"[{scale.text(found[1])}]", text)
    text = _OFFSET.sub(lambda found: f"offset {scale.text(found[1])}", text)
    if "time()" in text:
        text = _AGE.sub(lambda found: f"{scale.of(int(found[0])):g}" if int(found[0]) else "0", text)
        text = _LEAST.sub(lambda found: f"{found[1]}{scale.of(int(found[2])):g})", text)
    return text


def routing(port: int, scale: Scale) -> str:
    """The shipped routes and inhibitions; each receiver is a webhook at the path of its name on ``port`` of loopback.
    Only that is changed, and the waits are scaled. What is resolved is told as the shipped receiver has it told."""
    whole: dict[str, Any] = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
    for receiver in whole["receivers"]:
        ways = [way for key, value in receiver.items() if key.endswith("_configs") for way in value]
        resolved = any(way.get("send_resolved", True) for way in ways)
        name = receiver["name"]
        receiver.clear()
        receiver["name"] = name
        if ways:
            url = f"http://{LOOPBACK}:{port}/{name}"
            receiver["webhook_configs"] = [{"url": url, "send_resolved": resolved}]
    for route in (whole["route"], *whole["route"]["routes"]):
        _scale_keys(route, _WAITS, scale)
    return yaml.safe_dump(whole, sort_keys=False)


def _scale_keys(of: dict[str, Any], names: tuple[str, ...], scale: Scale) -> None:
    for name in names:
        if name in of:
            of[name] = scale.text(str(of[name]))


def labels_text(labels: Mapping[str, str]) -> str:
    """``MailCanaryPathDown route=inbound mx=mx2.example.org``, for people."""
    told = [f"{name}={labels[name]}" for name in ("route", "mx", "mailbox", "integration") if labels.get(name)]
    return " ".join([labels.get("alertname", "?"), *told])
