"""Alembic's entry: runs migrations on the connection that migrate.py hands over."""

from typing import Any

from alembic import context
from sqlalchemy import Connection

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.models import Base, schema, users

settings: Settings = context.config.attributes["settings"]
connection: Connection = context.config.attributes["connection"]
models = schema(settings.auth_user_table, settings.auth_user_id_type)

# Better Auth's tables are not ours to change, nor is anything else in the database.
OURS = set(Base.metadata.tables) - {users.name}

# SQLite does not tell what an index on expressions is made of, and has none of PostgreSQL's own kinds:
# compared, each would be made anew every time.
UNREADABLE = {
    index.name
    for table in models.tables.values()
    for index in table.indexes
    if connection.dialect.name == "sqlite"
    and (len(index.columns) < len(index.expressions) or index.dialect_options["postgresql"]["using"])
}


def is_ours(thing: Any, name: str | None, kind: str, reflected: bool, compared_to: Any) -> bool:
    """Whether autogenerate may look at a thing."""
    return name in OURS if kind == "table" else name not in UNREADABLE


context.configure(
    connection=connection,
    target_metadata=models,
    version_table=VERSION_TABLE,
    include_object=is_ours,
    render_as_batch=True,  # SQLite cannot alter most things in place
)

with context.begin_transaction():
    context.run_migrations()
