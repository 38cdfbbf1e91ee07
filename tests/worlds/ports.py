"""Free loopback ports, and the two waits every world needs. Not a reservation: a port is free when asked for, and a
start that finds it taken fails loudly.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOOPBACK = "127.0.0.1"


class WorldError(RuntimeError):
    """A server did not do what it was told; the message ends with the last lines of its log."""


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Poll ``condition`` every few milliseconds; ``WorldError`` with the log's tail when it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise WorldError(f"{what}: not within {seconds:g} s{tail(log)}")
        time.sleep(0.005)


def tail(log: Path | None, lines: int = 15) -> str:
    """The last lines of ``log`` for an error message; empty when there is none."""
    if log is None or not log.exists():
        return ""
    return "\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def listening(port: int, host: str = LOOPBACK) -> bool:
    """Whether a TCP connection to the port is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def end_process(pid: int, seconds: float = 10) -> None:
    """SIGTERM, then SIGKILL after ``seconds``; returns when the process is gone. For daemons that are not children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            wait_until(lambda: not alive(pid), seconds, f"process {pid} ends")
        except ProcessLookupError:
            return
        except WorldError:
            continue
        return


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started and that still run."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in text.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def run_tool(arguments: list[str | Path], log: Path | None = None, *, check: bool = True, seconds: float = 60) -> int:
    """Run one administrative command; ``WorldError`` when it fails. Its output goes to a file, never a pipe: a daemon
    it leaves behind keeps the descriptor, and a pipe would never close.
    """
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds, check=False
        )
        if check and done.returncode:
            output.seek(0)
            words = " ".join(str(each) for each in arguments)
            raise WorldError(f"{words}: exit {done.returncode}\n{output.read().decode(errors='replace')}{tail(log)}")
    return done.returncode
