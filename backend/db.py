"""The database: its engine, pool and sessions. Whoever wants a connection comes here."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from sqlalchemy import Executable, event, text
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
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from backend.config import Settings
from backend.connector import Connector
from backend.db_errors import CONNECT_ERRORS, describe, is_dead_connection, never_ran, translate
from backend.dsn import Dsn
from backend.errors import ApiError, Overloaded, SchemaOutdated

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0  # seconds for ending all connections
READY_INTERVAL = 10.0  # seconds

VERSION_TABLE = "tasks_alembic_version"  # another service in the same database may have Alembic's default

_IN_TRANSACTION = "in_transaction"
_REVISION = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
_SCHEMA_LOCK = 0x7461736B73  # "tasks": one number that every process of this service agrees on


class _Session(AsyncSession):
    """A session in autocommit, which runs a statement again, once, where that is safe.

    A read is safe on a new connection. A write is only where the first attempt certainly did not run.
    """

    async def execute(self, statement: Executable, params: Any = None, **options: Any) -> Result[Any]:
        try:
            return await super().execute(statement, params, **options)
        except DBAPIError as error:
            if self.info.get(_IN_TRANSACTION):
                raise
            if not never_ran(error) and not (statement.is_select and is_dead_connection(error)):
                raise
            await self.invalidate()
        return await super().execute(statement, params, **options)


class Database:
    """One engine and what is needed to use it well.

    At most `database_pool_size` sessions are open at once; whoever comes later waits in line, in the order of
    arrival, for at most `database_pool_wait` seconds and behind at most `database_queue_size` others. Waiting
    here is far cheaper than in SQLAlchemy's pool, and fair. While the database wakes up, the line waits as
    long as its head does.
    """

    def __init__(self, settings: Settings) -> None:
        dsn = settings.dsn
        self._settings = settings
        self._connector = Connector(settings.database_connect_budget)
        self.engine = _engine(dsn, settings, self._connector)
        self.revision = ""  # of the schema that this version needs; known once it was looked at
        self._sessions = async_sessionmaker(
            self.engine.execution_options(isolation_level="AUTOCOMMIT"),
            class_=_Session,
            expire_on_commit=False,
        )
        # All sessions share the one connection of an in-memory SQLite.
        self._gate = asyncio.Semaphore(1 if dsn.is_memory else settings.database_pool_size)
        self._wait = settings.database_pool_wait
        self._queue_size = settings.database_queue_size
        self._queued = 0
        self._probe = asyncio.Lock()
        self._probed = float("-inf")
        self._unready: type[ApiError] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session for one request.

        Raises:
            Overloaded: too many wait, or no connection came free in time.
            DatabaseWaking: the database is not there yet.
            DatabaseUnavailable: the database cannot be reached, or does not answer.
            DatabaseReadOnly: it takes no writes now.
            UnknownUser: a row was written for a user who has none.
        """
        await self._enter()
        try:
            async with self._sessions() as session:
                try:
                    yield session
                except TimeoutError:
                    # The statement may still be running: its connection must not serve the next one.
                    await session.invalidate()
                    raise
        except (SQLAlchemyError, *CONNECT_ERRORS) as error:
            translated = translate(error)
            if translated is None:
                raise
            log.warning("database error", extra={"fields": {"reason": describe(error)}})
            raise translated from error
        finally:
            self._gate.release()

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
            async with engine.begin() as connection:
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
            async with self.session() as session:
                revision = (await session.execute(_REVISION)).scalar_one_or_none()
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

    async def _enter(self) -> None:
        if not self._gate.locked():
            await self._gate.acquire()  # does not suspend
            return
        if self._queued >= self._queue_size:
            raise Overloaded
        self._queued += 1
        try:
            while not await self._admitted():
                if not self._connector.waits:
                    raise Overloaded
        finally:
            self._queued -= 1

    async def _admitted(self) -> bool:
        try:
            async with asyncio.timeout(self._wait):
                return await self._gate.acquire()
        except TimeoutError:
            return False


@asynccontextmanager
async def transaction(session: AsyncSession) -> AsyncIterator[None]:
    """Several statements of a session as one: all of them take effect at the end, or none does.

    Within a transaction that is under way it joins that one. What the session did before has taken effect.
    """
    if session.info.get(_IN_TRANSACTION):
        yield
        return
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    await session.rollback()  # gives the connection in autocommit back
    level = "SERIALIZABLE" if is_sqlite else "READ COMMITTED"
    await session.connection(execution_options={"isolation_level": level})
    session.info[_IN_TRANSACTION] = True
    try:
        if is_sqlite:  # it would begin as a reader, and could not become a writer beside another one
            await session.execute(text("BEGIN IMMEDIATE"))
        yield
        await session.commit()
    except BaseException:
        await session.rollback()
        raise
    finally:
        del session.info[_IN_TRANSACTION]


def _engine(dsn: Dsn, settings: Settings, connector: Connector, *, for_schema: bool = False) -> AsyncEngine:
    arguments = dict(dsn.connect_args)
    pool: dict[str, Any] = {}
    if for_schema:
        pool = {"poolclass": NullPool}
    elif not dsn.is_memory:
        size, recycle = settings.database_pool_size, settings.database_pool_recycle
        pool = {"pool_size": size, "max_overflow": 0, "pool_recycle": recycle}
    if not dsn.is_sqlite:
        arguments["async_creator_fn"] = connector
        arguments["command_timeout"] = None if for_schema else settings.database_statement_timeout
        if "prepared_statement_cache_size" not in arguments:
            arguments["prepared_statement_name_func"] = _statement_names()
    engine = create_async_engine(dsn.url, connect_args=arguments, hide_parameters=True, **pool)
    # models.UserId reads it there: the type of the users' ids is a matter of each engine.
    engine.dialect.user_id_type = settings.auth_user_id_type  # type: ignore[attr-defined] # ours
    if dsn.is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    else:
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _statement_names() -> Callable[[], str]:
    """Names that no other process gives to a prepared statement.

    asyncpg counts in every process alike. Behind a pooler that knows nothing of prepared statements, a name
    could then lead to a statement of another process with the same parameters: to its DELETE for our SELECT.
    """
    process, numbers = uuid4().hex, itertools.count()
    return lambda: f"{process}_{next(numbers)}"


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Foreign keys are off by default. WAL lets reads go on beside a write; FULL keeps what was acknowledged
    # through a power cut, for one fsync a write.
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _refuse_closed(connection: Any, _: ConnectionPoolEntry, __: Any) -> None:
    """Look at the socket's state, which costs nothing, where a ping would cost a round trip."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server has closed this connection")
