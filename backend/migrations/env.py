"""Alembic's entry: runs migrations on the connection that migrate.py hands over.

Without one they are written down as PostgreSQL would be sent them. `online` is the way through a database
that is in use; a fresh one is made in the one transaction that is under way.
"""

from alembic import context
from alembic.operations import Operations

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.migrations import online
from backend.migrations.steps import has_log, log_changes, stop_logging
from backend.models import schema

settings: Settings = context.config.attributes["settings"]

connection = context.config.attributes["connection"]
is_online = context.config.attributes["online"]
if is_online:
    online.begin(connection)

context.configure(
    connection=connection,
    online=is_online,
    dialect_name="postgresql",
    target_metadata=schema(settings.auth_user_table, settings.auth_user_id_type),
    version_table=VERSION_TABLE,
)

steps = context.get_context()
on_sqlite = steps.dialect.name == "sqlite"

with context.begin_transaction():
    # SQLite's triggers name each column of a task, and a table that is altered there loses them.
    if on_sqlite:
        with Operations.context(steps):
            stop_logging()
    context.run_migrations()
    if on_sqlite:
        with Operations.context(steps):
            if has_log():
                log_changes()
