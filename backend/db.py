"""The database: its engine, and the two ways to use it. Whoever wants a connection comes here.

`session` is SQLModel's ordinary session, in one transaction a request; `statements` is the fast way, which
runs prepared statements and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from fastapi import Request
from sqlalchemy import String, column, event, select, table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.config import Settings
from backend.engine import checks, sqlite, sqlite_transactions
from backend.engine.autocommit import Autocommit, Measured, Observer
from backend.engine.connector import Connector
from backend.engine.driver_errors import CONNECT_ERRORS, comes_from_driver, describe, translate
from backend.engine.dsn import Dsn
from backend.engine.gate import NOBODY, Gate, asking
from backend.engine.measuring import measure_executions
from backend.engine.pool import Pool
from backend.engine.statements import Transaction
from backend.engine.troubles import Troubles
from backend.errors import ApiError, SchemaOutdated

log = logging.getLogger(__name__)

Listener = Callable[[str, bool], None]  # of who has used the database, and whether they only read

CLOSE_TIMEOUT = 5.0  # seconds for ending all connections
READY_INTERVAL = 10.0  # seconds

VERSION_TABLE = "tasks_alembic_version"  # another service in the same database may have Alembic's default

_REVISION = select(column("version_num", String)).select_from(table(VERSION_TABLE))
_ISOLATION = {"postgresql": "READ COMMITTED", "sqlite": "SERIALIZABLE"}  # of transactions
# The databases of which this task has a session, which is over once the list is empty: tasks that it has
# started may outlive it. A session holds a place at the gate: if each task wanted a second one, as many of
# them as there are places would wait for each other.
_holding: "ContextVar[Sequence[Database]]" = ContextVar("_holding", default=())
_SCHEMA_LOCK = 0x7461736B73  # "tasks": one number that every process of this service agrees on
_TRY_TURN = text("SELECT pg_try_advisory_xact_lock(:key)")
_TURN_PAUSE = 0.05  # seconds, doubled up to one
# The turn is kept while another connection works, however long: without a time limit, with signs of life, and
# (as a SET is the last that it does) without a snapshot, for whose end an index would wait.
_LASTING = [
    text(f"SET LOCAL {name} = {value}")
    for name, value in (
        ("idle_in_transaction_session_timeout", 0),
        ("tcp_keepalives_idle", 30),
        ("tcp_keepalives_interval", 5),
        ("tcp_keepalives_count", 3),
    )
]


class Database:
    """One engine, and the line in front of it.

    Whoever wants to use it takes their turn at the gate, which lets in as many as there are connections.
    While the database wakes up, the line waits as long as its head does.
    """

    def __init__(self, settings: Settings) -> None:
        dsn = settings.dsn
        self._settings = settings
        self.connector = Connector(settings.database_connect_budget)
        self.engine = _engine(dsn, settings, self.connector)
        level = _ISOLATION[self.engine.dialect.name]
        self._transactional = self.engine.execution_options(isolation_level=level)
        # Closed is closed: whoever uses a session after its request is told so, and gets no connection.
        options: dict[str, Any] = {"expire_on_commit": False, "close_resets_only": False}
        self._sessions = async_sessionmaker(self._transactional, class_=AsyncSession, **options)
        self.statements = Autocommit(
            self.engine,
            self.turn,
            self._transactional.begin,
            keeps_statements=not dsn.is_sqlite and "prepared_statement_cache_size" not in dsn.connect_args,
        )
        # The same for what may read all that a user has: of that little is done at once for each of them.
        self.dear_statements = self.statements.in_turn(partial(self.turn, dear=True))
        # The same for what is no sign that somebody is there.
        self.quiet_statements = self.statements.in_turn(partial(self.turn, quiet=True))
        self.listener: Listener | None = None
        if dsn.is_sqlite:
            event.listen(self._transactional.sync_engine, "begin", sqlite_transactions.begin)
            event.listen(self._transactional.sync_engine, "commit", sqlite_transactions.end)
        else:
            event.listen(self.engine.sync_engine, "checkout", checks.refuse_closed)
            event.listen(self.engine.sync_engine, "handle_error", checks.tell_slow)
        self.revision = ""  # of the schema that this version needs; known once it was looked at
        # All share the one connection of an in-memory SQLite.
        self.gate = Gate(
            1 if dsn.is_memory else settings.database_pool_size,
            settings.database_pool_wait,
            settings.database_queue_size,
            self.connector.waits,
        )
        self.troubles = Troubles()
        self._probe = asyncio.Lock()
        self._probed = float("-inf")
        self._unready: type[ApiError] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """An ordinary session, and one transaction: committed at the end, rolled back on an error.

        It has its place at the gate, and so its connection, for all that time, and cannot be used after it.
        Raises as turn() does; an error of the caller's own comes out as it is.
        """
        async with self.turn(), self._sessions() as session:
            before = _holding.get()
            held = [*before, self]
            _holding.set(held)
            try:
                yield session
                await session.commit()
            except TimeoutError as error:
                if comes_from_driver(error):
                    # The statement may still be running: its connection must not serve the next one.
                    await session.invalidate()
                raise
            finally:
                _holding.set(before)
                held.clear()

    async def within(self, session: AsyncSession) -> Transaction:
        """Statements within the transaction of an ordinary session: one connection, one outcome.

        They see what the session has been given so far; a rollback of the session ends them.
        """
        await session.flush()
        return Transaction(await session.connection(), self.statements.prepare)

    def observe(self, observer: Observer) -> None:
        """Let `observer` see each statement and its parameters as the driver gets them, from now on.

        But for those run with the execution option `unobserved`.
        """
        self.statements.observers.append(observer)

        @event.listens_for(self.engine.sync_engine, "before_cursor_execute")
        def _(conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
            if not context.execution_options.get("unobserved"):
                observer(sql, parameters)

    def measure(self, measured: Measured) -> None:
        """Let `measured` be told of each statement, with its time from end to end, from now on."""
        for statements in (self.statements, self.dear_statements, self.quiet_statements):
            statements.measure(measured)
        measure_executions(self.engine, measured)

    def turn(
        self, *, dear: bool = False, reads: bool = False, quiet: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """A place among those who have a connection, and the errors of the database in the client's terms.

        It counts as the place of whoever is `asking`; `dear` work has few of them. At its end what was
        written is committed: a listener hears of it then, and whether it only `reads`. Of `quiet` work it
        hears nothing, nor does the log where that fails and is nobody's.

        Raises:
            RuntimeError: whoever asks holds a place already, and would wait for itself.
            Overloaded: too many wait, or no connection came free in time.
            StatementTimeout: the database took longer than a statement may.
            DatabaseWaking: the database is not there yet.
            DatabaseUnavailable: the database cannot be reached, or does not answer.
            DatabaseReadOnly: it takes no writes now.
            UnknownUser: a row was written for a user who has none.
        """
        if self in _holding.get():
            raise RuntimeError(
                "this request has a session, which holds its place in the line: run statements beside it "
                "with `await database.within(session)`, and authenticate (CallerDep) before SessionDep"
            )
        return _Turn(self, asking.get(), dear=dear, reads=reads, quiet=quiet)

    @asynccontextmanager
    async def schema_connection(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for looking at the schema, and, once it has its schema_turn(), for changing it.

        It goes past the pooler where DATABASE_URL_UNPOOLED shows the way, and takes as long as it takes.
        """
        async with self._schema_engine() as engine:
            level = _ISOLATION[engine.dialect.name]
            async with engine.execution_options(isolation_level=level).connect() as connection:
                if engine.dialect.name == "sqlite":
                    # Altering a table may drop it for a copy, which must not delete what refers to it.
                    await connection.execute(text("PRAGMA foreign_keys=OFF"))
                    await connection.execute(text("BEGIN IMMEDIATE"))
                yield connection
                await connection.commit()

    async def schema_turn(self, connection: AsyncConnection) -> None:
        """Let this transaction be the one among all processes that changes the schema, until its end.

        It is asked for again and again, in a new transaction each time, for whose end an index that is built
        elsewhere would wait. Whoever has it loses it with the connection, so no dead process
        keeps it.
        """
        if connection.dialect.name == "sqlite":
            return  # its transaction is alone already
        pause = _TURN_PAUSE
        while True:
            await connection.rollback()
            if await connection.scalar(_TRY_TURN, {"key": _SCHEMA_LOCK}):
                return
            if pause == _TURN_PAUSE:
                log.info("another process is changing the schema: waiting for its end")
            pause = min(pause * 2, 1.0)
            await connection.rollback()
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def online_connection(self, turn: AsyncConnection) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, past the pooler, to change a schema in use while `turn` has it."""
        for statement in _LASTING:
            await turn.execute(statement)
        async with (
            self._schema_engine() as engine,
            engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        ):
            yield connection

    @asynccontextmanager
    async def _schema_engine(self) -> AsyncIterator[AsyncEngine]:
        dsn = self._settings.unpooled_dsn
        if dsn.is_memory:  # its one connection goes on to serve
            try:
                yield self.engine
            finally:
                async with self.engine.connect() as connection:
                    await connection.execute(text("PRAGMA foreign_keys=ON"))
            return
        engine = _engine(dsn, self._settings, self.connector, for_schema=True)
        try:
            yield engine
        finally:
            await engine.dispose()

    async def ready(self) -> None:
        """Return if the database answers and its schema is this version's, or raise what is wrong.

        The database is asked at most once in READY_INTERVAL seconds, however often this is called: probes
        must not keep it awake.
        """
        async with self._probe:
            if time.monotonic() - self._probed > READY_INTERVAL:
                self._unready = await self._look()
                self._probed = time.monotonic()
        if self._unready is not None:
            raise self._unready()

    @property
    def is_outdated(self) -> bool:
        """Whether the schema was not this version's when it was last looked at."""
        return self._unready is SchemaOutdated

    async def _look(self) -> type[ApiError] | None:
        try:
            rows = await self.statements.all(_REVISION, {})
        except ApiError as error:
            return type(error)
        except SQLAlchemyError:  # no version table
            return SchemaOutdated
        return None if [revision for (revision,) in rows] == [self.revision] else SchemaOutdated

    async def close(self) -> None:
        """Close every connection."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.connector.close()
                await self.engine.dispose()
        except TimeoutError:
            log.warning("the database did not answer a goodbye")


class _Turn(NamedTuple):
    """What Database.turn() returns. A generator would cost half as much as the rest of a turn."""

    database: Database
    user: str
    dear: bool
    reads: bool
    quiet: bool

    async def __aenter__(self) -> None:
        await self.database.gate.enter(self.user, dear=self.dear)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        database = self.database
        database.gate.leave(self.user, dear=self.dear)
        if database.listener is not None and not self.quiet:
            database.listener(self.user, self.reads)
        if not isinstance(error, Exception):
            return
        is_drivers = isinstance(error, (SQLAlchemyError, *CONNECT_ERRORS)) and comes_from_driver(error)
        translated = translate(error) if is_drivers else None
        database.troubles.add(translated or error)
        if translated is not None:
            if self.user != NOBODY or not self.quiet:
                log.warning("database error", extra={"fields": {"reason": describe(error)}})
            raise translated from error


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """The ordinary session of a request: `session: SessionDep`. See Database.session.

    Tests put another in its place with `app.dependency_overrides[get_session]`.
    """
    async with request.app.state.database.session() as session:
        yield session


def _engine(dsn: Dsn, settings: Settings, connector: Connector, *, for_schema: bool = False) -> AsyncEngine:
    arguments = dict(dsn.connect_args)
    options: dict[str, Any] = {"poolclass": NullPool} if for_schema else {"isolation_level": "AUTOCOMMIT"}
    if not for_schema and not dsn.is_memory:
        size, recycle = settings.database_pool_size, settings.database_pool_recycle
        options |= {"pool_size": size, "max_overflow": 0, "pool_recycle": recycle}
    if not dsn.is_sqlite and not for_schema:
        options["poolclass"] = Pool
    limit = None if for_schema else settings.database_statement_timeout
    if dsn.is_sqlite:
        arguments["async_creator_fn"] = partial(sqlite.connect, limit)
    else:
        arguments["async_creator_fn"] = connector
        arguments["command_timeout"] = limit
        if "prepared_statement_cache_size" not in arguments:
            arguments["prepared_statement_name_func"] = connector.name_statement
    engine = create_async_engine(dsn.url, connect_args=arguments, hide_parameters=True, **options)
    # columns.UserId reads it there: the type of the users' ids is a matter of each engine.
    engine.dialect.user_id_type = settings.auth_user_id_type  # type: ignore[attr-defined] # ours
    if dsn.is_sqlite:
        event.listen(engine.sync_engine, "connect", sqlite.prepare)
    return engine
