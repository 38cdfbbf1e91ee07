"""The error of the reported latency, against the mail server's own log.

Dovecot logs the moment it saved each message, to the microsecond and by Message-ID. True latency is that moment
less the canary's final dot; the reported one is the ledger's. Both clocks are this machine's. Two kinds of route at
once: immediate delivery, two a second; and mail that Postfix holds for 37 s, each such canary in a mailbox of its
own, so that no other canary's polls make its arrival look sharper than it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmarks.setup import PASSWORD, SECRET, BenchmarkError, DaemonProcess, Site, percentile, until
from probe.canary.identity import Identity, Keyring, SigningKey
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.ports import run_tool
from tests.worlds.postfix import Postfix

DELAY = 37.0
FLOOR_SECONDS = 0.020
SHARE = 0.10
LATE_ROUTES = 6


def held(dovecot: Dovecot, accounts: list[Account]) -> Postfix:
    """A Postfix that holds mail for these accounts."""
    postfix = Postfix(
        dovecot,
        policy=False,
        extra="smtpd_recipient_restrictions = check_recipient_access inline:{"
        + ", ".join(f"{{ {account.address} = HOLD }}" for account in accounts)
        + "}, permit_mynetworks, reject\n",
    )
    postfix.start()
    return postfix


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Immediate: 100 canaries at 2/s. Delayed: six held for 37 s. ``quick``: 16, and two held for 5 s."""
    count, delay, late = (2, 1.0, 1) if tiny else (16, 5.0, 2) if quick else (100, DELAY, LATE_ROUTES)
    dovecot = Dovecot()
    try:
        dovecot.start()
        accounts = [dovecot.new_account() for _ in range(late)]
        postfix = held(dovecot, accounts)
        try:
            site = _site(dovecot, postfix, dovecot.new_account(), accounts, delay)
            try:
                with DaemonProcess(site) as daemon:
                    daemon.ready()
                    _release(site, postfix, count, late, delay)
                return _errors(site, dovecot, delay)
            finally:
                site.close()
        finally:
            postfix.close()
    finally:
        dovecot.close()


def _site(dovecot: Dovecot, postfix: Postfix, prompt: Account, late: list[Account], delay: float) -> Site:
    def mailbox(account: Account) -> Mapping[str, Any]:
        return {
            "kind": "imap",
            "host": "127.0.0.1",
            "port": dovecot.imap_port,
            "tls": "none",
            "username": account.address,
            "password": PASSWORD,
        }

    def route(account: Account, name: str, every: str) -> Mapping[str, Any]:
        return {
            "sender": "relay",
            "mail_from": "canary-probe@example.net",
            "rcpt_to": account.address,
            "mailbox": name,
            "every": every,
            "overdue_after": "3m",
        }

    names = {f"late{n}": account for n, account in enumerate(late)}
    apart = f"{max(2, round(delay * 1.5))}s"
    return Site(
        senders={"relay": {"kind": "smtp", "host": "127.0.0.1", "port": postfix.port, "tls": "none"}},
        mailboxes={"prompt": mailbox(prompt), **{name: mailbox(account) for name, account in names.items()}},
        routes={
            "prompt": route(prompt, "prompt", "500ms"),
            **{name: route(account, name, apart) for name, account in names.items()},
        },
    )


def _release(site: Site, postfix: Postfix, count: int, late: int, delay: float) -> None:
    """Let each held message go ``delay`` after its dot, until there are enough of both kinds."""
    released: set[str] = set()

    def turn() -> bool:
        now = time.time_ns()
        accepted = site.ask("SELECT queued_as, sent_at FROM canaries WHERE route LIKE 'late%' AND state = 'accepted'")
        for queue_id, sent_at in accepted:
            if queue_id not in released and now - sent_at >= delay * 1e9:
                released.add(queue_id)
                run_tool(["postsuper", "-c", postfix.folder / "etc", "-H", queue_id])
                run_tool(["postqueue", "-c", postfix.folder / "etc", "-i", queue_id])
        delivered = dict(site.ask("SELECT route, count(*) FROM canaries WHERE state = 'delivered' GROUP BY route"))
        return delivered.pop("prompt", 0) >= count and len(delivered) >= late

    until(turn, 30 + count + 4 * delay, "enough canaries arrive", every=0.02)


def _errors(site: Site, dovecot: Dovecot, delay: float) -> dict[str, Any]:
    keyring = Keyring([SigningKey("k1", SECRET)])
    saved: dict[str, int] = {}
    for one in dovecot.saved():
        identity = keyring.verify_token(one.message_id.strip("<>").partition("@")[0])
        if isinstance(identity, Identity):
            saved.setdefault(identity.canary_id, _nanoseconds(one.at))
    kinds: dict[str, list[tuple[float, float]]] = {"immediate": [], "delayed": []}
    rows = site.ask(
        "SELECT id, route, latency_us, facts FROM canaries WHERE state = 'delivered' AND latency_us IS NOT NULL"
    )
    for canary, route, latency_us, facts in rows:
        if canary in saved:
            started = int(json.loads(facts)["clock_started"][0])  # the final dot, wall clock in ns
            pair = latency_us / 1e6, (saved[canary] - started) / 1e9
            kinds["immediate" if route == "prompt" else "delayed"].append(pair)
    if not kinds["immediate"] or not kinds["delayed"]:
        raise BenchmarkError(f"Dovecot's log names {len(saved)} of {len(rows)} canaries: nothing to compare")
    return {
        "delay_seconds": delay,
        "bar": "max(20 ms, 10 %)",
        **{kind: _summary(pairs) for kind, pairs in kinds.items()},
    }


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def _summary(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Errors in ms, true latencies in ms, and the share of each error in what the bar allows (below 1 is within)."""
    errors = [1000 * abs(reported - true) for reported, true in pairs]
    shares = [abs(reported - true) / max(FLOOR_SECONDS, SHARE * true) for reported, true in pairs]
    return {
        "canaries": len(pairs),
        "true_latency_p50_ms": round(percentile([1000 * true for _, true in pairs], 0.5), 1),
        "error_p50_ms": round(percentile(errors, 0.5), 2),
        "error_p95_ms": round(percentile(errors, 0.95), 2),
        "error_max_ms": round(max(errors), 2),
        "within_bar": sum(share <= 1 for share in shares),
        "worst_of_bar": round(max(shares), 2),
    }
