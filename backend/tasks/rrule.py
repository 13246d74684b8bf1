"""The days of a rule, by arithmetic. Pure.

A year is a number with a bit for each of its days, the lowest for the first: what the parts of a rule let
pass are such numbers, which `&` and `|` put together. There are 14 kinds of years. So nothing costs more the
rarer a rule falls: whether it falls at all is said by 14 numbers, and a series is one for each year of its
SPAN. That is the whole budget of a pattern; nobody has to count its steps.
"""

from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache, reduce
from itertools import product
from operator import or_

SPAN = 100  # years from the anchor to the end of any series
REMEMBERED_MAX = 512  # rules, of all users
WORDS = ("daily", "weekly", "monthly", "yearly")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
RANGES = {"INTERVAL": (1, 1000), "COUNT": (1, 10000), "BYMONTH": (1, 12), "BYMONTHDAY": (-31, 31)}
RANGES |= {"BYYEARDAY": (-366, 366), "BYSETPOS": (-366, 366)}


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """An RRULE, read. `byday` pairs ordinals, 0 for every, with weekdays."""

    freq: str
    interval: int
    times: int | None
    until: date | None
    by: dict[str, tuple[int, ...]]
    byday: list[tuple[int, int]]
    wkst: int


def complete(pattern: str, anchor: date) -> str:
    """Write out what parse_pattern returned. What it leaves open, the anchor says (RFC 5545, 3.3.10)."""
    if pattern in WORDS:
        pattern = f"FREQ={pattern.upper()}"
        in_february = pattern == "FREQ=YEARLY" and anchor.month == 2
        if anchor.day > 28 and (pattern == "FREQ=MONTHLY" or in_february):
            # A rule would skip the months without a 31st. The words take the last day that there is up to it.
            days = ",".join(map(str, range(28, anchor.day + 1)))
            return f"{pattern};BYMONTHDAY={days};BYSETPOS=-1" + (";BYMONTH=2" if in_february else "")
    if "BYDAY=" in pattern or "FREQ=DAILY" in pattern:
        return pattern
    if "FREQ=WEEKLY" in pattern:
        return f"{pattern};BYDAY={WEEKDAYS[anchor.weekday()]}"
    if "BYMONTHDAY=" in pattern or "BYYEARDAY=" in pattern:
        return pattern
    month = "" if "FREQ=MONTHLY" in pattern or "BYMONTH=" in pattern else f";BYMONTH={anchor.month}"
    return f"{pattern};BYMONTHDAY={anchor.day}{month}"


@lru_cache(maxsize=REMEMBERED_MAX)
def read(pattern: str) -> Rule:
    """Read what complete returned."""
    parts = dict(part.split("=") for part in pattern.split(";"))
    by = {name: (*map(int, parts[name].split(",")),) for name in RANGES if name in parts}
    items = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    byday = [(int(item[:-2] or 0), WEEKDAYS.index(item[-2:])) for item in items]
    until = parts.get("UNTIL")
    end = (datetime if "T" in until else date).fromisoformat(until) if until else None
    interval, count = by.get("INTERVAL", (1,))[0], by.get("COUNT", (None,))[0]
    return Rule(parts["FREQ"], interval, count, end, by, byday, WEEKDAYS.index(parts.get("WKST", "MO")))


def _span(first: int, end: int) -> int:
    """The bits from one place to before another; none where it ends before it begins."""
    return (1 << max(first, end)) - (1 << first)


def _any(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


@cache
def _months(leap: bool) -> list[tuple[int, int]]:
    """Where in a year its months begin and end."""
    lengths = [monthrange(2000 if leap else 2001, month)[1] for month in range(1, 13)]
    return [(sum(lengths[:month]), sum(lengths[: month + 1])) for month in range(12)]


@cache
def _month(leap: bool, month: int) -> int:
    return _span(*_months(leap)[month - 1])


@cache
def _monthday(leap: bool, number: int) -> int:
    """The days of a year with this number in their months, from the end where it is negative."""
    days = ((first, end, first + number - 1 if number > 0 else end + number) for first, end in _months(leap))
    return _any(1 << day for first, end, day in days if first <= day < end)


@cache
def _sevenths(leap: bool, nth: int, yearly: bool) -> int:
    """The nth seven days of a year, or of each of its months, from the end where it is negative."""
    within = [(0, 365 + leap)] if yearly else _months(leap)
    starts = ((first, end, (first - 7 if nth > 0 else end) + 7 * nth) for first, end in within)
    return _any(_span(max(first, start), min(end, start + 7)) for first, end, start in starts)


@cache
def _every(weekday: int, first: int, size: int) -> int:
    """A weekday's days of `size` that begin with the weekday `first`."""
    return _any(1 << day for day in range((weekday - first) % 7, size, 7))


@lru_cache(maxsize=2 * REMEMBERED_MAX)
def _dated(rule: Rule, leap: bool) -> tuple[int, list[int]]:
    """The days of a year that pass whatever their weekdays, and those that do by weekday, from Monday on."""
    size = 365 + leap
    days = _span(0, size)
    if "BYMONTH" in rule.by:
        days &= _any(_month(leap, month) for month in rule.by["BYMONTH"])
    if "BYMONTHDAY" in rule.by:
        days &= _any(_monthday(leap, number) for number in rule.by["BYMONTHDAY"])
    if "BYYEARDAY" in rule.by:
        places = (number - 1 if number > 0 else size + number for number in rule.by["BYYEARDAY"])
        days &= _any(1 << place for place in places if 0 <= place < size)
    yearly = rule.freq == "YEARLY" and "BYMONTH" not in rule.by
    asked = [0] * 7 if rule.byday else [days] * 7
    for nth, day in rule.byday:
        asked[day] |= days & _sevenths(leap, nth, yearly) if nth else days
    return days, asked


def _passing(rule: Rule, leap: bool, first: int) -> int:
    """The days of a year that begins with the weekday `first` that a rule lets pass, but for BYSETPOS."""
    days, asked = _dated(rule, leap)
    return _any(_every(day, first, 366) & asked[day] for day in range(7)) if rule.byday else days


def _periods(rule: Rule, leap: bool, first: int) -> list[tuple[int, int]]:
    """The days that pass in a year by its months or weeks, or as the one that it is: each with its place.

    Places are counted from the seventh day before the year, in which its first week may begin.
    """
    days, size = _passing(rule, leap, first), 365 + leap
    if rule.freq == "YEARLY":
        return [(7, days)]
    if rule.freq == "MONTHLY":
        return [(start + 7, days >> start & _span(0, end - start)) for start, end in _months(leap)]
    # With the seven days before and after it, which pass as their weekdays and months do.
    months = rule.by.get("BYMONTH", (1, 12))
    before, after = (_any(_every(day, on, 7) for _, day in rule.byday) for on in (first, first + size))
    wide = before * (12 in months) | days << 7 | after * (1 in months) << size + 7
    return [(start, wide >> start & 0x7F) for start in range((rule.wkst - first) % 7, size + 7, 7)]


@lru_cache(maxsize=REMEMBERED_MAX)
def _chosen(places: tuple[int, ...], days: int) -> int:
    """What BYSETPOS leaves of a period's days."""
    bits = [place for place, bit in enumerate(reversed(f"{days:b}")) if bit == "1"]
    wanted = {place - 1 if place > 0 else len(bits) + place for place in places}
    return _any(1 << bits[place] for place in wanted if 0 <= place < len(bits))


@lru_cache(maxsize=14 * REMEMBERED_MAX)
def _falling(rule: Rule, leap: bool, first: int) -> int:
    """The days of a year that begins with the weekday `first` on which the rule falls, in every period."""
    places = rule.by.get("BYSETPOS")
    if not places:
        return _passing(rule, leap, first)
    if rule.freq == "DAILY":  # a day is one of one
        return _passing(rule, leap, first) if {1, -1} & {*places} else 0
    left = _any(_chosen(places, days) << start for start, days in _periods(rule, leap, first))
    return left >> 7 & _span(0, 365 + leap)


def falls(rule: Rule) -> bool:
    """Whether a rule falls on any date. How many days pass in a period says whether BYSETPOS leaves one."""
    least = min(map(abs, rule.by.get("BYSETPOS", (1,))))
    kinds: Iterable[tuple[bool, int]] = product((False, True), range(7))
    if least == 1 or rule.freq == "DAILY":
        return least == 1 and any(_passing(rule, *kind) for kind in kinds)
    if rule.freq == "WEEKLY":
        kinds = [(False, 0)]  # every month of every year has a whole week
    return any(days.bit_count() >= least for kind in kinds for _, days in _periods(rule, *kind))


def _years(rule: Rule, anchor: date, since: int) -> Iterator[tuple[int, int]]:
    """The years of a series, from `since` on: the first day of each, and its days after the anchor."""
    size = {"DAILY": 1, "WEEKLY": 7}.get(rule.freq, 0)
    cycle = size * rule.interval
    base = anchor.toordinal() - ((anchor.weekday() - rule.wkst) % 7 if size == 7 else 0)
    comb = _any(_span(day, day + size) for day in range(0, 366 + cycle, cycle)) if cycle > size else 0
    step = rule.interval if rule.freq == "YEARLY" else 1
    month = anchor.month - 1
    begin = anchor.year + max(0, since - anchor.year) // step * step
    for year in range(begin, anchor.year + SPAN + 1, step):
        start, leap = date(year, 1, 1).toordinal(), isleap(year)
        days = _falling(rule, leap, (start - 1) % 7)
        if comb:
            days &= comb << (base - start) % cycle >> cycle
        elif rule.freq == "MONTHLY" and rule.interval > 1:
            first = (month - 12 * (year - anchor.year)) % rule.interval
            days &= _any(_month(leap, number + 1) for number in range(first, 12, rule.interval))
        if year == anchor.year:
            days &= -1 << anchor.toordinal() - start + 1
        yield start, days


def left_after(rule: Rule, anchor: date, day: date) -> int | None:
    """How many days of a series there are after one of them, as COUNT has it; None without COUNT."""
    if rule.times is None:
        return None
    left = rule.times - 1
    for start, days in _years(rule, anchor, anchor.year):
        until = min(max(0, day.toordinal() - start + 1), 366)
        left -= (days & _span(0, until)).bit_count()
        if until < 366:
            break
    return max(0, left)


def days_of(rule: Rule, anchor: date, since: date) -> Iterator[date]:
    """The days of a series that are later than its anchor, from `since` on."""
    left = None if rule.times is None else rule.times - 1  # COUNT counts from the start, the anchor included
    for start, days in _years(rule, anchor, anchor.year if rule.times else since.year):
        before = days & _span(0, min(max(0, since.toordinal() - start), 366))
        days ^= before
        if left is not None:
            left -= before.bit_count()
        while days and (left is None or left > 0):
            lowest = days & -days
            days ^= lowest
            left = None if left is None else left - 1
            yield date.fromordinal(start + lowest.bit_length() - 1)
        if left is not None and left <= 0:
            return


def is_on(rule: Rule, anchor: date) -> bool:
    """Whether a rule that is counted from a day falls on that day itself."""
    start = date(anchor.year, 1, 1).toordinal()
    return bool(_falling(rule, isleap(anchor.year), (start - 1) % 7) >> anchor.toordinal() - start & 1)
