"""From a filter to what a statement's rows must meet."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, bindparam, false, func, not_, or_
from sqlalchemy.sql import visitors

from backend.columns import PRIORITIES, TextList, utc_now
from backend.models import tasks
from backend.tasks.crud import OWNED
from backend.tasks.fields import parameter
from backend.tasks.filters import DAYS_NEAR, TaskFilter
from backend.tasks.sql import IdList, among, contains_all, contains_any, folded, folded_list, local_day
from backend.words import fold_tag

IS_OVERDUE = and_(not_(tasks.c.completed), tasks.c.due_at.is_not(None), tasks.c.due_at < utc_now())
TITLE = folded(tasks.c.title_folded, tasks.c.title)
_DESCRIPTION = folded(tasks.c.description_folded, tasks.c.description)
_TAGS = folded_list(tasks.c.tags_folded, tasks.c.tags)
_ASKED_TAGS = bindparam("tags", type_=TextList())
_OWN_DAY = local_day(tasks.c.due_at, tasks.c.timezone)
_FARTHEST = timedelta(hours=16)  # from UTC, of any zone at any time


def _evenly(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition that no index helps with, and of which PostgreSQL expects that half of the rows meet it.

    By itself it expects so few with a tag or a word that it reads and sorts all that a user has, where it can
    read an index in order until the page is full.
    """
    return func.coalesce(condition, false())


def _at(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=tasks.c.due_at.type)


def _day(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=tasks.c.due_day.type)


# What a filter can ask, by name. A day is compared with days as such; what is due at an instant, by the zone
# that was asked for (`_day`), or else by its own (`_own_day`), looked up only where zones may differ.
_CONDITIONS: dict[str, ColumnElement[bool]] = {
    # No parameter: PostgreSQL has to see that the index of the pending tasks is enough.
    "pending": not_(tasks.c.completed),
    "completed": tasks.c.completed.is_(True),
    "priority": among(tasks.c.priority, bindparam("priority", type_=IdList())),
    "tags_all": _evenly(contains_all(_TAGS, _ASKED_TAGS)),
    "tags_any": _evenly(contains_any(_TAGS, _ASKED_TAGS)),
    "due_before": tasks.c.due_at < _at("due_before"),
    "due_before_day": or_(
        tasks.c.due_day < _day("due_before_day"),
        and_(tasks.c.due_day.is_(None), tasks.c.due_at < _at("due_before")),
    ),
    "due_before_own_day": or_(
        tasks.c.due_day < _day("due_before_day"),
        and_(
            tasks.c.due_day.is_(None),
            tasks.c.due_at < _at("due_before_last"),
            or_(tasks.c.due_at < _at("due_before_first"), _day("due_before_day") > _OWN_DAY),
        ),
    ),
    "due_after": tasks.c.due_at > _at("due_after"),
    "due_after_day": or_(
        tasks.c.due_day > _day("due_after_day"),
        and_(tasks.c.due_day.is_(None), tasks.c.due_at > _at("due_after")),
    ),
    "due_after_own_day": or_(
        tasks.c.due_day > _day("due_after_day"),
        and_(
            tasks.c.due_day.is_(None),
            tasks.c.due_at > _at("due_after_first"),
            or_(tasks.c.due_at > _at("due_after_last"), _day("due_after_day") < _OWN_DAY),
        ),
    ),
    "overdue": IS_OVERDUE,
    "not_overdue": not_(IS_OVERDUE),
    "due": tasks.c.due_at.is_not(None),
    "not_due": tasks.c.due_at.is_(None),
    "created_after": tasks.c.created_at > _at("created_after"),
    "updated_after": tasks.c.updated_at > _at("updated_after"),
}

# Those that tasks may come to meet, or cease to, without a change of theirs.
BY_THE_CLOCK = frozenset(
    name
    for name, condition in _CONDITIONS.items()
    if any(isinstance(part, utc_now) for part in visitors.iterate(condition))
)

# The filters that are called like a column, and ask for its value.
_PLAIN = tuple(
    name
    for name in TaskFilter.model_fields
    if name in tasks.c and name not in ("completed", "priority", "timezone")
)


@cache
def _equals(name: str) -> ColumnElement[bool]:
    return tasks.c[name] == parameter(name, name)


@cache
def _word(number: int) -> ColumnElement[bool]:
    return _evenly(or_(has(TITLE, number), has(_DESCRIPTION, number)))


def conditions(names: tuple[str, ...], words: int) -> ColumnElement[bool]:
    """Return what rows must meet: the owner, the named conditions and a number of words."""
    return and_(
        OWNED,
        *(_CONDITIONS[name] if name in _CONDITIONS else _equals(name) for name in names),
        *map(_word, range(words)),
    )


def asked(query: TaskFilter) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of a filter's conditions, and their parameters: the same however it is spelt."""
    names: list[str] = []
    parameters: dict[str, Any] = {f"word_{n}": f"%{_escape(word)}%" for n, word in enumerate(query.words)}
    for name in _PLAIN:
        value = getattr(query, name)
        if value is not None:
            names.append(name)
            parameters[name] = value
    if query.done is not None:
        names.append("completed" if query.done else "pending")
    if query.priority:
        names.append("priority")
        known = set(query.priority) & set(PRIORITIES)
        parameters["priority"] = sorted(PRIORITIES.index(name) + 1 for name in known)
    if query.tag:
        names.append(f"tags_{query.tag_match}")
        parameters["tags"] = sorted(set(map(fold_tag, query.tag)))
    if query.overdue is not None:
        names.append("overdue" if query.overdue else "not_overdue")
    if query.has_due_date is not None:
        names.append("due" if query.has_due_date else "not_due")
    for name in ("due_before", "due_after", "created_after", "updated_after"):
        moment: datetime | date | str | None = getattr(query, name)
        if moment is not None:
            condition, values = _since_or_until(name, moment, query.timezone)
            names.append(condition)
            parameters |= values
    return tuple(names), parameters


def _since_or_until(
    name: str, moment: datetime | date | str, timezone: str | None
) -> tuple[str, dict[str, Any]]:
    """The condition that a moment of a filter makes, and its parameters."""
    if isinstance(moment, str):
        today = datetime.now(ZoneInfo(timezone or "UTC")).date()
        moment = today + timedelta(days=DAYS_NEAR[moment])
    if isinstance(moment, datetime):
        return name, {name: moment}
    # Before a day is before its first moment, after it after its last.
    edge = datetime.combine(moment, time.max if name.endswith("after") else time.min)
    if name.startswith("due") and timezone is None:
        window = {f"{name}_first": _utc(edge, -_FARTHEST), f"{name}_last": _utc(edge, _FARTHEST)}
        return f"{name}_own_day", {f"{name}_day": moment} | window
    if timezone is not None:
        edge = edge.replace(tzinfo=ZoneInfo(timezone))
    at = {name: _utc(edge)}
    return (f"{name}_day", at | {f"{name}_day": moment}) if name.startswith("due") else (name, at)


def _utc(moment: datetime, later: timedelta = timedelta()) -> datetime:
    """A moment in UTC, moved; at the ends of time, the first or the last."""
    try:
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return utc + later
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if moment.year > 1 else datetime.min.replace(tzinfo=UTC)


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def has(column: ColumnElement[Any], number: int) -> ColumnElement[bool]:
    """Whether a folded column has the folded word of that number."""
    return column.like(bindparam(f"word_{number}"), escape="\\")
