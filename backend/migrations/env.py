"""Alembic's entry: runs migrations on the connection that migrate.py hands over."""

from typing import Any

from alembic import context

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.models import Base, schema, users

settings: Settings = context.config.attributes["settings"]

# Better Auth's tables are not ours to change, nor is anything else in the database.
OURS = set(Base.metadata.tables) - {users.name}


def is_ours(thing: Any, name: str | None, kind: str, reflected: bool, compared_to: Any) -> bool:
    """Whether autogenerate may look at a thing."""
    return name in OURS if kind == "table" else True


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema(settings.auth_user_table, settings.auth_user_id_type),
    version_table=VERSION_TABLE,
    include_object=is_ours,
    render_as_batch=True,  # SQLite cannot alter most things in place
)

with context.begin_transaction():
    context.run_migrations()
