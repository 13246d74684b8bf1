"""The statements that look through a user's tasks: lists, counts, statistics. One statement each."""

from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from backend.models import PRIORITIES, TextList, tasks, utc_now
from backend.tasks.crud import OWNED
from backend.tasks.filters import LIST_MAX, Order, Sort, TaskFilter, TaskListQuery
from backend.tasks.schemas import TaskStats
from backend.tasks.sql import (
    IdList,
    among,
    contains_all,
    contains_any,
    json_object,
    wire_day,
    wire_time,
)
from backend.web.cursor import Position

_SORTS: dict[str, str] = {
    "created": "created_at",
    "updated": "updated_at",
    "title": "title",
    "due_date": "due_at",
    "priority": "priority",
    "relevance": "relevance",
}
_IS_OVERDUE = and_(not_(tasks.c.completed), tasks.c.due_at.is_not(None), tasks.c.due_at < utc_now())
_TAGS = bindparam("tags", type_=TextList())


def _at(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=tasks.c.due_at.type)


def _day(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=tasks.c.due_day.type)


def _level_name(level: ColumnElement[str]) -> ColumnElement[str]:
    names: dict[Any, Any] = {
        literal_column(str(number)): literal_column(f"'{name}'") for number, name in enumerate(PRIORITIES, 1)
    }
    return case(names, value=level)


# What a filter can ask, by name. A day is compared with days as such; an instant due on no whole day, by UTC.
_CONDITIONS: dict[str, ColumnElement[bool]] = {
    "completed": tasks.c.completed == bindparam("completed"),
    "priority": among(tasks.c.priority, bindparam("priority", type_=IdList())),
    "tags_all": contains_all(tasks.c.tags, _TAGS),
    "tags_any": contains_any(tasks.c.tags, _TAGS),
    "due_before": tasks.c.due_at < _at("due_before"),
    "due_before_day": or_(
        tasks.c.due_day < _day("due_before_day"),
        and_(tasks.c.due_day.is_(None), tasks.c.due_at < _at("due_before")),
    ),
    "due_after": tasks.c.due_at > _at("due_after"),
    "due_after_day": or_(
        tasks.c.due_day > _day("due_after_day"),
        and_(tasks.c.due_day.is_(None), tasks.c.due_at > _at("due_after")),
    ),
    "overdue": _IS_OVERDUE,
    "not_overdue": not_(_IS_OVERDUE),
    "due": tasks.c.due_at.is_not(None),
    "not_due": tasks.c.due_at.is_(None),
    "created_after": tasks.c.created_at > _at("created_after"),
    "updated_after": tasks.c.updated_at > _at("updated_after"),
}


# A task as TaskPublic writes it, made by the database: that spares a list's rows their way through Python.
_WIRE = json_object(
    tasks.c.id.label("id"),
    bindparam("user_id", type_=Text()).label("user_id"),
    tasks.c.title.label("title"),
    tasks.c.description.label("description"),
    tasks.c.completed.label("completed"),
    wire_time(tasks.c.completed_at).label("completed_at"),
    _level_name(tasks.c.priority).label("priority"),
    tasks.c.tags.label("tags"),
    tasks.c.timezone.label("timezone"),
    tasks.c.recurring_pattern.label("recurring_pattern"),
    tasks.c.next_task_id.label("next_task_id"),
    tasks.c.version.label("version"),
    wire_time(tasks.c.created_at).label("created_at"),
    wire_time(tasks.c.updated_at).label("updated_at"),
    func.coalesce(wire_day(tasks.c.due_day), wire_time(tasks.c.due_at)).label("due_date"),
    tasks.c.recurring_pattern.is_not(None).label("recurring"),
)


# What clients ask for most stands in the SQL itself. A limit that is a parameter PostgreSQL takes for a tenth
# of the table, and so plans the list anew each time: a third of what the list costs it.
USUAL_LIMITS = frozenset({10, 20, 25, 50, 100, 200, 500, LIST_MAX})


class Page(NamedTuple):
    """A part of a list as JSON, and where it ended if there is more."""

    body: str
    end: Position | None


async def list_tasks(
    session: AsyncSession, user_id: str, query: TaskListQuery, after: Position | None = None
) -> Page:
    """Return one page of the user's tasks: the first, or the one that follows `after`."""
    names, parameters = asked(query)
    parameters |= {"owner": user_id, "user_id": user_id, "limit": query.limit, "one_more": query.limit + 1}
    if after is not None:
        parameters |= {"after_value": after.value, "after_id": after.id}
    continued = None if after is None else "null" if after.value is None else "value"
    usual = query.limit if query.limit in USUAL_LIMITS else None
    statement = _list_statement(names, len(query.words), query.sort, query.direction, continued, usual)
    body, is_more, last, last_id = (await session.execute(statement, parameters)).one()
    return Page(body, Position(last, last_id) if is_more else None)


async def count_tasks(session: AsyncSession, user_id: str, query: TaskFilter) -> int:
    """Return how many of the user's tasks meet a filter."""
    names, parameters = asked(query)
    statement = _count_statement(names, len(query.words))
    count: int = (await session.execute(statement, parameters | {"owner": user_id})).scalar_one()
    return count


async def get_stats(session: AsyncSession, user_id: str) -> TaskStats:
    """Return how many tasks the user has of each kind."""
    statement = _stats_statement(session.get_bind().dialect.name)
    stats = TaskStats(total=0, pending=0, completed=0, overdue=0, by_priority={}, by_tag={})
    stats.by_priority = {"low": 0, "medium": 0, "high": 0}
    for completed, overdue, priority, tag, count in await session.execute(statement, {"owner": user_id}):
        if tag is not None:
            stats.by_tag[tag] = count
            continue
        stats.total += count
        stats.completed += count if completed else 0
        stats.overdue += count if overdue else 0
        stats.by_priority[priority] += count
    stats.pending = stats.total - stats.completed
    return stats


def conditions(names: tuple[str, ...], words: int) -> ColumnElement[bool]:
    """Return what rows must meet: the owner, the named conditions and a number of words."""
    return and_(
        OWNED,
        *(_CONDITIONS[name] for name in names),
        *(or_(_has(tasks.c.title, number), _has(tasks.c.description, number)) for number in range(words)),
    )


def asked(query: TaskFilter) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of a filter's conditions, and their parameters."""
    names: list[str] = []
    parameters: dict[str, Any] = {f"word_{n}": f"%{_escape(word)}%" for n, word in enumerate(query.words)}
    if query.done is not None:
        names.append("completed")
        parameters["completed"] = query.done
    if query.priority:
        names.append("priority")
        parameters["priority"] = sorted({PRIORITIES.index(name) + 1 for name in query.priority})
    if query.tag:
        names.append(f"tags_{query.tag_match}")
        parameters["tags"] = list(dict.fromkeys(query.tag))
    if query.overdue is not None:
        names.append("overdue" if query.overdue else "not_overdue")
    if query.has_due_date is not None:
        names.append("due" if query.has_due_date else "not_due")
    for name in ("due_before", "due_after", "created_after", "updated_after"):
        moment: datetime | date | None = getattr(query, name)
        if isinstance(moment, datetime):
            names.append(name)
            parameters[name] = moment
        elif moment is not None:
            names.append(f"{name}_day" if name.startswith("due") else name)
            parameters[f"{name}_day"] = moment
            # Before a day is before its first moment, after it after its last.
            parameters[name] = datetime.combine(moment, time.max if name.endswith("after") else time.min, UTC)
    return tuple(names), parameters


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _has(column: ColumnElement[Any], number: int) -> ColumnElement[bool]:
    return column.ilike(bindparam(f"word_{number}"), escape="\\")


# Building a statement costs more than running it: each is built once.


@lru_cache(maxsize=512)
def _list_statement(
    names: tuple[str, ...],
    words: int,
    sort: Sort,
    order: Order,
    continued: str | None,
    usual: int | None,
) -> Any:
    column: ColumnElement[Any] = _relevance(words) if sort == "relevance" else tasks.c[_SORTS[sort]]
    one_more: Any = bindparam("one_more") if usual is None else literal_column(str(usual + 1))
    found = _ordered(column, sort, order, continued).where(conditions(names, words)).limit(one_more)
    page = found.subquery()
    numbered = select(page, func.row_number().over().label("number")).subquery()
    limit = bindparam("limit", type_=Integer())
    here, last = numbered.c.number <= limit, numbered.c.number == limit
    comma: Any = literal_column("','")
    listed = func.aggregate_strings(numbered.c.task, comma).filter(here)
    return select(
        literal_column("'['") + func.coalesce(listed, literal_column("''")) + literal_column("']'"),
        func.count() > limit,
        func.max(numbered.c.key).filter(last),
        func.max(numbered.c.id).filter(last),
    )


def _ordered(column: ColumnElement[Any], sort: Sort, order: Order, continued: str | None) -> Select[Any]:
    """The rows of a page and one more, each as JSON with its place in the order."""
    statement = select(_WIRE.label("task"), column.label("key"), tasks.c.id)
    descending = order == "desc"
    keys = [column, tasks.c.id]
    ordering: list[ColumnElement[Any]] = [key.desc() if descending else key.asc() for key in keys]
    if sort == "due_date":  # without one: at the end, either way
        ordering.insert(0, column.is_(None))
    statement = statement.order_by(*ordering)
    if continued is None:
        return statement
    last_id = bindparam("after_id", type_=tasks.c.id.type)
    if continued == "null":
        further = tasks.c.id < last_id if descending else tasks.c.id > last_id
        return statement.where(column.is_(None), further)
    here = tuple_(*keys)
    there = tuple_(bindparam("after_value", type_=column.type), last_id)
    beyond: ColumnElement[bool] = here < there if descending else here > there
    return statement.where(or_(beyond, column.is_(None)) if sort == "due_date" else beyond)


def _relevance(words: int) -> ColumnElement[Any]:
    """How many of the words the title has: the rest is in the description."""
    total: ColumnElement[Any] = literal_column("0")
    for number in range(words):
        total = total + case((_has(tasks.c.title, number), 1), else_=0)
    return total


@lru_cache(maxsize=512)
def _count_statement(names: tuple[str, ...], words: int) -> Select[Any]:
    return select(func.count()).select_from(tasks).where(conditions(names, words))


@lru_cache(maxsize=2)
def _stats_statement(dialect: str) -> Any:
    """Rows of two kinds: the sizes of groups of tasks, and of tags."""
    overdue = case((_IS_OVERDUE, 1), else_=0)
    groups = (
        select(tasks.c.completed, overdue, tasks.c.priority, null(), func.count())
        .where(OWNED)
        .group_by(tasks.c.completed, overdue, tasks.c.priority)
    )
    if dialect == "postgresql":
        each = func.unnest(tasks.c.tags).table_valued("value").render_derived()
    else:
        each = func.json_each(tasks.c.tags).table_valued("value")
    tags = (
        select(
            type_coerce(null(), tasks.c.completed.type),
            null(),
            type_coerce(null(), tasks.c.priority.type),
            each.c.value,
            func.count(),
        )
        .select_from(tasks)
        .join(each, literal_column("true"))
        .where(OWNED)
        .group_by(each.c.value)
    )
    return union_all(groups, tags)
