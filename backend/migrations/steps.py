"""What the steps are written with where the two databases differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from alembic.operations import BatchOperations


def user_table() -> sa.Table:
    """Better Auth's table, as it is called and keyed here."""
    models: sa.MetaData = op.get_context().opts["target_metadata"]
    return models.tables[context.config.attributes["settings"].auth_user_table]


def execute_on(dialect: str, statement: str) -> None:
    """Run a statement on one of the two databases alone."""
    if op.get_context().dialect.name == dialect:
        op.execute(statement)


@contextmanager
def altered(table: str, **table_kwargs: Any) -> Iterator[BatchOperations]:
    """A table, to be altered. On SQLite, which alters little in place, a copy takes its place.

    The copy has what Alembic's would lose: indexes on expressions, AUTOINCREMENT (unless `table_kwargs` say
    otherwise), and the last id, so that those of deleted rows are not given again.
    """
    if op.get_context().dialect.name != "sqlite":
        with op.batch_alter_table(table) as batch:
            yield batch
        return
    bind = op.get_bind()
    its = sa.text("SELECT type, name, sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL")
    parts = bind.execute(its, {"table": table}).all()
    indexes = {name: sql for kind, name, sql in parts if kind == "index"}
    counts = any("AUTOINCREMENT" in sql for kind, _, sql in parts if kind == "table")
    table_kwargs = {"sqlite_autoincrement": counts} | table_kwargs
    last_id = _last_id(bind, table) if counts else None
    for name in indexes:
        op.drop_index(name, table)
    with op.batch_alter_table(table, recreate="always", table_kwargs=table_kwargs) as batch:
        yield batch
    for sql in indexes.values():
        op.execute(sql)
    if last_id is not None and table_kwargs["sqlite_autoincrement"]:
        bind.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
        last = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :seq)")
        bind.execute(last, {"table": table, "seq": last_id})


def _last_id(bind: sa.Connection, table: str) -> int | None:
    last: int | None = bind.scalar(
        sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}
    )
    return last
