"""Runs migrations on a PostgreSQL that serves meanwhile: each statement in its safe form, alone, patiently.

Alembic's own way is one transaction that keeps every lock to its end. Here each statement is committed as it
is done, so that a run that was killed is taken up where it ended.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import Connection, CursorResult, Executable, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DDLElement
from sqlalchemy.util.concurrency import await_only

from backend.migrations.safe import Step, safe
from backend.migrations.state import SchemaError

log = logging.getLogger(__name__)

LOCK_WAIT = 0.2  # seconds that a statement waits for its lock, and all who come after it with it
BRIEF_MAX = 1.0  # seconds that it may take once it has it
PATIENCE = 600.0  # seconds after which a lock is given up
PAUSE_FIRST, PAUSE_MAX = 0.1, 3.0  # seconds between two attempts
PROGRESS_INTERVAL = 5.0  # seconds
BATCH = 1000  # rows of a backfill that are locked at once

# A lock that did not come in time, a statement that took too long, a deadlock.
_PASSING = frozenset({"55P03", "57014", "40P01"})

# What the server does by itself should this process be killed or the network fall silent: it sees within
# seconds that nobody is there, ends what runs, and so frees what is locked.
_SESSION = {
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "lock_timeout": "0",
    "statement_timeout": "0",
}
# Older servers lack the first of them.
_SET = "SELECT set_config(name, $2, false) FROM pg_settings WHERE name = $1"
_TRANSACTION = f"""
SELECT set_config('lock_timeout', '{LOCK_WAIT * 1000:.0f}', true),
       set_config('statement_timeout', '{BRIEF_MAX * 1000:.0f}', true),
       set_config('idle_in_transaction_session_timeout', '{BRIEF_MAX * 2000:.0f}', true)"""
_OLDEST = """
SELECT pid, application_name, extract(epoch FROM now() - xact_start)::int AS seconds FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'
AND xact_start < now() - interval '1 s' ORDER BY xact_start LIMIT 1"""
_IS_INVALID = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)"
_IS_PARTITIONED = "SELECT relkind IN ('p', 'I') FROM pg_class WHERE oid = to_regclass($1)"
_PARTITIONS = "SELECT relid::text FROM pg_partition_tree(to_regclass($1)) WHERE isleaf"
_ROWS = "SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = to_regclass($1)"


class OnlineImpl(PostgresqlImpl):
    """Alembic's hand on PostgreSQL. Where env.py says `online` it sends what safe() makes of a statement."""

    __dialect__ = "postgresql"

    def _exec(
        self,
        construct: Executable | str,
        execution_options: Mapping[str, Any] | None = None,
        multiparams: Sequence[Mapping[str, Any]] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> CursorResult[Any] | None:
        # What is no text and no DDL is Alembic's own row in its table of revisions.
        if not self.context_opts.get("online") or not isinstance(
            construct, str | DDLElement | type(text(""))
        ):
            return super()._exec(construct, execution_options, multiparams, params or {})
        sql = construct if isinstance(construct, str) else str(construct.compile(dialect=self.dialect))
        assert self.connection is not None
        for step in safe(sql):
            take(self.connection, step)
        return None


def begin(connection: Connection) -> None:
    """Make a connection, which is in autocommit, one that leaves nothing behind if it ends halfway."""
    for name, value in _SESSION.items():
        connection.exec_driver_sql(_SET, (name, value))


def take(connection: Connection, step: Step) -> None:
    """Take a step, unless it was taken before.

    Raises:
        SchemaError: its lock was not to be had within PATIENCE.
    """
    if step.unless and _scalar(connection, step.unless):
        return
    if step.brief:
        _patiently(connection, step.sql, lambda: _briefly(connection, step.sql))
    elif step.builds:
        _build(connection, step)
    elif step.sql.startswith("DROP INDEX") and _scalar(connection, _IS_PARTITIONED, step.sql.split()[-1]):
        take(connection, Step(step.sql.replace(" CONCURRENTLY", "")))
    else:
        _patiently(connection, step.sql, lambda: connection.exec_driver_sql(step.sql))


def backfill(connection: Connection, table: str, values: str, where: str) -> None:
    """Set values in the rows of a table that meet a condition, BATCH rows at a time, ordered by their key."""
    quote = connection.dialect.identifier_preparer.quote
    columns = [quote(name) for name in inspect(connection).get_pk_constraint(table)["constrained_columns"]]
    key, last = ", ".join(columns), ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    upto = ", ".join(f"${n}" for n in range(len(columns) + 1, 2 * len(columns) + 1))
    # The last key of the next BATCH.
    ahead = f"SELECT {key} FROM {table} WHERE {{}} ORDER BY {key} LIMIT 1 OFFSET {BATCH - 1}"  # noqa: S608 - an author's
    update = f"UPDATE {table} SET {values} WHERE ({where}) AND {{}}"  # noqa: S608 - likewise
    rows, done, told = _scalar(connection, _ROWS, table), 0, time.monotonic()
    after, arguments = "true", ()
    while True:
        end = connection.exec_driver_sql(ahead.format(after), arguments).first()
        bounds = after if end is None else f"{after} AND ({key}) <= ({upto if arguments else last})"
        batch = arguments + tuple(end or ())
        what = update.format(bounds)
        _patiently(connection, what, partial(_briefly, connection, what, batch))
        if end is None:
            return
        after, arguments, done = f"({key}) > ({last})", tuple(end), done + BATCH
        if time.monotonic() - told > PROGRESS_INTERVAL:
            told = time.monotonic()
            log.info("%d %% of %s", min(99, done * 100 // rows), table)


def fill(connection: Connection, insert: str) -> None:
    """Run an INSERT of the rows that are missing, BATCH of them at a time, until none is."""
    batch = f"{insert} LIMIT {BATCH}"
    added = BATCH

    def run() -> None:
        nonlocal added
        added = _briefly(connection, batch)

    while added:
        _patiently(connection, batch, run)


def _build(connection: Connection, step: Step) -> None:
    """Build an index while all goes on; that of a partitioned table is made of those of its partitions."""
    if _scalar(connection, _IS_PARTITIONED, step.table):
        for (partition,) in connection.exec_driver_sql(_PARTITIONS, (step.table,)).all():
            name = "_".join(part.split(".")[-1].strip('"') for part in (partition, step.builds))[-63:]
            its = step.sql.replace(f" {step.builds} ON {step.table} ", f' "{name}" ON {partition} ')
            _build(connection, step._replace(sql=its, builds=f'"{name}"', table=partition))
        take(connection, Step(step.sql.replace(" CONCURRENTLY", "")))  # takes theirs for its own
        return

    def build() -> None:
        if _scalar(connection, _IS_INVALID, step.builds):
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {step.builds}")
        connection.exec_driver_sql(step.sql)

    try:
        _patiently(connection, step.sql, build)
    except DBAPIError:  # two rows are alike: what is left of the index would go on to refuse others
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {step.builds}")
        raise


def _briefly(connection: Connection, sql: str, arguments: tuple[Any, ...] = ()) -> int:
    """Run one statement that waits for its lock, and keeps it, for a moment only; return its rowcount."""
    connection.exec_driver_sql("BEGIN")
    try:
        connection.exec_driver_sql(_TRANSACTION)
        touched = connection.exec_driver_sql(sql, arguments).rowcount
        connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        if not error.connection_invalidated:
            connection.exec_driver_sql("ROLLBACK")
        raise
    return touched


def _patiently(connection: Connection, sql: str, run: Callable[[], object]) -> None:
    """Run a statement until its lock is to be had."""
    began, pause, told = time.monotonic(), PAUSE_FIRST, False
    if not sql.startswith(("UPDATE", "INSERT")):
        log.info("%s", " ".join(sql.split()))
    while True:
        try:
            run()
            return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _PASSING:
                raise
            if time.monotonic() - began > PATIENCE:
                what = " ".join(sql.split())[:200]
                raise SchemaError(
                    f"gave up after {PATIENCE:.0f} s on {what!r}: {_holder(connection)}; "
                    "end it and run `make migrate` again, which goes on from there"
                ) from error
            if not told:
                log.info("waiting, and letting others pass: %s", _holder(connection))
                told = True
        await_only(asyncio.sleep(pause * random.uniform(0.5, 1)))  # noqa: S311 - jitter, not a secret
        pause = min(pause * 2, PAUSE_MAX)


def _holder(connection: Connection) -> str:
    """Who probably has what we wait for."""
    oldest = connection.exec_driver_sql(_OLDEST).first()
    if oldest is None:
        return "other transactions hold the table"
    its = oldest.application_name or "of no name"
    return f"process {oldest.pid} ({its}) has had a transaction open for {oldest.seconds} s"


def _scalar(connection: Connection, sql: str, *arguments: Any) -> Any:
    return connection.exec_driver_sql(sql, arguments).scalar()
