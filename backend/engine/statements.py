"""The fast way to the database: prepared statements, each one alone, or several as one transaction."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.engine.prepared import PreparedStatement, Row

Parameters = Mapping[str, object]
Prepare = Callable[[Executable], PreparedStatement]


class Statements(ABC):
    """What functions on rows are written with. It runs statements of SQLAlchemy's core, and no more.

    It is no session: it knows no ORM entities, keeps no objects and has nothing to commit. Each statement is
    compiled once and kept by the object that it is, so statements are constants or come from a cache.

    Every method raises what `Database.turn` does, and TypeError where a statement cannot be prepared or has
    no such parameter.
    """

    dialect: str  # `postgresql` or `sqlite`

    @abstractmethod
    async def fetch(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run a prepared statement and return its rows as the driver has them."""

    @abstractmethod
    def prepare(self, statement: Executable) -> PreparedStatement:
        """Return the statement compiled: made at its first use, kept while the statement lives."""

    async def all(self, statement: Executable, parameters: Parameters) -> list[Row]:
        """Run a statement and return its rows, as named tuples."""
        prepared = self.prepare(statement)
        return prepared.named(await self.fetch(prepared, prepared.arguments(parameters)))

    async def first(self, statement: Executable, parameters: Parameters) -> Row | None:
        """Run a statement and return its first row, if it has any."""
        rows = await self.all(statement, parameters)
        return rows[0] if rows else None

    async def plain(self, statement: Executable, parameters: Parameters) -> Sequence[Sequence[Any]]:
        """Run a statement and return its rows without names, which cost as much as the rest of a row."""
        prepared = self.prepare(statement)
        return prepared.rows(await self.fetch(prepared, prepared.arguments(parameters)))

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager["Transaction"]:
        """Several statements as one: all of them take effect at the end, or none does.

        Within a transaction it is that transaction.
        """


class Transaction(Statements):
    """Statements on one connection, within the transaction that is under way there.

    An ordinary session's too, so that both see the same: `Transaction(await session.connection(), prepare)`.
    """

    def __init__(self, connection: AsyncConnection, prepare: Prepare) -> None:
        self.dialect = connection.dialect.name
        self._connection = connection
        self._prepare = prepare

    def prepare(self, statement: Executable) -> PreparedStatement:
        return self._prepare(statement)

    async def fetch(self, prepared: PreparedStatement, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        result = await self._connection.exec_driver_sql(prepared.sql, tuple(arguments))
        return result.all() if result.returns_rows else []

    async def execute(self, statement: Executable, parameters: Parameters) -> int:
        """Run a statement that returns no rows; return how many it has touched."""
        prepared = self._prepare(statement)
        result = await self._connection.exec_driver_sql(prepared.sql, prepared.arguments(parameters))
        return result.rowcount

    async def all_of(self, statement: Executable, parameters: Sequence[Parameters]) -> Sequence[Row]:
        """Run a statement once for each set of parameters, in as few round trips as there can be.

        Return the rows of all, in no order. SQLAlchemy refuses parameters that name no column.
        """
        result = await self._connection.execute(statement, [dict(one) for one in parameters])
        rows: Sequence[Any] = result.all() if result.returns_rows else []
        return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        yield self
