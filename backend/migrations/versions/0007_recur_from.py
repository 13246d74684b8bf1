"""What the next date of a series is counted from: its due date, as ever, or the completion."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "tasks", sa.Column("recur_from", sa.Text(), server_default=sa.text("'due'"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("tasks", "recur_from")
