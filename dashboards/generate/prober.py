"""Can we be believed? The prober, its mailboxes, its books and its clock, and the way that alerts take."""

from __future__ import annotations

from dashboards.generate.colours import GREEN, RED, YELLOW, YES_IS_BAD, YES_IS_GOOD
from dashboards.generate.model import Board, Kind, Panel, Query, Row
from dashboards.generate.prober_work import AROUND, WORKS
from dashboards.generate.promql import age, gained, of_others, of_target, select

_WHO = "{{instance}}"
_BOX = "{{instance}} {{mailbox}}"


def _stat(
    title: str,
    description: str,
    unit: str,
    query: Query,
    width: int,
    runbook: str,
    steps: tuple[tuple[float, str], ...] = (),
    texts: dict[int, tuple[str, str]] | None = None,
    nothing: str = "",
) -> Panel:
    return Panel(
        Kind.STAT,
        title,
        description,
        unit,
        (query,),
        width,
        4,
        steps=steps,
        texts=texts,
        nothing=nothing,
        runbooks=(runbook,),
    )


_ALIVE = Row(
    "Alive",
    (
        _stat(
            "Up",
            "Prometheus can scrape the prober.",
            "none",
            Query(of_target("up"), _WHO),
            4,
            "MailCanaryProberDown",
            texts={0: ("down", RED), 1: ("up", GREEN)},
        ),
        _stat(
            "Configuration",
            "The last reload was taken. If not, the old configuration is still in force.",
            "none",
            Query(select("config_last_reload_successful"), _WHO),
            4,
            "MailCanaryConfigReloadFailed",
            texts=YES_IS_GOOD,
        ),
        _stat(
            "Ledger writable",
            "Commits work. If not, nothing is sent: no canary without a record.",
            "none",
            Query(select("ledger_writable"), _WHO),
            4,
            "MailCanaryStoreErrors",
            texts=YES_IS_GOOD,
        ),
        _stat(
            "Ledger imbalance",
            "sent - outcomes - in flight. Anything but 0 is a bug of ours.",
            "short",
            Query(select("ledger_imbalance"), _WHO),
            4,
            "MailCanaryLedgerImbalance",
            steps=((-1e9, RED), (0, GREEN), (1e-9, RED)),
        ),
        _stat(
            "Watchdog",
            "Alerts that always fire: 1 for each Prometheus. None: its rules are not evaluated.",
            "short",
            Query(f"sum({of_others('ALERTS', alertname='MailCanaryWatchdog', alertstate='firing')})", "firing"),
            4,
            "MailCanaryWatchdog",
            steps=((0, RED), (1, GREEN)),
            nothing="not firing",
        ),
        _stat(
            "Since the heartbeat",
            "Time since the prober's own heartbeat was taken. It beats only while canaries arrive.",
            "s",
            Query(age(select("heartbeat_last_success_timestamp_seconds")), _WHO),
            4,
            "MailCanaryWatchdog",
            steps=((0, GREEN), (300, YELLOW), (900, RED)),
            nothing="not configured, or never",
        ),
        Panel(
            Kind.TABLE,
            "Versions",
            "Which version runs where.",
            "none",
            (Query(f"max by (instance, prober, version) ({select('build_info')})", "running"),),
            12,
            5,
        ),
        Panel(
            Kind.TABLE,
            "What the detector has learned",
            "Of each leg: the age that makes a canary suspect, the share of healthy canaries that are, the smallest "
            "loss it looks for, and the false pages a month to expect from its own history.",
            "none",
            (
                Query(
                    f"max by (route, mx, mailbox) ({select('detector_suspicion_seconds')})", "suspect after", unit="s"
                ),
                Query(f"max by (route, mx, mailbox) ({select('detector_noise_ratio')})", "noise", unit="percentunit"),
                Query(
                    f"max by (route, mx, mailbox) ({select('detector_smallest_loss_ratio')})",
                    "smallest loss",
                    unit="percentunit",
                ),
                Query(
                    f"max by (route, mx, mailbox) ({select('detector_false_pages_per_month')})",
                    "false pages a month",
                    unit="short",
                ),
            ),
            12,
            5,
            runbooks=("MailCanaryNoisy",),
        ),
    ),
)

_SEES = Row(
    "Does it see?",
    (
        Panel(
            Kind.STATES,
            "Blind",
            "The mailbox cannot be read, or a control canary in it is not seen. Nothing is judged meanwhile.",
            "none",
            (Query(select("mailbox_blind"), _BOX),),
            12,
            texts=YES_IS_BAD,
            runbooks=("MailCanaryMailboxBlind",),
        ),
        Panel(
            Kind.LINES,
            "Since the mailbox was read, and since the control canary was seen",
            "Both rise with the clock when the watcher stops, also when the prober hangs.",
            "s",
            (
                Query(age(select("mailbox_last_read_timestamp_seconds")), f"read {_BOX}"),
                Query(age(select("control_last_success_timestamp_seconds")), f"control {_BOX}"),
            ),
            12,
            runbooks=("MailCanaryMailboxBlind", "MailCanaryControlFailed"),
        ),
        Panel(
            Kind.LINES,
            "Messages in the mailbox",
            "It should not grow: clean-up removes what is settled.",
            "short",
            (Query(select("mailbox_messages"), _BOX),),
            8,
            runbooks=("MailCanaryMailboxGrows",),
        ),
        Panel(
            Kind.BARS,
            "Blind time and gaps",
            "Seconds blind in each step, and message numbers that were never seen: those turn a loss into unknown.",
            "short",
            (
                Query(gained(select("mailbox_blind_seconds_total"), "mailbox"), "blind seconds {{mailbox}}"),
                Query(gained(select("mailbox_uid_gaps_total"), "mailbox"), "gaps {{mailbox}}"),
            ),
            8,
            step="5m",
            runbooks=("MailCanaryUnknown", "MailCanaryMailboxBlind"),
        ),
        Panel(
            Kind.BARS,
            "Mail that was not believed",
            "Looked like a canary: forged, expired, replayed, a reply, unreadable, or unknown to the ledger.",
            "short",
            (Query(gained(select("foreign_total"), "mailbox, kind"), "{{mailbox}} {{kind}}"),),
            8,
            step="5m",
        ),
    ),
)

BOARD = Board(
    "prober",
    "mailcanary / prober health",
    "Can what the other dashboards show be believed?",
    "now-6h",
    (_ALIVE, _SEES, WORKS, AROUND),
)
