"""What whoever reads the log of changes begins with, and the number of a change: triggers.py writes it."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Insert, Select, and_, bindparam, insert, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from backend.engine import sqlite_transactions
from backend.engine.statements import Transaction
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


OWNED_EVENTS = task_events.c.user_id == bindparam("owner")
LATER = task_events.alias("later")


def happened_later(events: FromClause) -> ColumnElement[bool]:
    """That LATER is about the same task as one of the events, and came after it."""
    return and_(
        LATER.c.user_id == events.c.user_id,
        LATER.c.task_id == events.c.task_id,
        LATER.c.seq > events.c.seq,
    )


def is_about(events: FromClause) -> ColumnElement[bool]:
    """That a task is the one that an event is about."""
    return and_(tasks.c.user_id == events.c.user_id, tasks.c.id == events.c.task_id)


_OWNED = change_counters.c.user_id == bindparam("owner")
_CHANGE: Select[Any] = select(change_counters.c.seq).where(
    _OWNED, change_counters.c.transaction_id == _this_transaction()
)
_SIGNED: Insert = insert(change_sources).from_select(
    ["user_id", "seq", "source"],
    select(
        change_counters.c.user_id,
        change_counters.c.seq,
        bindparam("source", type_=change_sources.c.source.type),
    ).where(_OWNED, change_counters.c.transaction_id == _this_transaction()),
)
_SIGN = _SIGNED.returning(change_sources.c.seq)


async def change_number(transaction: Transaction, user_id: str, source: str | None = None) -> int | None:
    """Return the number of what this transaction has changed of the user's; None where it is nothing.

    To be asked once all is written. `source` says who did it, where that was not a request for one task.
    """
    statement, parameters = (_CHANGE, {}) if source is None else (_SIGN, {"source": source})
    row = await transaction.first(statement, {"owner": user_id, **parameters})
    return None if row is None else row.seq
