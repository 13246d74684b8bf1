"""The statements that look through a user's tasks: lists, counts, statistics. One statement each."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
    union_all,
)

from backend.engine.statements import AT_ONCE, Statements
from backend.fair_cache import fairly_cached
from backend.models import tasks
from backend.tasks.conditions import BY_THE_CLOCK, IS_OVERDUE, TITLE, asked, conditions, has
from backend.tasks.crud import OWNED
from backend.tasks.fields import READ, parameter
from backend.tasks.filters import Order, Sort, TaskFilter, TaskListQuery
from backend.tasks.log import LAST_CHANGE, LastChange
from backend.tasks.schemas import TaskStats
from backend.tasks.sql import folded
from backend.tasks.wire import Task, read
from backend.web.cursor import Position
from backend.words import fold_tag

# The sorts that are not called like a column.
_SORTS = {"created": "created_at", "updated": "updated_at", "due_date": "due_at"}
_WORKED_OUT = ("title", "relevance")  # by no column at all

# The order of titles, for which there is no index: it would cost each toggle an entry (decisions/words.md).
_TITLE_KEY = folded(tasks.c.title_key, tasks.c.title)

# The limit is a subquery's, of which PostgreSQL expects a tenth of the rows: it reads an index in order until
# the page is full. With the number before it, it would read and sort all that a user has wherever the average
# user, or a filter, has less than a page. With a parameter it would plan the statement anew each time.
_ONE_MORE = select(bindparam("one_more", type_=Integer())).scalar_subquery()
_PAGE = select(*READ).limit(_ONE_MORE)


# What does not keep an index from being read in its order until the page is full, and the orders that there
# are: of the pending, and of all.
_UNFILTERED = frozenset({"status", "completed", "sort", "order", "limit", "cursor"})
_INDEXED = frozenset({("created", "desc"), ("created", "asc")})
# A missing date stands last either way, in the index one way.
_INDEXED_OF_ALL = _INDEXED | {("due_date", "asc")}

TAGS_COUNTED = 1000  # of a user; a list of more than that is no overview, and may be any size

# The last change comes with what is found, in one statement: of the same moment. In a list it is a row of its
# own, in the places of columns of its types: so an empty list has it, and no task carries it.
_PLACES = {"id": "seq", "next_task_id": "transaction_id", "created_at": "era"}
_LAST = LAST_CHANGE.subquery("last")
_SEQ, _TRANSACTION_ID, _ERA, _OWNER = (
    [column.name for column in READ].index(name) for name in (*_PLACES, "user_id")
)

# All that an answer goes by beside the tasks themselves; None where it goes by the time as well.
Key = tuple[object, ...] | None


class Page(NamedTuple):
    """A part of a list, where it ended if there is more, what it goes by, and the last change before it."""

    tasks: list[Task]
    end: Position | None
    key: Key
    last: LastChange | None


class Count(NamedTuple):
    """How many tasks there are, and the last change before that."""

    number: int
    last: LastChange | None


class Stats(NamedTuple):
    """Statistics, the last change before them, and until when they hold without one; None for always."""

    stats: TaskStats
    last: LastChange | None
    until: datetime | None


async def list_tasks(
    statements: Statements, user_id: str, query: TaskListQuery, after: Position | None = None
) -> Page:
    """Return one page of the user's tasks: the first, or the one that follows `after`."""
    names, parameters = _asked_of_list(query, after)
    key = _list_key(query, names, parameters)
    continued = None if after is None else "null" if after.value is None else "value"
    statement = _list_statement(user_id, names, len(query.words), query.sort, query.direction, continued)
    rows = await statements.plain(statement, parameters | {"owner": user_id})
    found, last = _parted(rows)
    page = [read(row) for row in found[: query.limit]]
    if len(page) > AT_ONCE:  # others have their turn before it is written
        await asyncio.sleep(0)
    if len(found) <= query.limit:
        return Page(page, None, key, last)
    end = Position(found[query.limit - 1][_sort_index(query.sort)], page[-1].id)
    return Page(page, end, key, last)


def list_key(query: TaskListQuery, after: Position | None) -> Key:
    """Return the `key` of a page, without looking for it."""
    return _list_key(query, *_asked_of_list(query, after))


def count_key(query: TaskFilter) -> Key:
    """Return what a count goes by."""
    names, parameters = asked(query)
    return ("count", names, parameters) if BY_THE_CLOCK.isdisjoint(names) else None


def _asked_of_list(query: TaskListQuery, after: Position | None) -> tuple[tuple[str, ...], dict[str, Any]]:
    names, parameters = asked(query)
    parameters["one_more"] = query.limit + 1
    if after is not None:
        parameters["after_id"] = after.id
    if after is not None and after.value is not None:
        parameters["after_value"] = after.value
    return names, parameters


def _list_key(query: TaskListQuery, names: tuple[str, ...], parameters: dict[str, Any]) -> Key:
    if BY_THE_CLOCK.isdisjoint(names):
        return ("list", names, query.sort, query.direction, parameters)
    return None


def _parted(rows: Sequence[Sequence[Any]]) -> tuple[Sequence[Sequence[Any]], LastChange | None]:
    """The rows of tasks, and what the one of the last change says."""
    if rows and rows[-1][_OWNER] is not None:  # it comes last, as things are; nobody has promised that
        rows = sorted(rows, key=lambda row: row[_OWNER] is None)
    if not rows or rows[-1][_OWNER] is not None:
        return rows, None
    row = rows[-1]
    return rows[:-1], LastChange(row[_SEQ], row[_TRANSACTION_ID], row[_ERA])


def is_dear(query: TaskListQuery) -> bool:
    """Whether a page may take reading all that a user has: no index has just its tasks, in its order."""
    if query.done or not query.model_fields_set <= _UNFILTERED:
        return True
    orders = _INDEXED_OF_ALL if query.done is None else _INDEXED
    return (query.sort, query.direction) not in orders


async def count_tasks(statements: Statements, user_id: str, query: TaskFilter) -> Count:
    """Return how many of the user's tasks meet a filter."""
    names, parameters = asked(query)
    statement = _count_statement(user_id, names, len(query.words))
    [(count, *last)] = await statements.plain(statement, parameters | {"owner": user_id})
    return Count(count, None if last[0] is None else LastChange(*last))


async def get_stats(statements: Statements, user_id: str) -> Stats:
    """Return how many tasks the user has of each kind; of tags the TAGS_COUNTED that most tasks have.

    They hold until the next pending task is overdue.
    """
    last: LastChange | None = None
    until: datetime | None = None
    stats = TaskStats(total=0, pending=0, completed=0, overdue=0, by_priority={}, by_tag={})
    stats.by_priority = {"low": 0, "medium": 0, "high": 0}
    spelt: dict[str, tuple[int, str]] = {}  # of each tag the first task that has it, and how that spells it
    counts: Counter[str] = Counter()
    rows = await statements.plain(_stats_statement(statements.dialect), {"owner": user_id})
    for completed, overdue, priority, tag, count, first, moment in rows:
        if completed is None and tag is None:
            last = LastChange(count, first, moment)
            continue
        if tag is not None:
            key = fold_tag(tag)
            spelt[key] = min(spelt.get(key, (first, tag)), (first, tag))
            counts[key] += count
            continue
        stats.total += count
        stats.completed += count if completed else 0
        stats.overdue += count if overdue else 0
        stats.by_priority[priority] += count
        if moment is not None and not completed and not overdue:
            due = moment.replace(tzinfo=UTC)  # asyncpg's last moment of all has no zone
            until = due if until is None else min(until, due)
    stats.pending = stats.total - stats.completed
    stats.by_tag = {spelt[key][1]: count for key, count in counts.items()}
    return Stats(stats, last, until)


# Building a statement costs more than running it: each is built once.


@fairly_cached(512)
def _list_statement(
    names: tuple[str, ...],
    words: int,
    sort: Sort,
    order: Order,
    continued: str | None,
) -> CompoundSelect[Any]:
    """The rows of a page and one more, which says that there is more; each with its place in the order.

    And the last change. PostgreSQL and SQLite run the parts of a UNION ALL one after the other.
    """
    page = _page_statement(names, words, sort, order, continued).subquery("page")
    no_values = {column.name: type_coerce(null(), column.type) for column in page.c}
    places = {name: _LAST.c[own] for name, own in _PLACES.items()}
    return union_all(select(page), select(*(no_values | places).values()))


def _page_statement(
    names: tuple[str, ...], words: int, sort: Sort, order: Order, continued: str | None
) -> Select[Any]:
    column: ColumnElement[Any]
    nullable = False
    statement = _PAGE.where(conditions(names, words))
    if sort in _WORKED_OUT:
        column = _relevance(words) if sort == "relevance" else _TITLE_KEY
        statement = statement.add_columns(column)
    else:
        column = _column(sort)
        nullable = bool(column.nullable)
    descending = order == "desc"
    keys = [column, tasks.c.id]
    ordering: list[ColumnElement[Any]] = [key.desc() if descending else key.asc() for key in keys]
    if nullable:  # without a value: at the end, either way
        ordering[0] = ordering[0].nulls_last()
    statement = statement.order_by(*ordering)
    if continued is None:
        return statement
    last_id = parameter("id", "after_id")
    if continued == "null":
        further = tasks.c.id < last_id if descending else tasks.c.id > last_id
        return statement.where(column.is_(None), further)
    here = tuple_(*keys)
    there = tuple_(bindparam("after_value", type_=column.type), last_id)
    beyond: ColumnElement[bool] = here < there if descending else here > there
    return statement.where(or_(beyond, column.is_(None)) if nullable else beyond)


def _column(sort: Sort) -> Column[Any]:
    return tasks.c[_SORTS.get(sort, sort)]


@cache
def _sort_index(sort: Sort) -> int:
    """Where in a row its place in the order stands: in a column that is read, or behind them all."""
    names = [column.name for column in READ]
    return len(names) if sort in _WORKED_OUT else names.index(_column(sort).name)


def _relevance(words: int) -> ColumnElement[Any]:
    """How many of the words the title has: the rest is in the description."""
    total: ColumnElement[Any] = literal_column("0")
    for number in range(words):
        total = total + case((has(TITLE, number), 1), else_=0)
    return total


@fairly_cached(512)
def _count_statement(names: tuple[str, ...], words: int) -> Select[Any]:
    count = select(func.count().label("count")).select_from(tasks).where(conditions(names, words))
    return select(found := count.subquery("found"), _LAST).select_from(found.outerjoin(_LAST, true()))


@cache
def _stats_statement(dialect: str) -> Any:
    """Rows of three kinds: groups of tasks, spellings of tags, and the last change.

    A group has its size and when the first of its tasks is due, a spelling its size and its first task.
    The tasks are read once, into groups that are alike in all of this: mostly few, whose tags then follow.
    """
    overdue = case((IS_OVERDUE, 1), else_=0).label("overdue")
    alike = (
        select(
            tasks.c.completed,
            overdue,
            tasks.c.priority,
            tasks.c.tags,
            func.count().label("size"),
            func.min(tasks.c.id).label("first"),
            func.min(tasks.c.due_at).label("due"),
        )
        .where(OWNED)
        .group_by(tasks.c.completed, overdue, tasks.c.priority, tasks.c.tags)
        .cte("alike")
    )
    size = cast(func.sum(alike.c.size), BigInteger).label("size")
    state = (alike.c.completed, alike.c.overdue, alike.c.priority)
    states = select(*state, null(), size, null(), func.min(alike.c.due).label("due")).group_by(*state)
    if dialect == "postgresql":
        each = func.unnest(alike.c.tags).table_valued("value").render_derived()
    else:
        each = func.json_each(alike.c.tags).table_valued("value")
    tags = (
        select(each.c.value, size, func.min(alike.c.first).label("first"))
        .select_from(alike)
        .join(each, literal_column("true"))
        .group_by(each.c.value)
        .order_by(size.desc(), each.c.value)
        .limit(TAGS_COUNTED)
        .subquery()
    )
    none_of_these = (
        type_coerce(null(), tasks.c.completed.type),
        null(),
        type_coerce(null(), tasks.c.priority.type),
    )
    return union_all(
        states,
        select(*none_of_these, tags.c.value, tags.c.size, tags.c.first, null()),
        select(*none_of_these, null(), *_LAST.c),
    )
