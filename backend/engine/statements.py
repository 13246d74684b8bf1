"""The fast way to the database: prepared statements, each one alone, or several as one transaction."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.engine.prepared import PreparedStatement, Row
from backend.errors import DatabaseConflict
from backend.slices import sliced

P = ParamSpec("P")
T = TypeVar("T")

CONFLICT_TRIES = 5
CONFLICT_SECONDS = 2.0  # after which nothing is begun again: SQLite has waited longer by then itself
_CONFLICT_PAUSE = 0.02  # seconds at most before the second try; twice as long before each further one

AT_ONCE = 250  # sets of parameters, or rows: work on them all goes on before others have their turn
_PART = 25  # rows that are converted between two looks at the clock

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
        found = await self.fetch(prepared, prepared.arguments(parameters))
        if len(found) <= AT_ONCE:
            return prepared.rows(found)
        parts = (prepared.rows(found[start : start + _PART]) for start in range(0, len(found), _PART))
        return [row async for part in sliced(parts) for row in part]

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

    async def all_of(self, statement: Executable, parameters: Iterable[Parameters]) -> Sequence[Row]:
        """Run a statement once for each set of parameters, AT_ONCE of them in a round trip.

        Return the rows of all, in no order. SQLAlchemy refuses parameters that name no column.
        """
        rows: list[Any] = []
        left = iter(parameters)
        while some := [dict(one) for one in islice(left, AT_ONCE)]:
            result = await self._connection.execute(statement, some)
            rows += result.all() if result.returns_rows else []
        return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        yield self


def insert_into(table: Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that may say what happens ON CONFLICT, which both databases say alike."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


async def again(work: Callable[[], Awaitable[T]]) -> T:
    """Do work that is one statement or one transaction, anew where the database undid it for others' sake.

    A serialization failure or a deadlock is nobody's mistake: one of those involved is undone, and goes
    through the next time. The pauses are random, so that those who met do not meet again, and no place in the
    line is held meanwhile.

    Raises:
        DatabaseConflict: CONFLICT_TRIES were undone, or CONFLICT_SECONDS are over.
    """
    began = time.monotonic()
    for number in range(CONFLICT_TRIES - 1):
        try:
            return await work()
        except DatabaseConflict:
            if time.monotonic() - began > CONFLICT_SECONDS:
                raise
        await asyncio.sleep(random.uniform(0, _CONFLICT_PAUSE * 2**number))  # noqa: S311 - no secret
    return await work()


def one_transaction(
    function: Callable[Concatenate[Statements, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Statements, P], Coroutine[Any, Any, T]]:
    """Mark a function all of whose work is one transaction, so that it can be done again(): a decorator.

    Within a transaction that is under way it is a part of that, and only the whole can be done again.
    """

    @wraps(function)
    async def run(statements: Statements, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if isinstance(statements, Transaction):
            return await function(statements, *args, **kwargs)
        return await again(lambda: function(statements, *args, **kwargs))

    return run
