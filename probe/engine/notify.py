"""sd_notify(3): what systemd wants to hear of a Type=notify service, by datagram to $NOTIFY_SOCKET; else nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta


class Notifier:
    """Tells the service manager; silent, and never in the way, where there is none."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(environ)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """WATCHDOG=1: call it only when every loop has made progress."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto(message.encode(), self._address)
        except OSError:
            return  # a manager that does not listen must not stop the prober


def _watchdog(environ: Mapping[str, str]) -> timedelta | None:
    """WATCHDOG_USEC, where it is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return timedelta(microseconds=int(microseconds)) if microseconds.isdigit() and int(microseconds) else None
