"""The schema's state: made or checked at start, changed by Alembic on command.

However a database came to be, the migrations made it. Processes that start together take turns
(Database.schema_connection), so the first makes the tables and the others find them. There is no alembic.ini:
what it would say is said here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.config import Settings
from backend.db import Database
from backend.engine.driver_errors import CONNECT_ERRORS, describe
from backend.migrations.state import SchemaError, current_revision, revisions
from backend.models import Base, users

__all__ = ["SchemaError", "downgrade", "prepare", "upgrade", "write_migration"]


async def prepare(database: Database, settings: Settings) -> None:
    """Make the tables in a fresh database, and see that those of another are this version's.

    Raises:
        SchemaError: they are not.
        ApiError: the database cannot be reached.
    """
    async with _turn(database) as connection:
        database.revision = await connection.run_sync(_prepare, settings)


async def upgrade(database: Database, settings: Settings, revision: str = "head") -> None:
    """Bring the schema to a revision, making what is missing and keeping every row. Raises as prepare()."""
    async with _turn(database) as connection:
        await connection.run_sync(_run("upgrade"), settings, revision)


async def downgrade(database: Database, settings: Settings, revision: str) -> None:
    """Take the schema back to a revision (`base`: to nothing). Raises as prepare()."""
    async with _turn(database) as connection:
        await connection.run_sync(_run("downgrade"), settings, revision)


def write_migration(settings: Settings, message: str) -> str:
    """Write the next migration from the models; return what to tell of it. Raises as writing.write()."""
    from backend.migrations import writing

    return writing.write(settings, message)


def _run(what: str) -> Callable[[Connection, Settings, str], None]:
    """What runs migrations, loaded now: most starts find the schema as it should be, without Alembic."""
    from backend.migrations import running

    run: Callable[[Connection, Settings, str], None] = getattr(running, what)
    return run


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.schema_connection() as connection:
            yield connection
    except (SQLAlchemyError, *CONNECT_ERRORS) as error:
        raise SchemaError(
            f"the database refused to look at or change the schema: {describe(error)}"
        ) from error


def _prepare(connection: Connection, settings: Settings) -> str:
    current = current_revision(connection)
    if current is None or _is_behind(current, settings):
        _run("upgrade")(connection, settings, "head")
    _refuse_unwritten(connection)
    return revisions()[-1]


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
