"""Which migrations there are, and which the database has seen. Without Alembic: every start asks."""

from pathlib import Path

from sqlalchemy import Connection, String, column, inspect, select, table

from backend.db import VERSION_TABLE

SCRIPTS = Path(__file__).parent
_VERSION = select(column("version_num", String)).select_from(table(VERSION_TABLE))


class SchemaError(Exception):
    """The database's schema is not one that this version can serve; the message says what to do."""


def revisions() -> list[str]:
    """The revisions that this version knows, in their order: a migration's file begins with its own."""
    return sorted(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision that the schema is at; None where nothing was made yet.

    Raises:
        SchemaError: the tables are somebody else's.
    """
    if inspect(connection).has_table(VERSION_TABLE) and (found := connection.scalar(_VERSION)):
        return str(found)
    if inspect(connection).has_table("tasks"):
        raise SchemaError(
            "the database has a `tasks` table that this service did not make; "
            "rename or drop it, or use another database"
        )
    return None
