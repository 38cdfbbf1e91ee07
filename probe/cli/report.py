"""``mailcanary report``: one incident as a text for the status page, a re-queue instruction and its evidence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from probe.cli.output import config_option, print_json, say, warn
from probe.config.load import load
from probe.detection.moments import to_second
from probe.detection.record import Incident
from probe.detection.report import to_json, to_markdown
from probe.errors import UsageError
from probe.exposition.incidents import find_incident, masked, shown
from probe.exposition.prometheus import WINDOW, count_mails
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries

PROMETHEUS_VARIABLE = "MAILCANARY_PROMETHEUS"
_LONGEST_LINE = 20_000


@click.command(
    epilog="""\b
Examples:
  mailcanary report 2026-11-24-support-inbound-1 > incident.md
  mailcanary report 2026-11-24-support-inbound-1 --volume 120000
  mailcanary report 2026-11-24-support-inbound-1 --prometheus http://localhost:9090 \\
    --volume-query 'sum(increase(postfix_smtpd_messages_processed_total{job="mx"}[$window]))'

Exit codes: 0 done; 1 no such incident, or Prometheus has no answer; 2 usage, or a query that is wrong; 3 Prometheus
cannot be reached; 4 the ledger.""",
    short_help="Report one incident: what was lost, and what to queue again.",
)
@config_option
@click.argument("incident_id", metavar="ID")
@click.option(
    "--volume",
    type=click.IntRange(0, 10**12),
    help="How many mails came to the route within the re-queue window, for an estimate of those lost.",
)
@click.option(
    "--volume-query",
    metavar="PROMQL",
    help="Ask Prometheus for that number. The query must give one number and hold $window, which becomes the length of "
    "the re-queue window (5400s); it is evaluated at the window's end. Put it in single quotes.",
)
@click.option(
    "--prometheus",
    "url",
    metavar="URL",
    envvar=PROMETHEUS_VARIABLE,
    show_envvar=True,
    help="Where Prometheus answers, such as http://localhost:9090, with user:password@ where it asks for a login.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("md", "json")),
    default="md",
    show_default=True,
    help="Markdown for people, or one JSON object.",
)
def report(
    config: Path, incident_id: str, volume: int | None, volume_query: str | None, url: str | None, form: str
) -> None:
    """Report the incident ID: a paragraph for the status page, what to queue again with the lost canaries' "queued as"
    ids to look for, how much mail was lost, the counts by leg, and whether it is over.

    With --format json, the record of `incidents --json` and with it real_mail (null without a volume), status_page and
    instruction. Reads the ledger only; the daemon may run or not.

    --volume-query sends one instant query to Prometheus, for the window's end (while there is none, for the last
    overdue canary), with every $window replaced by the time from the window's start to then in whole seconds. The
    answer must be a single number, so wrap the query in sum(). A certificate is always verified (SSL_CERT_FILE names
    other roots), a redirect is not followed.
    """
    if volume is not None and volume_query is not None:
        raise UsageError("give --volume or --volume-query, not both")
    if volume_query is not None and not url:
        raise UsageError(f"--volume-query needs --prometheus URL (or {PROMETHEUS_VARIABLE})")
    queries = Queries(open_for_reading(load(config, secrets=False).ledger))
    try:
        incident = find_incident(queries, incident_id)
    finally:
        queries.close()
    if volume_query is not None and url:
        volume = _asked(incident, url, volume_query)
    if form == "json":
        print_json(masked(to_json(incident, volume)))
        return
    for line in to_markdown(incident, volume).splitlines():
        say(shown(line, _LONGEST_LINE))


def _asked(incident: Incident, url: str, query: str) -> int | None:
    """The number of mails, from Prometheus; None where there is no window to ask about."""
    if incident.requeue is None:
        warn("the incident has no re-queue window yet, so Prometheus is not asked and there is no estimate")
        return None
    start, end = incident.requeue
    # While it is not over the estimate reaches to the last overdue canary, so the volume must too.
    until = end or max(window.last_bad for _, window in incident.windows)
    answer = asyncio.run(count_mails(url, query, start, until))
    for warning in answer.warnings:
        warn(f"Prometheus warns: {shown(warning, 300)}")
    span = f"from {to_second(start)} to {to_second(until)}"
    warn(f"Prometheus counts {answer.mails:,} mails {span} ({WINDOW} = {answer.window})")
    return answer.mails
