"""The ledger's tables. One schema for SQLite now and PostgreSQL later, by SQLAlchemy Core.

Columns hold what is asked for by query or shown to users; ``canaries.facts`` holds, as JSON, what only a restart needs
(both clocks of every instant, the deadlines, the floors). Times are ns since the epoch (UTC); durations are
microseconds. ``totals`` are the counters that Prometheus reads: pruning never touches them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

from probe.canary.record import IN_FLIGHT, OUTCOMES, State

VERSION = 3

metadata = MetaData()


def _one_of(states: frozenset[State]) -> TextClause:
    """A condition on ``canaries.state`` with the values written out: by bound ones no partial index is found."""
    return text("state IN ({})".format(",".join(f"'{state.value}'" for state in State if state in states)))


IS_IN_FLIGHT = _one_of(IN_FLIGHT)
HAS_OUTCOME = _one_of(OUTCOMES)

meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

canaries = Table(
    "canaries",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("id", String(13), nullable=False, unique=True),
    Column("route", String, nullable=False),
    Column("mx", String, nullable=False),
    Column("mailbox", String, nullable=False),
    Column("variant", String, nullable=False),
    Column("prober", String, nullable=False),
    Column("state", String, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("arrived_at", BigInteger),
    Column("recovered_at", BigInteger),
    Column("settled_at", BigInteger),
    Column("latency_us", BigInteger),
    Column("uncertainty_us", BigInteger),
    Column("transit_us", BigInteger),
    Column("folder", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("overdue", Boolean, nullable=False),
    Column("queued_as", String, nullable=False),
    Column("label", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("facts", Text, nullable=False),
)
Index("canaries_sent", canaries.c.sent_at)
Index("canaries_route_sent", canaries.c.route, canaries.c.mx, canaries.c.sent_at)
Index("canaries_settled", canaries.c.settled_at)
Index("canaries_in_flight", canaries.c.state, sqlite_where=IS_IN_FLIGHT)
Index(
    "canaries_outcome",
    canaries.c.state,
    canaries.c.route,
    canaries.c.mx,
    canaries.c.sent_at,
    sqlite_where=HAS_OUTCOME,
)

moves = Table(
    "moves",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("canary", String(13), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("observation", String, nullable=False),
    Column("reason", Text, nullable=False),
)
Index("moves_canary", moves.c.canary)

attempts = Table(
    "attempts",
    metadata,
    Column("canary", String(13), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("route", String, nullable=False),
    Column("mx", String, nullable=False),
    Column("recipient", String, nullable=False),
    Column("result", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("code", Integer),
    Column("enhanced", String),
    Column("detail", Text, nullable=False),
    Column("address", String, nullable=False),
    Column("tls", String, nullable=False),
    Column("phases", Text, nullable=False),
    Column("dialogue", Text, nullable=False),
)
Index("attempts_started", attempts.c.started_at)

copies = Table(
    "copies",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("canary", String(13), nullable=False),
    Column("mailbox", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("name", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("mailbox_time", BigInteger),
    Column("kind", String, nullable=False),
    Column("carriers", String, nullable=False),
    Column("received", Text, nullable=False),
    Column("removed_at", BigInteger),
    Column("gone", Boolean, nullable=False, default=False),
    UniqueConstraint("mailbox", "name", "epoch", "uid", name="copies_place"),
)
Index("copies_canary", copies.c.canary)
Index("copies_to_remove", copies.c.mailbox, copies.c.seen_at, sqlite_where=text("removed_at IS NULL AND gone = 0"))

reads = Table(
    "reads",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("mailbox", String, nullable=False),
    Column("folder", String, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("fresh", Boolean, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("epoch", BigInteger),
    Column("position", BigInteger),
    Column("found", Integer, nullable=False),
    Column("problem", Text, nullable=False),
)
Index("reads_began", reads.c.began_at)

watermarks = Table(
    "watermarks",
    metadata,
    Column("mailbox", String, primary_key=True),
    Column("folder", String, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("gaps", Text, nullable=False),
    Column("unreadable", Text, nullable=False),
    Column("read_at", BigInteger, nullable=False),
)

totals = Table(
    "totals",
    metadata,
    Column("name", String, primary_key=True),
    Column("labels", String, primary_key=True),
    Column("value", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
)
Index("events_at", events.c.at)

detectors = Table(
    "detectors",
    metadata,
    Column("name", String, primary_key=True),  # a leg, a route or the installation: engine/detecting.py
    Column("at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String, primary_key=True),
    Column("route", String, nullable=False),
    Column("state", String, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),  # detection/record.py
    Column("work", Text, nullable=False),  # what the engine needs to go on with it
)
Index("incidents_opened", incidents.c.opened_at)
