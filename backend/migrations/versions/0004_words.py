"""Tasks are found and ordered by their words in any case and spelling: see backend/words.py."""

import sqlalchemy as sa
from alembic import op

from backend.columns import TextList, UserId
from backend.words import word_columns

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BATCH = 1000  # rows that are read and locked at once

_NAMES = ("title_folded", "title_key", "description_folded", "tags_folded")
_tasks = sa.table(
    "tasks",
    sa.column("user_id", UserId()),
    sa.column("id", sa.BigInteger()),
    sa.column("title", sa.Text()),
    sa.column("description", sa.Text()),
    sa.column("tags", TextList()),
    *(sa.column(name, TextList() if name == "tags_folded" else sa.Text()) for name in _NAMES),
)


def upgrade() -> None:
    for name in _NAMES:
        kind = TextList() if name == "tags_folded" else sa.Text()
        op.add_column("tasks", sa.Column(name, kind, nullable=True))
    if not op.get_context().as_sql:
        _fill(op.get_bind())


def downgrade() -> None:
    for name in reversed(_NAMES):
        op.drop_column("tasks", name)


def _fill(connection: sa.Connection) -> None:
    """Fill the columns, a batch at a time in the order of the key. Most tasks have nothing to be filled in."""
    t, last = _tasks.c, None
    update = sa.update(_tasks).where(
        t.user_id == sa.bindparam("its_owner", type_=UserId()),
        t.id == sa.bindparam("its_id", type_=sa.BigInteger()),
        # One that was changed since has been folded by whoever changed it.
        t.title == sa.bindparam("its_title", type_=sa.Text()),
    )
    update = update.values({name: sa.bindparam(f"new_{name}", type_=t[name].type) for name in _NAMES})
    batch = sa.select(t.user_id, t.id, t.title, t.description, t.tags).order_by(t.user_id, t.id).limit(BATCH)
    while True:
        key = sa.tuple_(t.user_id, t.id)
        rows = connection.execute(batch if last is None else batch.where(key > sa.tuple_(*last))).all()
        if not rows:
            return
        filled = []
        for row in rows:
            columns = word_columns(row._asdict())
            if any(value is not None for value in columns.values()):
                its = {"its_owner": row.user_id, "its_id": row.id, "its_title": row.title}
                filled.append(its | {f"new_{name}": columns[name] for name in _NAMES})
        if filled:
            connection.execute(update, filled)
        last = rows[-1].user_id, rows[-1].id
