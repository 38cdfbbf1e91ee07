"""``mailcanary check``: what it prints and exits with; ``--connect`` with stand-ins and on real servers."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probe.cli import check as checking
from probe.cli.check import Item, try_all, warnings
from probe.cli.main import main
from probe.clock import Clock, SystemClock
from probe.config.load import parse
from probe.config.model import Config
from probe.errors import FolderMissing, LoginRefused
from probe.senders.base import Result as SendResult
from probe.senders.base import Stage, Submission, SubmissionLabel
from tests.cli.connecting import ACCEPTED, Account, Sends, world
from tests.worlds.dovecot import Dovecot
from tests.worlds.postfix import Postfix

GOOD = """\
prober: p1
keys: [{id: k1, secret: {env: KEY}}]
senders:
  relay: {kind: smtp, host: 127.0.0.1, port: 1, timeouts: {connect: 5s}}
mailboxes:
  inbox: {kind: imap, host: 127.0.0.1, port: 1, username: u, password: {env: PASSWORD}, exclusive: true}
routes:
  in: {sender: relay, mail_from: probe@example.org, rcpt_to: canary@example.org, mailbox: inbox}
"""
SECRETS = {"KEY": "k" * 32, "PASSWORD": "correct horse"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_a_good_configuration_is_summed_up(config: Path) -> None:
    result = run("-c", config)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "configuration ok"
    assert "in     relay   canary@example.org  inbox    1     1m     60" in lines
    assert "canary@example.org gets 60 canaries an hour" in lines
    assert "warning: route in: bounces to probe@example.org are not watched" in lines
    assert "\x1b" not in result.stdout


def test_every_breach_is_printed_and_the_exit_code_is_2(config: Path) -> None:
    config.write_text(GOOD.replace("port: 1, time", "port: x, time") + "lisen: x\n")
    result = run("-c", config)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{config}: line 4: senders.relay.port: 'x' must be a whole number",
        f"{config}: line 9: lisen: is not an option here; did you mean 'listen'?",
    ]


def test_breaches_as_json(config: Path) -> None:
    config.write_text(GOOD + "lisen: x\n")
    result = run("-c", config, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "ok": False,
        "config": str(config),
        "breaches": [{"path": "lisen", "line": 9, "message": "is not an option here; did you mean 'listen'?"}],
    }


def test_the_summary_as_json(config: Path) -> None:
    document = json.loads(run("-c", config, "--json").stdout)
    assert document["ok"] is True
    assert document["connections"] is None
    assert document["routes"] == [
        {
            "route": "in",
            "sender": "relay",
            "rcpt_to": "canary@example.org",
            "mailbox": "inbox",
            "legs": 1,
            "every_seconds": 60.0,
            "canaries_per_hour": 60.0,
        }
    ]


def test_the_file_may_be_named_by_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCANARY_CONFIG", str(config))
    assert run().exit_code == 0


def test_a_missing_file_exits_with_2(tmp_path: Path) -> None:
    result = run("-c", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "name the file with --config" in result.stderr


def test_without_connect_no_socket_is_opened(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert run("-c", config).exit_code == 0


def test_connect_names_every_failure_with_its_next_step_and_exits_with_3(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    config.write_text(GOOD.replace("port: 1,", f"port: {port},"))  # nobody listens there any more
    result = run("-c", config, "--connect")
    assert result.exit_code == 3, result.output
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed ")]
    assert [line.split(":")[0] for line in failed] == ["failed sender relay any", "failed mailbox inbox login"]
    assert result.stdout.count("next: check host and port") == 2
    assert "SPF records and the PTR record of this host are not looked at" in result.stdout
    assert result.stderr == "mailcanary: 2 of 2 could not be reached or used\n"
    assert SECRETS["PASSWORD"] not in result.output


def test_connect_as_json(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(config: Config, clock: Clock) -> list[Item]:
        return [
            Item("sender", "relay", "any", True, "connected"),
            Item("mailbox", "inbox", "login", False, "no", "look"),
        ]

    monkeypatch.setattr(checking, "try_all", found)
    result = run("-c", config, "--connect", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [item["ok"] for item in document["connections"]] == [True, False]
    assert document["connections"][1]["next"] == "look"


NO_LOGIN = Submission(
    SendResult.UNSENT, SubmissionLabel.AUTH_ERROR, Stage.AUTH, "auth", "login refused", 535, reply="5.7.8 no"
)


async def test_every_leg_and_every_folder_is_tried() -> None:
    sender, account = Sends(ACCEPTED), Account()
    items = await try_all(world(sender, account), SystemClock())
    assert sender.probed == ["mx1.d.example", "mx2.d.example"]
    assert [request.folder for request in account.requests] == ["INBOX", "junk", "Archive"]
    assert all(request.since is None for request in account.requests)
    assert account.closed == 1
    assert [(item.what, item.ok) for item in items] == [
        ("mx1.d.example", True),
        ("mx2.d.example", True),
        ("login", True),
        ("INBOX", True),
        ("junk", True),
        ("Archive", True),
    ]
    assert items[0].detail == "connected at 192.0.2.1, TLSv1.3"
    assert items[3].detail == "7 messages in INBOX"


async def test_a_missing_folder_does_not_hide_the_next() -> None:
    account = Account({"junk": FolderMissing("folder", "no folder is flagged \\Junk")})
    items = await try_all(world(Sends(ACCEPTED), account), SystemClock())
    assert [(item.what, item.ok) for item in items[3:]] == [("INBOX", True), ("junk", False), ("Archive", True)]
    assert items[4] == Item(
        "mailbox", "inbox", "junk", False, "no folder is flagged \\Junk", "check the names in folders:"
    )


async def test_refused_logins_say_so_and_the_mailbox_is_closed() -> None:
    account = Account({"connect": LoginRefused("auth", "the server refused the login")})
    items = await try_all(world(Sends(NO_LOGIN), account), SystemClock())
    assert [item.ok for item in items] == [False, False, False]
    assert items[0].detail == "login refused (535 5.7.8 no)"
    assert {item.next for item in items} == {"check username and password"}
    assert (account.requests, account.closed) == ([], 1)


def test_what_is_allowed_and_not_advised_is_warned_of() -> None:
    text = GOOD.replace("port: 1, timeouts", "port: 1, verify: false, timeouts").replace("exclusive: true", "tls: none")
    said = warnings(parse(text + "listen: 0.0.0.0:9925\n", "c", environ=SECRETS))
    assert said == [
        "sender relay: verify: false, so the server's certificate is not checked",
        "mailbox inbox: tls: none, so all goes in clear",
        "mailbox inbox: not exclusive, so a number that was never seen is unknown and never lost",
        "route in: bounces to probe@example.org are not watched",
        "listen 0.0.0.0:9925: open to other hosts, and web: has neither token nor password",
    ]


REAL = """\
prober: p1
keys: [{{id: k1, secret: {{env: KEY}}}}]
senders:
  clear: {{kind: smtp, host: 127.0.0.1, port: {smtp}, tls: none}}
  login:
    {{kind: smtp, host: 127.0.0.1, port: {submissions}, tls: implicit, ca_file: {ca},
     username: {user}, password: {{env: WORD}}}}
mailboxes:
  inbox:
    {{kind: imap, host: 127.0.0.1, port: {imaps}, ca_file: {ca}, username: {user}, password: {{env: WORD}},
     folders: [INBOX{folder}]}}
routes:
  in: {{sender: clear, mail_from: probe@example.org, rcpt_to: {user}, mailbox: inbox}}
"""


def test_connect_meets_real_servers_and_sends_nothing(
    config: Path, postfix: Postfix, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = dovecot.new_account()
    names = {
        "smtp": postfix.port,
        "submissions": postfix.submissions_port,
        "imaps": dovecot.imaps_port,
        "ca": dovecot.certificates.ca_file,
        "user": account.address,
    }
    monkeypatch.setenv("WORD", account.password)
    config.write_text(REAL.format(**names, folder=""))
    good = run("-c", config, "--connect", "--json")
    assert good.exit_code == 0, good.output
    seen = [(item["name"], item["what"], item["ok"]) for item in json.loads(good.stdout)["connections"]]
    assert seen == [("clear", "any", True), ("login", "any", True), ("inbox", "login", True), ("inbox", "INBOX", True)]

    config.write_text(REAL.format(**names, folder=", Elsewhere"))
    monkeypatch.setenv("WORD", "wrong-password")
    bad = run("-c", config, "--connect")
    assert bad.exit_code == 3
    assert bad.stdout.count("next: check username and password") == 2
    monkeypatch.setenv("WORD", account.password)
    absent = run("-c", config, "--connect")
    assert absent.exit_code == 3
    assert "failed mailbox inbox Elsewhere: " in absent.stdout
    assert "next: check the names in folders:" in absent.stdout
    assert dovecot.saved(account.address) == []
