"""The schema's state: made or checked at start, changed by Alembic on command.

Processes that start together take turns (Database.schema_connection), so the first makes the tables and the
others find them. There is no alembic.ini: what it would say is said here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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
from backend.models import schema

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
        await connection.run_sync(_current)
        await connection.run_sync(lambda sync: command.upgrade(_config(sync, settings), revision))


async def downgrade(database: Database, settings: Settings, revision: str) -> None:
    """Take the schema back to a revision (`base`: to nothing)."""
    async with _turn(database) as connection:
        await connection.run_sync(lambda sync: command.downgrade(_config(sync, settings), revision))


async def write_migration(database: Database, settings: Settings, message: str) -> None:
    """Write a new migration from the difference between the models and the database."""
    async with _turn(database) as connection:
        await connection.run_sync(
            lambda sync: command.revision(_config(sync, settings), message, autogenerate=True)
        )


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.schema_connection() as connection:
            yield connection
    except (SQLAlchemyError, *CONNECT_ERRORS) as error:
        raise SchemaError(
            f"the database refused to look at or change the schema: {describe(error)}"
        ) from error


def _config(connection: Connection, settings: Settings) -> Config:
    config = Config(attributes={"connection": connection, "settings": settings})
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _create(connection: Connection, settings: Settings) -> None:
    user_schema = settings.auth_user_table.rpartition(".")[0]
    if user_schema and not inspect(connection).has_schema(user_schema):
        connection.execute(CreateSchema(user_schema))  # as Better Auth does
    try:
        schema(settings.auth_user_table, settings.auth_user_id_type).create_all(connection)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42804":  # two types that no foreign key can join
            raise
        raise SchemaError(
            f"AUTH_USER_ID_TYPE is {settings.auth_user_id_type}, but the id of the table "
            f"{settings.auth_user_table} is of another type"
        ) from None


def _prepare(connection: Connection, settings: Settings) -> str:
    config = _config(connection, settings)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    assert head is not None, "there are migrations"
    current = _current(connection)
    if current == head:
        return head
    if current is None:
        _create(connection, settings)
        _context(connection).stamp(scripts, head)
        return head
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
    command.upgrade(config, head)
    return head


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})


def _current(connection: Connection) -> str | None:
    """The revision that the schema is at; None where nothing was made yet."""
    current = _context(connection).get_current_revision()
    if current is None and inspect(connection).has_table("tasks"):
        raise SchemaError(
            "the database has a `tasks` table that this service did not make; "
            "rename or drop it, or use another database"
        )
    return current
