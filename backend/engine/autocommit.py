"""Statements that are each a transaction of their own: one round trip, a connection only for that time."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util.concurrency import greenlet_spawn

from backend.engine.connector import Connector, MustConnect
from backend.engine.driver_errors import STATEMENT_ERRORS, is_dead_connection, is_spoilt, never_ran
from backend.engine.prepared import PreparedStatement
from backend.engine.statements import Statements, Transaction

Observer = Callable[[str, Any], None]


class Autocommit(Statements):
    """Runs each statement at its turn, on a pooled connection, past SQLAlchemy's session and execution.

    That spares two thirds of what a statement costs: docs/decisions/past-the-session.md.

    `engine` is in autocommit; `turn` is the line in front of it, `begin` opens a transaction on it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        connector: Connector,
        turn: Callable[[], AbstractAsyncContextManager[None]],
        begin: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        keeps_statements: bool,
    ) -> None:
        self.dialect = engine.dialect.name
        self.observers: list[Observer] = []
        self._engine = engine
        self._connector = connector
        self._turn = turn
        self._begin = begin
        self._keeps_statements = keeps_statements
        self._prepared: WeakKeyDictionary[Executable, PreparedStatement] = WeakKeyDictionary()
        self._suspect = float("-inf")  # connections opened before that may be as dead as one of them was

    def prepare(self, statement: Executable) -> PreparedStatement:
        """Return the statement compiled: made at its first use, kept while the statement lives."""
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = PreparedStatement(statement, self._engine.dialect)
        return prepared

    async def fetch(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement. It is run again, once, where that is safe.

        Safe: a read whose connection was dead, and a write that certainly did not run.
        """
        async with self._turn():
            try:
                return await self._fetch(prepared.sql, arguments)
            except DBAPIError as error:
                if not never_ran(error) and not (prepared.reads and is_dead_connection(error)):
                    raise
                return await self._fetch(prepared.sql, arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._turn(), self._begin() as connection:
            try:
                yield Transaction(connection, self.prepare)
            except TimeoutError:
                # The statement may still be running: its connection must not serve the next one.
                await connection.invalidate()
                raise

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement on a pooled connection, as the driver has it."""
        for observe in self.observers:
            observe(sql, arguments)
        connection: PoolProxiedConnection | None = None
        driver_error = self._engine.dialect.loaded_dbapi.Error
        try:
            connection = await self._checkout()
            if self._keeps_statements:
                driver: Any = connection.driver_connection
                rows: Sequence[Sequence[Any]] = await driver.fetch_kept(sql, arguments)
                connection.close()  # back into the pool; nothing is to be rolled back, so nothing waits
            else:
                rows = await greenlet_spawn(_fetch_with_cursor, connection, sql, arguments)
        except (driver_error, *STATEMENT_ERRORS) as error:
            if connection is None and not isinstance(error, driver_error):
                raise
            raise await greenlet_spawn(self._failed, error, connection, sql) from error
        except BaseException:  # cancelled or too slow: the statement may still run, and must not meet another
            if connection is not None:
                await greenlet_spawn(connection.invalidate)
            raise
        return rows

    async def _checkout(self) -> PoolProxiedConnection:
        """Take a connection of the pool. An idle one of asyncpg's is had without a greenlet, which costs."""
        if self._keeps_statements:
            self._connector.may_connect = False
            try:
                return self._engine.sync_engine.raw_connection()
            except MustConnect:
                pass
            finally:
                self._connector.may_connect = True
        return await greenlet_spawn(self._engine.sync_engine.raw_connection)

    def _failed(self, error: Any, connection: PoolProxiedConnection | None, sql: str) -> DBAPIError:
        """Give the connection back, and return the driver's error as SQLAlchemy's."""
        dialect, dead = self._engine.dialect, False
        if connection is not None:
            dead = dialect.is_disconnect(error, connection, None)
            connection.close()
        failed = DBAPIError.instance(
            sql, None, error, Exception, hide_parameters=True, connection_invalidated=dead, dialect=dialect
        )
        assert isinstance(failed, DBAPIError)
        if is_dead_connection(failed) or is_spoilt(error):  # and so may be those opened before
            self._suspect = time.monotonic()
        return failed

    def refuse_dead(self, connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        """Look at the socket's state, which costs nothing, where a ping would cost a round trip.

        The pool's event `checkout`.
        """
        if connection.driver_connection.is_closed() or record.info["opened"] <= self._suspect:
            raise DisconnectionError("the server has closed this connection")


def _fetch_with_cursor(
    connection: PoolProxiedConnection, sql: str, arguments: Sequence[Any]
) -> Sequence[Sequence[Any]]:
    cursor = connection.cursor()
    cursor.execute(sql, arguments)
    rows = cursor.fetchall() if cursor.description else ()
    connection.close()
    return rows
