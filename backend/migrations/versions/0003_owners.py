"""Everything about tasks begins with their owner: the key too, and no index lacks the owner any more."""

import sqlalchemy as sa
from alembic import op

from backend.migrations.steps import execute_on, rekey

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEWEST = sa.text("created_at DESC"), sa.text("id DESC")


def upgrade() -> None:
    rekey("tasks", "user_id, id")
    execute_on("postgresql", "DROP INDEX tasks_tags_idx")
    op.create_index(
        "tasks_pending_idx",
        "tasks",
        ["user_id", *_NEWEST],
        postgresql_where=sa.text("NOT completed"),
        sqlite_where=sa.text("completed = 0"),
    )
    op.drop_index("tasks_status_idx", "tasks")


def downgrade() -> None:
    op.create_index("tasks_status_idx", "tasks", ["user_id", "completed", *_NEWEST])
    op.drop_index("tasks_pending_idx", "tasks")
    execute_on("postgresql", "CREATE INDEX tasks_tags_idx ON tasks USING gin (tags)")
    rekey("tasks", "id")
