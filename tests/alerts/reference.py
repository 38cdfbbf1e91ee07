"""The table of alerts in docs/alerts.md, from alerts/rules.yaml: ``python -m tests.alerts.reference`` renews it."""

from __future__ import annotations

from pathlib import Path

from tests.alerts.rule_files import Rule, alerts

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
BEGIN = "<!-- Made from alerts/rules.yaml by `python -m tests.alerts.reference`; do not edit. -->\n"
END = "<!-- End of what is made. -->\n"
WATCHDOG = "MailCanaryWatchdog"
_DOES = {"critical": "pages", "warning": "ticket", "info": "shown only"}


def table() -> str:
    """One line an alert."""
    lines = ["| alert | severity | about | waits | says |", "|---|---|---|---|---|"]
    lines += [_line(rule) for rule in alerts()]
    return "\n".join(lines) + "\n"


def _line(rule: Rule) -> str:
    name = f"[{rule.name}](../alerts/runbooks/{rule.name}.md)"
    waits = rule.wait or "-"
    if rule.keep:
        waits += f", kept {rule.keep}"
    does = "tells the dead man's switch" if rule.name == WATCHDOG else _DOES[rule.severity]
    severity = f"{rule.severity} ({does})"
    return f"| {name} | {severity} | {rule.component} | {waits} | {rule.annotations['summary']} |"


def renewed(page: str) -> str:
    """The page with the table as the rules make it now. Raises ValueError where the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/alerts.md has lost the lines between which the table goes")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
