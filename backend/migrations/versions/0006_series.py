"""A task keeps its place in a series apart from its due date. None where nothing has moved: no row is written."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("series_due", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "series_due")
