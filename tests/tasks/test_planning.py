"""Due dates, tags, priorities and series over HTTP, on both databases."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

from backend.config import Settings
from backend.tasks import planning
from tests.conftest import Client, Sent, on_postgresql, on_sqlite


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("2026-11-21", "2026-11-21"),
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
        ("2026-11-21T09:00:00+05:30", "2026-11-21T03:30:00Z"),
        ("2026-11-21T09:00:00.123456Z", "2026-11-21T09:00:00.123456Z"),
        ("", None),
        (None, None),
    ],
)
async def test_due_dates_come_back_as_they_were(alice: Client, sent: str | None, read: str | None) -> None:
    """A day stays that day in every time zone, an instant that instant; empty is none."""
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", ""):
        task = await alice.new_task(due_date=sent, timezone=zone)
        assert task["due_date"] == read
        assert task["timezone"] == (zone or "UTC")
        path = f"/api/tasks/{task['id']}"
        assert (await alice.get(path)).json() == task
        assert (await alice.patch(path, json={"due_date": None})).json()["due_date"] is None
        assert (await alice.patch(path, json={"due_date": sent})).json()["due_date"] == read


@on_sqlite
async def test_the_last_day_of_all_can_be_completed(alice: Client) -> None:
    """Its last moment is infinite to PostgreSQL's driver; nothing follows it."""
    task = await alice.new_task(due_date="9999-12-31", recurring_pattern="daily")
    done = await alice.patch(f"/api/tasks/{task['id']}/complete")
    assert (done.status_code, done.json()["due_date"]) == (200, "9999-12-31")
    assert done.json()["next_task_id"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"due_date": "tomorrow"},
        {"due_date": "2026-02-30"},
        {"due_date": "20261121"},
        {"due_date": 5},
        {"due_date": "9999-12-31T23:59:59-12:00"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../etc/passwd"},
        {"priority": "urgent"},
        {"priority": 1},
        {"tags": "a,b"},
        {"tags": ["x" * 51]},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": ["a\x00"]},
        {"tags": [str(n) for n in range(21)]},
        {"recurring": True},
        {"recurring": True, "due_date": "2026-01-01"},
        {"recurring_pattern": "daily"},
        {"recurring_pattern": "fortnightly", "due_date": "2026-01-01"},
        {"recurring_pattern": "FREQ=SECONDLY", "due_date": "2026-01-01"},
    ],
)
async def test_plans_that_cannot_be_are_refused(alice: Client, fields: dict[str, Any]) -> None:
    """Each is a 422 that says what is wrong."""
    response = await alice.post("/api/tasks", json={"title": "a", **fields})
    assert response.status_code == 422, response.text


async def test_tags_are_trimmed_and_distinct(alice: Client) -> None:
    """Equal tags are one; their order is the client's; null is none."""
    task = await alice.new_task(tags=[" a ", "b", "a"], priority="HIGH")
    assert (task["tags"], task["priority"]) == (["a", "b"], "high")
    path = f"/api/tasks/{task['id']}"
    assert (await alice.patch(path, json={"tags": None})).json()["tags"] == []
    assert (await alice.patch(path, json={"priority": ""})).json()["priority"] == "medium"


async def test_a_day_is_overdue_when_it_is_over_where_the_task_is(alice: Client) -> None:
    """The same day ends earlier in the east: due_at, which sorts, says so; a new zone moves it."""
    for zone in ("Pacific/Pago_Pago", "Pacific/Kiritimati"):
        await alice.new_task(zone, due_date="2026-11-21", timezone=zone)
    listed = (await alice.get("/api/tasks?sort=due_date")).json()
    assert [task["title"] for task in listed] == ["Pacific/Kiritimati", "Pacific/Pago_Pago"]
    await alice.patch(f"/api/tasks/{listed[1]['id']}", json={"timezone": "Pacific/Kiritimati"})
    moved = (await alice.get("/api/tasks?due_before=2026-11-21T11:00:00Z")).json()
    assert {task["due_date"] for task in moved} == {"2026-11-21"}
    assert len(moved) == 2


async def test_completing_sets_and_clears_its_time(alice: Client) -> None:
    """`completed_at` comes with completion, stays with its repetition and goes with its end."""
    path = f"/api/tasks/{(await alice.new_task())['id']}"
    done = (await alice.patch(f"{path}/complete")).json()
    assert done["completed_at"]
    assert (await alice.patch(path, json={"completed": True})).json() == done
    assert (await alice.patch(path, json={"title": "b"})).json()["completed_at"] == done["completed_at"]
    assert (await alice.patch(f"{path}/complete")).json()["completed_at"] is None


async def test_completing_a_recurring_task_makes_the_next_one(alice: Client) -> None:
    """The next occurrence has all of the first but its date, and the first leads to it."""
    task = await alice.new_task(
        "rent", due_date="2026-01-31", recurring_pattern="monthly", tags=["home"], priority="high"
    )
    assert task["recurring"] is True
    due = []
    for _ in range(3):
        done = (await alice.patch(f"/api/tasks/{task['id']}/complete")).json()
        task = (await alice.get(f"/api/tasks/{done['next_task_id']}")).json()
        due.append(task["due_date"])
        assert (task["title"], task["tags"], task["priority"], task["completed"]) == (
            "rent",
            ["home"],
            "high",
            False,
        )
    assert due == ["2026-02-28", "2026-03-31", "2026-04-30"]


async def test_a_series_ends_by_itself(alice: Client) -> None:
    """COUNT and UNTIL are counted from the first due date, over all of the series."""
    task = await alice.new_task(due_date="2026-01-05", recurring_pattern="FREQ=WEEKLY;COUNT=3")
    made = 1
    while True:
        done = (await alice.put(f"/api/tasks/{task['id']}", json={"completed": True})).json()
        if done["next_task_id"] is None:
            break
        task = (await alice.get(f"/api/tasks/{done['next_task_id']}")).json()
        made += 1
    assert made == 3


def _toggle(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return "PATCH", f"/{task_id}/complete", None


def _set(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return "PATCH", f"/{task_id}/complete", {"completed": completed}


def _put(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return "PUT", f"/{task_id}", {"completed": completed, "title": f"{completed}"}


def _planned(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return "PATCH", f"/{task_id}", {"completed": completed, "timezone": "UTC"}


def _batch(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return "POST", "/batch", {"operations": [{"op": "complete", "id": task_id, "completed": completed}]}


def _all(task_id: int, completed: bool) -> tuple[str, str, dict[str, Any] | None]:
    return ("POST", "/complete-all?search=series", None) if completed else _set(task_id, completed)


WAYS = pytest.mark.parametrize("way", [_toggle, _set, _put, _planned, _batch, _all])


async def _pending(alice: Client) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = (await alice.get("/api/tasks?status=pending")).json()
    return tasks


@WAYS
async def test_an_undone_completion_takes_its_successor_back(alice: Client, way: Any) -> None:
    """However it is done: completed, exactly one task is to be done; reopened, that is the task itself."""
    task = await alice.new_task("series", due_date="2026-01-05", recurring_pattern="daily", tags=["series"])
    path = f"/api/tasks/{task['id']}"
    for delete in (False, False, True, True):
        for completed in (True, False):
            method, rest, body = way(task["id"], completed)
            response = await alice.request(method, f"/api/tasks{rest}", json=body)
            assert response.status_code == 200, response.text
            now = (await alice.get(path)).json()
            [pending] = await _pending(alice)
            assert now["completed"] is completed
            if completed:
                assert (now["next_task_id"], pending["due_date"]) == (pending["id"], "2026-01-06")
                if delete:
                    await alice.delete(f"/api/tasks/{pending['id']}")
            else:
                assert (pending, now["next_task_id"]) == (now, None)


@WAYS
async def test_a_successor_that_was_touched_stays(alice: Client, way: Any) -> None:
    """Changed or completed, it outlives the reopening of the one before it, which makes no second one."""
    for touched in ({"title": "series, mine"}, {"completed": True}):
        task = await alice.new_task("series", due_date="2026-01-05", recurring_pattern="daily")
        follower = (await alice.patch(f"/api/tasks/{task['id']}/complete")).json()["next_task_id"]
        changed = (await alice.patch(f"/api/tasks/{follower}", json=touched)).json()
        for completed in (False, True):
            method, rest, body = way(task["id"], completed)
            assert (await alice.request(method, f"/api/tasks{rest}", json=body)).status_code == 200
            assert (await alice.get(f"/api/tasks/{task['id']}")).json()["next_task_id"] == follower
        if way is not _all:
            assert (await alice.get(f"/api/tasks/{follower}")).json() == changed
            assert len(await _pending(alice)) == 1
        assert (await alice.delete("/api/tasks?search=series")).status_code == 200


async def test_a_reopened_task_whose_series_ended_leaves_nothing(alice: Client) -> None:
    """A pattern that was taken away meanwhile changes nothing about the successor that is to go."""
    task = await alice.new_task(due_date="2026-01-05", recurring_pattern="daily")
    path = f"/api/tasks/{task['id']}"
    await alice.patch(f"{path}/complete")
    await alice.patch(path, json={"recurring": False})
    await alice.patch(f"{path}/complete")
    assert [one["id"] for one in await _pending(alice)] == [task["id"]]


async def test_toggles_at_once_leave_one_pending(alice: Client) -> None:
    """However completions and reopenings race, one task of the series is to be done."""
    task = await alice.new_task(due_date="2026-01-05", recurring_pattern="daily")
    path = f"/api/tasks/{task['id']}/complete"
    answers = await asyncio.gather(*(alice.patch(path) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert [one["id"] for one in await _pending(alice)] == [task["id"]]


async def test_a_series_can_be_begun_changed_and_ended(alice: Client) -> None:
    """An update begins a series, moves it, and `recurring: false` ends it; half of one is refused."""
    path = f"/api/tasks/{(await alice.new_task())['id']}"
    assert (await alice.patch(path, json={"recurring": True})).status_code == 422
    assert (await alice.patch(path, json={"recurring_pattern": "daily"})).status_code == 422
    begun = await alice.patch(path, json={"recurring_pattern": "daily", "due_date": "2026-01-01"})
    assert begun.json()["recurring"] is True
    assert (await alice.patch(path, json={"due_date": ""})).status_code == 422
    assert (await alice.patch(path, json={"due_date": "2026-06-01"})).json()["recurring_pattern"] == "daily"
    ended = (await alice.patch(path, json={"recurring": False})).json()
    assert (ended["recurring"], ended["recurring_pattern"], ended["due_date"]) == (False, None, "2026-06-01")
    assert (await alice.patch(f"{path}/complete")).json()["next_task_id"] is None


async def test_a_preview_shows_ten_dates(alice: Client, statements: Sent) -> None:
    """The first ten dates of a pattern, without asking the database."""
    query = {"pattern": "FREQ=WEEKLY;BYDAY=MO,WE", "due_date": "2026-11-23"}
    dates = (await alice.get("/api/tasks/recurrence", params=query)).json()
    assert dates[:3] == ["2026-11-23", "2026-11-25", "2026-11-30"]
    assert len(dates) == 10
    assert statements == []
    assert (await alice.get("/api/tasks/recurrence", params=query | {"pattern": "x"})).status_code == 422


@on_postgresql
async def test_fifty_completions_at_once_make_one_successor(alice: Client) -> None:
    """However it is raced, on PostgreSQL, a recurring task is followed by exactly one."""
    task = await alice.new_task(due_date="2026-01-05", recurring_pattern="daily")
    path = f"/api/tasks/{task['id']}/complete"
    answers = await asyncio.gather(*(alice.patch(path, json={"completed": True}) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["next_task_id"] for answer in answers}) == 1
    assert len((await alice.get("/api/tasks")).json()) == 2


async def test_simple_changes_stay_one_statement(alice: Client, statements: Sent, app: FastAPI) -> None:
    """Changes that touch no plan cost one statement, recurring or not."""
    settings: Settings = app.state.settings
    assert settings.database_pool_size > 1
    for task in (
        await alice.new_task(),
        await alice.new_task(due_date="2026-01-01", recurring_pattern="daily"),
    ):
        statements.clear()
        changed = await alice.patch(
            f"/api/tasks/{task['id']}", json={"title": "b", "tags": ["x"], "priority": "low"}
        )
        assert changed.status_code == 200
        assert len(statements) == 1


async def _follow(alice: Client, task_id: int) -> dict[str, Any] | None:
    done = (await alice.patch(f"/api/tasks/{task_id}/complete")).json()
    if done["next_task_id"] is None:
        return None
    task: dict[str, Any] = (await alice.get(f"/api/tasks/{done['next_task_id']}")).json()
    return task


async def test_moving_an_occurrence_moves_only_it(alice: Client) -> None:
    """The rest of the series stays where it was; `"series": "restart"` counts anew from the moved one."""
    for restart, rest in (({}, ["2026-01-07"]), ({"series": "restart"}, ["2026-01-09", "2026-01-10"])):
        first = await alice.new_task(due_date="2026-01-05", recurring_pattern="FREQ=DAILY;COUNT=3")
        task = await _follow(alice, first["id"])
        assert task is not None
        await alice.patch(f"/api/tasks/{task['id']}", json={"due_date": "2026-01-08", **restart})
        due = []
        while (task := await _follow(alice, task["id"])) is not None:
            due.append(task["due_date"])
        assert due == rest


async def test_a_new_zone_keeps_the_time_of_day(alice: Client) -> None:
    """Nine o'clock in Berlin is nine o'clock in Phoenix once the task is there, whatever the season."""
    task: Any = await alice.new_task(
        due_date="2026-10-22T09:00", timezone="Europe/Berlin", recurring_pattern="daily"
    )
    for _ in range(5):
        task = await _follow(alice, task["id"])
    assert task["due_date"] == "2026-10-27T08:00:00Z"
    moved = await alice.patch(f"/api/tasks/{task['id']}", json={"timezone": "America/Phoenix"})
    assert moved.json()["due_date"] == task["due_date"]
    for day in (28, 29):
        task = await _follow(alice, task["id"])
        assert task["due_date"] == f"2026-10-{day}T16:00:00Z"


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "Europe/London", "America/St_Johns", "Asia/Kathmandu"]
)
@pytest.mark.parametrize("month", [1, 3, 7, 10])
def test_a_place_is_an_instant_to_earlier_versions(zone: str, month: int) -> None:
    """It is told as they wrote it, and read however it was written: by them, between, or now."""
    for day in range(24, 32):
        due = datetime(2026, month, day, 4, 30, tzinfo=ZoneInfo(zone))
        told = planning.place(due, zone)
        assert datetime.fromisoformat(told) == due.astimezone(UTC)
        clocks = due.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        for text in (told, due.astimezone(UTC).isoformat(), clocks.isoformat()):
            task = {"series_start": text, "series_due": None, "timezone": zone}
            assert planning.restated(task) == {"series_start": told, "series_due": None}


@pytest.mark.parametrize(("zone", "hour"), [("Europe/London", 1), ("Europe/Berlin", 2)])
def test_a_place_that_the_clocks_skip_is_kept(zone: str, hour: int) -> None:
    """What is due an hour later on that day alone has its own time of day on the next."""
    place = planning.place(datetime(2026, 3, 29, hour, 30), zone)  # noqa: DTZ001 - on its clocks
    task = {"series_start": place, "series_due": None, "timezone": zone}
    assert f"T0{hour}:30" in place
    assert planning.restated(task)["series_start"] == place
