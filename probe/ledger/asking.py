"""How the ledger is asked: a connection a question, from any thread, and one door for what goes wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from probe.errors import LedgerError


class Asking:
    """Opens a connection a question; safe from any thread. Any question raises LedgerError where it cannot be read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """The one door: what SQLAlchemy raises leaves as LedgerError."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as cause:
            raise LedgerError(f"the ledger cannot be read: {cause}".splitlines()[0]) from cause
