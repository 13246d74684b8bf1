"""Runs migrations. Loaded when there are some to run: Alembic is a tenth of a start, and 8 MB."""

from argparse import Namespace
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from backend.config import Settings
from backend.migrations import state
from backend.migrations.state import SchemaError, current_revision


def alembic(
    settings: Settings, connection: Connection | None, *, online: bool = False, **options: Any
) -> Config:
    """What Alembic's commands are given: the migrations, and the database to run them on.

    Without one they can be written down, with `sql=True`, as PostgreSQL would be sent them. See env.py for
    `online`.
    """
    attributes = {"connection": connection, "settings": settings, "online": online}
    config = Config(attributes=attributes, cmd_opts=Namespace(quiet=True), **options)
    config.set_main_option("script_location", str(state.SCRIPTS).replace("%", "%%"))  # ConfigParser's escape
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def upgrade(connection: Connection, settings: Settings, revision: str, *, online: bool = False) -> None:
    """Bring the schema to a revision, making what is missing and keeping every row.

    `online`, on a connection in autocommit, lets readers and writers go on meanwhile.

    Raises:
        SchemaError: there is no such revision, or the user table has ids of another type.
    """
    user_schema = settings.auth_user_table.rpartition(".")[0]
    if (
        current_revision(connection) is None
        and user_schema
        and not inspect(connection).has_schema(user_schema)
    ):
        connection.execute(CreateSchema(user_schema))  # as Better Auth does
    try:
        command.upgrade(alembic(settings, connection, online=online), revision)
    except CommandError as error:
        raise SchemaError(str(error)) from None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42804":  # two types that no foreign key can join
            raise
        raise SchemaError(
            f"AUTH_USER_ID_TYPE is {settings.auth_user_id_type}, but the id of the table "
            f"{settings.auth_user_table} is of another type"
        ) from None


def downgrade(connection: Connection, settings: Settings, revision: str, *, online: bool = False) -> None:
    """Take the schema back to a revision (`base`: to nothing). `online` as for upgrade().

    Raises:
        SchemaError: there is no such revision.
    """
    try:
        command.downgrade(alembic(settings, connection, online=online), revision)
    except CommandError as error:
        raise SchemaError(str(error)) from None
