"""Conversations with the assistant, their messages, and what they cost."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import OwnersKey, UserId, utc_now
from backend.migrations.steps import user_table

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assistant_usage",
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("assistant_usage_pkey")),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("lease_until", UTCDateTime(), nullable=True),
        sa.Column("stopping", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        OwnersKey("id", name=op.f("conversations_pkey")),
        sa.CheckConstraint("length(title) <= 200", name=op.f("conversations_title_check")),
        sa.ForeignKeyConstraint(["user_id"], [f"{user_table().fullname}.id"], ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", UserId(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'complete'"), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        OwnersKey("id", name=op.f("messages_pkey")),
        sa.CheckConstraint("role IN ('user', 'assistant')", name=op.f("messages_role_check")),
        sa.ForeignKeyConstraint(
            ["user_id", "conversation_id"],
            ["conversations.user_id", "conversations.id"],
            name=op.f("messages_user_id_conversation_id_fkey"),
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.execute(
        "CREATE UNIQUE INDEX conversations_client_idx ON conversations (user_id, client_id) WHERE client_id IS NOT NULL"
    )
    op.execute("CREATE UNIQUE INDEX conversations_owner_idx ON conversations (user_id, id)")
    op.execute("CREATE INDEX conversations_recent_idx ON conversations (user_id, updated_at DESC, id DESC)")
    op.execute(
        "CREATE UNIQUE INDEX messages_client_idx ON messages (user_id, client_id) WHERE client_id IS NOT NULL"
    )
    op.execute("CREATE INDEX messages_conversation_idx ON messages (user_id, conversation_id, id)")


def downgrade() -> None:
    op.execute("DROP INDEX conversations_client_idx")
    op.execute("DROP INDEX conversations_owner_idx")
    op.execute("DROP INDEX conversations_recent_idx")
    op.execute("DROP INDEX messages_client_idx")
    op.execute("DROP INDEX messages_conversation_idx")
    op.drop_table("messages")
    op.drop_table("conversations")
    op.drop_table("assistant_usage")
