"""``mailcanary check --connect`` of senders with ``via: mx``: every host that DNS names, and domains without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from probe.cli.check import try_all
from probe.cli.main import main
from probe.clock import SystemClock
from probe.senders.base import OTHER, NoHosts, Submission
from tests.cli.connecting import ACCEPTED, Account, Sends, world
from tests.worlds.postfix import Postfix
from tests.worlds.zone import Zone


@dataclass
class SendsByMx(Sends):
    """Two hosts with a leg each, three that share one; domains that ``trouble`` names have none."""

    trouble: dict[str, NoHosts] = field(default_factory=dict)

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        if recipient_domain in self.trouble:
            raise self.trouble[recipient_domain]
        return ("mx1.d.example", "mx2.d.example", OTHER)

    async def probe(self, mx: str) -> Submission:
        self.probed.append(mx)
        return replace(self.answer, host=f"mx{3 + (len(self.probed) - 3) % 3}.d.example" if mx == OTHER else mx)


async def test_each_of_the_hosts_that_share_a_leg_is_tried_by_name() -> None:
    items = await try_all(world(SendsByMx(ACCEPTED), Account()), SystemClock())
    assert [item.what for item in items if item.kind == "sender"] == [f"mx{n}.d.example" for n in range(1, 6)]


@pytest.mark.fault("S03")
@pytest.mark.parametrize(
    ("reason", "step"), [("null_mx", "rcpt_to"), ("dns_perm", "host's name"), ("dns_temp", "resolver")]
)
async def test_a_domain_without_hosts_does_not_hide_the_next(reason: str, step: str) -> None:
    sender = SendsByMx(ACCEPTED, trouble={"d.example": NoHosts(reason, "d.example takes no mail")})
    config = world(sender, Account())
    other = replace(config.routes["in"], name="other", rcpt_to="c@e.example")
    items = await try_all(replace(config, routes={"in": config.routes["in"], "other": other}), SystemClock())
    assert (items[0].what, items[0].ok, items[0].detail) == ("d.example", False, "d.example takes no mail")
    assert step in items[0].next
    assert (items[1].what, items[1].ok) == ("mx1.d.example", True)


MX = """\
prober: p1
keys: [{{id: k1, secret: {{env: KEY}}}}]
senders:
  mx: {{kind: smtp, via: mx, port: {port}, tls: none, resolver: ["{resolver}"], timeouts: {{connect: 5s}}}}
mailboxes:
  inbox: {{kind: imap, host: 127.0.0.1, port: 1, username: u, password: {{env: PASSWORD}}}}
routes:
  in: {{sender: mx, mail_from: probe@example.org, rcpt_to: canary@example.net, mailbox: inbox}}
"""


def test_connect_goes_to_every_mx_host_that_dns_names(
    tmp_path: Path, postfix: Postfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k" * 32)
    monkeypatch.setenv("PASSWORD", "correct horse")
    config = tmp_path / "config.yaml"
    zone = Zone()
    try:
        zone.mx("example.net", (10, "mx1.example.net"), (20, "mx2.example.net"))
        zone.addresses("mx1.example.net", "127.0.0.1")
        zone.addresses("mx2.example.net", "127.0.0.9")
        config.write_text(MX.format(port=postfix.port, resolver=zone.resolver))
        out = CliRunner().invoke(main, ["check", "-c", str(config), "--connect"])
        assert "canary@example.net gets at most 1020 canaries an hour" in out.stdout
        assert out.exit_code == 3
        assert "ok     sender mx mx1.example.net: connected at 127.0.0.1, in clear" in out.stdout
        assert "failed sender mx mx2.example.net: mx2.example.net [127.0.0.9]:" in out.stdout
        zone.null_mx("example.net")
        none = CliRunner().invoke(main, ["check", "-c", str(config), "--connect"])
        assert none.exit_code == 3
        assert "failed sender mx example.net: example.net takes no mail: it has a null MX (RFC 7505)" in none.stdout
        assert "next: check the domain of rcpt_to" in none.stdout
    finally:
        zone.close()
