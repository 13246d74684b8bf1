"""${message[0].upper() + message[1:]}."""

import sqlalchemy as sa
from alembic import op

from backend.migrations.steps import altered, execute_on, user_table
${imports}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
${upgrades}


def downgrade() -> None:
${downgrades}
