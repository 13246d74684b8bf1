"""Statements that are each a transaction of their own: one round trip, a connection only for that time."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, ManagesConnection, PoolProxiedConnection
from sqlalchemy.util.concurrency import await_only, greenlet_spawn

from backend.engine.connector import is_slow
from backend.engine.driver_errors import (
    STATEMENT_ERRORS,
    is_dead_connection,
    is_spoilt,
    never_ran,
)
from backend.engine.pool import Pool
from backend.engine.prepared import PreparedStatement
from backend.engine.statements import Statements, Transaction, again
from backend.errors import DatabaseConflict, StatementTimeout

Observer = Callable[[str, Any], None]
Turn = Callable[..., AbstractAsyncContextManager[None]]
Measured = Callable[[str, float, bool], None]  # a statement, its seconds, whether it failed


class Autocommit(Statements):
    """Runs each statement at its turn, on a pooled connection, past SQLAlchemy's session and execution.

    That spares two thirds of what a statement costs: docs/decisions/past-the-session.md.

    `engine` is in autocommit; `turn` is the line in front of it, which is told whether a statement only
    `reads`; `begin` opens a transaction on it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        turn: Turn,
        begin: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        keeps_statements: bool,
    ) -> None:
        self.dialect = engine.dialect.name
        self.observers: list[Observer] = []
        self._engine = engine
        self._turn = turn
        self._begin = begin
        self._keeps_statements = keeps_statements
        self._prepared: WeakKeyDictionary[Executable, PreparedStatement] = WeakKeyDictionary()

    def prepare(self, statement: Executable) -> PreparedStatement:
        """Return the statement compiled: made at its first use, kept while the statement lives."""
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = PreparedStatement(statement, self._engine.dialect)
        return prepared

    def in_turn(self, turn: Turn) -> "Autocommit":
        """Return the same with another line in front of it."""
        other = copy(self)
        other._turn = turn
        return other

    def measure(self, measured: Measured) -> None:
        """Let `measured` be told of each statement that was run alone, from now on."""
        fetch = self._fetch

        async def fetch_measured(
            prepared: PreparedStatement, arguments: Sequence[Any]
        ) -> Sequence[Sequence[Any]]:
            began, failed = time.perf_counter(), True
            try:
                rows = await fetch(prepared, arguments)
                failed = False
                return rows
            finally:
                measured(prepared.sql, time.perf_counter() - began, failed)

        self._fetch = fetch_measured  # type: ignore[method-assign] # so that it costs nothing unmeasured

    async def fetch(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement. It is run again, once, where that is safe.

        Safe: a read whose connection was dead, and a write that certainly did not run. What the database
        undid for others' sake is run again(), from the line's end.
        """
        try:
            return await self._run(prepared, arguments)
        except DatabaseConflict:
            return await again(lambda: self._run(prepared, arguments))

    async def _run(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        async with self._turn(reads=prepared.reads):
            try:
                return await self._fetch(prepared, arguments)
            except DBAPIError as error:
                if not never_ran(error) and not (prepared.reads and is_dead_connection(error)):
                    raise
                return await self._fetch(prepared, arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._turn(), self._begin() as connection:
            try:
                yield Transaction(connection, self.prepare)
            except TimeoutError:
                # The statement may still be running: its connection must not serve the next one.
                await connection.invalidate()
                raise

    async def _fetch(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement on a pooled connection, as the driver has it."""
        for observe in self.observers:
            observe(prepared.sql, arguments)
        if self._keeps_statements:
            return await self._fetch_kept(prepared, arguments)
        return await greenlet_spawn(self._fetch_with_cursor, prepared.sql, arguments)

    def _fetch_with_cursor(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        connection: PoolProxiedConnection | None = None
        try:
            connection = self._engine.sync_engine.raw_connection()
            cursor = connection.cursor()
            cursor.execute(sql, arguments)
            rows = cursor.fetchall() if cursor.description else ()
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise self._as_sqlalchemy(error, connection, sql) from error
        except BaseException as error:
            # Cancelled or too slow: the statement may still run, and must not meet another.
            slow = isinstance(error, TimeoutError) and connection and await_only(is_slow(connection))
            if connection is not None:
                connection.invalidate()
            if slow:
                raise StatementTimeout from error
            raise
        finally:
            if connection is not None:
                connection.close()
        return rows

    async def _fetch_kept(
        self, prepared: PreparedStatement, arguments: Sequence[Any]
    ) -> Sequence[Sequence[Any]]:
        pool: Any = self._engine.pool
        entry = await self._borrow(pool)
        driver: Any = entry.driver_connection
        try:
            rows: Sequence[Sequence[Any]] = await driver.fetch_kept(
                prepared.sql, arguments, prepared.user(arguments)
            )
        except STATEMENT_ERRORS as error:
            raise self._as_sqlalchemy(error, entry, prepared.sql) from error
        except BaseException as error:  # as above
            slow = isinstance(error, TimeoutError) and await is_slow(entry)
            await greenlet_spawn(entry.invalidate)
            if slow:
                raise StatementTimeout from error
            raise
        finally:
            pool.give_back(entry)
        return rows

    async def _borrow(self, pool: Pool) -> ConnectionPoolEntry:
        """Take an idle connection of the pool, or let SQLAlchemy open one: in a greenlet, which costs."""
        entry = pool.borrow()
        while entry is None:
            opened = await greenlet_spawn(self._engine.sync_engine.raw_connection)
            opened.close()  # into the pool
            entry = pool.borrow()
        return entry

    def _as_sqlalchemy(self, error: Any, connection: ManagesConnection | None, sql: str) -> DBAPIError:
        """Return the driver's error as SQLAlchemy's, and note what it says of the connections."""
        dialect = self._engine.dialect
        adapted: Any = connection and connection.dbapi_connection
        dead = dialect.is_disconnect(error, adapted, None)
        failed = DBAPIError.instance(
            sql, None, error, Exception, hide_parameters=True, connection_invalidated=dead, dialect=dialect
        )
        assert isinstance(failed, DBAPIError)
        if isinstance(self._engine.pool, Pool) and (is_dead_connection(failed) or is_spoilt(error)):
            self._engine.pool.distrust()
        return failed
