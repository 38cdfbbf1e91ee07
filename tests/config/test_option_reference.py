"""docs/options.md is what the program makes of its own options, and leaves none out."""

from pathlib import Path

import pytest

from probe.config import reference
from probe.config.load import declared_options
from probe.config.model import Config, Detection, Heartbeat, Key, Limits, Route, Web
from probe.mailboxes import imap
from probe.options import option
from probe.senders import smtp

COMMITTED = Path(__file__).parents[2] / "docs" / "options.md"
SECTIONS = {
    "Top": Config,
    "`keys`": Key,
    "`senders`, `kind: smtp`": smtp.OPTIONS,
    "`mailboxes`, `kind: imap`": imap.OPTIONS,
    "`routes`": Route,
    "`limits`": Limits,
    "`detection`": Detection,
    "`heartbeat`": Heartbeat,
    "`web`": Web,
}


def section(title: str) -> str:
    return reference.reference().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_committed_page_is_the_generated_one() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == reference.reference(), (
        "run: python -m probe.config.reference > docs/options.md"
    )


@pytest.mark.parametrize("title", SECTIONS)
def test_every_option_has_its_row_and_its_sentence(title: str) -> None:
    rows = [line.split(" | ") for line in section(title).splitlines() if line.startswith("| `")]
    shown = {row[0].removeprefix("| ").strip("`"): row[3] for row in rows}
    declared = declared_options(SECTIONS[title])
    if title == "Top":
        declared = {
            name: field
            for name, field in declared.items()
            if name.partition(".")[0] not in ("web", "limits", "detection", "heartbeat")
        }
    assert shown == {name: field.metadata["doc"] for name, field in declared.items()}


@pytest.mark.parametrize(
    "row",
    [
        "| `keep` | duration | `90d` | How long canaries stay in the ledger. |  |",
        "| `per_recipient` | list of rate | `20/min`, `1000/h` | What the receiving account bears. "
        "| must name at least one |",
        "| `smallest_loss` | percentage | `1%` | The smallest share of loss to find fast. "
        "| must be more than 0% and less than 100% |",
    ],
)
def test_a_row_says_type_default_sentence_and_rule(row: str) -> None:
    assert row in reference.reference().splitlines()


def test_rules_that_span_options_are_listed_those_of_nested_ones_too() -> None:
    page = section("`mailboxes`, `kind: imap`")
    assert "* `cleanup.folder`: mode move needs a folder" in page
    assert "* `folders`: a folder is named twice" in page


def test_a_rule_that_no_trial_value_breaks_is_not_left_out_in_silence() -> None:
    unbreakable = option("Never wrong.", default=1, check=lambda value: None)
    unbreakable.name = "unbreakable"
    with pytest.raises(LookupError, match="breaks the rule of unbreakable"):
        reference._rule(unbreakable)
