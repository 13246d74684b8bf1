"""How due dates and series lie in columns. Pure functions."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from backend.errors import InvalidBody
from backend.tasks import recurrence
from backend.tasks.fields import INHERITED
from backend.tasks.recurrence import Rest, after_completion, day_of, next_occurrence, on_clocks
from backend.tasks.schemas import in_zone

Due = datetime | date | None


def due_columns(due: Due, timezone: str) -> dict[str, Any]:
    """Return `due_at` and `due_day` of a due date; a day is due at its last moment in its time zone."""
    if due is None or isinstance(due, datetime):
        return {"due_at": due, "due_day": None}
    end = datetime.combine(due, time.max, ZoneInfo(timezone))
    try:
        return {"due_at": end.astimezone(UTC), "due_day": due}
    except OverflowError:  # west of Greenwich the last day of all ends after it
        return {"due_at": datetime.max.replace(tzinfo=UTC), "due_day": due}


def series_columns(pattern: str | None, due: Due, timezone: str) -> dict[str, Any]:
    """Return the columns of a series that begins with `due`; no series without a pattern."""
    start = None if pattern is None or due is None else place(due, timezone)
    return {"recurring_pattern": pattern, "series_start": start, "series_due": None}


def place(due: datetime | date, timezone: str) -> str:
    """Return a date of a series as it is stored: a day, or the time on its zone's clocks, and their offset.

    The offset is for versions that took the whole for an instant, and may run beside this one for a while.
    """
    at = on_clocks(due, timezone)
    if isinstance(at, datetime) and at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(timezone))
    return at.isoformat()


def _place(text: str, timezone: str) -> datetime | date:
    """The date of a series that is stored so, as the clocks of its zone show it.

    One in UTC, where the clocks are not, is an instant: so earlier versions wrote all of them.
    """
    if "T" not in text:
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() or not moment.replace(tzinfo=ZoneInfo(timezone)).utcoffset():
        return moment.replace(tzinfo=None)
    return on_clocks(moment, timezone)


def _at(text: str, timezone: str) -> datetime | date:
    """The date of a series that is stored so, read in a time zone."""
    at = _place(text, timezone)
    if not isinstance(at, datetime):
        return at
    with suppress(OverflowError):
        return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(timezone))).astimezone(UTC)
    return at.replace(tzinfo=UTC)


def restated(task: Mapping[str, Any]) -> dict[str, str | None]:
    """Return a task's dates of its series as they would be stored now: others wrote them otherwise."""
    dates = {name: task[name] for name in ("series_start", "series_due")}
    zone = task["timezone"]
    return {name: None if text is None else place(_place(text, zone), zone) for name, text in dates.items()}


def merged(task: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that `changes`, an update's fields, make of a task's due date and series.

    Raises:
        InvalidBody: they would leave a series without a pattern or a due date.
    """
    old_due = task["due_day"] or task["due_at"]
    due = changes.get("due_date", old_due)
    timezone = changes.get("timezone", task["timezone"])
    if isinstance(due, datetime):
        try:
            due = in_zone(due, timezone)
        except ValueError as error:
            raise InvalidBody("due_date", str(error)) from None
    pattern = changes.get("recurring_pattern", task["recurring_pattern"])
    recurring = changes.get("recurring")
    if recurring is False or (recurring is None and pattern is None):
        pattern = None
    elif pattern is None:
        raise InvalidBody("recurring", "recurring: true needs a recurring_pattern")
    if pattern is not None and due is None:
        raise InvalidBody("due_date", "a recurring task needs a due_date; recurring: false ends the series")
    columns = due_columns(due, timezone) | {"timezone": timezone}
    anew = changes.get("series") == "restart" or type(due) is not type(old_due)
    if anew or pattern != task["recurring_pattern"]:
        columns |= series_columns(pattern, due, timezone)
    elif pattern is not None and (due != old_due or timezone != task["timezone"]):
        # What is moved is this task alone: it keeps its place, as the clocks of its zone so far showed it.
        at = {"series_start": task["series_start"], "series_due": task["series_due"]}
        columns |= {
            name: place(
                on_clocks(old_due, task["timezone"]) if text is None else _place(text, task["timezone"]),
                timezone,
            )
            for name, text in at.items()
        }
    return columns


def successor(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the columns of the task that follows a recurring one; None at the end of its series.

    Of a series that is counted from completions it begins the rest.
    """
    pattern, start, timezone = task["recurring_pattern"], task["series_start"], task["timezone"]
    inherited = {name: task[name] for name in INHERITED}
    following: Due
    if task["recur_from"] == "completion":
        done = day_of(on_clocks(task["completed_at"], timezone))
        here = on_clocks(_here(task), timezone)
        rest = after_completion(pattern, _place(start, timezone), here, done, timezone)
        if rest is None:
            return None
        following = rest.due
        inherited |= {"recurring_pattern": rest.pattern, "series_start": place(rest.place, timezone)}
    else:
        following = next_occurrence(pattern, _at(start, timezone), _here(task), timezone)
        if following is None:
            return None
    return inherited | due_columns(following, timezone) | {"completed": False, "series_due": None}


def rest_of_series(task: Mapping[str, Any]) -> Rest | None:
    """Return what is left of a recurring task's series from its due date on, as other programs need it.

    That begins with the task where it is due at its place, and else with what follows it. None at the end,
    and where the next date is not known before the task is completed.
    """
    if task["recur_from"] == "completion":
        return None
    timezone, here = task["timezone"], _here(task)
    return recurrence.rest(
        task["recurring_pattern"],
        _at(task["series_start"], timezone),
        here,
        timezone,
        including=here == (task["due_day"] or task["due_at"]),
    )


def _here(task: Mapping[str, Any]) -> datetime | date:
    """Where in its series a recurring task stands: at its due date, unless that was moved."""
    if task["series_due"] is not None:
        return _at(task["series_due"], task["timezone"])
    due: datetime | date = task["due_day"] or task["due_at"]
    return due
