"""A calendar as the programs that subscribe to it read it: iCalendar (RFC 5545). Pure.

Loaded with the first calendar that is read, as the library behind it takes a quarter of a second.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Alarm, Calendar, Event, Todo
from icalendar.prop import vDatetime, vDDDTypes, vDuration, vInt, vRecur

from backend.calendar.schemas import CalendarPublic
from backend.calendar.timezones import timezone_lines, written
from backend.tasks.planning import rest_of_series

REFRESH = timedelta(hours=1)  # how often programs are asked to come
END = b"END:VCALENDAR\r\n"

_PRIORITIES = {"high": 1, "medium": 5, "low": 9}  # RFC 5545, 3.8.1.9
_DAY_RINGS_AT = timedelta(hours=9)  # of its own

# Marks of iCalendar's own (RFC 5545, 3.3.11), what ends a line for some program, and what no text may have.
_TEXT = {ord(mark): f"\\{mark}" for mark in "\\;,"}
_TEXT |= dict.fromkeys(map(ord, "\n\r\x0b\x0c\x85\u2028\u2029"), "\\n")
_TEXT |= dict.fromkeys([*range(9), *range(14, 32), 127], "")


class _Text(str):
    """A text. The library's own takes a backslash before an N for a new line."""

    def to_ical(self) -> bytes:
        """Write it so that it comes out as it was."""
        return self.replace("\r\n", "\n").translate(_TEXT).encode()


class _Texts(tuple[str, ...]):
    """Texts with commas between."""

    __slots__ = ()

    def to_ical(self) -> bytes:
        """Write each so that it comes out as it was."""
        return b",".join(_Text(text).to_ical() for text in self)


def entries(
    calendar: CalendarPublic, owner: str, tasks: list[dict[str, Any]], zones: dict[str, int]
) -> Iterator[bytes]:
    """Write tasks, one by one. The zones that they name go into `zones`, with the first year of each."""
    # Whose they are is not told, but nobody else's have the same names.
    place = hashlib.blake2b(owner.encode(), digest_size=8).hexdigest()
    for task in tasks:
        yield from _entries(calendar, task, f"{task['id']}.{place}@task-api", zones)


def timezones(zones: dict[str, int], now: datetime) -> Iterator[bytes]:
    """Write the zones that tasks have named, one by one."""
    return (timezone_lines(name, year, now.year) for name, year in zones.items())


def head(calendar: CalendarPublic) -> bytes:
    """Write what stands before them: what is said of the calendar itself. END comes last."""
    made = Calendar()
    made["VERSION"] = _Text("2.0")
    made["PRODID"] = _Text("-//Task API//Tasks//EN")
    made["CALSCALE"] = _Text("GREGORIAN")
    made["NAME"] = made["X-WR-CALNAME"] = _Text(calendar.name)
    made["REFRESH-INTERVAL"] = vDuration(REFRESH, params={"VALUE": "DURATION"})
    made["X-PUBLISHED-TTL"] = vDuration(REFRESH)
    return written(made).removesuffix(END)


def _entries(
    calendar: CalendarPublic, task: dict[str, Any], uid: str, zones: dict[str, int]
) -> Iterator[bytes]:
    """A task, and all that is left of its series: one entry where the task stands on the rule, else two.

    So no program has to make sense of a first date that its rule does not fall on, or of one that was moved.
    """
    due: date = task["due_day"] or task["due_at"]
    is_over = task["completed"] or task["recurring_pattern"] is None
    rest = None if is_over else rest_of_series(task)
    if rest is None or rest.due != due or rest.rule is None:
        yield _entry(calendar, task, uid, due)
    if rest is None or (rest.due == due and rest.rule is None):
        return
    first, timezone = rest.first, task["timezone"]
    if isinstance(first, datetime):
        first = first.replace(tzinfo=UTC if timezone == "UTC" else ZoneInfo(timezone))
        if timezone != "UTC":
            zones[timezone] = min(first.year, zones.get(timezone, first.year))
    yield _entry(calendar, task, uid if rest.due == due else f"rest-{uid}", first, rest.rule)


def _entry(
    calendar: CalendarPublic, task: dict[str, Any], uid: str, due: date, rule: str | None = None
) -> bytes:
    is_todo, is_done = calendar.component == "todo", task["completed"]
    made = Todo() if is_todo else Event()
    made["UID"] = _Text(uid)
    made["SEQUENCE"] = vInt(task["version"])
    made["CREATED"] = vDatetime(task["created_at"])
    made["DTSTAMP"] = made["LAST-MODIFIED"] = vDatetime(task["updated_at"])
    made["SUMMARY"] = summary = _Text(f"\u2713 {task['title']}" if is_done and not is_todo else task["title"])
    if task["description"]:
        made["DESCRIPTION"] = _Text(task["description"])
    made["PRIORITY"] = vInt(_PRIORITIES[task["priority"]])
    if task["tags"]:
        made["CATEGORIES"] = _Texts(task["tags"])
    if rule is not None or not is_todo:
        made["DTSTART"] = vDDDTypes(due)
    if rule is not None:
        made["RRULE"] = vRecur.from_ical(rule)
    if is_todo:
        made["DUE"] = vDDDTypes(due)
        made["STATUS"] = _Text("COMPLETED" if is_done else "NEEDS-ACTION")
        made["PERCENT-COMPLETE"] = vInt(100 if is_done else 0)
        if task["completed_at"] is not None:
            made["COMPLETED"] = vDatetime(task["completed_at"])
    else:
        made["TRANSP"] = _Text("TRANSPARENT")  # who has something to do is not away
        if not isinstance(due, datetime) and due < date.max:
            made["DTEND"] = vDDDTypes(due + timedelta(days=1))
    if calendar.alarm is not None and not is_done:
        made.add_component(_alarm(summary, calendar.alarm, due, is_todo=is_todo))
    return written(made)


def _alarm(summary: _Text, minutes: int, due: date, *, is_todo: bool) -> Alarm:
    before = timedelta(minutes=minutes)
    # A whole day begins at midnight, for whoever reads it (RFC 5545, 3.8.6.3).
    trigger = vDuration(-before if isinstance(due, datetime) else _DAY_RINGS_AT - timedelta(before.days))
    if is_todo:
        trigger.params["RELATED"] = "END"
    made = Alarm()
    made["ACTION"] = _Text("DISPLAY")
    made["DESCRIPTION"] = summary
    made["TRIGGER"] = trigger
    return made
