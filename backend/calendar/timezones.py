"""Time zones as iCalendar wants them told, VTIMEZONE: when their clocks change, by rule where there is one.

Loaded with the first calendar that is read, as the library behind it takes a quarter of a second.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from icalendar import Component, Timezone, TimezoneDaylight, TimezoneStandard
from icalendar.prop import vDDDLists, vDDDTypes, vRecur, vText, vUTCOffset

FIRST_YEAR = 1970  # before it the offset of its first day is told
YEARS_AHEAD = 20  # for which changes that follow no rule are told

_STEP = timedelta(days=14)  # two changes are never nearer to each other
_WEEK = timedelta(days=7)
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class _Kind(NamedTuple):
    """What a change of the clocks comes to."""

    before: timedelta
    after: timedelta
    name: str
    is_summer: bool


def written(component: Component) -> bytes:
    """Return a component's lines, in the order in which it was made."""
    lines: bytes = component.to_ical(sorted=False)
    return lines


@lru_cache(maxsize=256)  # by decade: 1 MB at most, and up to 20 ms to make one
def timezone_lines(name: str, first_year: int, now_year: int) -> bytes:
    """Return a zone's VTIMEZONE for dates from a year on; `now_year` says how far ahead it looks at least."""
    zone = ZoneInfo(name)
    begin = max(first_year // 10 * 10, FIRST_YEAR)
    end = min(max(begin, now_year // 10 * 10) + 10 + YEARS_AHEAD, 9990)
    start = datetime(begin, 1, 1, tzinfo=UTC)
    own = _kind(start, zone, start)
    observances: dict[_Kind, list[datetime]] = defaultdict(list)
    for moment in _changes(zone, start, datetime(end, 1, 1, tzinfo=UTC)):
        kind = _kind(moment, zone, moment - timedelta(seconds=1))
        observances[kind].append((moment + kind.before).replace(tzinfo=None))
    component = Timezone()
    component["TZID"] = vText(name)
    component.add_component(_observance(own, [datetime(begin, 1, 1)], end))  # noqa: DTZ001 - of the zone's clocks
    for kind, moments in observances.items():
        component.add_component(_observance(kind, moments, end))
    return written(component)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _changes(zone: tzinfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The moments at which a zone's offset from UTC changes."""
    moment, offset = begin, _offset(zone, begin)
    while moment < end:
        later = moment + _STEP
        if (new := _offset(zone, later)) != offset:
            early, late = moment, later
            while late - early > timedelta(seconds=1):
                middle = (early + (late - early) / 2).replace(microsecond=0)
                early, late = (middle, late) if _offset(zone, middle) == offset else (early, middle)
            yield late
            offset = new
        moment = later


def _kind(moment: datetime, zone: tzinfo, before: datetime) -> _Kind:
    local, was, will = moment.astimezone(zone), _offset(zone, before), _offset(zone, moment)
    # Not where winter is the exception, as in Dublin: programs expect summer to be that, and later.
    return _Kind(was, will, local.tzname() or "", bool(local.dst()) and will > was)


def _observance(kind: _Kind, moments: list[datetime], end: int) -> TimezoneStandard | TimezoneDaylight:
    """What the clocks show from some moments on, each told in the time that they showed until then."""
    made = TimezoneDaylight() if kind.is_summer else TimezoneStandard()
    made["DTSTART"] = vDDDTypes(moments[0])
    made["TZOFFSETFROM"] = vUTCOffset(kind.before)
    made["TZOFFSETTO"] = vUTCOffset(kind.after)
    made["TZNAME"] = vText(kind.name)
    if rule := _rule(moments, end):
        made["RRULE"] = vRecur.from_ical(rule)
    elif moments[1:]:
        made["RDATE"] = vDDDLists(moments[1:])
    return made


def _rule(moments: list[datetime], end: int) -> str | None:
    """The yearly rule that moments follow to the end: the nth or the last weekday of a month, at one time."""
    yearly = all(later.year == earlier.year + 1 for earlier, later in pairwise(moments))
    if len(moments) < YEARS_AHEAD or not yearly or moments[-1].year < end - 1:
        return None
    if len({(moment.month, moment.weekday(), moment.time()) for moment in moments}) > 1:
        return None
    places = {(moment.day - 1) // 7 + 1 for moment in moments}
    is_last = all((moment + _WEEK).month != moment.month for moment in moments)
    if not is_last and len(places) > 1:
        return None
    place = -1 if is_last else places.pop()
    return f"FREQ=YEARLY;BYMONTH={moments[0].month};BYDAY={place}{_WEEKDAYS[moments[0].weekday()]}"
