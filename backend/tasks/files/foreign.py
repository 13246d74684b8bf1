"""What Todoist, TickTick, Microsoft's, Google's and other tools call our fields, and write in them."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backend.tasks.fields import BOOLEANS, LISTS, TEXTS
from backend.tasks.files.schemas import FIELDS, PROTECTED
from backend.tasks.recurrence import parse_timezone
from backend.tasks.schemas import TaskPublic
from backend.web.addresses import snake_case

# The other names of each field, those before others that are likelier to mean it.
_NAMES: dict[str, tuple[str, ...]] = {
    "title": ("task_name", "task", "name", "subject", "summary", "todo", "to_do", "content"),
    "description": ("notes", "note", "content", "details", "body", "comments"),
    "completed": ("done", "is_completed", "finished", "checked", "status", "complete"),
    "completed_at": ("completed_time", "completed_date", "date_completed", "completion_date"),
    "created_at": ("created", "created_time", "created_date", "date_created"),
    "due_date": ("due", "due_at", "due_on", "date", "deadline"),
    "tags": ("tag", "labels", "label", "categories", "category"),
    "priority": ("importance",),
    "timezone": ("time_zone",),
    "recurring_pattern": ("repeat", "recurrence", "rrule"),
    "all_day": ("is_all_day",),
}
_FIELDS = ("title", *(name for name in FIELDS if name not in ("title", "updated_at")), "recurring", "all_day")

# Names that say nothing that an import could keep.
KNOWN = TaskPublic.model_fields.keys()

_YES = "true yes y 1 x on ✓ ✔ ☑ ja wahr oui vrai done completed complete finished closed checked 2"
_NO = "false no n 0 off nein falsch non faux needsaction not_started in_progress open todo pending normal"
_STATES = dict.fromkeys(_YES.split(), True) | dict.fromkeys(_NO.split(), False)
_PRIORITIES = {"normal": "medium", "none": "medium", "urgent": "high", "critical": "high"}
# Numbers mean the contrary in one tool of what they do in the other: they are read where the tool is known.
_TODOIST = {"1": "high", "2": "medium", "3": "low", "4": "medium"}
_TICKTICK = {"5": "high", "3": "medium", "1": "low", "0": "medium"}


def readable(text: str) -> str:
    """Return a text that answers can carry: it may hold halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", snake_case(name.strip())).strip("_")


_OF_GOOGLE = {"notes": "description", "status": "completed", "completed": "completed_at", "due": "due_date"}
_OF_GOOGLE |= {"created": "created_at"}
_GOOGLES_OWN = frozenset({"id", "kind", "etag", "selfLink", "position", "updated"})


def google_task(item: Mapping[str, Any]) -> dict[str, Any]:
    """What a task of Google's, as Takeout writes it, means. It is due on a day, told as its first moment.

    Raises:
        ValueError: it was deleted.
    """
    if item.get("deleted") is True:
        raise ValueError("was deleted")
    values = {_OF_GOOGLE.get(name, name): value for name, value in item.items() if name not in _GOOGLES_OWN}
    if "completed" in values:
        values["completed"] = values["completed"] == "completed"
    if isinstance(due := values.get("due_date"), str):
        values["due_date"] = due[: len("2026-11-21")]
    return values


class Columns:
    """The header row of a CSV: which column is which field, and which are none."""

    def __init__(self, header: Sequence[str]) -> None:
        names = [_plain(name) for name in header[:1000]]
        self.count = len(header)
        named = [name for name in names if name]
        self.are_sound = len(set(named)) == len(named) and len(header) == len(names)
        self.fields: dict[int, str] = {}
        places = {name: place for place, name in enumerate(names) if name}
        for field in _FIELDS:
            known = (name for name in (field, *_NAMES.get(field, ())) if name in places)
            place = next((places[name] for name in known if places[name] not in self.fields), None)
            if place is not None:
                self.fields[place] = field
        self.are_sound &= "title" in self.fields.values()
        self.ignored = tuple(
            readable(header[place].strip())
            for place, name in enumerate(names)
            if place not in self.fields and header[place].strip() and name not in KNOWN
        )
        self._nameless = [p for p, name in enumerate(names) if not header[p].strip()]
        self._is_todoist = {"type", "content", "indent"} <= places.keys()
        self._type = places.get("type") if self._is_todoist else None
        is_ticktick = {"list_name", "title", "is_all_day"} <= places.keys()
        numbers = _TODOIST if self._is_todoist else _TICKTICK if is_ticktick else {}
        self._priorities = _PRIORITIES | numbers

    def nameless(self, cells: Sequence[str]) -> tuple[str, ...]:
        """What a row holds in columns without a name."""
        return tuple(f"column {place + 1}" for place in self._nameless if any(cells[place : place + 1]))

    def values(self, cells: Sequence[str]) -> dict[str, Any]:
        """What a row's cells mean. An empty one says that there is nothing.

        Raises:
            ValueError: the row is no task's.
        """
        if self._type is not None and (kind := cells[self._type].strip().lower()) != "task":
            raise ValueError(f"is no task, but a {kind[:40]!r}")
        named = {field: cells[place] for place, field in self.fields.items() if place < len(cells)}
        values = {name: self._value(name, cell) for name, cell in named.items()}
        if values.pop("all_day", None) is True:
            values["due_date"] = _day(values.get("due_date"), values.get("timezone"))
        if isinstance(done := values.get("completed"), str) and _moment(done) is not None:
            values["completed"] = True
            values["completed_at"] = values.get("completed_at") or done
        return values

    def _value(self, name: str, cell: str) -> Any:
        if not cell:
            return False if name in BOOLEANS else None
        if name == "priority":
            return self._priorities.get(cell.strip().lower(), cell)
        if name in BOOLEANS or name in ("recurring", "all_day"):
            return _STATES.get(re.sub(r"[\s-]+", "_", cell.strip().lower()), cell)
        if name in TEXTS:
            return cell[1:] if cell[0] == "'" and PROTECTED.match(cell) else cell
        return _list(cell) if name in LISTS else cell


def _moment(text: object) -> datetime | None:
    try:
        return (
            datetime.fromisoformat(text) if isinstance(text, str) and len(text) > len("2026-11-21") else None
        )
    except ValueError:
        return None


def _day(due: object, timezone: object) -> object:
    """The day of a due date that is written as its first moment; what is not so stays."""
    moment = _moment(due)
    if moment is None or moment.year == 1:
        return due
    try:
        zone = ZoneInfo(parse_timezone(timezone)) if isinstance(timezone, str) else None
        return (moment.astimezone(zone) if moment.tzinfo and zone else moment).date().isoformat()
    except (ValueError, OverflowError):
        return due


def _list(cell: str) -> Any:
    """A JSON list, or as people write them: with commas or semicolons between."""
    if not cell.startswith("["):
        return [part for part in re.split("[,;]", cell) if part.strip()]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
