"""The schema's state: made or checked at start, changed by Alembic on command.

However a database came to be, the migrations made it. Processes that start together take turns
(Database.schema_connection), so the first makes the tables and the others find them. There is no alembic.ini:
what it would say is said here.
"""

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from backend.config import Settings
from backend.db import VERSION_TABLE, Database
from backend.engine.driver_errors import CONNECT_ERRORS, describe
from backend.models import Base, users

SCRIPTS = Path(__file__).parent / "migrations"


class SchemaError(Exception):
    """The database's schema is not one that this version can serve; the message says what to do."""


async def prepare(database: Database, settings: Settings) -> None:
    """Make the tables in a fresh database, and see that those of another are this version's.

    Raises:
        SchemaError: they are not.
        ApiError: the database cannot be reached.
    """
    async with _turn(database) as connection:
        database.revision = await connection.run_sync(_prepare, settings)


async def upgrade(database: Database, settings: Settings, revision: str = "head") -> None:
    """Bring the schema to a revision, making what is missing and keeping every row."""
    async with _turn(database) as connection:
        await connection.run_sync(_upgrade, settings, revision)


async def downgrade(database: Database, settings: Settings, revision: str) -> None:
    """Take the schema back to a revision (`base`: to nothing)."""
    async with _turn(database) as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic(settings, sync), revision))


def alembic(settings: Settings, connection: Connection | None, **options: Any) -> Config:
    """What Alembic's commands are given: the migrations, and the database to run them on.

    Without one they can be written down, with `sql=True`, as PostgreSQL would be sent them.
    """
    attributes = {"connection": connection, "settings": settings}
    config = Config(attributes=attributes, cmd_opts=Namespace(quiet=True), **options)
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


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
    current = _current(connection)
    if current is None or _is_behind(current, settings):
        _upgrade(connection, settings, "head")
        current = _current(connection)
    _refuse_unwritten(connection)
    assert current is not None, "there are migrations"
    return current


def _is_behind(current: str, settings: Settings) -> bool:
    """Whether there are steps to take, as we may.

    Raises:
        SchemaError: we may not, or do not know where we are.
    """
    scripts = ScriptDirectory.from_config(alembic(settings, None))
    head = scripts.get_current_head()
    if current == head:
        return False
    try:
        scripts.get_revision(current)
    except CommandError:
        raise SchemaError(
            f"the database's schema is at revision {current}, which this version does not know: "
            "a newer version has migrated it; deploy that one"
        ) from None
    if not settings.database_auto_migrate:
        raise SchemaError(
            f"the database's schema is at revision {current} and this version needs {head}; "
            "run `make migrate`, or set DATABASE_AUTO_MIGRATE=true"
        )
    return True


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


def _upgrade(connection: Connection, settings: Settings, revision: str) -> None:
    user_schema = settings.auth_user_table.rpartition(".")[0]
    if _current(connection) is None and user_schema and not inspect(connection).has_schema(user_schema):
        connection.execute(CreateSchema(user_schema))  # as Better Auth does
    try:
        command.upgrade(alembic(settings, connection), revision)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42804":  # two types that no foreign key can join
            raise
        raise SchemaError(
            f"AUTH_USER_ID_TYPE is {settings.auth_user_id_type}, but the id of the table "
            f"{settings.auth_user_table} is of another type"
        ) from None


def _current(connection: Connection) -> str | None:
    """The revision that the schema is at; None where nothing was made yet."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision()
    if current is None and inspect(connection).has_table("tasks"):
        raise SchemaError(
            "the database has a `tasks` table that this service did not make; "
            "rename or drop it, or use another database"
        )
    return current
