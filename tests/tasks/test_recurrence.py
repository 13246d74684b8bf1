"""Repetition: the dates of a pattern, on the clock of a zone, and what is no pattern."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backend.tasks import recurrence, rrule
from backend.tasks.recurrence import (
    PREVIEW_MAX,
    next_occurrence,
    parse_pattern,
    parse_timezone,
    preview,
    rest,
)
from backend.tasks.rrule import WORDS
from tests.examples import examples

SECONDS_MAX = 0.1  # of CPU; the worst rule takes 1 ms, and the garbage collector may come in between


def days(*texts: str) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


def at(text: str) -> datetime:
    """A wall-clock time with its zone behind it, in UTC."""
    wall, zone = text.split(" ")
    return datetime.fromisoformat(wall).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


DATES = [
    ("daily", "2026-02-27", "2026-02-28 2026-03-01"),
    ("weekly", "2026-12-30", "2027-01-06 2027-01-13"),
    ("monthly", "2026-01-15", "2026-02-15 2026-03-15"),
    ("monthly", "2026-01-31", "2026-02-28 2026-03-31 2026-04-30 2026-05-31"),
    ("monthly", "2027-12-30", "2028-01-30 2028-02-29 2028-03-30"),
    ("monthly", "2026-01-29", "2026-02-28 2026-03-29"),
    ("yearly", "2026-05-31", "2027-05-31 2028-05-31"),
    ("yearly", "2024-02-29", "2025-02-28 2026-02-28 2027-02-28 2028-02-29 2029-02-28"),
    ("yearly", "2096-02-29", "2097-02-28 2098-02-28 2099-02-28 2100-02-28 2101-02-28"),
    ("FREQ=YEARLY", "2096-02-29", "2104-02-29 2108-02-29"),
    ("FREQ=YEARLY", "1996-02-29", "2000-02-29 2004-02-29"),
    ("FREQ=MONTHLY", "2026-01-31", "2026-03-31 2026-05-31 2026-07-31"),
    ("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-01-31", "2026-02-28 2026-03-31 2026-04-30"),
    ("FREQ=MONTHLY;INTERVAL=2;COUNT=3", "2026-01-31", "2026-03-31 2026-05-31"),
    ("FREQ=DAILY;INTERVAL=10;COUNT=3", "2026-01-01", "2026-01-11 2026-01-21"),
    (
        "FREQ=DAILY;INTERVAL=3;BYMONTHDAY=-1,-2;UNTIL=20260601",
        "2026-01-01",
        "2026-01-31 2026-02-27 2026-05-31",
    ),
    ("FREQ=DAILY;BYDAY=MO,FR;BYMONTH=3;COUNT=3", "2026-03-27", "2026-03-30 2027-03-01"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO;COUNT=4", "1997-08-05", "1997-08-10 1997-08-19 1997-08-24"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU;COUNT=4", "1997-08-05", "1997-08-17 1997-08-19 1997-08-31"),
    ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1;COUNT=3", "2026-01-07", "2026-01-12 2026-01-19"),
    ("FREQ=MONTHLY;BYDAY=1MO", "2026-01-05", "2026-02-02 2026-03-02"),
    ("FREQ=MONTHLY;BYDAY=-1FR", "2026-01-30", "2026-02-27 2026-03-27 2026-04-24"),
    ("FREQ=MONTHLY;BYDAY=5SA;COUNT=3", "2026-01-31", "2026-05-30 2026-08-29"),
    (
        "FREQ=MONTHLY;BYDAY=WE,1FR;COUNT=6",
        "2026-05-27",
        "2026-06-03 2026-06-05 2026-06-10 2026-06-17 2026-06-24",
    ),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13;COUNT=4", "2026-02-13", "2026-03-13 2026-11-13 2027-08-13"),
    ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2026-01-30", "2026-02-27 2026-03-31 2026-04-30"),
    ("FREQ=MONTHLY;BYMONTH=1,2;COUNT=3", "2026-01-09", "2026-02-09 2027-01-09"),
    ("FREQ=YEARLY;BYDAY=20MO", "1997-05-19", "1998-05-18 1999-05-17"),
    ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "2026-11-26", "2027-11-25 2028-11-23"),
    ("FREQ=YEARLY;BYYEARDAY=1,-1;COUNT=4", "2026-12-31", "2027-01-01 2027-12-31 2028-01-01"),
    (
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "1996-11-05",
        "2000-11-07 2004-11-02",
    ),
    ("FREQ=DAILY;UNTIL=20260103", "2026-01-01", "2026-01-02 2026-01-03"),
    ("FREQ=DAILY;UNTIL=20260103T100000Z", "2026-01-01", "2026-01-02 2026-01-03"),
    ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", "2026-01-07", "2026-01-12 2026-01-19"),
]


@pytest.mark.parametrize(("pattern", "anchor", "expected"), DATES)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "America/New_York"])
def test_dates_follow_the_pattern_in_every_zone(pattern: str, anchor: str, expected: str, zone: str) -> None:
    """An all-day series has the dates of the calendar, whatever the zone, and ends where it says."""
    start, wanted = date.fromisoformat(anchor), days(*expected.split())
    pattern = parse_pattern(pattern)
    assert preview(pattern, start, zone, len(wanted) + 1) == [start, *wanted]
    assert [next_occurrence(pattern, start, day, zone) for day in [start, *wanted[:-1]]] == wanted
    if "COUNT" in pattern or "UNTIL" in pattern:
        assert next_occurrence(pattern, start, wanted[-1], zone) is None


INSTANTS = [
    ("daily", "2026-03-28T09:00 Europe/Berlin", "2026-03-29T07:00 2026-03-30T07:00"),
    ("daily", "2026-10-24T09:00 Europe/Berlin", "2026-10-25T08:00 2026-10-26T08:00"),
    ("daily", "2026-03-28T02:30 Europe/Berlin", "2026-03-29T01:30 2026-03-30T00:30"),
    ("daily", "2026-10-24T02:30 Europe/Berlin", "2026-10-25T00:30 2026-10-26T01:30"),
    ("daily", "2026-03-07T02:30 America/New_York", "2026-03-08T07:30 2026-03-09T06:30"),
    ("weekly", "2026-10-25T01:30 America/New_York", "2026-11-01T05:30 2026-11-08T06:30"),
    ("daily", "2026-10-03T02:15 Australia/Lord_Howe", "2026-10-03T15:45 2026-10-04T15:15"),
    ("daily", "2026-04-04T09:00 Australia/Lord_Howe", "2026-04-04T22:30 2026-04-05T22:30"),
    ("daily", "2026-01-01T00:10 Asia/Kathmandu", "2026-01-01T18:25 2026-01-02T18:25"),
    ("daily", "2011-12-28T09:00 Pacific/Apia", "2011-12-29T19:00 2011-12-30T19:00 2011-12-31T19:00"),
    ("FREQ=WEEKLY;BYDAY=FR", "2011-12-23T09:00 Pacific/Apia", "2011-12-30T19:00 2012-01-05T19:00"),
    ("monthly", "2026-01-31T23:30 America/New_York", "2026-03-01T04:30 2026-04-01T03:30"),
    ("FREQ=WEEKLY;BYDAY=MO", "2026-01-05T23:30 America/New_York", "2026-01-13T04:30 2026-01-20T04:30"),
    ("FREQ=DAILY;UNTIL=20260103", "2026-01-01T23:30 America/New_York", "2026-01-03T04:30 2026-01-04T04:30"),
    (
        "FREQ=DAILY;UNTIL=20260103T080000Z",
        "2026-01-01T09:00 Europe/Berlin",
        "2026-01-02T08:00 2026-01-03T08:00",
    ),
    ("FREQ=DAILY;UNTIL=20260103T075959Z", "2026-01-01T09:00 Europe/Berlin", "2026-01-02T08:00"),
]


@pytest.mark.parametrize(("pattern", "anchor", "expected"), INSTANTS)
def test_instants_keep_their_time_on_the_clock(pattern: str, anchor: str, expected: str) -> None:
    """09:00 stays 09:00 when the clock changes; gaps, second hours and a day left out are as documented."""
    start, zone = at(anchor), anchor.split(" ")[1]
    wanted = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in expected.split()]
    found = preview(pattern, start, zone, len(wanted) + 1)
    assert found == [start, *wanted]
    assert [next_occurrence(pattern, start, due, zone) for due in found[:-1]] == wanted
    assert all(isinstance(due, datetime) and due.tzinfo is UTC for due in found)
    if "UNTIL" in pattern:
        assert next_occurrence(pattern, start, wanted[-1], zone) is None


def test_a_day_left_out_counts() -> None:
    """COUNT counts the days of the calendar, so that every call ends a series on the same date."""
    start = at("2011-12-29T09:00 Pacific/Apia")
    pattern = "FREQ=DAILY;COUNT=4"
    found = preview(pattern, start, "Pacific/Apia")
    assert found == [start, start + timedelta(days=1), start + timedelta(days=2)]
    assert next_occurrence(pattern, start, found[1], "Pacific/Apia") == found[2]
    assert next_occurrence(pattern, start, found[2], "Pacific/Apia") is None


def test_the_anchor_is_the_first_on_the_pattern_or_not() -> None:
    """What is due first is due, even past UNTIL; COUNT=1 is the anchor alone."""
    wednesday = date(2026, 1, 7)
    assert preview("FREQ=WEEKLY;BYDAY=MO", wednesday, "UTC", 2) == [wednesday, date(2026, 1, 12)]
    assert preview("FREQ=DAILY;COUNT=1", wednesday, "UTC") == [wednesday]
    assert preview("FREQ=DAILY;UNTIL=20250101", wednesday, "UTC") == [wednesday]
    assert next_occurrence("daily", wednesday, date(2026, 1, 1), "UTC") == wednesday


@pytest.mark.parametrize(("count", "length"), [(-1, 0), (0, 0), (1, 1), (10**6, PREVIEW_MAX)])
def test_a_preview_is_short(count: int, length: int) -> None:
    """However many dates are asked for, PREVIEW_MAX is the most."""
    assert len(preview("daily", date(2026, 1, 1), "UTC", count)) == length


def test_a_series_ends_in_time() -> None:
    """A century after the anchor, near the ends of the calendar and for rules that never fall it is over."""
    assert next_occurrence("yearly", date(2000, 1, 1), date(2099, 1, 1), "UTC") == date(2100, 1, 1)
    assert next_occurrence("yearly", date(2000, 1, 1), date(2100, 1, 1), "UTC") is None
    assert next_occurrence("FREQ=YEARLY;INTERVAL=1000", date(2000, 1, 1), date(2000, 1, 1), "UTC") is None
    assert (
        next_occurrence("FREQ=DAILY;INTERVAL=7;BYDAY=MO", date(2026, 1, 6), date(2026, 1, 6), "UTC") is None
    )
    assert next_occurrence("FREQ=YEARLY;BYMONTH=2", date(2026, 1, 31), date(2026, 1, 31), "UTC") is None
    for edge in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert preview("daily", edge, "Asia/Tokyo") == [edge]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_occurrence("daily", start, datetime.max.replace(tzinfo=UTC), "Asia/Tokyo") is None
    assert next_occurrence("daily", start, datetime.min.replace(tzinfo=UTC), "Asia/Tokyo") == start


def test_instants_and_dates_do_not_mix() -> None:
    """A naive time, or a date beside an instant, is a programming error and says so."""
    aware, naive = datetime(2026, 1, 1, tzinfo=UTC), datetime.fromisoformat("2026-01-01T00:00:00")
    for anchor, after in (
        (aware, naive),
        (naive, aware),
        (aware, date(2026, 1, 1)),
        (date(2026, 1, 1), aware),
    ):
        with pytest.raises(TypeError):
            next_occurrence("daily", anchor, after, "UTC")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (" Daily ", "daily"),
        ("RRULE:FREQ=DAILY;\r\n", "FREQ=DAILY"),
        ("freq=daily ; ;", "FREQ=DAILY"),
        ("YEARLY", "yearly"),
        ("rrule:freq=weekly;byday=we,mo", "FREQ=WEEKLY;BYDAY=MO,WE"),
        ("INTERVAL=1;WKST=MO;FREQ=DAILY", "FREQ=DAILY"),
        ("FREQ=MONTHLY;BYDAY=+1MO,-1FR,MO,1MO", "FREQ=MONTHLY;BYDAY=-1FR,MO,1MO"),
        ("FREQ=MONTHLY;BYSETPOS=-1;BYMONTHDAY=+03,3,-1", "FREQ=MONTHLY;BYMONTHDAY=-1,3;BYSETPOS=-1"),
        ("FREQ=DAILY;COUNT=010;INTERVAL=2", "FREQ=DAILY;INTERVAL=2;COUNT=10"),
        ("FREQ=DAILY;UNTIL=20261231t225959z", "FREQ=DAILY;UNTIL=20261231T225959Z"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO"),
    ],
)
def test_a_pattern_has_one_spelling(text: str, stored: str) -> None:
    """Case, order, prefix and defaults do not matter, and what is stored is stored again the same."""
    assert parse_pattern(text) == stored
    assert parse_pattern(stored) == stored


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not understood"),
        ("hourly", "is not understood"),
        ("FREQ=DAILY;;COUNT=3", "is not understood"),
        (";", "is not understood"),
        ("RRULE:daily", "is not understood"),
        ("FREQ=DAILY;X-Y=1", "'X-Y' is not understood"),
        ("FREQ=WEEKLY;BYHOUR=9", "'BYHOUR' is not understood"),
        ("FREQ=YEARLY;BYWEEKNO=20", "'BYWEEKNO' is not understood"),
        ("DTSTART=20260101;FREQ=DAILY", "'DTSTART' is not understood"),
        ("FREQ=DAILY; COUNT=3", "' COUNT' is not understood"),
        ("FREQ=DAILY\nDTSTART:20260101", "one line"),
        ("FREQ=D\u0131ILY", "ASCII"),
        ("FREQ=DAILY;COUNT=" + "1" * 200, "200"),
        ("FREQ=HOURLY", "FREQ must be"),
        ("FREQ=", "FREQ must be"),
        ("COUNT=3", "FREQ is missing"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ is there twice"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "exclude"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be 1 to 10000"),
        ("FREQ=DAILY;COUNT=10001", "COUNT must be 1 to 10000"),
        ("FREQ=DAILY;COUNT=1,2", "COUNT must be one number"),
        ("FREQ=DAILY;INTERVAL=1001", "INTERVAL must be 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL must be 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=1.5", "INTERVAL must be 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=1_0", "INTERVAL must be 1 to 1000"),
        ("FREQ=YEARLY;BYMONTH=13", "BYMONTH must be 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY must be -31 to 31"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "BYMONTHDAY must be"),
        ("FREQ=YEARLY;BYYEARDAY=367", "BYYEARDAY must be"),
        ("FREQ=MONTHLY;BYDAY=XX", "BYDAY must be"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY must be"),
        ("FREQ=MONTHLY;BYDAY=6MO", "at most 5"),
        ("FREQ=YEARLY;BYMONTH=1;BYDAY=6MO", "at most 5"),
        ("FREQ=YEARLY;BYDAY=54MO", "at most 53"),
        ("FREQ=WEEKLY;BYDAY=1MO", "FREQ=MONTHLY and FREQ=YEARLY only"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY goes with"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs"),
        ("FREQ=DAILY;WKST=1", "WKST must be"),
        ("FREQ=DAILY;UNTIL=2026-12-31", "UNTIL must be"),
        ("FREQ=DAILY;UNTIL=20261231T120000", "UNTIL must be"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL must be"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "no date at all"),
        ("FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31", "no date at all"),
        ("FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=5MO", "no date at all"),
        ("FREQ=DAILY;BYDAY=MO;BYSETPOS=2", "no date at all"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_named(text: str, reason: str) -> None:
    """A pattern that is none is refused with a sentence about the part that is wrong."""
    with pytest.raises(ValueError, match=reason):
        parse_pattern(text)


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Asia/Calcutta", "Etc/GMT+5"]
)
def test_zones_are_those_of_the_tz_database(name: str) -> None:
    """A known name is answered as it is, and can be loaded."""
    assert parse_timezone(name) == ZoneInfo(name).key


@pytest.mark.parametrize(
    "name",
    [
        *("", "../x", "/etc/passwd", "Europe", "Europe/", "europe/berlin", "Europe/../Europe/Berlin"),
        *(
            "Europe/Berlin ",
            "\x00",
            "Europe\\Berlin",
            "Europe/B\u00e9rlin",
            "\ud800",
            "x" * 10**6,
            "localtime",
        ),
    ],
)
def test_other_zones_are_refused(name: str) -> None:
    """What is not in the list is no zone, whatever a file system makes of it."""
    with pytest.raises(ValueError, match="IANA"):
        parse_timezone(name)


SLOW = [
    "FREQ=DAILY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29;COUNT=10000",
    "FREQ=DAILY;INTERVAL=7;BYDAY=SU",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;COUNT=10000",
    "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYMONTH=1;BYSETPOS=7;COUNT=10000",
    "FREQ=MONTHLY;BYMONTHDAY=-31,-30,29,30,31;BYDAY=-5MO,5TU,MO,TU,WE,TH,FR,SA,SU;COUNT=10000",
    "FREQ=YEARLY;BYDAY=53MO,MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1,2,3,-366;COUNT=10000",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=5MO",
    "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=" + ",".join(map(str, range(2, 40))),
    "FREQ=DAILY;BYMONTHDAY=29,-31;BYDAY=MO;BYMONTH=2;BYSETPOS=1",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=2,3,4,7;COUNT=10000",
]


@pytest.mark.parametrize("text", SLOW)
def test_no_pattern_takes_long(text: str) -> None:
    """The worst rules that can be written are refused or followed to their end in bounded time."""
    start, late = at("2026-01-31T09:00 Europe/Berlin"), at("2125-01-01T09:00 Europe/Berlin")
    began = process_time()
    try:
        pattern = parse_pattern(text)
    except ValueError:
        pattern = "daily"
    next_occurrence(pattern, start, late, "Europe/Berlin")
    preview(pattern, start, "Europe/Berlin", PREVIEW_MAX)
    assert process_time() - began < SECONDS_MAX


@pytest.mark.parametrize("text", SLOW)
def test_the_same_pattern_is_judged_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred tasks with one pattern, right or wrong, cost what one does."""
    judged: list[str] = []
    monkeypatch.setattr(recurrence, "_parse", judged.append)
    for _ in range(200):
        parse_pattern(text + ";X=")
    assert judged == [text + ";X="]


@pytest.mark.parametrize("text", SLOW)
def test_a_series_is_worked_out_by_the_kinds_of_years(text: str) -> None:
    """However far away it is asked for a date, a rule is worked out at most once for each kind of year."""
    rule = rrule.read(rrule.complete(text, date(2026, 1, 31)))
    before = rrule._falling.cache_info().misses
    list(rrule.days_of(rule, date(2026, 1, 31), date(2026, 1, 31)))
    list(rrule.days_of(rule, date(2026, 1, 31), date.max))
    assert rrule._falling.cache_info().misses - before <= 14


def lists(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high).filter(bool)
    return st.lists(numbers, min_size=1, max_size=4).map(lambda items: ",".join(map(str, items)))


WEEKDAYS = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
ORDINALS = st.sampled_from(["", "", "", "1", "2", "5", "-1", "-5", "53"])
PARTS = st.fixed_dictionaries(
    {"FREQ": st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])},
    optional={
        "INTERVAL": st.integers(1, 12).map(str) | st.integers(1, 1000).map(str),
        "COUNT": st.integers(1, 20).map(str) | st.integers(1, 10000).map(str),
        "UNTIL": st.dates(date(1990, 1, 1), date(2060, 1, 1)).map(lambda day: f"{day:%Y%m%d}"),
        "BYMONTH": lists(1, 12),
        "BYMONTHDAY": lists(-31, 31),
        "BYYEARDAY": lists(-366, 366),
        "BYDAY": st.lists(st.tuples(ORDINALS, WEEKDAYS).map("".join), min_size=1, max_size=4).map(",".join),
        "BYSETPOS": lists(-4, 4),
        "WKST": WEEKDAYS,
    },
)
RULES = PARTS.map(lambda parts: ";".join(f"{name}={value}" for name, value in parts.items()))
PATTERNS = st.sampled_from(WORDS) | RULES
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
DAYS = st.dates(date(1970, 1, 1), date(2060, 1, 1))
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def parsed(text: str) -> str:
    try:
        return parse_pattern(text)
    except ValueError:
        assume(False)
        raise


@examples(150)
@given(RULES | st.text() | st.text("FREQ=DAILYWKBO;,:+-0123456789", max_size=40))
@example("FREQ=MONTHLY;BYDAY=53SU,-53SU;BYMONTH=12")
@example("FREQ=YEARLY;BYDAY=53SU,-53MO;BYSETPOS=366")
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    """There is a stored form, which is its own, or a ValueError that says something, soon."""
    began, pattern, sentence = process_time(), "", ""
    try:
        pattern = parse_pattern(text)
    except ValueError as error:
        sentence = str(error)
    assert process_time() - began < SECONDS_MAX
    assert bool(pattern) != bool(sentence)
    assert sentence.isprintable()
    if pattern:
        assert parse_pattern(pattern) == pattern
        assert len(pattern) <= len(text)


@examples(150)
@given(PATTERNS, DAYS | TIMES, ZONES)
def test_the_next_ones_are_the_preview(text: str, start: date, zone: str) -> None:
    """next_occurrence leads from each date of the preview to the next, always on."""
    pattern = parsed(text)
    found = preview(pattern, start, zone, 6)
    assert found[0] == start
    assert all(earlier < later for earlier, later in pairwise(found))
    chain = [next_occurrence(pattern, start, due, zone) for due in found]
    assert chain[:-1] == found[1:]
    assert len(found) == 6 or chain[-1] is None


@examples(150)
@given(PATTERNS, TIMES, TIMES, ZONES)
def test_the_next_one_is_later_and_soon_found(text: str, start: datetime, after: datetime, zone: str) -> None:
    """Whatever it is asked after, the answer is later, in UTC, at the anchor's time, and takes no time."""
    pattern = parsed(text)
    began = process_time()
    due = next_occurrence(pattern, start, after, zone)
    assert process_time() - began < SECONDS_MAX
    if due is None:
        return
    assert isinstance(due, datetime)
    assert due > after
    assert due.tzinfo is UTC
    clock = ZoneInfo(zone)
    wall, local = start.astimezone(clock).time(), due.astimezone(clock)
    at_noon = datetime.combine(local.date(), wall, clock)
    assert local.time() == wall or at_noon.astimezone(UTC).astimezone(clock).time() != wall


@examples(150)
@given(RULES.filter(lambda text: "COUNT" not in text and "UNTIL" not in text), DAYS, st.integers(1, 40))
def test_a_count_cuts_a_series_short(text: str, start: date, count: int) -> None:
    """A series with a COUNT is the beginning of the one without, however late it is asked for its end."""
    pattern = parsed(text)
    found = preview(pattern, start, "UTC", count)
    counted = parse_pattern(f"{pattern};COUNT={count}")
    assert preview(counted, start, "UTC", PREVIEW_MAX) == found
    assert next_occurrence(counted, start, found[-1], "UTC") is None
    assert [next_occurrence(counted, start, day, "UTC") for day in found[:-1]] == found[1:]


@examples(150)
@given(RULES, DAYS)
def test_dateutil_agrees(text: str, start: date) -> None:
    """Where dateutil follows the RFC and finds an end, it finds the same dates."""
    pattern = parsed(text)
    byday = next((part for part in pattern.split(";") if part.startswith("BYDAY=")), "")
    ordinals = [item[:-2] != "" for item in byday.removeprefix("BYDAY=").split(",") if item]
    assume(all(ordinals) or not any(ordinals))  # it takes MO,1FR as both at once
    assume("WEEKLY" not in pattern or "BYSETPOS" not in pattern)  # it cuts the first week short
    found = preview(pattern, start, "UTC", 5)
    assume(len(found) == 5)  # otherwise it looks on to the year 9999
    # It has no first date that is off the pattern, so COUNT is one more there or the same.
    uncounted = ";".join(part for part in pattern.split(";") if not part.startswith("COUNT="))
    oracle = rrulestr(uncounted, dtstart=datetime(start.year, start.month, start.day))  # noqa: DTZ001 - its dates are naive
    assert found[1:] == [
        moment.date() for moment in oracle.xafter(datetime.combine(start, datetime.min.time()), 4)
    ]


@pytest.mark.parametrize(("timezone", "last"), [("Europe/Berlin", 30), ("UTC", 29), ("America/Phoenix", 29)])
def test_an_until_with_a_time_ends_all_day_dates_on_its_local_day(timezone: str, last: int) -> None:
    """An instant in UNTIL is, for all-day dates, its day in the task's zone; a semicolon may end the rule."""
    pattern = parse_pattern("FREQ=DAILY;UNTIL=20211129T230000Z;")
    assert preview(pattern, date(2021, 11, 28), timezone)[-1] == date(2021, 11, last)


LEFT = [
    # The pattern, its anchor, its zone, after what, and what is left: the first date and the rule from there.
    ("weekly", "2026-03-03", "UTC", "2026-03-10", "2026-03-10", "FREQ=WEEKLY;BYDAY=TU"),
    (
        "monthly",
        "2026-01-31",
        "UTC",
        "2026-02-28",
        "2026-02-28",
        "FREQ=MONTHLY;BYMONTHDAY=28,29,30,31;BYSETPOS=-1",
    ),
    (
        "yearly",
        "2024-02-29",
        "UTC",
        "2025-02-28",
        "2025-02-28",
        "FREQ=YEARLY;BYMONTHDAY=28,29;BYSETPOS=-1;BYMONTH=2",
    ),
    ("FREQ=YEARLY", "2024-02-29", "UTC", "2025-01-01", "2028-02-29", "FREQ=YEARLY;BYMONTHDAY=29;BYMONTH=2"),
    ("FREQ=DAILY;COUNT=5", "2026-01-01", "UTC", "2026-01-01", "2026-01-01", "FREQ=DAILY;COUNT=5"),
    ("FREQ=DAILY;COUNT=5", "2026-01-01", "UTC", "2026-01-04", "2026-01-04", "FREQ=DAILY;COUNT=2"),
    ("FREQ=DAILY;COUNT=5", "2026-01-01", "UTC", "2026-01-05", "2026-01-05", None),
    # An anchor that the pattern does not fall on counts, and is never the first.
    (
        "FREQ=WEEKLY;BYDAY=MO;COUNT=3",
        "2026-03-03",
        "UTC",
        "2026-03-03",
        "2026-03-09",
        "FREQ=WEEKLY;BYDAY=MO;COUNT=2",
    ),
    # A day is the whole day where it is, and a time its day for whole days.
    (
        "FREQ=DAILY;UNTIL=20260701",
        "2026-01-01T09:00 Europe/Berlin",
        "Europe/Berlin",
        "2026-06-01T09:00 Europe/Berlin",
        "2026-06-01T09:00:00",
        "FREQ=DAILY;UNTIL=20260701T215959Z",
    ),
    (
        "FREQ=DAILY;UNTIL=20260701T230000Z",
        "2026-01-01",
        "Europe/Berlin",
        "2026-06-01",
        "2026-06-01",
        "FREQ=DAILY;UNTIL=20260702",
    ),
    # A time that the clocks skip on that day is still the series' own.
    (
        "daily",
        "2026-03-27T02:30 Europe/Berlin",
        "Europe/Berlin",
        "2026-03-29T02:30 Europe/Berlin",
        "2026-03-29T02:30:00",
        "FREQ=DAILY",
    ),
]


@pytest.mark.parametrize(("pattern", "anchor", "zone", "after", "first", "rule"), LEFT)
def test_what_is_left_of_a_series_is_a_rule_of_its_own(
    pattern: str, anchor: str, zone: str, after: str, first: str, rule: str | None
) -> None:
    """Whoever does not know the anchor is told all it says: days, how many are left, and until when."""
    start, since = (at(text) if " " in text else date.fromisoformat(text) for text in (anchor, after))
    left = rest(parse_pattern(pattern), start, since, zone, including=True)
    assert left is not None
    assert (left.first.isoformat(), left.rule) == (first, rule)


def test_nothing_is_left_of_a_series_that_is_over() -> None:
    """After its last date, and of one so early or late that the calendar has no room for it."""
    assert rest("FREQ=DAILY;COUNT=2", date(2026, 1, 1), date(2026, 1, 2), "UTC") is None
    assert rest("FREQ=DAILY;UNTIL=20260102", date(2026, 1, 1), date(2026, 1, 2), "UTC") is None
    assert rest("daily", date(9999, 12, 31), date(9999, 12, 31), "UTC", including=True) is None
    assert rest("daily", date(1, 1, 1), date(1, 1, 1), "UTC", including=True) is None


@examples(200)
@given(PATTERNS, DAYS | TIMES, ZONES, st.integers(0, 5))
def test_what_is_left_leads_to_the_same_dates(text: str, start: date, zone: str, place: int) -> None:
    """Counted from any of its dates, by the rule that is said to be left from there, a series is the same."""
    pattern = parsed(text)
    found = preview(pattern, start, zone, 10)
    assume(place < len(found))
    left = rest(pattern, start, found[place], zone, including=True)
    later = found[place:]
    if place == 0 and (left is None or left.due != start):
        later = found[1:]  # the anchor is not on its pattern
    assert (left.due if left else None) == (later[0] if later else None)
    assume(left is not None)
    assert left is not None
    if left.rule is None:
        assert later == [left.due]
        return
    if isinstance(left.due, datetime):
        assume(left.due.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == left.first)
    assume(len(left.rule) <= recurrence.PATTERN_MAX)
    assert preview(parse_pattern(left.rule), left.due, zone, len(later)) == later
