"""The unit under a real systemd: ready, watched, asked, reloaded, stopped, and whether a restart can help."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from tests.systemd.installed import CONFIGURATION, PASSWORD
from tests.worlds.ports import WorldError, wait_until
from tests.worlds.systemd import Systemd

pytestmark = pytest.mark.real

DYNAMIC_USERS = range(61184, 65520)  # systemd.exec(5), DynamicUser=
NOBODY = 65534
STATE = "/var/lib/private/mailcanary"
ASK = """\
import asyncio, json, pathlib
from probe.engine.control import ask
print(json.dumps(asyncio.run(ask(pathlib.Path("/run/mailcanary/control.sock"), {"command": "status"}))))
"""
FETCH = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9925/%s').read().decode())"

# What a daemon that was taken over might try. Each line names what it got.
ATTEMPTS = """\
import ctypes, mmap, os, pathlib, socket
def attempt(name, act):
    try:
        act()
    except OSError as error:
        print(f"{name}: {error.strerror}", flush=True)
    else:
        print(f"{name}: done", flush=True)
attempt("executable memory", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 10))
attempt("another root", lambda: os.chroot("/tmp"))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
attempt("write the configuration", lambda: pathlib.Path("/etc/mailcanary/anyone").write_text(""))
attempt("read the secrets", lambda: pathlib.Path("/etc/mailcanary/secrets/signing-key").read_text())
attempt("read a home", lambda: os.listdir("/root"))
attempt("see process 1", lambda: os.stat("/proc/1"))
attempt("state", lambda: pathlib.Path(os.environ["STATE_DIRECTORY"], "x").write_text("x"))
attempt("boot id", lambda: pathlib.Path("/proc/sys/kernel/random/boot_id").read_text())
"""


def status(service: Systemd) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(service.python(ASK).stdout)
    return answer


def mode(service: Systemd, inside: str) -> tuple[int, int]:
    """Permission bits and owner."""
    found = service.path(inside).stat()
    return stat.S_IMODE(found.st_mode), found.st_uid


def fails_to_start(service: Systemd) -> None:
    with pytest.raises(WorldError, match="control process exited"):
        service.systemctl("start")


def test_started_is_ready(service: Systemd) -> None:
    """``systemctl start`` returns with READY=1, and then everything answers, whatever the mail servers do."""
    service.systemctl("start")
    shown = service.show("Type", "ActiveState", "SubState", "StatusText", "WatchdogUSec", "NRestarts")
    assert shown == {
        "Type": "notify",
        "ActiveState": "active",
        "SubState": "running",
        "StatusText": "watching 1 mailbox(es), 1 leg(s)",
        "WatchdogUSec": "1min",
        "NRestarts": "0",
    }
    assert status(service)["mailboxes"] == {"inbox": "blind"}
    assert service.python(FETCH % "healthz").stdout.strip() == "ok"
    service.says("event=ready")


def test_credentials_reach_it_and_nobody_else(service: Systemd) -> None:
    service.systemctl("start")
    shown = service.show("UID", "MainPID")
    user = int(shown["UID"])
    assert user in DYNAMIC_USERS
    for name in ("signing-key", "imap-password"):
        path = f"/run/credentials/{service.unit}/{name}"
        bits, owner = mode(service, path)
        assert (bits & 0o377, owner) == (0, user), name
        assert service.run("setpriv", f"--reuid={NOBODY}", "--clear-groups", "cat", path, check=False).returncode
    assert PASSWORD not in service.says("event=ready")
    assert PASSWORD.encode() not in service.path(f"/proc/{shown['MainPID']}/environ").read_bytes()


def test_a_missing_credential_is_named(service: Systemd) -> None:
    service.drop_in("credentials", ["LoadCredential=signing-key:/etc/mailcanary/secrets/signing-key"])
    fails_to_start(service)
    service.becomes(ActiveState="failed", ExecMainStatus="2", NRestarts="0")
    service.says("imap-password")


def test_state_is_its_own_and_outlives_it(service: Systemd) -> None:
    service.systemctl("start")
    user = int(service.show("UID")["UID"])
    assert mode(service, STATE) == (0o700, user)
    assert mode(service, f"{STATE}/ledger.sqlite") == (0o600, user)
    before = service.path(f"{STATE}/ledger.sqlite").stat().st_ino
    service.systemctl("restart")
    assert service.path(f"{STATE}/ledger.sqlite").stat().st_ino == before
    assert status(service)["prober"] == "p1"
    assert "ledger_reset" not in service.journal()


def test_the_control_socket_answers_root_alone(service: Systemd) -> None:
    service.systemctl("start")
    user = int(service.show("UID")["UID"])
    assert mode(service, "/run/mailcanary") == (0o700, user)
    assert mode(service, "/run/mailcanary/control.sock") == (0o600, user)
    assert status(service)["prober"] == "p1"
    refused = service.python(ASK, user=NOBODY, check=False)
    assert refused.returncode
    assert "UnreachableError" in refused.stderr


def test_the_process_metrics_are_there(service: Systemd) -> None:
    """They are read from /proc, which the unit narrows (ProtectProc=; ProcSubset=pid would take two of them)."""
    service.systemctl("start")
    lines = service.python(FETCH % "metrics").stdout.splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("process_")}
    assert values["process_resident_memory_bytes"] > 10_000_000
    assert values["process_max_fds"] == 1024
    assert 0 < values["process_open_fds"] < 64
    assert values["process_start_time_seconds"] > 1_700_000_000
    assert values["process_cpu_seconds_total"] > 0


def test_the_walls_stand(service: Systemd) -> None:
    """Another program in the place of the daemon: what the unit refuses it, and what it needs to let through."""
    service.write("/opt/mailcanary/bin/attempts.py", ATTEMPTS)
    service.write("/etc/mailcanary/anyone", "", 0o666)
    run = "ExecStart=/opt/mailcanary/bin/python /opt/mailcanary/bin/attempts.py"
    service.drop_in("attempts", ["Type=oneshot", "ExecStart=", run])
    service.systemctl("start")
    said = dict(line.split(": ", 1) for line in service.says("boot id: ").splitlines() if ": " in line)
    not_permitted, denied = "Operation not permitted", "Permission denied"
    assert {name: said[name] for name in said if not name.startswith(("mailcanary", "Start", "Finished"))} == {
        "executable memory": not_permitted,
        "priority": not_permitted,
        "another root": not_permitted,
        "netlink": "Address family not supported by protocol",
        "write the configuration": "Read-only file system",
        "read the secrets": denied,
        "read a home": denied,
        "see process 1": "No such file or directory",
        "state": "done",
        "boot id": "done",
    }


@pytest.mark.fault("P13")
def test_the_watchdog_ends_a_hang(service: Systemd) -> None:
    """Fed as long as it makes progress; stopped dead, it is killed and comes back."""
    service.drop_in("fast", ["WatchdogSec=4", "RestartSec=100ms"])
    service.systemctl("start")
    first = service.show("MainPID", "WatchdogTimestampMonotonic")
    for _ in range(2):
        fed = service.show("WatchdogTimestampMonotonic")
        wait_until(lambda fed=fed: service.show("WatchdogTimestampMonotonic") != fed, 10, "the watchdog is fed")  # type: ignore[misc]
    assert service.show("MainPID", "NRestarts") == {"MainPID": first["MainPID"], "NRestarts": "0"}
    service.systemctl("kill", "--kill-whom=main", "--signal=STOP")
    journal = service.says("Failed with result 'watchdog'", 60)
    service.becomes(ActiveState="active", SubState="running")
    assert service.show("MainPID")["MainPID"] != first["MainPID"]
    assert "Watchdog timeout" in journal
    assert status(service)["prober"] == "p1"


def test_told_to_stop_it_says_so_and_ends_well(service: Systemd) -> None:
    service.systemctl("start")
    service.run("systemctl", "log-level", "debug")
    try:
        service.systemctl("stop")
    finally:
        service.run("systemctl", "log-level", "notice")
    assert service.show("ActiveState") == {"ActiveState": "inactive"}
    journal = service.says("Deactivated successfully")  # the properties are forgotten with a unit that ended well
    assert "Main process exited, code=exited, status=0/SUCCESS" in journal
    assert "STOPPING=1, STATUS=stopping" in journal
    assert service.says("event=stopped").count("event=stopped") == 1
    assert "SIGKILL" not in journal
    assert not service.path("/run/mailcanary").exists()


def test_a_reload_is_heard_and_survived(service: Systemd) -> None:
    service.systemctl("start")
    before = service.show("MainPID")
    service.systemctl("reload")
    service.says("event=reload")
    assert service.show("MainPID", "ActiveState") == {**before, "ActiveState": "active"}
    assert status(service)["prober"] == "p1"


def test_a_bad_configuration_is_not_tried_again(service: Systemd) -> None:
    service.write("/etc/mailcanary/config.yaml", CONFIGURATION + "limts: {}\n")
    fails_to_start(service)
    service.becomes(ActiveState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="0")
    service.says("limts")


def test_a_ledger_that_is_none_is_not_tried_again(service: Systemd) -> None:
    service.systemctl("start")
    service.systemctl("stop")
    service.path(f"{STATE}/ledger.sqlite").unlink()
    service.path(f"{STATE}/ledger.sqlite").mkdir()
    fails_to_start(service)
    service.becomes(ActiveState="failed", Result="exit-code", ExecMainStatus="4", NRestarts="0")
    service.says("ledger.sqlite")


def test_what_may_pass_is_tried_again(service: Systemd) -> None:
    """An address that is not there yet (exit 3): tried without end, and up by itself once it can be."""
    service.drop_in("fast", ["RestartSec=100ms"])
    service.write("/etc/mailcanary/config.yaml", CONFIGURATION + "listen: 192.0.2.1:9925\n")
    fails_to_start(service)
    wait_until(lambda: int(service.show("NRestarts")["NRestarts"]) >= 2, 60, "two restarts")
    service.says("192.0.2.1:9925")
    service.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    service.becomes(ActiveState="active", SubState="running")
    service.run("ip", "address", "del", "192.0.2.1/32", "dev", "lo")
