"""Opens connections to PostgreSQL, and waits for a database that is waking up."""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4
from weakref import WeakSet

import asyncpg
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from backend.engine.driver_errors import CONNECT_ERRORS, describe, is_passing
from backend.errors import DatabaseUnavailable, DatabaseWaking
from backend.fair_cache import FairCache
from backend.observation import Histogram, observing

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT = 5.0  # seconds for one connection, its TLS and login
BACKOFF_FIRST, BACKOFF_MAX = 0.1, 2.0  # seconds between two attempts
OUTAGE_OVER = 5.0  # seconds after which a failure no longer counts as the same outage
KEPT_MAX = 100  # prepared statements of a connection
GOODBYE_TIMEOUT = 1.0  # seconds for ending a statement and a connection politely


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg ships no types
    """A connection that keeps statements prepared, and ends soon on a silent network too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.name_statement: Callable[[], str] | None = None
        self._kept: FairCache[str, Any] = FairCache(KEPT_MAX)

    async def fetch_kept(self, sql: str, arguments: Sequence[Any], user: object) -> list[Any]:
        """Run a statement of a user's that is prepared at its first use; KEPT_MAX are kept, fairly.

        asyncpg ends one that is dropped on the server too, before it prepares another.
        """
        statement = self._kept.get(sql, user)
        if statement is None:
            assert self.name_statement is not None
            statement = await self.prepare(sql, name=self.name_statement())
            self._kept.put(sql, user, statement)
        rows: list[Any] = await statement.fetch(*arguments)
        return rows

    async def stopped(self) -> bool:
        """Whether the server has stopped the statement that took too long: then it is there, and answers."""
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await self._protocol._wait_for_cancellation()
        except (TimeoutError, OSError):
            self.terminate()
        if not self.is_closed():
            log.warning("a statement took longer than DATABASE_STATEMENT_TIMEOUT")
        return not self.is_closed()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """End it. asyncpg first waits for the statement that it cancels, and heeds no timeout in that."""
        with suppress(TimeoutError):  # asyncpg has cut the connection then
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await super().close(timeout=timeout)


async def is_slow(connection: PoolProxiedConnection | ConnectionPoolEntry) -> bool:
    """Whether a statement on it ran out of time because it is slow, not because nobody is there."""
    driver: Any = connection.driver_connection
    return isinstance(driver, Connection) and await driver.stopped()


class Connector:
    """Opens connections, and waits for a database that is waking up.

    What is passing is tried again with exponential back-off and jitter. `budget` seconds are counted from the
    beginning of an outage, not anew for each request: once it is spent, there is one attempt at a time, and
    who comes meanwhile fails at once.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._deadline = self._last_failure = float("-inf")  # of the latest outage
        self._connecting = 0
        self._process, self._numbers = uuid4().hex, itertools.count()
        self._opened: WeakSet[Connection] = WeakSet()
        self.opened = self.failed = 0  # connections so far
        self.times = Histogram()  # of both

    def waits(self) -> bool:
        """Whether somebody connects, and may go on trying."""
        return self._connecting > 0 and not self._spent

    @property
    def _spent(self) -> bool:
        now = time.monotonic()
        return now > self._deadline and not self._is_over(now)

    def __call__(self, *args: Any, **options: Any) -> Awaitable[asyncpg.Connection]:
        """Connect with asyncpg's arguments.

        Raises:
            DatabaseWaking: it was not there within the budget.
            DatabaseUnavailable: it refuses, and trying again would not help.
        """
        return self._open(*args, **options)

    async def _open(self, *args: Any, **options: Any) -> asyncpg.Connection:
        if self._connecting and self._spent:
            raise DatabaseWaking
        self._connecting += 1
        self.failed += 1
        began = time.perf_counter()
        try:
            connection = await self._connect(*args, **options)
        finally:
            self._connecting -= 1
            took = time.perf_counter() - began
            self.times.add(took)
            if (observation := observing.get()) is not None:
                observation.connected(took)
        self.failed -= 1
        self.opened += 1
        connection.name_statement = self.name_statement
        self._opened.add(connection)
        return connection

    def name_statement(self) -> str:
        """Return a name that no other process gives to a prepared statement.

        asyncpg counts in every process alike. Behind a pooler that knows nothing of prepared statements, a
        name could then lead to a statement of another process with the same parameters: to its DELETE for our
        SELECT.
        """
        return f"{self._process}_{next(self._numbers)}"

    async def close(self) -> None:
        """End every connection that is still open, all at once: on a silent network each takes its time."""
        await asyncio.gather(*(connection.close() for connection in self._opened), return_exceptions=True)

    async def _connect(self, *args: Any, **options: Any) -> asyncpg.Connection:
        options = {"timeout": ATTEMPT_TIMEOUT, "connection_class": Connection, **options}
        backoff = BACKOFF_FIRST
        while True:
            began = time.monotonic()
            try:
                connection = await asyncpg.connect(*args, **options)
            except CONNECT_ERRORS as error:
                reason = describe(error)
                if not is_passing(error):
                    log.error("the database refuses the connection", extra={"fields": {"reason": reason}})
                    raise DatabaseUnavailable from error
                pause = backoff * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
                left = self._failed(began) - pause
                if left < 0:
                    log.warning("the database cannot be reached", extra={"fields": {"reason": reason}})
                    raise DatabaseWaking from error
                await asyncio.sleep(pause)
                backoff = min(backoff * 2, BACKOFF_MAX)
                options["timeout"] = min(options["timeout"], max(left, ATTEMPT_TIMEOUT / 5))
            else:
                self._last_failure = float("-inf")
                return connection

    def _failed(self, began: float) -> float:
        """Note that an attempt failed; return how many seconds are left for others."""
        if self._is_over(began):
            self._deadline = began + self._budget
        self._last_failure = time.monotonic()
        return self._deadline - self._last_failure

    def _is_over(self, now: float) -> bool:
        return now - self._last_failure > OUTAGE_OVER + ATTEMPT_TIMEOUT
