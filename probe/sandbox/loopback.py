"""Places on loopback to listen at: a second address, and one port for two listeners."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

from probe.errors import MailCanaryError

FIRST = "127.0.0.1"
# All of 127.0.0.0/8 is there on Linux; a BSD or macOS has the first address only, and IPv6's own.
OTHERS = ("127.0.0.2", "::1")
TRIES = 10


def second_address(candidates: Sequence[str] = OTHERS) -> str:
    """The first of ``candidates`` that can be listened at. Raises MailCanaryError where there is none."""
    for address in candidates:
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
                one.bind((address, 0))
        except OSError:
            continue
        return address
    raise MailCanaryError(
        f"the two mail hosts need an address each: nothing can listen at {' or '.join(candidates)} beside {FIRST}; "
        f"give the loopback interface one, on macOS with: sudo ifconfig lo0 alias {candidates[0]}"
    )


async def on_one_port(
    first: Callable[[], Awaitable[int]],
    second: Callable[[int], Awaitable[object]],
    stop: Callable[[], Awaitable[None]],
) -> int:
    """Start ``first`` on a port that is free, ``second`` on the same one; the port. Where it is taken for ``second``,
    ``stop`` undoes the first and another port is tried. Raises OSError, after ``stop``."""
    for left in reversed(range(TRIES)):
        try:
            port = await first()
            await second(port)
        except OSError:
            await stop()
            if not left:
                raise
        else:
            return port
    raise AssertionError
