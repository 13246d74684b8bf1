"""The database: its engine, pool and sessions. Whoever wants a connection comes here."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Executable, String, column, event, select, table, text
from sqlalchemy.engine import Result
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection
from sqlalchemy.util.concurrency import greenlet_spawn

from backend.config import Settings
from backend.engine.connector import Connector, MustConnect
from backend.engine.driver_errors import (
    CONNECT_ERRORS,
    STATEMENT_ERRORS,
    describe,
    is_dead_connection,
    is_spoilt,
    never_ran,
    translate,
)
from backend.engine.dsn import Dsn
from backend.engine.gate import Gate
from backend.engine.prepared import PreparedStatement
from backend.errors import ApiError, SchemaOutdated

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0  # seconds for ending all connections
READY_INTERVAL = 10.0  # seconds

VERSION_TABLE = "tasks_alembic_version"  # another service in the same database may have Alembic's default

_IN_TRANSACTION = "in_transaction"
_REVISION = select(column("version_num", String)).select_from(table(VERSION_TABLE))
_ISOLATION = {"postgresql": "READ COMMITTED", "sqlite": "SERIALIZABLE"}  # of transactions
_SCHEMA_LOCK = 0x7461736B73  # "tasks": one number that every process of this service agrees on


class _Session(AsyncSession):
    """A session that holds a connection only while a statement or a transaction runs.

    A statement outside of a transaction takes effect at once, and needs nothing of SQLAlchemy's session:
    going past it spares two thirds of what a statement costs.
    """

    def __init__(self, bind: AsyncEngine, *, database: "Database", **options: Any) -> None:
        super().__init__(bind, **options)
        self.database = database

    async def execute(self, statement: Executable, params: Any = None, **options: Any) -> Result[Any]:
        if self.info.get(_IN_TRANSACTION):
            return await super().execute(statement, params, **options)
        return await self.database.run(statement, params or {})


class Database:
    """One engine and what is needed to use it well.

    Whoever wants to use it takes their turn at the gate, which lets in as many as there are connections.
    While the database wakes up, the line waits as long as its head does.
    """

    def __init__(self, settings: Settings) -> None:
        dsn = settings.dsn
        self._settings = settings
        self._connector = Connector(settings.database_connect_budget)
        self.engine = _engine(dsn, settings, self._connector)
        if not dsn.is_sqlite:
            event.listen(self.engine.sync_engine, "checkout", self._refuse_dead)
        self.revision = ""  # of the schema that this version needs; known once it was looked at
        self._sessions = async_sessionmaker(
            self.engine, class_=_Session, expire_on_commit=False, database=self
        )
        self._prepared: WeakKeyDictionary[Executable, PreparedStatement] = WeakKeyDictionary()
        self._keeps_statements = not dsn.is_sqlite and "prepared_statement_cache_size" not in dsn.connect_args
        self._suspect = float("-inf")  # connections opened before that may be as dead as one of them was
        # All share the one connection of an in-memory SQLite.
        self.gate = Gate(
            1 if dsn.is_memory else settings.database_pool_size,
            settings.database_pool_wait,
            settings.database_queue_size,
            self._connector.waits,
        )
        self._probe = asyncio.Lock()
        self._probed = float("-inf")
        self._unready: type[ApiError] | None = None

    def session(self) -> AsyncSession:
        """A session for one request. It needs no closing: between statements it holds nothing."""
        return self._sessions()

    async def run(self, statement: Executable, parameters: Mapping[str, Any]) -> Result[Any]:
        """Run one statement in autocommit, at its turn; raises as turn() does.

        It is run again, once, where that is safe: a read whose connection was dead, and a write that
        certainly did not run.
        """
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = PreparedStatement(statement, self.engine.dialect)
        arguments = prepared.arguments(parameters)
        async with self.turn():
            try:
                rows = await self._fetch(prepared.sql, arguments)
            except DBAPIError as error:
                if not never_ran(error) and not (statement.is_select and is_dead_connection(error)):
                    raise
                rows = await self._fetch(prepared.sql, arguments)
        return prepared.result(rows)

    async def _fetch(self, sql: str, arguments: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
        """Run one statement on a pooled connection, as the driver has it."""
        connection: PoolProxiedConnection | None = None
        try:
            connection = await self._checkout()
            if self._keeps_statements:
                driver: Any = connection.driver_connection
                rows: Sequence[Sequence[Any]] = await driver.fetch_kept(sql, arguments)
                connection.close()  # back into the pool; nothing is to be rolled back, so nothing waits
            else:
                rows = await greenlet_spawn(_fetch_with_cursor, connection, sql, arguments)
        except (self.engine.dialect.loaded_dbapi.Error, *STATEMENT_ERRORS) as error:
            if connection is None and not isinstance(error, self.engine.dialect.loaded_dbapi.Error):
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
                return self.engine.sync_engine.raw_connection()
            except MustConnect:
                pass
            finally:
                self._connector.may_connect = True
        return await greenlet_spawn(self.engine.sync_engine.raw_connection)

    def _failed(self, error: Any, connection: PoolProxiedConnection | None, sql: str) -> DBAPIError:
        """Give the connection back, and return the driver's error as SQLAlchemy's."""
        dialect, dead = self.engine.dialect, False
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

    def _refuse_dead(self, connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        """Look at the socket's state, which costs nothing, where a ping would cost a round trip."""
        if connection.driver_connection.is_closed() or record.info["opened"] <= self._suspect:
            raise DisconnectionError("the server has closed this connection")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place among those who have a connection, and the errors of the database in the client's terms.

        Raises:
            Overloaded: too many wait, or no connection came free in time.
            DatabaseWaking: the database is not there yet.
            DatabaseUnavailable: the database cannot be reached, or does not answer.
            DatabaseReadOnly: it takes no writes now.
            UnknownUser: a row was written for a user who has none.
        """
        await self.gate.enter()
        try:
            yield
        except (SQLAlchemyError, *CONNECT_ERRORS) as error:
            translated = translate(error)
            if translated is None:
                raise
            log.warning("database error", extra={"fields": {"reason": describe(error)}})
            raise translated from error
        finally:
            self.gate.leave()

    @asynccontextmanager
    async def schema_connection(self) -> AsyncIterator[AsyncConnection]:
        """A transaction alone among all processes, for looking at the schema and changing it.

        It goes past the pooler where DATABASE_URL_UNPOOLED shows the way, and takes as long as it takes.
        """
        dsn = self._settings.unpooled_dsn
        engine = (
            self.engine if dsn.is_memory else _engine(dsn, self._settings, self._connector, for_schema=True)
        )
        try:
            level = _ISOLATION[engine.dialect.name]
            async with engine.execution_options(isolation_level=level).begin() as connection:
                if dsn.is_sqlite:
                    await connection.execute(text("BEGIN IMMEDIATE"))
                else:
                    await connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK}
                    )
                yield connection
        finally:
            if engine is not self.engine:
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

    async def _look(self) -> type[ApiError] | None:
        try:
            revision = (await self.run(_REVISION, {})).scalar_one_or_none()
        except ApiError as error:
            return type(error)
        except SQLAlchemyError:  # no version table, or more than one version in it
            return SchemaOutdated
        return None if revision == self.revision else SchemaOutdated

    async def close(self) -> None:
        """Close every connection."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connector.close()
                await self.engine.dispose()
        except TimeoutError:
            log.warning("the database did not answer a goodbye")


@asynccontextmanager
async def transaction(session: AsyncSession) -> AsyncIterator[None]:
    """Several statements of a session as one: all of them take effect at the end, or none does.

    Within a transaction that is under way it joins that one. Raises as Database.turn() does.
    """
    if session.info.get(_IN_TRANSACTION):
        yield
        return
    assert isinstance(session, _Session)
    dialect = session.get_bind().dialect.name
    async with session.database.turn():
        session.info[_IN_TRANSACTION] = True
        try:
            await session.connection(execution_options={"isolation_level": _ISOLATION[dialect]})
            if (
                dialect == "sqlite"
            ):  # it would begin as a reader, and could not become a writer beside another one
                await session.execute(text("BEGIN IMMEDIATE"))
            yield
            await session.commit()
        except TimeoutError:
            # The statement may still be running: its connection must not serve the next one.
            await session.invalidate()
            raise
        finally:
            del session.info[_IN_TRANSACTION]
            await session.close()


def _engine(dsn: Dsn, settings: Settings, connector: Connector, *, for_schema: bool = False) -> AsyncEngine:
    arguments = dict(dsn.connect_args)
    options: dict[str, Any] = {"poolclass": NullPool} if for_schema else {"isolation_level": "AUTOCOMMIT"}
    if not for_schema and not dsn.is_memory:
        size, recycle = settings.database_pool_size, settings.database_pool_recycle
        options |= {"pool_size": size, "max_overflow": 0, "pool_recycle": recycle}
    if not dsn.is_sqlite:
        arguments["async_creator_fn"] = connector
        arguments["command_timeout"] = None if for_schema else settings.database_statement_timeout
        if "prepared_statement_cache_size" not in arguments:
            arguments["prepared_statement_name_func"] = connector.name_statement
    engine = create_async_engine(dsn.url, connect_args=arguments, hide_parameters=True, **options)
    # models.UserId reads it there: the type of the users' ids is a matter of each engine.
    engine.dialect.user_id_type = settings.auth_user_id_type  # type: ignore[attr-defined] # ours
    if dsn.is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine.sync_engine, "connect", _note_age)
    return engine


def _fetch_with_cursor(
    connection: PoolProxiedConnection, sql: str, arguments: tuple[Any, ...]
) -> Sequence[Sequence[Any]]:
    cursor = connection.cursor()
    cursor.execute(sql, arguments)
    rows = cursor.fetchall() if cursor.description else ()
    connection.close()
    return rows


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Foreign keys are off by default. WAL lets reads go on beside a write; FULL keeps what was acknowledged
    # through a power cut, for one fsync a write.
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _note_age(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info["opened"] = time.monotonic()
