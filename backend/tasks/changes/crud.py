"""The statements that read what has changed: first all tasks there are, then the log."""

from typing import Any, NamedTuple

from sqlalchemy import bindparam, exists, select, tuple_

from backend.engine.statements import Statements
from backend.models import ID_MAX, change_counters, task_events, tasks
from backend.tasks.crud import OWNED
from backend.tasks.errors import CursorExpired
from backend.tasks.fields import READ
from backend.tasks.log import OWNED_EVENTS, happened_later, is_about
from backend.tasks.wire import Task, read

_ID = tasks.c.id.type
_COUNTER = select(change_counters.c.seq, change_counters.c.floor).where(
    change_counters.c.user_id == bindparam("owner")
)
_COPY = (
    select(*READ)
    .where(OWNED, tasks.c.id > bindparam("after_id", type_=_ID))
    .order_by(tasks.c.id)
    .limit(bindparam("one_more", type_=_ID))
)
_EVENTS = (
    select(task_events.c.user_id, task_events.c.seq, task_events.c.task_id)
    .where(
        OWNED_EVENTS,
        tuple_(task_events.c.seq, task_events.c.task_id)
        > tuple_(bindparam("after_seq", type_=_ID), bindparam("after_id", type_=_ID)),
        # Of a task that has changed again only the last change counts.
        ~exists().where(happened_later(task_events)),
    )
    .order_by(task_events.c.seq, task_events.c.task_id)
    .limit(bindparam("one_more", type_=_ID))
    .subquery("events")
)
# The counter, the events and their tasks of one moment: what is committed later has a higher number.
_SINCE = (
    select(change_counters.c.seq, change_counters.c.floor, _EVENTS.c.seq, _EVENTS.c.task_id, *READ)
    .select_from(
        change_counters.outerjoin(_EVENTS, _EVENTS.c.user_id == change_counters.c.user_id).outerjoin(
            tasks, is_about(_EVENTS)
        )
    )
    .where(change_counters.c.user_id == bindparam("owner"))
    .order_by(_EVENTS.c.seq, _EVENTS.c.task_id)
)


class Place(NamedTuple):
    """How far a copy has come: in the log, or, where it is being made, through the tasks there are.

    In the log: past the event of the task `task_id` in change `seq`. Else: past that task, and the log has to
    be read from `seq` on.
    """

    seq: int
    task_id: int
    in_log: bool


class Step(NamedTuple):
    """What has changed, as tasks or the ids of those that are gone, and where that leads to."""

    changes: list[Task | int]
    place: Place
    has_more: bool


class Reach(NamedTuple):
    """The last change of a log, and the last that may have been forgotten."""

    seq: int
    floor: int

    @property
    def end(self) -> Place:
        """Where a copy is that has all of it."""
        return Place(self.seq, ID_MAX, in_log=True)

    def is_known(self, place: Place) -> bool:
        """Whether it can be told what has changed since then."""
        return not place.in_log or self.floor <= place.seq <= self.seq


async def get_reach(statements: Statements, user_id: str) -> Reach:
    """Return how far the log of a user goes."""
    row = await statements.first(_COUNTER, {"owner": user_id})
    return Reach(0, 0) if row is None else Reach(row.seq, row.floor)


async def get_changes(statements: Statements, user_id: str, place: Place | None, limit: int) -> Step:
    """Return the next `limit` changes after a place; without one those of an empty copy.

    A task is told of once, as it is now, with its last change. What is committed meanwhile comes later.

    Raises:
        CursorExpired: what has changed since then is not known any more, or not of this log.
    """
    if place is None:
        # The number comes first: what changes before the tasks are read is told of twice, not never.
        place = Place((await get_reach(statements, user_id)).seq, 0, in_log=False)
    if place.in_log:
        return await _read_log(statements, user_id, place, limit)
    parameters = {"owner": user_id, "after_id": place.task_id, "one_more": limit + 1}
    rows = await statements.plain(_COPY, parameters)
    found: list[Task | int] = [read(row) for row in rows[:limit]]
    if len(rows) > limit:
        return Step(found, place._replace(task_id=read(rows[limit - 1]).id), has_more=True)
    # What has changed since may be told of in part, where it is more than one task.
    has_changed = (await get_reach(statements, user_id)).seq > place.seq
    return Step(found, Place(place.seq, ID_MAX, in_log=True), has_more=has_changed)


async def _read_log(statements: Statements, user_id: str, place: Place, limit: int) -> Step:
    parameters = {
        "owner": user_id,
        "after_seq": place.seq,
        "after_id": place.task_id,
        "one_more": limit + 1,
    }
    rows = await statements.plain(_SINCE, parameters)
    reach = Reach(*rows[0][:2]) if rows else Reach(0, 0)
    if not reach.is_known(place):
        raise CursorExpired
    events = [row[2:] for row in rows if row[2] is not None]
    found = [_change(event) for event in events[:limit]]
    if len(events) > limit:
        last = events[limit - 1]
        return Step(found, Place(last[0], last[1], in_log=True), has_more=True)
    return Step(found, reach.end, has_more=False)


def _change(event: Any) -> Task | int:
    _, task_id, *columns = event
    gone = columns[0] is None  # the first of READ is the id
    return int(task_id) if gone else read(columns)
