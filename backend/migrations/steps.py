"""What the steps are written with where the two databases differ."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from alembic.operations import BatchOperations

from backend import triggers
from backend.migrations import online
from backend.migrations.safe import BACKFILL, BRIEF


def user_table() -> sa.Table:
    """Better Auth's table, as it is called and keyed here."""
    models: sa.MetaData = op.get_context().opts["target_metadata"]
    return models.tables[context.config.attributes["settings"].auth_user_table]


def execute_on(dialect: str, statement: str) -> None:
    """Run a statement on one of the two databases alone."""
    if op.get_context().dialect.name == dialect:
        op.execute(statement)


def brief(statement: str) -> None:
    """Run a statement on PostgreSQL that is done in a moment, which safe() cannot know.

    It waits for its lock for a moment only, again and again, and fails where it takes longer than a second.
    It must not mind being run twice.
    """
    execute_on("postgresql", BRIEF + statement)


def backfill(table: str, values: str, where: str) -> None:
    """Set values in the rows that meet a condition, which they do no more then: `a = b`, `a IS NULL`.

    A thousand rows at a time where the database is in use. The table must have a primary key.
    """
    if _is_online():
        online.backfill(op.get_bind(), table, values, where)
    else:
        op.execute(f"{BACKFILL}UPDATE {table} SET {values} WHERE {where}")  # noqa: S608 - an author's own words


def fill(insert: str) -> None:
    """Run an INSERT … SELECT of the rows that are missing, and are so no more then.

    A thousand rows at a time where the database is in use.
    """
    if _is_online():
        online.fill(op.get_bind(), insert)
    else:
        op.execute(f"{BACKFILL}{insert}")


def rekey(table: str, columns: str) -> None:
    """Let these, none of which may be null, be PostgreSQL's primary key. Its index is built before."""
    if _is_online():
        key = sa.inspect(op.get_bind()).get_pk_constraint(table)
        if ", ".join(key["constrained_columns"]) == columns:
            return
    execute_on("postgresql", f"CREATE UNIQUE INDEX {table}_new_pkey ON {table} ({columns})")
    brief(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, "
        f"ADD CONSTRAINT {table}_pkey PRIMARY KEY USING INDEX {table}_new_pkey"
    )


def _is_online() -> bool:
    return bool(op.get_context().opts.get("online"))


def log_changes() -> None:
    """Let PostgreSQL write each change of a task down from now on; SQLite is told to after the last step."""
    for statement in triggers.created("postgresql", {}, ""):
        brief(statement)


def stop_logging() -> None:
    """Take the triggers away that write changes down. On SQLite there are none while steps are taken."""
    for statement in triggers.dropped("postgresql"):
        brief(statement)


@contextmanager
def without_triggers(connection: sa.Connection, users: sa.Table) -> Iterator[None]:
    """Take steps without SQLite's triggers, and make them anew for the columns that a task has after them.

    They name each column: one could not be dropped under them, and a table that is altered loses them.
    """
    for statement in triggers.dropped("sqlite"):
        connection.exec_driver_sql(statement)
    yield
    if sa.inspect(connection).has_table("task_events"):
        found = sa.inspect(connection).get_columns("tasks")
        columns = {column["name"]: isinstance(column["type"], sa.JSON) for column in found}
        user_table = connection.dialect.identifier_preparer.format_table(users)
        for statement in triggers.created("sqlite", columns, user_table):
            connection.exec_driver_sql(statement)


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
