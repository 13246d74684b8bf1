"""Everything about tasks begins with their owner: the key too, and no index lacks the owner any more.

On PostgreSQL writes wait while two indexes are built, half a minute for ten million tasks, and reads for a
moment at the end. Where that is too long, build them beforehand, and nothing waits:

    CREATE UNIQUE INDEX CONCURRENTLY tasks_owners_key ON tasks (user_id, id);
    CREATE INDEX CONCURRENTLY tasks_pending_idx ON tasks (user_id, created_at DESC, id DESC)
        WHERE NOT completed;
"""

import sqlalchemy as sa
from alembic import op

from backend.migrations.steps import execute_on

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEWEST = sa.text("created_at DESC"), sa.text("id DESC")


def upgrade() -> None:
    _rekey("user_id, id")
    execute_on("postgresql", "DROP INDEX tasks_tags_idx")
    op.create_index(
        "tasks_pending_idx",
        "tasks",
        ["user_id", *_NEWEST],
        postgresql_where=sa.text("NOT completed"),
        sqlite_where=sa.text("completed = 0"),
        if_not_exists=True,
    )
    op.drop_index("tasks_status_idx", "tasks")


def downgrade() -> None:
    op.create_index("tasks_status_idx", "tasks", ["user_id", "completed", *_NEWEST])
    op.drop_index("tasks_pending_idx", "tasks")
    execute_on("postgresql", "CREATE INDEX tasks_tags_idx ON tasks USING gin (tags)")
    _rekey("id")


def _rekey(columns: str) -> None:
    """Let these be PostgreSQL's primary key. Its index is built first: that is what takes long."""
    execute_on("postgresql", f"CREATE UNIQUE INDEX IF NOT EXISTS tasks_owners_key ON tasks ({columns})")
    execute_on("postgresql", "ALTER TABLE tasks DROP CONSTRAINT tasks_pkey")
    execute_on(
        "postgresql",
        "ALTER TABLE tasks ADD CONSTRAINT tasks_pkey PRIMARY KEY USING INDEX tasks_owners_key",
    )
