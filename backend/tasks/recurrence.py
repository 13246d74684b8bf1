"""When a repeating task is due again: patterns, their dates and time zones. Pure.

A series is its anchor, the due date of its first task, and every later date on which the pattern falls,
counted from the anchor, so that nothing drifts. The anchor is always the first, on the pattern or not, and
COUNT counts it (RFC 5545, 3.8.5.3). A series ends at its COUNT, its UNTIL or, at the latest, with the
hundredth year after its anchor.

A pattern is one of WORDS or an RRULE of RFC 5545, 3.3.10, as far as it is about days. python-dateutil works
out months and years, one at a time: left alone with a rule that never falls, it looks on to the year 9999.
"""

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from functools import cache
from importlib import resources
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from dateutil.rrule import MONTHLY, YEARLY, rrule, weekday

PATTERN_MAX = 200
PREVIEW_MAX = 100
SPAN = 100  # years from the anchor to the end of any series
LAST_YEAR = 9800  # anchors from here on, and in the year 1, are all of their series: datetime ends too soon
Due = datetime | date  # an aware instant, or a day
WORDS = ("daily", "weekly", "monthly", "yearly")

_UNITS = tuple(word.upper() for word in WORDS)
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = re.compile(r"([+-]?0?[1-9]|[+-]?[1-5]\d)?(MO|TU|WE|TH|FR|SA|SU)")
_RANGES = {"INTERVAL": (1, 1000), "COUNT": (1, 10000), "BYMONTH": (1, 12), "BYMONTHDAY": (-31, 31)}
_RANGES |= {"BYYEARDAY": (-366, 366), "BYSETPOS": (-366, 366)}
_BY = ("BYMONTH", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYSETPOS")
# In the order in which they are stored. No BYWEEKNO: dateutil misplaces the last weeks of some years.
_PARTS = ("FREQ", "INTERVAL", "COUNT", "UNTIL", *_BY, "WKST")
_DEFAULTS = ("INTERVAL=1", "WKST=MO")


class _Rule(NamedTuple):
    """An RRULE, read. `byday` pairs ordinals, 0 for every, with weekdays."""

    freq: str
    interval: int
    times: int | None
    until: date | None
    by: dict[str, list[int]]
    byday: list[tuple[int, int]]
    wkst: int


def parse_pattern(text: str) -> str:
    """Return the text to store for a pattern: the word, or the RRULE in one spelling and without defaults.

    Raises:
        ValueError: it says what is wrong. A rule that falls on no date whatever its anchor is wrong, too.
    """
    if len(text) > PATTERN_MAX or not text.isascii() or not text.isprintable():
        raise ValueError(f"a pattern is one line of at most {PATTERN_MAX} ASCII characters")
    if (word := text.strip().lower()) in WORDS:
        return word
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
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
    # These years are of every kind there is: what falls in none of them, each period counted, never falls.
    start = date(2000, 1, 1)
    if not any(_days(_read(pattern, start)._replace(interval=1), start, start, start.year + 40)):
        raise ValueError("the pattern falls on no date at all")
    return pattern


def _canonical(name: str, value: str) -> str:
    """Write a part's value in the one way that is stored."""
    items = value.split(",")
    if name in _RANGES:
        low, high = _RANGES[name]
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
        days = sorted({(int(match[1] or 0), _WEEKDAYS.index(match[2])) for match in found})
        return ",".join(f"{nth or ''}{_WEEKDAYS[day]}" for nth, day in days)
    if name == "UNTIL":
        try:
            datetime.fromisoformat(value if re.fullmatch(r"\d{8}(T\d{6}Z)?", value) else "")
        except ValueError:
            raise ValueError("UNTIL must be such as 20261231 or, in UTC, 20261231T225959Z") from None
    elif value not in (_UNITS if name == "FREQ" else _WEEKDAYS):
        raise ValueError(f"{name} must be one of {', '.join(_UNITS if name == 'FREQ' else _WEEKDAYS)}")
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


def _read(pattern: str, anchor: date) -> _Rule:
    """Read what parse_pattern returned. What it leaves open, the anchor says (RFC 5545, 3.3.10)."""
    if pattern in WORDS:
        pattern = f"FREQ={pattern.upper()}"
        in_february = pattern == "FREQ=YEARLY" and anchor.month == 2
        if anchor.day > 28 and (pattern == "FREQ=MONTHLY" or in_february):
            # A rule would skip the months without a 31st. The words take the last day that there is up to it.
            days = ",".join(map(str, range(28, anchor.day + 1)))
            pattern += f";BYMONTHDAY={days};BYSETPOS=-1" + (";BYMONTH=2" if in_february else "")
    parts = dict(part.split("=") for part in pattern.split(";"))
    freq, until = parts["FREQ"], parts.get("UNTIL")
    by = {name: [int(item) for item in parts[name].split(",")] for name in _RANGES if name in parts}
    items = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    byday = [(int(item[:-2] or 0), _WEEKDAYS.index(item[-2:])) for item in items]
    if any(nth for nth, _ in byday):
        # MO,1FR is either to the RFC and both at once to dateutil, unless every Monday is spelt out.
        every = range(1, 54 if freq == "YEARLY" and "BYMONTH" not in by else 6)
        byday = [(each, day) for nth, day in byday for each in ([nth] if nth else every)]
    elif freq == "WEEKLY" and not byday:
        byday = [(0, anchor.weekday())]
    elif freq in ("MONTHLY", "YEARLY") and not byday and not by.keys() & {"BYMONTHDAY", "BYYEARDAY"}:
        by["BYMONTHDAY"] = [anchor.day]
        if freq == "YEARLY":
            by.setdefault("BYMONTH", [anchor.month])
    if freq in ("DAILY", "WEEKLY") and "INTERVAL" not in by and "BYSETPOS" not in by:
        # Every day that passes: the same days by the year, which is quicker.
        freq, byday = "YEARLY", byday or [(0, day) for day in range(7)]
    end = (datetime if "T" in until else date).fromisoformat(until) if until else None
    interval, count = by.get("INTERVAL", [1])[0], by.get("COUNT", [None])[0]
    return _Rule(freq, interval, count, end, by, byday, _WEEKDAYS.index(parts.get("WKST", "MO")))


def _period(rule: _Rule, day: date) -> int:
    """The number of the day, week, month or year in which a day lies."""
    if rule.freq in ("DAILY", "WEEKLY"):
        return day.toordinal() if rule.freq == "DAILY" else (day.toordinal() - 1 - rule.wkst) // 7
    return day.year * 12 + day.month - 1 if rule.freq == "MONTHLY" else day.year


def _fits(rule: _Rule, day: date) -> bool:
    """Whether a daily or weekly rule lets a day pass; to ask dateutil for days one by one is slow."""
    months, monthdays = rule.by.get("BYMONTH"), rule.by.get("BYMONTHDAY")
    if (months and day.month not in months) or (rule.byday and (0, day.weekday()) not in rule.byday):
        return False
    left = day.day - 1 - monthrange(day.year, day.month)[1] if monthdays else 0
    return not monthdays or day.day in monthdays or left in monthdays


def _chosen(rule: _Rule, days: list[int]) -> list[int]:
    """What BYSETPOS leaves of a period's days."""
    places, size = rule.by.get("BYSETPOS"), len(days)
    return [day for at, day in enumerate(days) if not places or at + 1 in places or at - size in places]


def _days_of(rule: _Rule, start: date) -> list[int]:
    """The days of the month or year from `start` on which the rule falls, as distances from it."""
    yearly = rule.freq == "YEARLY"
    found = rrule(
        YEARLY if yearly else MONTHLY,
        dtstart=start,
        interval=120000,  # the second period lies behind the year 9999, so that it stops after the first
        bymonth=rule.by.get("BYMONTH") if yearly else None,
        bymonthday=rule.by.get("BYMONTHDAY"),
        byyearday=rule.by.get("BYYEARDAY"),
        byweekday=[weekday(day, nth or None) for nth, day in rule.byday] or None,
    )
    return _chosen(rule, [moment.toordinal() - start.toordinal() for moment in found])


def _days(rule: _Rule, anchor: date, since: date, last_year: int) -> Iterator[date]:
    """The rule's days after its anchor, from the period of `since` on."""
    first, end = _period(rule, anchor), _period(rule, date(last_year, 12, 31))
    first += (_period(rule, since) - first) // rule.interval * rule.interval
    months = rule.by.get("BYMONTH") if rule.freq == "MONTHLY" else None
    known: dict[tuple[int, int], list[int]] = {}  # months and years are alike: there are 28 and 14 of them
    for period in range(first, end + 1, rule.interval):
        if rule.freq in ("DAILY", "WEEKLY"):
            base, size = (period, 1) if rule.freq == "DAILY" else (period * 7 + 1 + rule.wkst, 7)
            days = _chosen(rule, [day for day in range(size) if _fits(rule, date.fromordinal(base + day))])
        else:
            start = date(period // 12, period % 12 + 1, 1) if rule.freq == "MONTHLY" else date(period, 1, 1)
            if months and start.month not in months:
                continue
            length = monthrange(start.year, start.month)[1] if rule.freq == "MONTHLY" else isleap(start.year)
            if (kind := (start.weekday(), length)) not in known:
                known[kind] = _days_of(rule, start)
            base, days = start.toordinal(), known[kind]
        for day in days:
            if base + day > anchor.toordinal():
                yield date.fromordinal(base + day)


def _due(day: date, wall: time | None, timezone: str) -> date:
    """A day's due date. fold=0: the first of two times, and the offset before a gap (RFC 5545, 3.3.5)."""
    return datetime.combine(day, wall, ZoneInfo(timezone)).astimezone(UTC) if wall else day


def _ended(until: date | None, day: date, due: date) -> bool:
    """Whether a series is past its UNTIL, which is inclusive."""
    if isinstance(until, datetime) and isinstance(due, datetime):
        return due > until
    return until is not None and day.toordinal() > until.toordinal()


def _series(pattern: str, anchor: date, timezone: str, after: date) -> Iterator[date]:
    """The anchor, then the rest of its series; what is not later than `after` may be missing."""
    wall, start = None, anchor
    if isinstance(anchor, datetime):
        if anchor.tzinfo is None:
            raise TypeError("an instant needs a time zone")
        anchor = anchor.astimezone(UTC)
    yield anchor
    if not 1 < anchor.year < LAST_YEAR:
        return
    if isinstance(anchor, datetime):
        local = anchor.astimezone(ZoneInfo(timezone))
        start, wall = local.date(), local.time().replace(fold=0)
    rule = _read(pattern, start)
    # Three days back: zones and gaps shift an instant by less. What is counted is counted from the start.
    since = date.fromordinal(max(start.toordinal(), after.toordinal() - 3))
    number, last = 1, anchor
    for day in _days(rule, start, start if rule.times else since, start.year + SPAN):
        if number == rule.times:
            return
        number += 1
        if day < since:
            continue
        due = _due(day, wall, timezone)
        if _ended(rule.until, day, due):
            return
        if due > last:  # a day that a zone leaves out altogether falls together with the next
            yield due
            last = due


def next_occurrence(pattern: str, anchor: Due, after: Due, timezone: str) -> Due | None:
    """Return the first due date after `after`, or None when the series is over.

    A date in, a date out, the same in every zone; an aware datetime in, one in UTC out, which keeps the
    anchor's wall-clock time in `timezone`. As RFC 5545, 3.3.5, says, a time that the clock skips is read with
    the offset before the gap, and of a time that comes twice the first counts. UNTIL is inclusive: a date is
    a day in `timezone`, and for all-day dates a time stands for its day in UTC.
    """
    return next((due for due in _series(pattern, anchor, timezone, after) if due > after), None)


def preview(pattern: str, start: Due, timezone: str, count: int = 10) -> list[Due]:
    """Return the first due dates, at most PREVIEW_MAX, of a series that begins at `start`.

    These are the dates of the tasks that there will be: the start is always the first of them, as the task
    that is due then is there whatever the pattern, and next_occurrence leads from each to the next.
    """
    return list(islice(_series(pattern, start, timezone, start), max(0, min(count, PREVIEW_MAX))))


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
