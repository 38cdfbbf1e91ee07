"""The files under alerts/ as data: rules, and the cases that promtool runs over them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ALERTS = Path(__file__).parents[2] / "alerts"
RULES = ALERTS / "rules.yaml"
RECORDING = ALERTS / "recording.yaml"
ALERTMANAGER = ALERTS / "alertmanager.yml"
RUNBOOKS = ALERTS / "runbooks"
CASES = sorted((ALERTS / "tests").glob("*.yaml"))

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """A duration as Prometheus writes it (``1h30m``); 0 for an empty text."""
    parts = re.findall(r"(\d+)(ms|[smhdw])", text)
    assert "".join(number + unit for number, unit in parts) == text, text
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting or recording rule; ``name`` is the alert's or the recorded metric's."""

    group: str
    name: str
    expr: str
    wait: str = ""  # for
    keep: str = ""  # keep_firing_for
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")

    @property
    def component(self) -> str:
        return self.labels.get("component", "")

    @property
    def key(self) -> str:
        """Tells two alerts of one name apart, for the ids of tests."""
        return f"{self.name}-{self.severity}"


def _rules(path: Path, kind: str) -> list[Rule]:
    found = []
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            found.append(
                Rule(
                    group["name"],
                    rule[kind],
                    rule["expr"],
                    rule.get("for", ""),
                    rule.get("keep_firing_for", ""),
                    rule.get("labels", {}),
                    rule.get("annotations", {}),
                )
            )
    return found


def alerts() -> list[Rule]:
    """Every alert, in the order of the file."""
    return _rules(RULES, "alert")


def recordings() -> list[Rule]:
    """Every recording rule."""
    return _rules(RECORDING, "record")


@dataclass(frozen=True, slots=True)
class Check:
    """One look of a case at one alert: when (seconds), and the labels of those that fire."""

    at: float
    alert: str
    firing: tuple[Mapping[str, str], ...]
    annotations: tuple[Mapping[str, str], ...]

    def fires(self, severity: str) -> bool:
        return any(labels["severity"] == severity for labels in self.firing)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file under alerts/tests; ``step``: the time between evaluations, seconds."""

    file: str
    name: str
    step: float
    checks: tuple[Check, ...]

    def of(self, alert: str) -> list[Check]:
        """The looks at one alert, by time."""
        return sorted((check for check in self.checks if check.alert == alert), key=lambda check: check.at)


def _check(raw: Mapping[str, Any]) -> Check:
    expected = raw["exp_alerts"]
    return Check(
        seconds(raw["eval_time"]),
        raw["alertname"],
        tuple(each["exp_labels"] for each in expected),
        tuple(each["exp_annotations"] for each in expected),
    )


def cases() -> Iterator[Case]:
    """All cases of all files."""
    for path in CASES:
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
        step = seconds(whole["evaluation_interval"])
        for raw in whole["tests"]:
            yield Case(path.name, raw["name"], step, tuple(_check(each) for each in raw["alert_rule_test"]))
