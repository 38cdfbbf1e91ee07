"""Reports in the forms of real mail servers: what each says of the canary, and how it was matched."""

from __future__ import annotations

import pytest

from probe.message.bounce import may_be_report
from tests.message.bounce_mail import EXPECTED, NAMES, judge, sample
from tests.message.canary_mail import TAG, TOKEN, split, with_field, without


def test_every_sample_has_its_answer() -> None:
    assert set(EXPECTED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_reports_of_real_servers_say(name: str) -> None:
    mail = sample(name)
    assert judge(mail) == EXPECTED[name]
    assert may_be_report(split(mail)[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_store_may_keep_bare_line_feeds(name: str) -> None:
    mail = sample(name).replace(b"\r\n", b"\n")
    assert judge(mail) == EXPECTED[name]
    assert may_be_report(mail.partition(b"\n\n")[0])


@pytest.mark.parametrize("name", NAMES)
def test_identities_count_in_either_case(name: str) -> None:
    assert judge(sample(name, token=TOKEN.upper(), tag=TAG.upper())) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"exim_old", "qmail_failed"}))
def test_the_words_and_the_sender_of_a_standard_report_do_not_matter(name: str) -> None:
    """A store may not keep Return-Path, and From and Subject are in every language."""
    mail = with_field("From", "x <y@z.example>", without("Return-Path", sample(name)))
    mail = with_field("Subject", "Unzustellbar", mail)
    assert judge(mail) == EXPECTED[name]
    assert may_be_report(split(mail)[0])
