"""The one writer: a thread that joins all batches waiting for it into one transaction (group commit).

``synchronous=FULL``: when ``commit`` returns, the batch is on disk. A commit that failed (disk full, I/O error, lock)
is reported to every waiter as LedgerUnwritable; the connection is thrown away, since after a failed fsync nobody can
say what it did, and the next batch opens a new one. Nothing is retried here: the caller knows what may be repeated.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from probe.errors import LedgerUnwritable
from probe.ledger.batch import Batch
from probe.ledger.totals import Totals

GROUP_LIMIT = 256  # batches a transaction: bounds what one failure takes along

# Failures of the file, not of a value: whoever writes next would fail as well.
_OF_THE_FILE = (SQLAlchemyError, OSError, sqlite3.OperationalError)

Task = Callable[[Connection], None]


@dataclass(slots=True)
class _Waiting:
    batch: Batch | None
    task: Task | None
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None] = field(repr=False)
    on_durable: Callable[[], None] | None = None


class Writer:
    """Owns the only writing connection. ``inline``: no thread, each commit at once (for tests in virtual time)."""

    def __init__(self, engine: Engine, totals: Totals, *, inline: bool = False) -> None:
        self._engine = engine
        self._totals = totals
        self._inline = inline
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._closed = False
        self.writable = True
        self.commits = 0
        self._thread: threading.Thread | None = None
        if not inline:
            self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
            self._thread.start()

    async def commit(self, batch: Batch, on_durable: Callable[[], None] | None = None) -> None:
        """Durable when it returns. Raises LedgerUnwritable.

        ``on_durable`` runs on the loop as soon as the batch is on disk, even when the caller was cancelled meanwhile:
        what is kept in memory beside the ledger is changed there, so that the two never part.
        """
        await self._submit(batch, None, on_durable)

    async def run(self, task: Task) -> None:
        """Run ``task`` in a transaction of its own (pruning). Raises LedgerUnwritable."""
        await self._submit(None, task)

    async def _submit(
        self, batch: Batch | None, task: Task | None, on_durable: Callable[[], None] | None = None
    ) -> None:
        if self._closed:
            raise LedgerUnwritable("the ledger is closed")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(batch, task, loop, loop.create_future(), on_durable)
        waiting.done.add_done_callback(_retrieve)
        if self._inline:
            self._transact([waiting])
        else:
            self._queue.put(waiting)
        # Once queued a batch will be written whatever becomes of the waiter: it must not look cancelled to the books.
        await asyncio.shield(waiting.done)

    def close(self) -> None:
        """Write what is queued, then stop the thread and drop the connection."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._drop_connection()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            stop = False
            while first.task is None and len(group) < GROUP_LIMIT:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                    break
                group.append(following)
                if following.task is not None:
                    break
            self._transact(group)
            if stop:
                return

    def _transact(self, group: list[_Waiting]) -> None:
        joined = Batch()
        for waiting in group:
            if waiting.batch is not None:
                joined.merge(waiting.batch)
        problem: LedgerUnwritable | None = None
        try:
            self._write(joined, [waiting.task for waiting in group if waiting.task is not None])
        except Exception as cause:  # whatever it was: a writer that dies leaves every waiter hanging for ever
            if len(group) > 1 and not isinstance(cause, _OF_THE_FILE):
                # A value that no database takes (a lone surrogate, a number over 64 bits): only its own batch fails.
                self._drop_connection()
                for waiting in group:
                    self._transact([waiting])
                return
            problem = LedgerUnwritable(f"the ledger could not be written: {_first_line(cause)}")
            problem.__cause__ = cause
            self._drop_connection()
        else:
            self._totals.add(joined.counts)
            self.commits += 1
        self.writable = problem is None
        for waiting in group:
            self._resolve(waiting, problem)

    def _write(self, joined: Batch, tasks: list[Task]) -> None:
        """One transaction, through the driver's own cursor: SQLAlchemy's contexts cost as much as the commit itself."""
        connection = self._connect()
        if tasks:
            with connection.begin():
                joined.write(connection.connection.cursor())
                for task in tasks:
                    task(connection)
            return
        cursor = connection.connection.cursor()
        cursor.execute("BEGIN")
        joined.write(cursor)
        cursor.execute("COMMIT")
        cursor.close()

    def _resolve(self, waiting: _Waiting, problem: LedgerUnwritable | None) -> None:
        def resolve() -> None:
            if waiting.done.done():
                return
            if problem is None:
                try:
                    if waiting.on_durable is not None:
                        waiting.on_durable()
                except Exception as cause:  # its waiter must hear of it, or it would wait for ever
                    waiting.done.set_exception(cause)
                else:
                    waiting.done.set_result(None)
            else:
                waiting.done.set_exception(LedgerUnwritable(str(problem)))

        if self._inline:
            resolve()
        elif not waiting.loop.is_closed():
            try:
                waiting.loop.call_soon_threadsafe(resolve)
            except RuntimeError:  # the loop closed between the look and the call: nobody waits any more
                return

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.invalidate()
            self._connection.close()
        except SQLAlchemyError:
            pass  # it is being thrown away because it failed
        finally:
            self._connection = None


def _retrieve(done: asyncio.Future[None]) -> None:
    """Mark the exception as seen: a waiter that was cancelled is not there to do it."""
    if not done.cancelled():
        done.exception()


def _first_line(cause: BaseException) -> str:
    original = getattr(cause, "orig", None) or cause
    return str(original).splitlines()[0] if str(original) else type(original).__name__
