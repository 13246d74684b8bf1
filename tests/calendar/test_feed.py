"""What calendar programs read: written by the service, read back by two parsers that know nothing of it."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
import vobject
from dateutil.rrule import rrulestr

from tests.conftest import Client, on_sqlite

# What a task is shown as has nothing to do with where it is kept.
pytestmark = on_sqlite

TEXTS = [
    'plain, "quoted"; and\\escaped',
    "C:\\New folder\\next, \\n is no line, \\N neither; \\\\",
    "several\nlines\r\nof text\x0bhere\u2028and\x85there",
    "\U0001f600 \u00e4\u00f6\u00fc \u65e5\u672c " * 20,
    "BEGIN:VALARM\nEND:VCALENDAR: no",
    "control \x01\x1f\x7f marks\tand a tab",
]


def told(text: str) -> str:
    """A text as iCalendar can tell it: one kind of line break, no control characters."""
    for mark in ("\r\n", "\x0b", "\u2028", "\x85"):
        text = text.replace(mark, "\n")
    return "".join(mark for mark in text if mark in "\n\t" or (mark >= " " and mark != "\x7f"))


async def read(alice: Client, **calendar: Any) -> bytes:
    """What a new calendar of alice's shows to whoever has its address."""
    created = await alice.post("/api/calendar", json={"component": "todo", **calendar})
    assert created.status_code == 201, created.text
    response = await alice.get(created.json()["url"], headers={"Authorization": ""})
    assert response.status_code == 200, response.text
    return response.content


def by_icalendar(content: bytes) -> list[Any]:
    """Its entries as icalendar reads them."""
    calendar = icalendar.Calendar.from_ical(content)
    assert not calendar.errors
    return [part for part in calendar.subcomponents if part.name in ("VTODO", "VEVENT")]


def by_vobject(content: bytes) -> list[Any]:
    """Its entries as vobject reads them."""
    calendar = vobject.readOne(content.decode())
    return [*calendar.contents.get("vtodo", []), *calendar.contents.get("vevent", [])]


async def entries(alice: Client, **calendar: Any) -> list[tuple[Any, Any]]:
    """The entries of a new calendar, each as both read it."""
    content = await read(alice, **calendar)
    ours, theirs = by_icalendar(content), by_vobject(content)
    assert [str(entry["UID"]) for entry in ours] == [entry.uid.value for entry in theirs]
    return list(zip(ours, theirs, strict=True))


@pytest.mark.parametrize("component", ["todo", "event"])
async def test_every_text_comes_out_as_it_was(alice: Client, component: str) -> None:
    """Titles, descriptions and tags, whatever is in them, and the calendar's own name."""
    for text in TEXTS:
        await alice.new_task(text[:200], description=text, tags=[text[:50], "b"], due_date="2026-11-21")
    content = await read(alice, component=component, name=TEXTS[0])
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    assert content.endswith(b"END:VCALENDAR\r\n")
    assert b"\n" not in content.replace(b"\r\n", b"")
    [name] = vobject.readOne(content.decode()).contents["x-wr-calname"]
    assert b'\r\nNAME:plain\\, "quoted"\\; and\\\\escaped\r\n' in content
    assert name.value == TEXTS[0]
    found = by_icalendar(content)
    assert len(found) == len(TEXTS)
    for text, entry, other in zip(TEXTS, found, by_vobject(content), strict=True):
        title = told(text[:200].strip())
        assert (str(entry["SUMMARY"]), other.summary.value) == (title, title)
        assert (str(entry["DESCRIPTION"]), other.description.value) == (told(text), told(text))
        assert other.categories.value == [told(text[:50].strip()), "b"]


async def test_a_todo_is_a_task(alice: Client) -> None:
    """State, priority, version and times of a task, as RFC 5545 calls them."""
    task = await alice.new_task("a", due_date="2026-11-21T09:00:00Z", priority="high", tags=["x"])
    await alice.new_task("b", due_date="2026-11-22", priority="low")
    done = await alice.new_task("c", due_date="2026-11-23", completed=True)
    await alice.new_task("no date")
    task = (await alice.patch(f"/api/tasks/{task['id']}", json={"title": "A"})).json()
    (first, other), (second, _), (third, _) = await entries(alice, filter={"status": "all"})
    assert (first["SEQUENCE"], first["PRIORITY"], second["PRIORITY"], third["PRIORITY"]) == (2, 1, 9, 5)
    assert first["DUE"].dt == other.due.value == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert "DTSTART" not in first
    assert second["DUE"].dt == date(2026, 11, 22)
    moments = {"CREATED": "created_at", "LAST-MODIFIED": "updated_at", "DTSTAMP": "updated_at"}
    for name, field in moments.items():
        assert first[name].dt == datetime.fromisoformat(task[field]).replace(microsecond=0), name
    assert (first["STATUS"], first["PERCENT-COMPLETE"]) == ("NEEDS-ACTION", 0)
    assert (third["STATUS"], third["PERCENT-COMPLETE"]) == ("COMPLETED", 100)
    assert third["COMPLETED"].dt == datetime.fromisoformat(done["completed_at"]).replace(microsecond=0)
    assert "COMPLETED" not in first


async def test_an_event_is_a_task(alice: Client) -> None:
    """It takes no time of anybody's: an instant has no end, a day is that day, and what is done says so."""
    await alice.new_task("a", due_date="2026-11-21T09:00:00+01:00")
    await alice.new_task("b", due_date="2026-11-22", timezone="America/New_York", completed=True)
    await alice.new_task("c", due_date="9999-12-31")
    (first, other), (second, _), (last, _) = await entries(
        alice, component="VEVENT", filter={"status": "all"}
    )
    assert first["DTSTART"].dt == other.dtstart.value == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert "DTEND" not in first
    assert (second["DTSTART"].dt, second["DTEND"].dt) == (date(2026, 11, 22), date(2026, 11, 23))
    assert second["SUMMARY"] == "\u2713 b"
    assert (last["DTSTART"].dt, "DTEND" in last) == (date(9999, 12, 31), False)
    assert {entry["TRANSP"] for entry in (first, second, last)} == {"TRANSPARENT"}


async def test_names_are_stable_and_nobody_elses(alice: Client, bob: Client) -> None:
    """A task has one UID in every calendar and at every version, and tells nothing of its owner."""
    task = await alice.new_task(due_date="2026-11-21")
    [(before, _)] = await entries(alice)
    await alice.patch(f"/api/tasks/{task['id']}", json={"due_date": "2026-11-25"})
    [(after, _)] = await entries(alice, component="event")
    assert before["UID"] == after["UID"]
    assert (before["SEQUENCE"], after["SEQUENCE"]) == (1, 2)
    await bob.new_task(due_date="2026-11-21")
    [(other, _)] = await entries(bob)
    assert other["UID"].partition(".")[2] != after["UID"].partition(".")[2]
    assert "alice" not in after["UID"]


ALARMS = [
    # Minutes, and when it rings before what is due at nine, and on a whole day.
    (0, timedelta(0), timedelta(hours=9)),
    (15, timedelta(minutes=-15), timedelta(hours=9)),
    (1440, timedelta(days=-1), timedelta(hours=-15)),
    (40320, timedelta(days=-28), timedelta(days=-27, hours=-15)),
]


@pytest.mark.parametrize(("minutes", "timed", "whole"), ALARMS)
@pytest.mark.parametrize("component", ["todo", "event"])
async def test_alarms_ring_before_a_task_is_due(
    alice: Client, component: str, minutes: int, timed: timedelta, whole: timedelta
) -> None:
    """Where they are asked for, and never for what is done."""
    await alice.new_task("a", due_date="2026-11-21T09:00:00Z")
    await alice.new_task("b", due_date="2026-11-22")
    await alice.new_task("c", due_date="2026-11-23", completed=True)
    found = await entries(alice, component=component, alarm=minutes, filter={"status": "all"})
    alarms = [entry.subcomponents for entry, _ in found]
    assert [len(own) for own in alarms] == [1, 1, 0]
    assert [own[0]["TRIGGER"].dt for own in alarms[:2]] == [timed, whole]
    related = "END" if component == "todo" else None
    assert {own[0]["TRIGGER"].params.get("RELATED") for own in alarms[:2]} == {related}
    assert found[0][1].valarm.action.value == "DISPLAY"
    assert all(not entry.subcomponents for entry, _ in await entries(alice, component=component))


def moments(entry: Any, number: int) -> list[Any]:
    """The first dates of an entry, as dateutil counts them from what it says alone."""
    start = entry["DTSTART"].dt
    rule = entry["RRULE"].to_ical().decode()
    if not isinstance(start, datetime):
        naive = datetime(start.year, start.month, start.day)  # noqa: DTZ001 - dateutil's days are naive
        return [moment.date() for moment in islice(rrulestr(rule, dtstart=naive), number)]
    return [moment.astimezone(UTC) for moment in islice(rrulestr(rule, dtstart=start), number)]


SERIES = [
    {"due_date": "2026-03-03", "recurring_pattern": "weekly"},
    {"due_date": "2026-01-31", "recurring_pattern": "monthly"},
    {"due_date": "2024-02-29", "recurring_pattern": "yearly"},
    {"due_date": "2024-02-29", "recurring_pattern": "FREQ=YEARLY"},
    {"due_date": "2026-03-03", "recurring_pattern": "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,FR;WKST=SU;COUNT=9"},
    {"due_date": "2026-03-03", "recurring_pattern": "FREQ=MONTHLY;BYDAY=1TU;UNTIL=20270101"},
    {"due_date": "2026-03-27T02:30", "timezone": "Europe/Berlin", "recurring_pattern": "daily"},
    {"due_date": "2026-10-23T02:30", "timezone": "Europe/Berlin", "recurring_pattern": "daily"},
    {
        "due_date": "2026-03-06T23:30",
        "timezone": "America/New_York",
        "recurring_pattern": "FREQ=DAILY;UNTIL=20260320",
    },
    {"due_date": "2026-03-06T23:30", "timezone": "UTC", "recurring_pattern": "FREQ=DAILY;COUNT=5"},
]


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("done", [0, 1, 3])
async def test_a_series_is_shown_as_it_will_be(alice: Client, series: dict[str, str], done: int) -> None:
    """The pending task with what follows it, by rule, are the dates that there will be: none moves."""
    query = {"pattern": series["recurring_pattern"], **series}
    del query["recurring_pattern"]
    expected = (await alice.get("/api/tasks/recurrence", params=query)).json()[done:]
    task = await alice.new_task(**series)
    for _ in range(done):
        task = (await alice.patch(f"/api/tasks/{task['id']}/complete")).json()
        task = (await alice.get(f"/api/tasks/{task['next_task_id']}")).json()
    [(entry, other)] = await entries(alice)
    found = [moment.isoformat().replace("+00:00", "Z") for moment in moments(entry, len(expected))]
    assert found == expected
    assert entry["DUE"].dt == entry["DTSTART"].dt
    assert other.dtstart.value == entry["DTSTART"].dt
    if "timezone" in series and series["timezone"] != "UTC":
        assert entry["DTSTART"].params["TZID"] == series["timezone"]
    # As many as there will be, where the preview has seen the end.
    if len(expected) + done < 10:
        assert len(moments(entry, 20)) == len(expected)


async def test_a_moved_task_leaves_its_series_where_it_is(alice: Client) -> None:
    """It is shown at its new date, by itself, and the rest from the next place on."""
    task = await alice.new_task(due_date="2026-03-03", recurring_pattern="FREQ=WEEKLY;COUNT=4")
    await alice.patch(f"/api/tasks/{task['id']}", json={"due_date": "2026-03-05"})
    (moved, _), (rest, _) = await entries(alice)
    assert (moved["DUE"].dt, "RRULE" in moved) == (date(2026, 3, 5), False)
    assert moments(rest, 9) == [date(2026, 3, 10), date(2026, 3, 17), date(2026, 3, 24)]
    assert rest["UID"] == f"rest-{moved['UID']}"


async def test_a_first_date_that_is_off_the_pattern_is_shown_by_itself(alice: Client) -> None:
    """Programs disagree on what it counts as: none is asked."""
    await alice.new_task(due_date="2026-03-03", recurring_pattern="FREQ=WEEKLY;BYDAY=MO;COUNT=3")
    (first, _), (rest, _) = await entries(alice, component="event")
    assert (first["DTSTART"].dt, "RRULE" in first) == (date(2026, 3, 3), False)
    assert moments(rest, 9) == [date(2026, 3, 9), date(2026, 3, 16)]


async def test_a_last_or_completed_occurrence_does_not_recur(alice: Client) -> None:
    """What is done is one entry, if it is asked for, and so is what nothing follows."""
    task = await alice.new_task(due_date="2026-03-03", recurring_pattern="FREQ=WEEKLY;COUNT=2")
    await alice.patch(f"/api/tasks/{task['id']}/complete")
    (done, _), (last, _) = await entries(alice, filter={"status": "all"})
    assert [entry["STATUS"] for entry in (done, last)] == ["COMPLETED", "NEEDS-ACTION"]
    assert not any("RRULE" in entry for entry in (done, last))
    assert [entry["DUE"].dt for entry in (done, last)] == [date(2026, 3, 3), date(2026, 3, 10)]
    assert len(await entries(alice)) == 1


async def test_a_series_that_is_counted_from_completions_shows_the_task_alone(alice: Client) -> None:
    """When it is due next nobody knows before it is done."""
    await alice.new_task(due_date="2026-03-03", recurring_pattern="weekly", recur_from="completion")
    [(entry, _)] = await entries(alice)
    assert (entry["DUE"].dt, "RRULE" in entry) == (date(2026, 3, 3), False)


async def test_the_edges_of_time_are_shown(alice: Client) -> None:
    """The first and the last days that there are, whole and not, in series and alone."""
    for due in ("0001-01-01", "0001-01-01T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59.999999Z"):
        for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
            await alice.new_task(due_date=due, timezone=zone)
            await alice.new_task(due_date=due, timezone=zone, recurring_pattern="daily")
    for due in ("9799-12-31T12:00:00", "1850-01-01T12:00:00", "0002-01-01T12:00:00"):
        await alice.new_task(due_date=due, timezone="Europe/Berlin", recurring_pattern="daily")
    for component in ("todo", "event"):
        assert len(by_icalendar(await read(alice, component=component))) == 27


ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Europe/Dublin",
    "Asia/Gaza",
]


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of a year in which a zone's clocks change."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(365 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hour for hour, (one, other) in zip(hours, pairwise(offsets), strict=False) if one != other]


@pytest.mark.parametrize("zone", ZONES)
async def test_clocks_change_as_they_do(alice: Client, zone: str) -> None:
    """Whoever knows a zone from the calendar alone has its time, each week, and as its clocks change."""
    await alice.new_task(due_date="2026-03-06T12:00", timezone=zone, recurring_pattern="daily")
    calendar = icalendar.Calendar.from_ical(await read(alice))
    [told] = [part for part in calendar.subcomponents if isinstance(part, icalendar.Timezone)]
    assert told["TZID"] == zone
    clock, known = told.to_tz(lookup_tzid=False), ZoneInfo(zone)
    observances: list[Any] = told.subcomponents[1:]
    for part in observances:
        # Each begins at a moment, told in the time until then: no program may be off by an hour on that day.
        before, after = part["TZOFFSETFROM"].td, part["TZOFFSETTO"].td
        begins = (part["DTSTART"].dt - before).replace(tzinfo=UTC)
        assert begins.astimezone(known).utcoffset() == after
        assert (begins - timedelta(seconds=1)).astimezone(known).utcoffset() == before
    looked_at = [datetime(2026, 3, 6, tzinfo=UTC) + timedelta(weeks=week) for week in range(0, 1000, 5)]
    for year in (2026, 2027, 2044):
        for change in changes(known, year):
            looked_at += [change + timedelta(minutes=minutes) for minutes in range(-120, 180, 30)]
    for moment in looked_at:
        local = moment.astimezone(known)
        if local.utcoffset() == local.replace(fold=1 - local.fold).utcoffset():  # not a time that comes twice
            assert local.replace(tzinfo=clock).astimezone(UTC) == moment
