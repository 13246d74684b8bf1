"""Alembic's entry: runs migrations on the connection that migrate.py hands over.

Without one they are written down as PostgreSQL would be sent them.
"""

from alembic import context

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.models import schema

settings: Settings = context.config.attributes["settings"]

context.configure(
    connection=context.config.attributes["connection"],
    dialect_name="postgresql",
    target_metadata=schema(settings.auth_user_table, settings.auth_user_id_type),
    version_table=VERSION_TABLE,
)

with context.begin_transaction():
    context.run_migrations()
