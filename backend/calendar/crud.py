"""The statements on calendars, and the one that reads what they show. Each carries its owner."""

import heapq
import json
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, func, insert, literal, select

from backend.calendar.errors import CalendarLimitReached, CalendarNotFound
from backend.calendar.schemas import CalendarCreate, CalendarFilter, CalendarPublic
from backend.engine.prepared import Row
from backend.engine.statements import Statements
from backend.fair_cache import fairly_cached
from backend.models import calendars, change_counters, tasks
from backend.slices import sliced
from backend.tasks.conditions import asked, conditions

CALENDARS_MAX = 20  # of a user
ENTRIES_MAX = 2000  # tasks that a calendar shows

_OWNED = calendars.c.user_id == bindparam("owner")
_SAID = ("name", "component", "alarm", "filter")
_PUBLIC = tuple(calendars.c[name] for name in ("id", *_SAID, "created_at"))
_OWNER = bindparam("user_id", type_=calendars.c.user_id.type)
_COUNT = select(func.count()).select_from(calendars).where(calendars.c.user_id == _OWNER).scalar_subquery()
_NEW: dict[str, ColumnElement[Any]] = {
    name: bindparam(name, type_=calendars.c[name].type) for name in ("secret_hash", *_SAID)
}
_CREATE = (
    insert(calendars)
    .from_select(["user_id", *_NEW], select(_OWNER, *_NEW.values()).where(literal(CALENDARS_MAX) > _COUNT))
    .returning(*_PUBLIC)
)
_LIST = select(*_PUBLIC).where(_OWNED).order_by(calendars.c.id)
_DELETE = (
    delete(calendars)
    .where(_OWNED, calendars.c.id == bindparam("calendar_id", type_=calendars.c.id.type))
    .returning(calendars.c.id)
)
# With the number of the user's last change: what the calendar shows is as new as that.
_FIND = (
    select(*_PUBLIC, func.coalesce(change_counters.c.seq, 0).label("change"))
    .select_from(calendars.outerjoin(change_counters, change_counters.c.user_id == bindparam("owner")))
    .where(_OWNED, calendars.c.secret_hash == bindparam("secret_hash"))
)

# What an entry of a calendar is made of.
_NAMES = (
    *("id", "title", "description", "completed", "completed_at", "priority", "tags"),
    *("timezone", "recurring_pattern", "recur_from", "series_start", "series_due", "due_at", "due_day"),
    *("version", "created_at", "updated_at"),
)
_SHOWN = tuple(tasks.c[name] for name in _NAMES)
# A subquery's, as in tasks/lists.py: PostgreSQL then reads an index in its order.
_MOST = select(bindparam("most", type_=Integer())).scalar_subquery()


class Found(NamedTuple):
    """A calendar that was found by its secret."""

    calendar: CalendarPublic
    query: CalendarFilter
    change: int  # the number of the last change of any of its owner's tasks


async def create_calendar(
    statements: Statements, user_id: str, secret_hash: str, calendar: CalendarCreate
) -> CalendarPublic:
    """Insert a calendar of the user's.

    Raises:
        UnknownUser: the user has no row.
        CalendarLimitReached: the user has CALENDARS_MAX.
    """
    said = calendar.filter.model_dump_json(exclude_unset=True)
    parameters = calendar.model_dump(exclude={"filter"}) | {"filter": said, "secret_hash": secret_hash}
    row = await statements.first(_CREATE, parameters | {"user_id": user_id})
    if row is None:
        raise CalendarLimitReached
    return _public(row)


async def list_calendars(statements: Statements, user_id: str) -> list[CalendarPublic]:
    """Return the user's calendars, the oldest first."""
    return [_public(row) for row in await statements.all(_LIST, {"owner": user_id})]


async def delete_calendar(statements: Statements, user_id: str, calendar_id: int) -> None:
    """Delete a calendar, and with it its address; or raise CalendarNotFound."""
    if not await statements.plain(_DELETE, {"owner": user_id, "calendar_id": calendar_id}):
        raise CalendarNotFound


async def find_calendar(statements: Statements, user_id: str, secret_hash: str) -> Found:
    """Return the user's calendar with such a secret, or raise CalendarNotFound."""
    row = await statements.first(_FIND, {"owner": user_id, "secret_hash": secret_hash})
    if row is None:
        raise CalendarNotFound
    return Found(_public(row), CalendarFilter.model_validate_json(row.filter), int(row.change))


def _public(row: Row) -> CalendarPublic:
    said = json.loads(row.filter)
    values = {name: getattr(row, name) for name in ("id", "name", "component", "alarm", "created_at")}
    return CalendarPublic(**values, filter=said)


async def get_entries(
    statements: Statements, user_id: str, query: CalendarFilter, now: datetime
) -> list[dict[str, Any]]:
    """Return the user's tasks with a due date that meet a filter, by columns, in the order of those dates.

    Of more than ENTRIES_MAX these are the ones that are due nearest to `now`. Two statements: each reads an
    index in its order, away from now, until there are enough.
    """
    names, parameters = asked(query)
    parameters |= {"owner": user_id, "now": now, "most": ENTRIES_MAX}
    found: list[list[dict[str, Any]]] = []
    for later in (True, False):
        statement = _entries_statement(user_id, names, len(query.words), later)
        rows = await statements.plain(statement, parameters)
        found.append([dict(zip(_NAMES, row, strict=True)) async for row in sliced(rows)])
    nearest = heapq.merge(*found, key=lambda task: abs(task["due_at"] - now))
    return sorted(islice(nearest, ENTRIES_MAX), key=lambda task: (task["due_at"], task["id"]))


@fairly_cached(128)
def _entries_statement(names: tuple[str, ...], words: int, later: bool) -> Select[Any]:
    now, due = bindparam("now", type_=tasks.c.due_at.type), tasks.c.due_at
    side = due >= now if later else due < now
    order = (due, tasks.c.id) if later else (due.desc(), tasks.c.id.desc())
    return select(*_SHOWN).where(conditions(names, words), side).order_by(*order).limit(_MOST)
