"""The tasks, and Better Auth's user table where Better Auth has not made it yet."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import UserId, utc_now
from backend.migrations.steps import user_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    user_table().create(op.get_bind(), checkfirst=True)
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("completed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="tasks_pkey"),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 200", name="title"),
        sa.CheckConstraint("length(description) <= 1000", name="description"),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    newest = sa.text("created_at DESC"), sa.text("id DESC")
    op.create_index("tasks_newest_idx", "tasks", ["user_id", *newest])
    op.create_index("tasks_status_idx", "tasks", ["user_id", "completed", *newest])


def downgrade() -> None:
    op.drop_table("tasks")
