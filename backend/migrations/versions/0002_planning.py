"""What people plan with: due dates, priorities, tags, recurrence, versions; and answered POSTs."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import PriorityLevel, TextList, UserId, no_texts, utc_now
from backend.migrations.steps import altered, backfill, user_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_IMPORTED = sa.text("import_key IS NOT NULL")


def upgrade() -> None:
    with altered("tasks") as tasks:
        tasks.add_column(sa.Column("completed_at", UTCDateTime(), nullable=True))
        tasks.add_column(sa.Column("priority", PriorityLevel(), server_default=sa.text("2"), nullable=False))
        tasks.add_column(sa.Column("tags", TextList(), server_default=no_texts(), nullable=False))
        tasks.add_column(sa.Column("due_at", UTCDateTime(), nullable=True))
        tasks.add_column(sa.Column("due_day", sa.Date(), nullable=True))
        tasks.add_column(sa.Column("timezone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False))
        tasks.add_column(sa.Column("recurring_pattern", sa.Text(), nullable=True))
        tasks.add_column(sa.Column("series_start", sa.Text(), nullable=True))
        tasks.add_column(sa.Column("next_task_id", sa.BigInteger(), nullable=True))
        tasks.add_column(sa.Column("import_key", sa.Text(), nullable=True))
        tasks.add_column(sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
        tasks.create_check_constraint("priority", "priority BETWEEN 1 AND 3")
    # When they were completed was not kept before; the last change is the best that is known.
    backfill("tasks", "completed_at = updated_at", "completed AND completed_at IS NULL")
    op.create_index(
        "tasks_import_idx",
        "tasks",
        ["user_id", "import_key"],
        unique=True,
        postgresql_where=_IMPORTED,
        sqlite_where=_IMPORTED,
    )
    op.create_index("tasks_due_idx", "tasks", ["user_id", "due_at", "id"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("tasks_tags_idx", "tasks", ["tags"], postgresql_using="gin")
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "key", name="idempotency_keys_pkey"),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
    )
    op.create_index("idempotency_keys_age_idx", "idempotency_keys", ["user_id", "created_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    for index in ("tasks_due_idx", "tasks_import_idx"):
        op.drop_index(index, "tasks")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("tasks_tags_idx", "tasks")
    with altered("tasks") as tasks:
        tasks.drop_constraint("priority", type_="check")  # the naming convention knows the rest
        for column in ("completed_at", "priority", "tags", "due_at", "due_day", "timezone"):
            tasks.drop_column(column)
        for column in ("recurring_pattern", "series_start", "next_task_id", "import_key", "version"):
            tasks.drop_column(column)
