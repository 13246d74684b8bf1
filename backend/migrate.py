"""The schema's state: made or checked at start, changed by Alembic on command.

However a database came to be, the migrations made it: a fresh one in one transaction, one that is in use
step by step, so that nobody waits (migrations/online.py). Processes that start together take turns
(Database.schema_turn), so the first makes the tables and the others find them. There is no alembic.ini: what
it would say is said here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from sqlalchemy import BigInteger, Connection, Text, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.config import Settings
from backend.db import Database
from backend.engine.driver_errors import CONNECT_ERRORS, describe
from backend.errors import ApiError
from backend.migrations.state import SchemaError, current_revision, revisions
from backend.models import Base, users

__all__ = ["SchemaError", "downgrade", "prepare", "upgrade", "write_migration"]

log = logging.getLogger(__name__)

PROGRESS_INTERVAL = 5.0  # seconds
_PROGRESS = text(
    "SELECT phase, 100 * greatest(blocks_done, tuples_done) / greatest(blocks_total, tuples_total, 1) "
    "FROM pg_stat_progress_create_index WHERE datname = current_database()"
).columns(phase=Text, part=BigInteger)


async def prepare(database: Database, settings: Settings) -> None:
    """Make the tables in a fresh database, and see that those of another are this version's.

    Raises:
        SchemaError: they are not.
        ApiError: the database cannot be reached.
    """
    async with _connection(database) as connection:
        current = await connection.run_sync(current_revision)
        if current is None or _is_behind(current, settings):
            await _change(database, connection, settings, "upgrade", "head")
        await connection.run_sync(_refuse_unwritten)
    database.revision = revisions()[-1]


async def upgrade(database: Database, settings: Settings, revision: str = "head") -> None:
    """Bring the schema to a revision, making what is missing and keeping every row. Raises as prepare()."""
    async with _connection(database) as connection:
        await _change(database, connection, settings, "upgrade", revision)


async def downgrade(database: Database, settings: Settings, revision: str) -> None:
    """Take the schema back to a revision (`base`: to nothing). Raises as prepare()."""
    async with _connection(database) as connection:
        await _change(database, connection, settings, "downgrade", revision)


def write_migration(settings: Settings, message: str) -> str:
    """Write the next migration from the models; return what to tell of it. Raises as writing.write()."""
    from backend.migrations import writing

    return writing.write(settings, message)


async def _change(
    database: Database, connection: AsyncConnection, settings: Settings, what: str, revision: str
) -> None:
    """Migrate, once no other process does."""
    # Loaded now: most starts find the schema as it should be, without Alembic.
    from backend.migrations import running

    run: Callable[..., None] = getattr(running, what)
    await database.schema_turn(connection)
    current = await connection.run_sync(current_revision)
    if current is None or connection.dialect.name == "sqlite":
        await connection.run_sync(run, settings, revision)
    elif (what, revision, current) != ("upgrade", "head", revisions()[-1]):
        done = asyncio.Event()
        async with database.online_connection(connection) as worker:
            telling = asyncio.create_task(_tell(database, done))
            try:
                await worker.run_sync(partial(run, online=True), settings, revision)
            finally:
                done.set()
                await telling


async def _tell(database: Database, done: asyncio.Event) -> None:
    """Say how far the building of an index is, every few seconds."""
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), PROGRESS_INTERVAL)
        with suppress(ApiError, SQLAlchemyError):  # who cannot be told may not mind
            for phase, part in await database.statements.all(_PROGRESS, {}) if not done.is_set() else ():
                log.info("%s, %d %%", phase, part)


@asynccontextmanager
async def _connection(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.schema_connection() as connection:
            yield connection
    except (SQLAlchemyError, *CONNECT_ERRORS) as error:
        raise SchemaError(
            f"the database refused to look at or change the schema: {describe(error)}"
        ) from error


def _is_behind(current: str, settings: Settings) -> bool:
    """Whether there are steps to take, as we may.

    Raises:
        SchemaError: we may not, or do not know where we are.
    """
    known = revisions()
    if current not in known:
        raise SchemaError(
            f"the database's schema is at revision {current}, which this version does not know: "
            "a newer version has migrated it; deploy that one"
        )
    if current != known[-1] and not settings.database_auto_migrate:
        raise SchemaError(
            f"the database's schema is at revision {current} and this version needs {known[-1]}; "
            "run `make migrate`, or set DATABASE_AUTO_MIGRATE=true"
        )
    return current != known[-1]


def _refuse_unwritten(connection: Connection) -> None:
    """See that the database has what the models name: whoever changes these may forget the migration."""
    ours = [table for table in Base.metadata.sorted_tables if table is not users]
    found = inspect(connection).get_multi_columns(filter_names=[table.name for table in ours])
    there = {(table, column["name"]) for (_, table), columns in found.items() for column in columns}
    missing = [str(column) for table in ours for column in table.c if (table.name, column.name) not in there]
    if missing:
        raise SchemaError(
            f"no migration makes {', '.join(missing)}, which the models have: "
            'run `make migration m="what it does"`, then `make migrate`'
        )
