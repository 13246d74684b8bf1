"""Feeds of a user's tasks that calendars subscribe to."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import OwnersKey, UserId, utc_now
from backend.migrations.steps import user_table

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calendars",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("alarm", sa.Integer(), nullable=True),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        OwnersKey("id", name=op.f("calendars_pkey")),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("calendars_secret_idx", "calendars", ["user_id", "secret_hash"], unique=True)


def downgrade() -> None:
    op.drop_table("calendars")
