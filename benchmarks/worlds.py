"""Real servers for a measurement: Dovecot and Postfix of the tests, without the policy server that makes faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.worlds.dovecot import Dovecot
from tests.worlds.postfix import Postfix


@contextmanager
def real_servers() -> Iterator[tuple[Dovecot, Postfix]]:
    """Both, running."""
    dovecot = Dovecot()
    try:
        dovecot.start()
        postfix = Postfix(dovecot, policy=False)
        try:
            postfix.start()
            yield dovecot, postfix
        finally:
            postfix.close()
    finally:
        dovecot.close()
