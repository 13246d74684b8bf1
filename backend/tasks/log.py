"""What whoever reads the log of changes begins with, and the number of a change: triggers.py writes it."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Insert,
    Select,
    and_,
    bindparam,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from backend.columns import utc_now
from backend.engine import sqlite_transactions
from backend.engine.statements import Statements, Transaction
from backend.models import change_counters, change_sources, task_events, tasks


class _this_transaction(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The number of the transaction that runs; null where it has written nothing."""

    type = BigInteger()
    inherit_cache = True


@compiles(_this_transaction)
def _on_postgresql(element: _this_transaction, compiler: SQLCompiler, **kw: Any) -> str:
    return "pg_current_xact_id_if_assigned()::text::bigint"


@compiles(_this_transaction, "sqlite")
def _on_sqlite(element: _this_transaction, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({sqlite_transactions.CURRENT})"


# Each table by the owner's own name: Citus does not find out through an outer join that they are the same.
OWNED_EVENTS = task_events.c.user_id == bindparam("owner")
OWNED_SOURCES = change_sources.c.user_id == bindparam("owner")
LATER = task_events.alias("later")


def happened_later(events: FromClause) -> ColumnElement[bool]:
    """That LATER is about the same task as one of the owner's events, and came after it."""
    return and_(
        LATER.c.user_id == bindparam("owner"),
        LATER.c.task_id == events.c.task_id,
        LATER.c.seq > events.c.seq,
    )


def is_about(events: FromClause) -> ColumnElement[bool]:
    """That a task is the one that an event of the owner's is about."""
    return and_(tasks.c.user_id == bindparam("owner"), tasks.c.id == events.c.task_id)


_OWNED = change_counters.c.user_id == bindparam("owner")


class LastChange(NamedTuple):
    """The last change of a user's tasks: while it is the last one, they are as they are.

    A number alone comes again, with other tasks, where the database is restored or a user made anew.
    """

    seq: int
    transaction_id: int | None
    era: datetime | None


class _era(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """What a database that was restored has another of.

    PostgreSQL starts anew for that, and never runs a transaction of the same number again until it does.
    SQLite has no such number: there it is the time of the change, as long as the log knows it.
    """

    type = task_events.c.at.type
    inherit_cache = True


@compiles(_era)
def _era_on_postgresql(element: _era, compiler: SQLCompiler, **kw: Any) -> str:
    return "pg_postmaster_start_time()"


@compiles(_era, "sqlite")
def _era_on_sqlite(element: _era, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


_AT = (
    select(task_events.c.at)
    .where(OWNED_EVENTS, task_events.c.seq == change_counters.c.seq)
    .order_by(task_events.c.task_id)
    .limit(literal_column("1"))
    .scalar_subquery()
)
# Its columns are those of LastChange. No row where the user has never changed a task.
LAST_CHANGE = select(change_counters.c.seq, change_counters.c.transaction_id, _era(_AT).label("era")).where(
    _OWNED
)
_LAST_CHANGE_NOW = LAST_CHANGE.add_columns(utc_now().label("now"))


async def last_change(statements: Statements, user_id: str) -> tuple[LastChange, datetime] | None:
    """Return the last change of the user's tasks, and the database's time; None where there never was one."""
    rows = await statements.plain(_LAST_CHANGE_NOW, {"owner": user_id})
    return (LastChange(*rows[0][:3]), rows[0][3]) if rows else None


_CHANGE: Select[Any] = select(change_counters.c.seq).where(
    _OWNED, change_counters.c.transaction_id == _this_transaction()
)
# By a name of its own: Citus asks another machine for the transaction's number otherwise, which has another.
_OWN = _CHANGE.add_columns(change_counters.c.user_id).cte("own")
_SIGNED: Insert = insert(change_sources).from_select(
    ["user_id", "seq", "source"],
    select(_OWN.c.user_id, _OWN.c.seq, bindparam("source", type_=change_sources.c.source.type)),
)
_SIGN = _SIGNED.returning(change_sources.c.seq)


async def change_number(transaction: Transaction, user_id: str, source: str | None = None) -> int | None:
    """Return the number of what this transaction has changed of the user's; None where it is nothing.

    To be asked once all is written. `source` says who did it, where that was not a request for one task.
    """
    statement, parameters = (_CHANGE, {}) if source is None else (_SIGN, {"source": source})
    row = await transaction.first(statement, {"owner": user_id, **parameters})
    return None if row is None else row.seq
