"""The database: its engine, pool, sessions and tables. The only module that opens connections."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from backend.config import Settings
from backend.errors import ApiError, DatabaseUnavailable, Overloaded, UnknownUser
from backend.models import schema

log = logging.getLogger(__name__)

_SCHEMA_LOCK = 0x7461736B73  # "tasks": one number that every process of this service agrees on


class Database:
    """One engine and what is needed to use it well.

    A session is in autocommit: a read and a single-row write are one statement and one round trip. At most
    `database_pool_size` sessions are open at once; whoever comes later waits in line for at most
    `database_pool_wait` seconds. Waiting here is far cheaper than in SQLAlchemy's pool, and fair.
    """

    def __init__(self, settings: Settings) -> None:
        dsn = settings.dsn
        # All sessions share the one connection of an in-memory SQLite.
        self._size = 1 if dsn.is_memory else settings.database_pool_size
        pool: dict[str, Any] = {} if dsn.is_memory else {"pool_size": self._size, "max_overflow": 0}
        self.engine = create_async_engine(dsn.url, connect_args=dict(dsn.connect_args), **pool)
        if dsn.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
        self.is_sqlite = dsn.is_sqlite
        # models.UserId reads it there: the type of the users' ids is a matter of each engine.
        self.engine.dialect.user_id_type = settings.auth_user_id_type  # type: ignore[attr-defined] # ours
        self._schema = schema(settings.auth_user_table, settings.auth_user_id_type)
        self._sessions = async_sessionmaker(
            self.engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False
        )
        self._gate = asyncio.Semaphore(self._size)
        self._wait = settings.database_pool_wait

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session for one request.

        Raises:
            Overloaded: no connection came free in time.
            DatabaseUnavailable: the database cannot be reached or does not answer.
            UnknownUser: a row was written for a user who has none.
        """
        if self._gate.locked():
            try:
                async with asyncio.timeout(self._wait):
                    await self._gate.acquire()
            except TimeoutError:
                raise Overloaded from None
        else:
            await self._gate.acquire()  # does not suspend
        try:
            async with self._sessions() as session:
                yield session
        except (SQLAlchemyError, OSError) as error:  # TimeoutError is an OSError
            translated = _translate(error)
            if translated is None:
                raise
            raise translated from error
        finally:
            self._gate.release()

    async def create_tables(self) -> None:
        """Create the tables that are missing; touch none that is there. Safe from many processes at once."""
        async with self.engine.begin() as connection:
            await self._lock_schema(connection)
            await connection.run_sync(self._schema.create_all)

    async def ping(self) -> None:
        """Return once the database has answered, or raise as `session` does."""
        async with self.session() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    async def _lock_schema(self, connection: AsyncConnection) -> None:
        if self.is_sqlite:
            await connection.execute(text("BEGIN IMMEDIATE"))
        else:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    # Foreign keys are off by default. WAL lets reads go on beside a write; FULL keeps what was acknowledged
    # through a power cut, for one fsync a write.
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _translate(error: SQLAlchemyError | OSError) -> ApiError | None:
    """What a driver's error means to a client; None for one that only a bug of ours can cause."""
    if isinstance(error, OSError):
        return DatabaseUnavailable()
    if isinstance(error, PoolTimeoutError):
        return Overloaded()
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error, IntegrityError) and _is_foreign_key(error):
        return UnknownUser()
    if (
        error.connection_invalidated
        or _sqlstate(error)[:2] in _UNAVAILABLE
        or "database is locked" in str(error.orig)
    ):
        return DatabaseUnavailable()
    return None


# SQLSTATE classes: connection exceptions, invalid authorization, insufficient resources, operator
# intervention, and Neon's proxy, which reports its own troubles as internal errors.
_UNAVAILABLE = frozenset({"08", "28", "53", "57", "XX"})


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _is_foreign_key(error: IntegrityError) -> bool:
    # tasks.user_id is the only foreign key there is.
    return _sqlstate(error) == "23503" or "FOREIGN KEY" in str(error.orig)
