"""A log of what changes, by user: what is synchronised, undone and taken out of the trash."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import Image, UserId, utc_now
from backend.migrations.steps import execute_on, fill, log_changes, stop_logging, user_table

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNTED = ["change_counters.user_id"]


def upgrade() -> None:
    op.create_table(
        "change_counters",
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=True),
        sa.Column("floor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="change_counters_pkey"),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
    )
    op.create_table(
        "task_events",
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("before", Image(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", "seq", "task_id", name="task_events_pkey"),
        sa.ForeignKeyConstraint(["user_id"], _COUNTED, ondelete="CASCADE"),
    )
    op.create_index("task_events_task_idx", "task_events", ["user_id", "task_id", "seq"])
    op.create_table(
        "change_sources",
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "seq", name="change_sources_pkey"),
        sa.ForeignKeyConstraint(["user_id"], _COUNTED, ondelete="CASCADE"),
    )
    execute_on("sqlite", "INSERT INTO sqlite_sequence (name, seq) VALUES ('transaction', 0)")
    # A counter refers to its user, and so waits for whoever deletes them; no change of theirs may wait so.
    users = op.get_context().dialect.identifier_preparer.format_table(user_table())
    fill(
        f"INSERT INTO change_counters (user_id, seq) SELECT id, 0 FROM {users} "  # noqa: S608 - its own name
        "WHERE NOT EXISTS (SELECT 1 FROM change_counters WHERE user_id = id)"
    )
    log_changes()


def downgrade() -> None:
    stop_logging()
    for table in ("change_sources", "task_events", "change_counters"):
        op.drop_table(table)
    execute_on("sqlite", "DELETE FROM sqlite_sequence WHERE name = 'transaction'")
