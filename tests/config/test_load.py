"""From text to Config: the golden bad files, one a rule, with their exact message; and what good files mean."""

import dataclasses
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary.identity import SigningKey
from probe.config import load as loading
from probe.config import rules
from probe.config.fields import Findings
from probe.config.load import load, parse
from probe.config.model import Config
from probe.config.reading import read_file
from probe.config.secrets import SecretStore
from probe.config.text import is_name
from probe.errors import ConfigError
from probe.options import Rate, Secret
from tests.config.made import GOOD, MADE

BAD = Path(__file__).parent / "bad"
GOLDEN = sorted([*(path.stem for path in BAD.glob("*.yaml")), *MADE])
SECRETS = {
    "KEY": "k" * 32,
    "PASSWORD": "correct horse",
    "SHORT": "hunter2",
    "BINARY": "\udcff\udcfe",
    "NUL": "a\0b",
    "LONG": "x" * 65_537,
}


def good(more: str = "") -> Config:
    return parse(GOOD + more, "c", environ=SECRETS)


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c", environ=SECRETS)
    return [str(breach) for breach in caught.value.breaches]


def test_each_bad_file_has_its_message_and_each_message_its_file() -> None:
    assert len(GOLDEN) >= 35
    assert sorted(path.stem for path in BAD.glob("*.txt")) == GOLDEN


@pytest.mark.parametrize("name", GOLDEN)
def test_a_bad_file_gets_exactly_its_message(name: str, tmp_path: Path) -> None:
    path = BAD / f"{name}.yaml"
    if name in MADE:
        path = tmp_path / "config.yaml"
        made = MADE[name](tmp_path)
        if made is not None:
            path.write_bytes(made)
    with pytest.raises(ConfigError) as caught:
        parse(read_file(path), str(path), environ=SECRETS)
    said = str(caught.value).replace(str(path), f"{name}.yaml").replace(str(tmp_path), "FOLDER")
    assert said == (BAD / f"{name}.txt").read_text().rstrip("\n")


@pytest.mark.parametrize("name", GOLDEN)
def test_no_message_repeats_a_secret(name: str) -> None:
    said = (BAD / f"{name}.txt").read_text()
    assert not [value for value in SECRETS.values() if value in said]


def test_breaches_come_in_file_order() -> None:
    with pytest.raises(ConfigError) as caught:
        parse((BAD / "many-at-once.yaml").read_text(), "c", environ=SECRETS)
    lines = [breach.line for breach in caught.value.breaches]
    assert lines == sorted(lines)
    assert len(lines) == 6


def test_defaults_are_those_of_the_contract() -> None:
    config = good()
    route = config.routes["in"]
    assert (config.ledger, config.keep) == (Path("/var/lib/mailcanary/ledger.sqlite"), timedelta(days=90))
    assert (str(config.listen), config.control) == ("127.0.0.1:9925", Path("/run/mailcanary/control.sock"))
    assert (route.every, route.overdue_after) == (timedelta(seconds=60), timedelta(seconds=60))
    assert (route.lost_after, route.watch_for) == (timedelta(hours=2), timedelta(hours=72))
    assert (route.variants, route.auto_submitted, route.paging) == (("plain",), True, True)
    assert [str(rate) for rate in config.limits.per_recipient] == ["20/min", "1000/h"]
    assert [str(rate) for rate in (*config.limits.per_route, *config.limits.total)] == ["120/min", "1200/min"]
    assert config.detection.smallest_loss == 0.01
    assert config.keys == (SigningKey("k1", b"k" * 32),)


def test_kinds_get_their_own_options() -> None:
    config = good()
    assert config.senders["relay"].host == "smtp.example.org"
    assert config.mailboxes["inbox"].password == Secret(b"correct horse")
    assert config.mailboxes["inbox"].control_canary == timedelta(minutes=5)
    assert config.mailboxes["inbox"].folders == ("INBOX",)


def test_an_empty_value_means_the_default() -> None:
    assert good("    every:\n    bounces: ~\nweb:\nlimits: {total: }\n") == good()


def test_off_switches_an_optional_duration_off() -> None:
    text = GOOD.replace("kind: imap,", "kind: imap, control_canary: off,")
    assert parse(text, "c", environ=SECRETS).mailboxes["inbox"].control_canary is None


def test_off_is_refused_where_leaving_out_is_not_off() -> None:
    assert complaints(GOOD + "detection: {stall_limit: off}\n") == [
        "line 13: detection.stall_limit: 'off' must be a duration with its unit: 100ms, 60s, 2m, 2h or 3d"
    ]


@pytest.mark.parametrize("rates", ["20/min, 30/h", "[20/min, 30/h]", "[20/min,\n    30/h]"])
def test_rates_may_be_a_list_or_in_one_line(rates: str) -> None:
    config = good(f"limits:\n  per_route: 60/min\n  per_domain: {rates}\n    \n".replace("30/h", "300/h"))
    assert config.limits.per_domain == (Rate(20, timedelta(minutes=1)), Rate(300, timedelta(hours=1)))


def test_without_secrets_none_is_read_and_there_are_no_keys() -> None:
    config = parse(GOOD, "c", environ={}, secrets=False)
    assert config.keys == ()
    assert config.mailboxes["inbox"].password.reveal() == b""
    with pytest.raises(ConfigError, match="never the value itself"):
        parse(GOOD.replace("{env: PASSWORD}", "hunter2"), "c", environ={}, secrets=False)


def test_no_rendering_of_the_configuration_shows_a_secret() -> None:
    config = good("web: {token: {env: KEY}}\n")
    for shown in (repr(config), str(dataclasses.asdict(config.web)), f"{config.keys}"):
        assert SECRETS["KEY"] not in shown
        assert SECRETS["PASSWORD"] not in shown


def test_one_mistake_hides_no_other_and_makes_none() -> None:
    text = GOOD.replace("host: smtp.example.org", "port: x").replace("rcpt_to: canary@example.org", "rcpt_to: x")
    assert complaints(text) == [
        "line 4: senders.relay.port: 'x' must be a whole number",
        "line 11: routes.in.rcpt_to: 'x' must be a mail address such as canary@example.org",
    ]


def test_every_route_may_be_wrong_at_once() -> None:
    text = GOOD + "  out: {sender: relay, mail_from: a@b, rcpt_to: c@d, mailbox: inbox, every: 5, lost_after: 1s}\n"
    assert [line.split(": ")[1] for line in complaints(text)] == ["routes.out.every", "routes.out.lost_after"]


def test_the_sample_of_the_message_names_file_line_path_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("keep: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).splitlines()[0] == (
        f"{path}: line 1: keep: '1' must be a duration with its unit: 100ms, 60s, 2m, 2h or 3d"
    )
    assert [breach.path for breach in caught.value.breaches] == ["keep", "keys", "senders", "mailboxes", "routes"]


def test_key_ids_whose_bytes_collide_are_refused() -> None:
    first = SigningKey("k1", b"k" * 32)
    other = next(f"x{n}" for n in range(10_000) if SigningKey(f"x{n}", b"k" * 32).key_id == first.key_id)
    text = GOOD.replace("}}]", f"}}}}, {{id: {other}, secret: {{env: KEY}}}}]")
    assert complaints(text) == [f"line 2: keys.1.id: {other!r} shares its byte in tokens with 'k1'; choose another id"]


def test_route_marks_that_collide_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "route_mark", lambda prober, route: b"same")
    found = Findings([], SecretStore({}))
    rules.check_marks("p1", ["a", "b"], found)
    assert [str(breach) for breach in found.in_file_order()] == [
        "routes.b: shares its mark in tokens with 'a'; choose another name"
    ]


def test_too_many_series_are_refused() -> None:
    found = Findings([], SecretStore({}))
    rules.check_series(2083, found)
    assert found.in_file_order() == []
    rules.check_series(2084, found)
    assert str(found.in_file_order()[0]) == ("routes: 2,084 legs make about 250,080 series, and the ceiling is 250,000")


def test_a_sum_of_routes_over_the_total_is_refused() -> None:
    more = "".join(
        f"  r{n}: {{sender: relay, mail_from: a@b, rcpt_to: c{n}@d{n}, mailbox: inbox, every: 4s}}\n" for n in range(20)
    )
    said = complaints(GOOD + more + "limits: {total: 300/min}\n")
    assert said == [
        "line 32: routes.r19.every: every: 4s together with in, r0, r1 and 17 more makes 301/min, "
        "and limits.total allows 300/min"
    ]


def test_the_host_name_becomes_a_valid_prober(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in (("Mail_1.example.org", "mail-1"), ("---", "prober"), ("x" * 40, "x" * 32), ("", "prober")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        assert loading.host_name() == name
        assert is_name(loading.host_name())
    monkeypatch.setattr(socket, "gethostname", lambda: "mx7.example.org")
    assert parse(GOOD.replace("prober: p1\n", ""), "c", environ=SECRETS).prober == "mx7"


def test_validating_creates_nothing_and_resolves_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket, "socket", refused)
    config = good(f"ledger: {tmp_path}/a/ledger.sqlite\n")
    assert config.ledger == tmp_path / "a" / "ledger.sqlite"
    assert list(tmp_path.iterdir()) == []
