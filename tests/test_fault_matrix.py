"""The matrix, its page and the tests agree: every fault has a proof or a reason, and no proof is of none."""

from __future__ import annotations

from tests.faults import NOT_BUILT, TESTS, page, proofs, rows

PAGE = TESTS.parent / "docs" / "faults.md"


def test_the_rows_are_those_of_the_matrix() -> None:
    expected = [f"{letter}{n:02}" for letter, most in (("S", 41), ("R", 28), ("P", 32)) for n in range(1, most + 1)]
    assert [row.id for row in rows()] == expected
    assert all(row.fault and row.outcome and row.means for row in rows())


def test_each_row_has_a_test_or_a_reason() -> None:
    proven = proofs()
    assert [row.id for row in rows() if row.id not in proven and row.id not in NOT_BUILT] == []


def test_no_test_and_no_reason_names_a_row_that_is_none() -> None:
    known = {row.id for row in rows()}
    assert proofs().keys() <= known
    assert NOT_BUILT.keys() <= known


def test_the_committed_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.faults > docs/faults.md"
