"""Alembic's entry: runs migrations on the connection that migrate.py hands over.

Without one they are written down as PostgreSQL would be sent them. `online` is the way through a database
that is in use; a fresh one is made in the one transaction that is under way.
"""

from contextlib import nullcontext

from alembic import context

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.migrations import online
from backend.migrations.steps import without_triggers
from backend.schema import schema

settings: Settings = context.config.attributes["settings"]

connection = context.config.attributes["connection"]
is_online = context.config.attributes["online"]
if is_online:
    online.begin(connection)

models = schema(settings.auth_user_table, settings.auth_user_id_type)

context.configure(
    connection=connection,
    online=is_online,
    dialect_name="postgresql",
    target_metadata=models,
    version_table=VERSION_TABLE,
)

on_sqlite = context.get_context().dialect.name == "sqlite"
users = models.tables[settings.auth_user_table]

with context.begin_transaction(), without_triggers(connection, users) if on_sqlite else nullcontext():
    context.run_migrations()
