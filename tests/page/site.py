"""What an act wants of its stage, and the daemon's configuration for it: a file like a user's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.sandbox.system import Sandbox
from tests.page.scale import Scale
from tests.worlds.ports import LOOPBACK

ROUTE = "inbound"
_LIMIT = "1200/min"


@dataclass(frozen=True, slots=True)
class Plan:
    """``every``: seconds between canaries of a leg, not scaled. ``hosts``: a leg for each MX host; else one leg to the
    first. ``past``: punctual canaries of each leg in the ledger before the start. ``lost_after``: real seconds."""

    act: str
    every: float
    hosts: bool = False
    past: int = 0
    lost_after: float = 7200.0
    seed: int = 1
    max_rate: str = "60/min"


def write_config(folder: Path, port: int, plan: Plan, scale: Scale, sandbox: Sandbox) -> None:
    """``config.yaml`` and its secrets, for the started ``sandbox``. ``port``: of the daemon's web side."""
    for name, text in (("key", "k" * 48), ("password", sandbox.password)):
        _private(folder / name, text + "\n")
    _private(folder / "config.yaml", json.dumps(_config(folder, port, plan, scale, sandbox), indent=1))  # JSON is YAML


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _config(folder: Path, port: int, plan: Plan, scale: Scale, sandbox: Sandbox) -> dict[str, Any]:
    intake = sandbox.intakes[0]
    imap_host, imap_port = sandbox.imap_address
    sender: dict[str, Any] = {"kind": "smtp", "port": intake.port, "tls": "none", "helo": "prober.sandbox.test"}
    sender |= {"via": "mx", "resolver": [sandbox.resolver]} if plan.hosts else {"host": intake.address}
    return {
        "prober": "page",
        "ledger": str(folder / "ledger.sqlite"),
        "control": str(folder / "control.sock"),
        "listen": f"{LOOPBACK}:{port}",
        "keys": [{"id": "k1", "secret": {"file": str(folder / "key")}}],
        "limits": {name: [_LIMIT] for name in ("per_recipient", "per_route", "per_domain", "total")},
        "detection": {"max_rate": plan.max_rate},
        "senders": {"relay": sender},
        "mailboxes": {
            "canaries": {
                "kind": "imap",
                "host": imap_host,
                "port": imap_port,
                "tls": "none",
                "username": sandbox.user,
                "password": {"file": str(folder / "password")},
                "folders": ["INBOX", "junk"],
                "exclusive": True,
                "cleanup": {"mode": "delete", "after": "10m"},
                "idle_poll": _duration(max(1.0, scale.of(30))),
                "control_canary": _duration(scale.of(300)),
            }
        },
        "routes": {
            ROUTE: {
                "sender": "relay",
                "mail_from": sandbox.prober,
                "rcpt_to": sandbox.recipient,
                "mailbox": "canaries",
                "every": _duration(plan.every),
                "overdue_after": _duration(scale.of(60)),
                "lost_after": _duration(scale.of(plan.lost_after)),
                "watch_for": "24h",
            }
        },
    }


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
