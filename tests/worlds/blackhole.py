"""A network of one thread's own, with two addresses that swallow whatever is sent to them: no answer, no refusal.

    with BlackHole() as hole:
        ...  # servers and daemons started here live in it, and reach each other by the loopback

Namespaces of networks are a thread's (setns(2)): the thread that enters, the threads that it starts and the processes
that it starts are in the new one, and all others stay where they are. The addresses lie on a veth pair behind a fixed
neighbour entry, so each packet really leaves by the device; at the other end nobody has that hardware address.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.worlds.ports import WorldError, run_tool

IPV6 = "2001:db8::bad"  # RFC 3849
IPV4 = "192.0.2.66"  # RFC 5737
_NEWNET = 0x40000000  # CLONE_NEWNET
_NOBODY = "02:00:00:00:00:bd"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_PROGRAMS = ("unshare", "ip", "dovecot", "doveadm", "sievec", "postfix", "postsuper")
_STEPS = (
    "ip link set lo up",
    "ip link add hole type veth peer name void",
    "ip link set hole up",
    "ip link set void up",
    "ip address add 192.0.2.1/24 dev hole",
    "ip address add 2001:db8::1/64 dev hole nodad",
    f"ip neighbour add {IPV4} lladdr {_NOBODY} dev hole",
    f"ip neighbour add {IPV6} lladdr {_NOBODY} dev hole",
)


def why_not() -> str:
    """Why there can be no such network here; empty where it can be made."""
    if os.geteuid() != 0:
        return "needs root and namespaces: not root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"needs {', '.join(missing)} (scripts/install-test-packages)"
    if not Path("/proc/net/if_inet6").exists():
        return "needs root and namespaces: this kernel has no IPv6"
    words = ["unshare", "--net", "sh", "-ec", "\n".join(_STEPS)]
    tried = subprocess.run(
        words, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PATH": _PATH}
    )
    return f"needs root and namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class BlackHole:
    """The network; ask ``why_not`` first. A context manager, left in the thread that entered it."""

    ipv6 = IPV6
    ipv4 = IPV4

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._before = -1

    def __enter__(self) -> BlackHole:
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._call("unshare", _NEWNET)
        except WorldError:
            os.close(self._before)
            raise
        try:
            for step in _STEPS:
                _run(step)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Back to the network from before; this one ends with its last process."""
        try:
            self._call("setns", self._before, _NEWNET)
        finally:
            os.close(self._before)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Meanwhile the IPv6 address is this machine's, and nobody listens there: also to whom it was silent before."""
        _run(f"ip address add {IPV6}/128 dev lo nodad")
        try:
            yield
        finally:
            _run(f"ip address delete {IPV6}/128 dev lo")

    def _call(self, name: str, *arguments: int) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            raise WorldError(f"{name}: {os.strerror(ctypes.get_errno())}")


def _run(step: str) -> None:
    program, *words = step.split()
    run_tool([shutil.which(program, path=_PATH) or program, *words])
