"""One cause, one page: what a real Alertmanager lets through of all the alerts that a cause brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerts.routing import on_this_machine
from tests.alerts.rule_files import alerts
from tests.worlds.alertmanager import Alertmanager, Desk
from tests.worlds.fixtures import Alerting
from tests.worlds.ports import wait_until

SEVERITIES = {(rule.name.removeprefix("MailCanary"), rule.severity): rule for rule in alerts()}
PATIENCE = 20.0

# Cause: what fires then -> what of it may page or become a ticket. One leg of one prober, but for "/other".
CAUSES: dict[str, tuple[str, str]] = {
    "path dead": ("PathDown ErrorBudgetBurn LossSuspected Backlog", "PathDown"),
    "share lost": ("LossDetected ErrorBudgetBurn LossSuspected Lost", "LossDetected"),
    "delay": ("LossDetected Delayed ErrorBudgetBurn Backlog", "LossDetected Delayed"),
    "detector broken": ("ErrorBudgetBurn LossSuspected", "ErrorBudgetBurn"),
    "one host dead": ("PathDown Backlog Backlog/other", "PathDown Backlog/other"),
    "recipient refused": ("Refused:critical UncoveredRoute", "Refused:critical UncoveredRoute"),
    "everything deferred": ("Deferred:critical Deferred:warning Backlog", "Deferred:critical"),
    "mailbox unreadable": (
        "MailboxBlind ControlFailed ProberStalled Backlog PathDown PathDown/elsewhere",
        "MailboxBlind PathDown/elsewhere",
    ),
    "mailbox not to be trusted": ("ControlFailed PathDown LossDetected Lost", "ControlFailed"),
    "daemon dead": ("ProberDown StoreErrors PathDown LossDetected Backlog ProberStalled", "ProberDown"),
    "daemon dead, another sees it": ("ProberDown PathDown/prober", "ProberDown PathDown/prober"),
    "ledger unwritable": ("StoreErrors MailboxBlind ControlFailed PathDown Backlog", "StoreErrors"),
    "scheduler stuck": ("ProberStalled", "ProberStalled"),
    "junk beside a dead path": ("PathDown InSpam", "PathDown InSpam"),
    "certificate": (
        "CertificateExpires:critical CertificateExpires:warning PathDown",
        "CertificateExpires:critical CertificateExpires:warning PathDown",
    ),
}
HAS = {
    "": ("route", "mx", "mailbox"),
    "InSpam": ("route", "mailbox"),
    "CertificateExpires": ("peer", "mx"),
    "MailboxBlind": ("mailbox",),
    "ControlFailed": ("mailbox",),
    "ProberDown": (),
    "StoreErrors": (),
}


def labels(word: str, cause: str) -> dict[str, str]:
    """The labels of an alert, such as ``PathDown``, on the leg of ``cause``; "/other": another MX host of it."""
    word, _, elsewhere = word.partition("/")
    name, _, severity = word.partition(":")
    (rule,) = [rule for (known, its), rule in SEVERITIES.items() if known == name and severity in ("", its)]
    mark = cause.replace(" ", "-").replace(",", "")
    every = {"route": mark, "mx": "mx1.example.org", "mailbox": "canaries", "peer": "relay"}
    every |= {"other": {"mx": "mx2.example.org"}, "elsewhere": {"route": f"{mark}-2", "mailbox": "other"}}.get(
        elsewhere, {}
    )
    instance = f"{mark}{'-2' if elsewhere == 'prober' else ''}:9925"
    named = {label: every[label] for label in HAS.get(name, HAS[""])}
    return {"alertname": rule.name, "instance": instance, "job": "mailcanary", **rule.labels, **named}


def marks(words: str, cause: str) -> list[str]:
    return sorted(" ".join(sorted(labels(word, cause).values())) for word in words.split())


@pytest.mark.parametrize("cause", CAUSES)
def test_one_cause_is_told_once(told: Alertmanager, cause: str) -> None:
    fires, passes = CAUSES[cause]
    told.tell([labels(word, cause) for word in fires.split()])
    # Alerts are taken in one after the other: once the fence acts, those before it have been looked at.
    fence = f"fence {cause}"
    told.tell([labels("ProberDown", fence), labels("Backlog", fence)])
    wait_until(lambda: states(told)[marks("Backlog", fence)[0]] == "suppressed", PATIENCE, "the fence", told.log)
    now = states(told)
    assert sorted(mark for mark in marks(fires, cause) if now[mark] != "suppressed") == marks(passes, cause)


def states(told: Alertmanager) -> dict[str, str]:
    return {" ".join(sorted(each["labels"].values())): each["status"]["state"] for each in told.alerts()}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, amtool: Path) -> Iterator[Alertmanager]:
    """One Alertmanager with the shipped routes and rules; each cause has a prober and a route of its own."""
    desk = Desk()
    server = Alertmanager(on_this_machine(desk.port, tmp_path_factory.mktemp("secrets")))
    try:
        server.start()
        yield server
    finally:
        server.close()
        desk.close()


def test_a_ticket_goes_to_the_chat_and_the_tickets_and_a_page_that_fails_is_counted(
    alerting: Alerting, tmp_path: Path
) -> None:
    desk = alerting.desk()
    server = alerting.alertmanager(on_this_machine(desk.port, tmp_path))
    server.tell([labels("Bounced", "ticket")])
    wait_until(lambda: len(desk.at("tickets")) > 0 and len(desk.at("slack")) > 0, PATIENCE, "the ticket", server.log)
    (ticket,) = desk.at("tickets")
    assert ticket.authorization == "Bearer secret-of-tickets-token"
    assert ticket.body["groupLabels"] == {
        "alertname": "MailCanaryBounced",
        "route": "ticket",
        "instance": "ticket:9925",
    }
    assert desk.at("pagerduty") == []

    desk.refusing.add("pagerduty")
    server.tell([labels("PathDown", "page")])
    wait_until(lambda: server.failed("pagerduty") > 0, PATIENCE, "the failure is counted", server.log)
    assert (server.failed("slack"), server.failed("webhook")) == (0, 0)
    notify = {"alertname": "MailCanaryNotifyFailing", "severity": "critical", "component": "pipeline"}
    server.tell([{**notify, "integration": "pagerduty"}])
    wait_until(lambda: len(desk.at("on-call")) > 0, PATIENCE, "the news by the other way", server.log)
    assert desk.at("on-call")[0].authorization == "Bearer secret-of-on-call-token"
    assert desk.at("pagerduty") == []
