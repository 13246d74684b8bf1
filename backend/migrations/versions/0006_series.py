"""A task keeps its place in a series apart from its due date. None where nothing has moved: no row is written."""

import sqlalchemy as sa
from alembic import op

from backend.migrations.steps import log_changes, stop_logging

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("series_due", sa.Text(), nullable=True))
    if _names_columns():
        log_changes()


def downgrade() -> None:
    if _names_columns():
        stop_logging()
    op.drop_column("tasks", "series_due")
    if _names_columns():
        log_changes()


def _names_columns() -> bool:
    """Whether the triggers that write changes down name each column: PostgreSQL's take whole rows."""
    return op.get_context().dialect.name == "sqlite"
