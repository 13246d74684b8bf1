"""When a repeating task is due again: patterns, their dates and time zones. Pure.

A series is its anchor, the due date of its first task, and every later date on which the pattern falls,
counted from the anchor, so that nothing drifts. The anchor is always the first, on the pattern or not, and
COUNT counts it (RFC 5545, 3.8.5.3). A series ends at its COUNT, its UNTIL or, at the latest, with the
hundredth year after its anchor. One that is counted from completions is anchored anew by each of them.

A pattern is one of WORDS or an RRULE of RFC 5545, 3.3.10, as far as it is about days.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time
from functools import cache, lru_cache
from importlib import resources
from itertools import chain, islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.tasks.rrule import (
    RANGES,
    REMEMBERED_MAX,
    WEEKDAYS,
    WORDS,
    complete,
    days_of,
    falls,
    is_on,
    left_after,
    read,
)

PATTERN_MAX = 200
PREVIEW_MAX = 100
LAST_YEAR = 9800  # anchors from here on, and in the year 1, are all of their series: datetime ends too soon
Due = datetime | date  # an aware instant, or a day

_UNITS = tuple(word.upper() for word in WORDS)
_DAY = re.compile(r"([+-]?0?[1-9]|[+-]?[1-5]\d)?(MO|TU|WE|TH|FR|SA|SU)")
_BY = ("BYMONTH", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYSETPOS")
# In the order in which they are stored. No BYWEEKNO: dateutil misplaces the last weeks of some years.
_PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", *_BY, "WKST")
_DEFAULTS = ("INTERVAL=1", "WKST=MO")
_COUNT = re.compile(r";COUNT=\d+")


def parse_pattern(text: str) -> str:
    """Return the text to store for a pattern: the word, or the RRULE in one spelling and without defaults.

    Raises:
        ValueError: it says what is wrong. A rule that falls on no date whatever its anchor is wrong, too.
    """
    line = text.strip()  # it may be pasted from a calendar with its end
    if len(text) > PATTERN_MAX or not line.isascii() or not line.isprintable():
        raise ValueError(f"a pattern is one line of at most {PATTERN_MAX} ASCII characters")
    pattern = _judged(line)
    if isinstance(pattern, ValueError):
        raise ValueError(*pattern.args)
    return pattern


@lru_cache(maxsize=REMEMBERED_MAX)
def _judged(text: str) -> str | ValueError:
    """A text's pattern, or what is wrong with it: remembered either way."""
    try:
        return _parse(text)
    except ValueError as error:
        return error.with_traceback(None)


def _parse(text: str) -> str:
    if (word := text.lower()) in WORDS:
        return word
    parts: dict[str, str] = {}
    for part in text.upper().removeprefix("RRULE:").rstrip("; ").split(";"):
        name, equals, value = part.partition("=")
        if not equals or name not in _PARTS:
            known = f"{', '.join(WORDS)} or an RRULE of {', '.join(_PARTS)}"
            raise ValueError(f"{name[:20]!r} is not understood: a pattern is {known}")
        if name in parts:
            raise ValueError(f"{name} is there twice")
        parts[name] = _canonical(name, value)
    _agree(parts)
    stored = [f"{name}={parts[name]}" for name in _PARTS if name in parts]
    pattern = ";".join(part for part in stored if part not in _DEFAULTS)
    if not falls(read(complete(pattern, date(2000, 1, 1)))):
        raise ValueError("the pattern falls on no date at all")
    return pattern


def _canonical(name: str, value: str) -> str:
    """Write a part's value in the one way that is stored."""
    items = value.split(",")
    if name in RANGES:
        low, high = RANGES[name]
        numbers = {int(item) if re.fullmatch(r"[+-]?\d{1,5}", item) else 0 for item in items}
        if 0 in numbers or min(numbers) < low or max(numbers) > high:
            raise ValueError(f"{name} must be {low} to {high}, not 0")
        if len(items) > 1 and not name.startswith("BY"):
            raise ValueError(f"{name} must be one number")
        return ",".join(map(str, sorted(numbers)))
    if name == "BYDAY":
        found = [match for item in items if (match := _DAY.fullmatch(item))]
        if len(found) < len(items):
            raise ValueError("BYDAY must be weekdays such as MO, 2TU (the second) or -1FR (the last)")
        days = sorted({(int(match[1] or 0), WEEKDAYS.index(match[2])) for match in found})
        return ",".join(f"{nth or ''}{WEEKDAYS[day]}" for nth, day in days)
    if name == "UNTIL":
        try:
            datetime.fromisoformat(value if re.fullmatch(r"\d{8}(T\d{6}Z)?", value) else "")
        except ValueError:
            raise ValueError("UNTIL must be such as 20261231 or, in UTC, 20261231T225959Z") from None
    elif value not in (_UNITS if name == "FREQ" else WEEKDAYS):
        raise ValueError(f"{name} must be one of {', '.join(_UNITS if name == 'FREQ' else WEEKDAYS)}")
    return value


def _agree(parts: dict[str, str]) -> None:
    """Refuse parts that RFC 5545, 3.3.10, does not let stand together."""
    freq = parts.get("FREQ")
    largest = 0 if freq in ("DAILY", "WEEKLY") else 53 if freq == "YEARLY" and "BYMONTH" not in parts else 5
    ordinals = [int(number) for number in re.findall(r"\d+", parts.get("BYDAY", ""))]
    chosen_from = [name for name in parts if name.startswith("BY") and name != "BYSETPOS"]
    for wrong, sentence in (
        (freq is None, "FREQ is missing"),
        ("COUNT" in parts and "UNTIL" in parts, "COUNT and UNTIL exclude each other"),
        (freq == "WEEKLY" and "BYMONTHDAY" in parts, "BYMONTHDAY does not go with FREQ=WEEKLY"),
        (freq != "YEARLY" and "BYYEARDAY" in parts, "BYYEARDAY goes with FREQ=YEARLY only"),
        ("BYSETPOS" in parts and not chosen_from, "BYSETPOS needs another BY part to choose from"),
        (ordinals and not largest, "a number before a weekday goes with FREQ=MONTHLY and FREQ=YEARLY only"),
        (max(ordinals, default=0) > largest, f"the number before a weekday is at most {largest} here"),
    ):
        if wrong:
            raise ValueError(sentence)


def _due(day: date, wall: time | None, timezone: str) -> date:
    """A day's due date. fold=0: the first of two times, and the offset before a gap (RFC 5545, 3.3.5)."""
    return datetime.combine(day, wall, ZoneInfo(timezone)).astimezone(UTC) if wall else day


def _ended(until: date | None, day: date, due: date, timezone: str) -> bool:
    """Whether a series is past its UNTIL, which is inclusive."""
    if isinstance(until, datetime):
        if isinstance(due, datetime):
            return due > until
        with suppress(OverflowError):  # at the very edge of the calendar its day in UTC has to do
            until = until.astimezone(ZoneInfo(timezone))
    return until is not None and day.toordinal() > until.toordinal()


def _apart(local: Due) -> tuple[date, time | None]:
    """The day and the time of day of what clocks show; a whole day has none."""
    return (local.date(), local.time()) if isinstance(local, datetime) else (local, None)


def _series(pattern: str, anchor: date, timezone: str, after: date) -> Iterator[date]:
    """The anchor, then the rest of its series; what is not later than `after` may be missing."""
    if isinstance(anchor, datetime):
        if anchor.tzinfo is None:
            raise TypeError("an instant needs a time zone")
        anchor = anchor.astimezone(UTC)
    yield anchor
    if not 1 < anchor.year < LAST_YEAR:
        return
    start, wall = _apart(on_clocks(anchor, timezone))
    rule = read(complete(pattern, start))
    # Three days back: zones and gaps shift an instant by less.
    since = date.fromordinal(max(start.toordinal(), after.toordinal() - 3))
    last = anchor
    for day in days_of(rule, start, since):
        due = _due(day, wall, timezone)
        if _ended(rule.until, day, due, timezone):
            return
        if due > last:  # a day that a zone leaves out altogether falls together with the next
            yield due
            last = due


def next_occurrence(pattern: str, anchor: Due, after: Due, timezone: str) -> Due | None:
    """Return the first due date after `after`, or None when the series is over.

    A date in, a date out, which only an UNTIL with a time lets depend on the zone; an aware datetime in, one
    in UTC out, which keeps the anchor's wall-clock time in `timezone`. As RFC 5545, 3.3.5, says, a time that
    the clock skips is read with the offset before the gap, and of a time that comes twice the first counts.
    UNTIL is inclusive: a date is a day in `timezone`, and for all-day dates a time stands for its day there.
    """
    return next((due for due in _series(pattern, anchor, timezone, after) if due > after), None)


class Following(NamedTuple):
    """What follows a completion: the pattern of the rest, its first place on the clocks, and when that is."""

    pattern: str
    place: Due
    due: Due


def after_completion(pattern: str, start: Due, place: Due, done: date, timezone: str) -> Following | None:
    """Return what follows a task of a series that is counted from completions, or None when that is over.

    `start` and `place`, the beginning of the series and the task's place in it, are days or times on the
    clocks of `timezone`; `done` is the day of the completion there. What follows has the time of day of
    `start`, on the first day after `done` on which the pattern falls, counted from `done`: 3 days later, or
    the next Monday. A day that the pattern names is not done twice: completed early, it is passed over.
    UNTIL is as in next_occurrence; what COUNT leaves is in the pattern of what follows.
    """
    (first, wall), here = _apart(start), day_of(place)
    if not (1 < first.year < LAST_YEAR and 1 < done.year < LAST_YEAR):
        return None
    left = left_after(read(complete(pattern, first)), first, here)
    if left == 0:
        return None
    endless = _COUNT.sub("", pattern)
    rule = read(complete(endless, done))
    since = max(done, here) if "BY" in endless else done
    for day in days_of(rule, done, date.fromordinal(since.toordinal() + 1)):
        due = _due(day, wall, timezone)
        if _ended(rule.until, day, due, timezone):
            return None
        rest = pattern if left is None else _COUNT.sub(f";COUNT={left}", pattern)
        return Following(rest, datetime.combine(day, wall) if wall else day, due)
    return None


def preview_completions(pattern: str, start: Due, timezone: str, done: Due, count: int = 10) -> list[Due]:
    """Return what preview() does of a series that is counted from completions.

    The first task is completed at `done`, an instant or a day, and each later one on the day that it is due.
    """
    place, day, dates = on_clocks(start, timezone), day_of(on_clocks(done, timezone)), [start]
    while len(dates) < min(count, PREVIEW_MAX):
        following = after_completion(pattern, place, place, day, timezone)
        if following is None:
            break
        pattern, place, due = following
        day = day_of(place)
        dates.append(due)
    return dates


def on_clocks(due: Due, timezone: str) -> Due:
    """A day as it is; an instant as the clocks of a zone show it, but at the edges of the calendar."""
    if isinstance(due, datetime) and due.tzinfo is not None:
        with suppress(OverflowError):
            return due.astimezone(ZoneInfo(timezone)).replace(tzinfo=None, fold=0)
    return due


def day_of(due: Due) -> date:
    """A day, or that of a time."""
    return _apart(due)[0]


def preview(pattern: str, start: Due, timezone: str, count: int = 10) -> list[Due]:
    """Return the first due dates, at most PREVIEW_MAX, of a series that begins at `start`.

    These are the dates of the tasks that there will be: the start is always the first of them, as the task
    that is due then is there whatever the pattern, and next_occurrence leads from each to the next.
    """
    return list(islice(_series(pattern, start, timezone, start), max(0, min(count, PREVIEW_MAX))))


class Rest(NamedTuple):
    """What is left of a series, for whoever does not know its anchor: its first date, and a rule from there.

    The date is a day, or a time on the clocks of the series' zone, without an offset. It lies on the rule, an
    RRULE that says all that the pattern leaves to the anchor; None where the date is the last. COUNT counts
    what is left, and UNTIL is a day, or in UTC a second, as RFC 5545, 3.3.10, wants it beside such a date.
    """

    first: date
    due: date  # the same as a due date
    rule: str | None


def rest(pattern: str, anchor: Due, after: Due, timezone: str, *, including: bool = False) -> Rest | None:
    """Return what is left of a series after a date, or from it on where `including`; None where it is over.

    An anchor that its pattern does not fall on is never the first.
    """
    if not 1 < anchor.year < LAST_YEAR:
        return None
    start, wall = _apart(on_clocks(anchor, timezone))
    text = complete(pattern, start)
    rule = read(text)
    since = date.fromordinal(max(start.toordinal(), after.toordinal() - 3))  # as in _series
    own = [start] if is_on(rule, start) else []
    for day in chain(own, days_of(rule, start, since)):
        due = _due(day, wall, timezone)
        if _ended(rule.until, day, due, timezone):
            return None
        if due > after or (including and due == after):
            break
    else:
        return None
    parts = [part for part in text.split(";") if not part.startswith(("COUNT=", "UNTIL="))]
    left = None
    if rule.times is not None:
        left = 1 + (left_after(rule, start, day) or 0)
        parts.append(f"COUNT={left}")
    if rule.until is not None:
        parts.append(f"UNTIL={_until(rule.until, wall, timezone)}")
    first = datetime.combine(day, wall) if wall else day
    return Rest(first, due, None if left == 1 else ";".join(parts))


def _until(until: date, wall: time | None, timezone: str) -> str:
    """An UNTIL in the form that goes with a series of whole days, or of times."""
    with suppress(OverflowError):  # at the very edge of the calendar it stays as it is
        if isinstance(until, datetime) and wall is None:
            until = until.astimezone(ZoneInfo(timezone))
        elif wall is not None and not isinstance(until, datetime):
            # The last second of its day.
            until = datetime.combine(until, time(23, 59, 59), ZoneInfo(timezone)).astimezone(UTC)
    day = until.isoformat()[:10].replace("-", "")
    if wall is None:
        return day
    moment = until if isinstance(until, datetime) else datetime.combine(until, time(23, 59, 59))
    return f"{day}T{moment:%H%M%S}Z"


def parse_timezone(name: str) -> str:
    """Return an IANA time zone's name, spelt as in the tz database.

    Raises:
        ValueError: there is no such zone. Nothing is looked up on disk by a name that is not in the list.
    """
    if name not in _zones():
        raise ValueError("must be an IANA time zone such as Europe/Berlin")
    return name


@cache
def _zones() -> frozenset[str]:
    """The names of the tzdata package, which is behind zoneinfo wherever the system has none."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())
