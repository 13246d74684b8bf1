"""What an import does about tasks that are there already, and about links; on both databases."""

import json
from typing import Any

import pytest

from backend.engine.statements import AT_ONCE
from tests.conftest import Client, Sent, moment, on_postgresql
from tests.tasks.test_files import FORMATS, everything, export, imported, totals

SERIES = {"due_date": "2026-01-01", "recurring_pattern": "daily"}


def ndjson(*lines: dict[str, Any]) -> str:
    """A file of these lines."""
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def statuses(reply: dict[str, Any]) -> list[str]:
    """What became of each line."""
    return [line["status"] for line in reply["lines"]]


async def complete(client: Client, task_id: int, completed: bool = True) -> dict[str, Any]:
    """Set a task's state; return it."""
    response = await client.patch(f"/api/tasks/{task_id}/complete", json={"completed": completed})
    assert response.status_code == 200, response.text
    task: dict[str, Any] = response.json()
    return task


def pending(tasks: dict[int, dict[str, Any]]) -> list[str]:
    """The due dates of what is to be done."""
    return sorted(task["due_date"] for task in tasks.values() if not task["completed"])


@FORMATS
async def test_a_series_keeps_its_links(alice: Client, bob: Client, kind: str) -> None:
    """Completed occurrences know their successors in another account too: done again, they get no second."""
    await bob.new_task("so that ids differ")
    first = await alice.new_task("a", **SERIES)
    second = (await complete(alice, first["id"]))["next_task_id"]
    await complete(alice, second)
    reply = await imported(bob, await export(alice, kind), kind)
    one, two, three = (line["id"] for line in reply["lines"])
    tasks = await everything(bob)
    assert (tasks[one]["next_task_id"], tasks[two]["next_task_id"]) == (two, three)
    assert tasks[three]["next_task_id"] is None
    for task_id in (one, two):
        await complete(bob, task_id, completed=False)
        await complete(bob, task_id)
    assert pending({i: task for i, task in (await everything(bob)).items() if i >= one}) == ["2026-01-03"]


async def test_links_lead_over_the_parts_of_an_import(alice: Client) -> None:
    """However far the lines are from one another, in either direction, a link finds its task."""
    filler: list[dict[str, Any]] = [{"title": f"t{n}"} for n in range(AT_ONCE)]
    done: dict[str, Any] = {"title": "a", "completed": True, "series_start": "2026-01-01", **SERIES}
    lines = [
        done | {"id": 900_001, "next_task_id": 900_002},
        *filler,
        {"id": 900_002, "title": "b", **SERIES},
    ]
    lines += [done | {"id": 900_003, "next_task_id": 900_001, "title": "c"}]
    reply = await imported(alice, ndjson(*lines))
    ids = [line["id"] for line in reply["lines"]]
    tasks = await everything(alice)
    assert tasks[ids[0]]["next_task_id"] == ids[-2]
    assert tasks[ids[-1]]["next_task_id"] == ids[0]


async def test_unknown_links_are_dropped(alice: Client, bob: Client) -> None:
    """Of links that name no line, those to the caller's own task of the same series are kept."""
    start = {"series_start": "2026-01-01", "completed": True, **SERIES}
    mine = await alice.new_task("mine", **SERIES)
    other = await alice.new_task("of another series", due_date="2026-02-02", recurring_pattern="daily")
    theirs = await bob.new_task("theirs", **SERIES)
    wanted = [mine["id"], other["id"], theirs["id"], 10**6, 0, -5, 10**30]
    file = ndjson(*({"id": 500 + n, "title": "a", "next_task_id": n, **start} for n in wanted))
    reply = await imported(alice, file)
    tasks = await everything(alice)
    links = [tasks[line["id"]]["next_task_id"] for line in reply["lines"]]
    assert links == [mine["id"]] + [None] * 6


async def test_an_id_that_the_import_gave_is_no_line_of_the_file(alice: Client) -> None:
    """A later line whose id an earlier one was given is a task of its own, whatever it says."""
    probe = (await alice.new_task("probe"))["id"]
    # Each line names the id that the line AT_ONCE before it will get.
    lines = [{"id": probe + 1 + n - AT_ONCE, "title": "same"} for n in range(AT_ONCE, 2 * AT_ONCE)]
    file = ndjson(*({"id": 800_000 + n, "title": "same"} for n in range(AT_ONCE)), *lines)
    reply = await imported(alice, file, on_conflict="update")
    assert totals(reply) == (2 * AT_ONCE, 0, 0)
    assert len({line["id"] for line in reply["lines"]}) == 2 * AT_ONCE
    again = await imported(alice, file, on_conflict="update")
    assert totals(again) == (0, 2 * AT_ONCE, 0)


CHANGES: dict[str, dict[str, Any]] = {
    "title": {"title": "b"},
    "description": {"description": "there"},
    "tags": {"tags": ["x"]},
    "due date": {"due_date": "2026-05-05"},
    "no series": {"recurring": False},
    "pattern": {"recurring_pattern": "weekly"},
    "zone": {"timezone": "Asia/Tokyo"},
    "completed": {"completed": True},
}


@FORMATS
@pytest.mark.parametrize("changes", [pytest.param(change, id=name) for name, change in CHANGES.items()])
async def test_an_older_file_doubles_nothing(alice: Client, kind: str, changes: dict[str, Any]) -> None:
    """What changed since is said to be `changed`: skipped by default, else put back, one version up, once."""
    task = await alice.new_task("a", **SERIES)
    file = await export(alice, kind)
    changed = (await alice.patch(f"/api/tasks/{task['id']}", json=changes)).json()
    before = await everything(alice)
    reply = await imported(alice, file, kind)
    assert (statuses(reply), reply["lines"][0]["id"]) == (["changed"], task["id"])
    assert await everything(alice) == before
    reply = await imported(alice, file, kind, on_conflict="update")
    assert (statuses(reply), reply["lines"][0]["id"]) == (["changed"], task["id"])
    after = (await everything(alice))[task["id"]]
    assert after["version"] == changed["version"] + 1
    assert moment(after["updated_at"]) > moment(changed["updated_at"])
    silent = ("version", "updated_at", "next_task_id")
    assert {k: v for k, v in after.items() if k not in silent} == {
        k: v for k, v in task.items() if k not in silent
    }
    settled = await everything(alice)
    for on_conflict in ("skip", "update"):
        assert statuses(await imported(alice, file, kind, on_conflict)) == ["unchanged"]
    assert await everything(alice) == settled


async def test_updates_go_by_the_one_rule(alice: Client) -> None:
    """A task that a line completes is followed by the next of its series, once, and has the line's time."""
    task = await alice.new_task("a", **SERIES)
    line = {"id": task["id"], "title": "a", "completed": True, "completed_at": "2026-01-05T00:00:00Z"}
    for status in ("changed", "unchanged"):
        assert statuses(await imported(alice, ndjson(line), on_conflict="update")) == [status]
    tasks = await everything(alice)
    assert tasks[task["id"]]["completed_at"] == "2026-01-05T00:00:00Z"
    assert pending(tasks) == ["2026-01-02"]
    assert tasks[task["id"]]["next_task_id"] in tasks


async def test_a_line_that_links_makes_no_successor(alice: Client) -> None:
    """A task that a line completes and whose successor stands in the file gets that one."""
    task = await alice.new_task("a", **SERIES)
    successor = {
        "id": 777_777,
        "title": "a",
        "series_start": "2026-01-01",
        **SERIES,
        "due_date": "2026-01-02",
    }
    line = {"id": task["id"], "title": "a", "completed": True, "next_task_id": 777_777}
    reply = await imported(alice, ndjson(line, successor), on_conflict="update")
    assert statuses(reply) == ["changed", "created"]
    tasks = await everything(alice)
    assert pending(tasks) == ["2026-01-02"]
    assert tasks[task["id"]]["next_task_id"] == reply["lines"][1]["id"]


async def test_what_a_line_does_not_say_stays(alice: Client) -> None:
    """A line with an id and a title asks for no more, and changes no more."""
    task = await alice.new_task("a", description="kept", tags=["kept"], priority="high")
    assert statuses(await imported(alice, ndjson({"id": task["id"], "title": "a"}))) == ["unchanged"]
    await imported(alice, ndjson({"id": task["id"], "title": "b"}), on_conflict="update")
    [after] = (await everything(alice)).values()
    assert (after["title"], after["description"], after["tags"]) == ("b", "kept", ["kept"])


async def test_a_line_that_does_not_fit_its_task_is_named(alice: Client) -> None:
    """A series cannot lose its due date: that line is invalid, and the others are done."""
    task = await alice.new_task("a", **SERIES)
    for on_conflict in ("skip", "update"):
        file = ndjson({"id": task["id"], "title": "b", "due_date": None}, {"title": on_conflict})
        reply = await imported(alice, file, on_conflict=on_conflict)
        assert statuses(reply) == ["invalid", "created"]
        assert "due_date" in reply["lines"][0]["detail"]
    assert (await everything(alice))[task["id"]] == task


async def test_lines_with_one_id_are_one_task(alice: Client) -> None:
    """The first makes it; what differs later is `changed`, and with `update` the last has the last word."""
    file = ndjson(*({"id": 5555, "title": title} for title in "aabab"))
    reply = await imported(alice, file)
    assert statuses(reply) == ["created", "unchanged", "changed", "unchanged", "changed"]
    assert [task["title"] for task in (await everything(alice)).values()] == ["a"]
    other = ndjson(*({"id": 6666, "title": title} for title in "ccdcd"))
    reply = await imported(alice, other, on_conflict="update")
    assert statuses(reply) == ["created", "unchanged", "changed", "changed", "changed"]
    assert [task["title"] for task in (await everything(alice)).values()] == ["d", "a"]


async def test_ids_of_others_and_of_other_places_are_created(alice: Client, bob: Client) -> None:
    """An id of another user's, an unknown one and one of another database's task overwrite nothing."""
    mine, theirs = await alice.new_task("mine"), await bob.new_task("theirs")
    created_at = {"created_at": "2020-01-01T00:00:00Z"}
    ids = [theirs["id"], 10**6, 0, -1, 10**25]
    file = ndjson({"id": mine["id"], "title": "x", **created_at}, *({"id": i, "title": "y"} for i in ids))
    for status in ("created", "unchanged"):
        assert statuses(await imported(alice, file, on_conflict="update")) == [status] * 6
    assert (await everything(alice))[mine["id"]] == mine
    assert await everything(bob) == {theirs["id"]: theirs}


async def test_an_imported_task_that_was_changed_is_no_second_one(alice: Client) -> None:
    """A line that was imported before is that task also after the task has been changed."""
    file = ndjson({"title": "a"}, {"title": "a"})
    ids = [line["id"] for line in (await imported(alice, file))["lines"]]
    await alice.patch(f"/api/tasks/{ids[1]}", json={"title": "b"})
    reply = await imported(alice, file)
    assert (statuses(reply), [line["id"] for line in reply["lines"]]) == (["unchanged", "changed"], ids)


async def test_other_wishes_for_conflicts_are_refused(alice: Client) -> None:
    """There are two of them."""
    headers = {"Content-Type": "application/x-ndjson"}
    response = await alice.post("/api/tasks/import?on_conflict=merge", content="", headers=headers)
    assert response.status_code == 422


@on_postgresql
async def test_what_may_be_overwritten_is_locked_first(alice: Client, statements: Sent) -> None:
    """All of it with one statement, in the order of ids, before any write: no deadlock can come of it."""
    ids = [(await alice.new_task(f"t{n}"))["id"] for n in range(AT_ONCE // 10)]
    lines = [*({"id": task_id, "title": "new"} for task_id in reversed(ids)), {"title": "made"}]
    statements.clear()
    reply = await imported(alice, ndjson(*lines), "ndjson", on_conflict="update")
    assert set(statuses(reply)) == {"changed", "created"}
    writes = [n for n, sql in enumerate(statements) if sql.startswith(("INSERT INTO tasks", "UPDATE tasks"))]
    locks = [n for n, sql in enumerate(statements) if "FOR UPDATE" in sql]
    assert locks[0] < writes[0]
    assert "ORDER BY tasks.id" in statements[locks[0]]
