"""A server that closes or falls silent at any byte of a normal dialogue: nothing is read that was not said whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from probe.errors import MailboxError
from tests.fuzz.wires import FedMailbox, told

DIALOGUE = (Path(__file__).parents[1] / "corpus" / "imap" / "reads").read_bytes()


def _judged(most: int, *, stalls: bool) -> tuple[list[object], str]:
    """What the mailbox told, and the reason of its error or ""."""
    mailbox = FedMailbox(DIALOGUE, most=most, stalls=stalls)
    seen: list[object] = []
    reason = ""
    try:
        _all(told(mailbox), seen)
    except MailboxError as error:
        reason = error.reason
    mailbox.close()
    return seen, reason


def _all(telling: Iterator[object], seen: list[object]) -> None:
    for each in telling:
        seen.append(each)  # what came before an error counts


def _length() -> int:
    mailbox = FedMailbox(DIALOGUE)
    assert len(list(told(mailbox))) == 5
    length = mailbox.stream.told
    mailbox.close()
    return length


@pytest.mark.parametrize(("stalls", "reasons"), [(False, {"disconnected"}), (True, {"timeout"})])
def test_a_cut_at_every_byte(stalls: bool, reasons: set[str]) -> None:
    whole, none = _judged(1 << 30, stalls=stalls)
    assert (len(whole), none) == (5, "")
    length = _length()
    found: dict[str, int] = {}
    for most in range(length):
        seen, reason = _judged(most, stalls=stalls)
        assert seen == whole[: len(seen)], f"cut at byte {most}"
        assert len(seen) < len(whole), f"cut at byte {most}"
        found[reason] = found.get(reason, 0) + 1
    assert set(found) == reasons, found
    assert sum(found.values()) == length
