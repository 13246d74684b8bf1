"""Connections to a SQLite file: what they need before their first statement, and that each ends in time."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

_CHUNK = 64  # rows; aiosqlite's own default


class Connection(aiosqlite.Connection):
    """A connection that interrupts what takes it longer than `limit` seconds. None: nothing does."""

    limit: float | None = None

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.limit is None or self._connection is None:
            return await super()._execute(fn, *args, **options)  # type: ignore[no-untyped-call] # as aiosqlite has it
        # SQLite has no limit of its own. It may be interrupted from another thread than the statement's.
        timer = asyncio.get_running_loop().call_later(self.limit, self._connection.interrupt)
        try:
            return await super()._execute(fn, *args, **options)  # type: ignore[no-untyped-call] # as above
        finally:
            timer.cancel()


def connect(limit: float | None, database: str, **options: Any) -> Connection:
    """Return a connection for SQLAlchemy to await, which opens it."""
    connection = Connection(lambda: sqlite3.connect(database, **options), _CHUNK)
    connection.limit = limit
    connection._thread.daemon = True  # as SQLAlchemy does with those that it makes
    return connection


def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Set what SQLite does not by itself, for each connection."""
    local: Any = connection
    local.create_function("local_day", 2, _local_day)
    cursor = connection.cursor()
    # Foreign keys are off by default. FULL keeps what was acknowledged through a power cut, for one fsync a
    # write.
    for pragma in ("busy_timeout=5000", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    # WAL, which lets reads go on beside a write, is a matter of the file. SQLite does not wait for its turn
    # to switch: then another connection is at it, or keeps the file busy, and the next to open it switches.
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
    cursor.close()


def _local_day(instant: str | None, timezone: str) -> str | None:
    """The day that an instant, as SQLite keeps it in UTC, lies on in a time zone. SQLite knows none."""
    if instant is None:
        return None
    utc = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    try:
        return utc.astimezone(ZoneInfo(timezone)).date().isoformat()
    except OverflowError:  # at the ends of time
        return utc.date().isoformat()
