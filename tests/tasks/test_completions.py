"""Series that are counted from completions: rules in Python, and over HTTP on both databases."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.tasks.recurrence import Following, after_completion, preview_completions
from tests.conftest import Client

BERLIN = "Europe/Berlin"
MONDAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("pattern", "start", "done", "following"),
    [
        ("daily", MONDAY, date(2026, 12, 14), date(2026, 12, 15)),
        ("FREQ=DAILY;INTERVAL=3", MONDAY, date(2026, 12, 14), date(2026, 12, 17)),
        ("FREQ=DAILY;INTERVAL=3", MONDAY, MONDAY, date(2026, 11, 26)),
        # Early: as many days after it was done; but a day with a name is not done twice.
        ("FREQ=DAILY;INTERVAL=3", MONDAY, date(2026, 11, 20), MONDAY),
        ("weekly", MONDAY, date(2026, 11, 20), date(2026, 11, 27)),
        ("FREQ=WEEKLY;BYDAY=MO", MONDAY, date(2026, 11, 20), date(2026, 11, 30)),
        ("FREQ=WEEKLY;BYDAY=MO", MONDAY, date(2026, 11, 25), date(2026, 11, 30)),
        ("FREQ=WEEKLY;BYDAY=MO", MONDAY, date(2026, 11, 30), date(2026, 12, 7)),
        ("FREQ=WEEKLY;BYDAY=MO,TH", MONDAY, date(2026, 11, 24), date(2026, 11, 26)),
        # Every other week, of which the one that it was done in is the first.
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", MONDAY, date(2026, 11, 25), date(2026, 12, 7)),
        ("weekly", MONDAY, date(2026, 11, 26), date(2026, 12, 3)),
        ("monthly", MONDAY, date(2027, 1, 31), date(2027, 2, 28)),
        ("FREQ=MONTHLY", MONDAY, date(2027, 1, 31), date(2027, 3, 31)),
        ("FREQ=MONTHLY;BYMONTHDAY=1", MONDAY, date(2026, 12, 14), date(2027, 1, 1)),
        ("yearly", MONDAY, date(2028, 2, 29), date(2029, 2, 28)),
        ("FREQ=DAILY;UNTIL=20261215", MONDAY, date(2026, 12, 14), date(2026, 12, 15)),
        ("FREQ=DAILY;UNTIL=20261215", MONDAY, date(2026, 12, 15), None),
        ("daily", date(9999, 12, 31), MONDAY, None),
        ("daily", MONDAY, date(9999, 12, 31), None),
        ("daily", MONDAY, date(1, 1, 1), None),
    ],
)
def test_the_next_day_is_counted_from_the_completion(
    pattern: str, start: date, done: date, following: date | None
) -> None:
    """The first day after it on which the pattern falls, counted from it."""
    found = after_completion(pattern, start, start, done, BERLIN)
    assert found == (following and Following(pattern, following, following))


def test_a_count_is_of_what_was_done() -> None:
    """What follows has one less, wherever in a series of due dates its task stands; the last has nothing."""
    pattern, start = "FREQ=DAILY;COUNT=5;BYDAY=MO,TU,WE,TH,FR", MONDAY
    for day, left in ((23, 4), (24, 3), (26, 1)):
        found = after_completion(pattern, start, date(2026, 11, day), date(2026, 12, 14), BERLIN)
        assert found is not None
        assert found.pattern == f"FREQ=DAILY;COUNT={left};BYDAY=MO,TU,WE,TH,FR"
    assert after_completion(pattern, start, date(2026, 11, 27), date(2026, 12, 14), BERLIN) is None
    assert preview_completions("FREQ=DAILY;COUNT=3", MONDAY, BERLIN, date(2026, 12, 1)) == [
        MONDAY,
        date(2026, 12, 2),
        date(2026, 12, 3),
    ]


def test_the_time_of_day_survives_a_night_that_skips_it() -> None:
    """Half past two is half past three where the clock jumps, and half past two again on the day after."""
    half_past = datetime(2026, 3, 20, 2, 30)  # noqa: DTZ001 - on the clocks of Berlin
    gap = after_completion("daily", half_past, half_past, date(2026, 3, 28), BERLIN)
    assert gap is not None
    assert gap.due == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    after = after_completion(gap.pattern, gap.place, gap.place, date(2026, 3, 29), BERLIN)
    assert after is not None
    assert after.due == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


async def _next(alice: Client, task: dict[str, Any]) -> dict[str, Any] | None:
    done = await alice.patch(f"/api/tasks/{task['id']}", json={"completed": True})
    assert done.status_code == 200, done.text
    if done.json()["next_task_id"] is None:
        return None
    following: dict[str, Any] = (await alice.get(f"/api/tasks/{done.json()['next_task_id']}")).json()
    return following


async def _batch(alice: Client, task: dict[str, Any]) -> None:
    await alice.post("/api/tasks/batch", json={"operations": [{"op": "complete", "id": task["id"]}]})


async def _all(alice: Client, task: dict[str, Any]) -> None:
    await alice.post("/api/tasks/complete-all")


async def _put(alice: Client, task: dict[str, Any]) -> None:
    await alice.put(f"/api/tasks/{task['id']}", json={"completed": True, "timezone": task["timezone"]})


async def _toggle(alice: Client, task: dict[str, Any]) -> None:
    await alice.patch(f"/api/tasks/{task['id']}/complete")


async def _import(alice: Client, task: dict[str, Any]) -> None:
    line = {"id": task["id"], "title": task["title"], "completed": True}
    await alice.post("/api/tasks/import?on_conflict=update", json=line, headers=NDJSON)


NDJSON = {"Content-Type": "application/x-ndjson"}
KATHMANDU = ZoneInfo("Asia/Kathmandu")


@pytest.mark.parametrize("complete", [_batch, _all, _put, _toggle, _import])
async def test_whoever_completes_late_gets_the_next_date_from_then(alice: Client, complete: Any) -> None:
    """However it is done, at the series' own time of day; and it is taken back by a reopening."""
    zone = "Asia/Kathmandu"
    task = await alice.new_task(
        due_date="2020-01-06T09:15", timezone=zone, recurring_pattern="daily", recur_from="COMPLETION"
    )
    await complete(alice, task)
    done = (await alice.get(f"/api/tasks/{task['id']}")).json()
    [following] = (await alice.get("/api/tasks?status=pending")).json()
    day = datetime.fromisoformat(done["completed_at"]).astimezone(KATHMANDU).date() + timedelta(days=1)
    assert datetime.fromisoformat(following["due_date"]).astimezone(KATHMANDU).isoformat() == (
        f"{day}T09:15:00+05:45"
    )
    assert (following["id"], following["recur_from"]) == (done["next_task_id"], "completion")
    assert (await alice.get("/api/tasks/count?recurFrom=completion")).json() == {"count": 2}
    await alice.post(f"/api/tasks/{task['id']}/undo")
    [pending] = (await alice.get("/api/tasks")).json()
    assert (pending["id"], pending["recur_from"]) == (task["id"], "completion")


async def test_a_moved_task_moves_nothing_else(alice: Client) -> None:
    """The day of a completion counts, and the time of day is that of the series."""
    task = await alice.new_task(
        due_date="2020-01-06T09:00", recurring_pattern="FREQ=DAILY;COUNT=3", recur_from="completion"
    )
    await alice.patch(f"/api/tasks/{task['id']}", json={"due_date": "2020-01-08T17:00"})
    second = await _next(alice, task)
    assert second is not None
    assert (second["due_date"][10:], second["recurring_pattern"]) == ("T09:00:00Z", "FREQ=DAILY;COUNT=2")
    await alice.patch(f"/api/tasks/{second['id']}", json={"timezone": "America/Phoenix"})
    third = await _next(alice, second)
    assert third is not None
    assert third["due_date"][10:] == "T16:00:00Z"
    assert await _next(alice, third) is None


async def test_the_choice_can_change_within_a_series(alice: Client) -> None:
    """A series of due dates goes on from a completion, and from there by due dates again; null is `due`."""
    task = await alice.new_task(due_date="2020-01-06", recurring_pattern="FREQ=DAILY;COUNT=4")
    second = await _next(alice, task)
    assert second is not None
    assert (second["due_date"], second["recur_from"]) == ("2020-01-07", "due")
    await alice.patch(f"/api/tasks/{second['id']}", json={"recurFrom": "completion"})
    third = await _next(alice, second)
    assert third is not None
    assert (third["recurring_pattern"], third["recur_from"]) == ("FREQ=DAILY;COUNT=2", "completion")
    changed = await alice.patch(f"/api/tasks/{third['id']}", json={"recur_from": None})
    assert (changed.json()["recur_from"], changed.json()["version"]) == ("due", 2)
    fourth = await _next(alice, third)
    assert fourth is not None
    assert date.fromisoformat(fourth["due_date"]) == date.fromisoformat(third["due_date"]) + timedelta(1)
    assert await _next(alice, fourth) is None
    wrong = await alice.patch(f"/api/tasks/{fourth['id']}", json={"recur_from": "now"})
    assert wrong.status_code == 422


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_the_choice_survives_a_file(alice: Client, bob: Client, form: str) -> None:
    """What was exported goes on as it would have; a line that was completed elsewhere counts from then."""
    task = await alice.new_task(
        due_date="2020-01-06", recurring_pattern="FREQ=DAILY;COUNT=3", recur_from="completion"
    )
    second = await _next(alice, task)
    file = (await alice.get(f"/api/tasks/export?format={form}")).content
    reply = await bob.post(
        f"/api/tasks/import?format={form}",
        content=file,
        headers={"Content-Type": "text/csv" if form == "csv" else "application/x-ndjson"},
    )
    assert reply.json()["created"] == 2, reply.text
    [theirs] = (await bob.get("/api/tasks?status=pending")).json()
    assert second is not None
    kept = ("due_date", "recurring_pattern", "recur_from")
    assert [theirs[name] for name in kept] == [second[name] for name in kept]
    again = await bob.post(
        f"/api/tasks/import?format={form}",
        content=file,
        headers={"Content-Type": "text/csv" if form == "csv" else "application/x-ndjson"},
    )
    assert (again.json()["unchanged"], again.json()["changed"]) == (2, 0)
    line = {
        "id": theirs["id"],
        "title": theirs["title"],
        "completed": True,
        "completed_at": "2024-02-28T12:00:00Z",
    }
    await bob.post("/api/tasks/import?on_conflict=update", json=line, headers=NDJSON)
    [third] = (await bob.get("/api/tasks?status=pending")).json()
    assert third["due_date"] == "2024-02-29"


async def test_the_next_dates_are_previewed(alice: Client) -> None:
    """From a supposed completion, by default now: each later task is done on the day that it is due."""
    query = {"pattern": "FREQ=DAILY;INTERVAL=3", "due_date": "2026-11-02T09:00", "recurFrom": "completion"}
    query |= {"timezone": BERLIN, "completedAt": "2026-11-22T23:30:00Z"}
    dates = (await alice.get("/api/tasks/recurrence", params=query)).json()
    assert dates[:3] == ["2026-11-02T08:00:00Z", "2026-11-26T08:00:00Z", "2026-11-29T08:00:00Z"]
    assert len(dates) == 10
    today = datetime.now(ZoneInfo(BERLIN)).date()
    query = {"pattern": "daily", "due_date": "2020-01-01", "recur_from": "completion", "timezone": BERLIN}
    second = date.fromisoformat((await alice.get("/api/tasks/recurrence", params=query)).json()[1])
    assert second - today in (timedelta(1), timedelta(2))
    for moment in ("0001-01-01", "9999-12-31", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"):
        for edge in (query | {"completed_at": moment}, query | {"due_date": moment}):
            answer = await alice.get("/api/tasks/recurrence", params=edge)
            assert (answer.status_code, answer.json()[1:]) == (200, []), answer.text
    assert (
        await alice.get("/api/tasks/recurrence", params=query | {"completed_at": "now"})
    ).status_code == 422
