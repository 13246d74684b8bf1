"""The tools: what each does, to whose tasks, and what it answers."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

from backend.config import Settings
from backend.db import Database
from backend.errors import ApiError, KeyReused
from backend.tools.functions import Context
from backend.tools.running import BY_NAME, TOOLS, explain, run
from tests.conftest import Client, on_sqlite


def context(app: FastAPI, user_id: str = "alice", **others: Any) -> Context:
    database: Database = app.state.database
    settings: Settings = app.state.settings
    made = Context.of(database, settings, user_id, "assistant", "Europe/Berlin")
    return made._replace(**others)


async def call(
    app: FastAPI, name: str, key: str | None = None, user_id: str = "alice", **arguments: Any
) -> Any:
    """Call a tool as a model does, with JSON; return JSON without what is not there."""
    tool = BY_NAME[name]
    result = await run(tool, context(app, user_id), tool.arguments.model_validate(arguments), key)
    assert isinstance(result, tool.result)
    return result.model_dump(mode="json", exclude_defaults=True)


async def refused(app: FastAPI, name: str, **arguments: Any) -> str:
    """Call a tool that refuses; return what the model is told."""
    with pytest.raises((ApiError, ValidationError)) as caught:
        await call(app, name, **arguments)
    assert isinstance(caught.value, ApiError | ValidationError)
    return explain(caught.value)


async def test_what_a_tool_does_is_one_change_of_the_assistants(app: FastAPI, alice: Client) -> None:
    """Adding several is one change; each call's number undoes it, and the history names the assistant."""
    added = await call(app, "add_task", tasks=[{"title": "milk"}, {"title": "eggs", "priority": "high"}])
    assert [task["title"] for task in added["tasks"]] == ["milk", "eggs"]
    history = (await alice.get("/api/tasks/history")).json()
    assert {(event["change"], event["by"]) for event in history} == {(added["change"], "assistant")}
    ids = [task["id"] for task in added["tasks"]]
    done = await call(app, "complete_task", ids=ids)
    assert [task["completed"] for task in done["tasks"]] == [True, True]
    undone = await call(app, "undo_change", change=done["change"])
    assert undone["tasks"] == 2
    assert [task["completed"] for task in (await alice.get("/api/tasks")).json()] == [False, False]
    deleted = await call(app, "delete_task", ids=ids)
    assert [task["title"] for task in deleted["tasks"]] == ["milk", "eggs"]
    assert (await alice.get("/api/tasks")).json() == []
    assert (await alice.post(f"/api/tasks/undo/{deleted['change']}")).json()["tasks"] == 2
    assert {event["by"] for event in (await alice.get("/api/tasks/history")).json()} == {"assistant", "undo"}


async def test_dates_are_local(app: FastAPI, alice: Client) -> None:
    """Times come and go as the user's clock shows them; the server keeps instants."""
    added = await call(app, "add_task", tasks=[{"title": "call", "due_date": "2026-11-21T09:00"}])
    [task] = added["tasks"]
    assert task["due_date"] == "2026-11-21T09:00"
    stored = (await alice.get(f"/api/tasks/{task['id']}")).json()
    assert (stored["due_date"], stored["timezone"]) == ("2026-11-21T08:00:00Z", "Europe/Berlin")
    elsewhere = await alice.new_task("far", timezone="Asia/Tokyo")
    moved = await call(app, "update_task", tasks=[{"id": elsewhere["id"], "due_date": "2026-11-21T09:00"}])
    assert moved["tasks"][0]["due_date"] == "2026-11-21T09:00"
    assert (await alice.get(f"/api/tasks/{elsewhere['id']}")).json()["due_date"] == "2026-11-21T08:00:00Z"
    found = await call(app, "list_tasks", due_before="2026-11-22", due_after="2026-11-20", sort="title")
    assert [each["title"] for each in found["tasks"]] == ["call", "far"]
    dates = await call(app, "preview_recurrence", pattern="weekly", due_date="2026-11-21T09:00", count=2)
    assert dates == {"dates": ["2026-11-21T09:00", "2026-11-28T09:00"]}


async def test_results_are_slim(app: FastAPI, alice: Client) -> None:
    """A task without anything special is its id and title; what it has is there, and what not is left out."""
    await alice.new_task("plain")
    await alice.new_task("rich", tags=["a"], priority="low", due_date="2026-11-21", description="d")
    found = await call(app, "list_tasks", sort="title")
    assert [task.keys() for task in found["tasks"]] == [
        {"id", "title"},
        {"id", "title", "tags", "priority", "due_date", "description"},
    ]
    page = await call(app, "list_tasks", limit=1)
    assert (len(page["tasks"]), page["total"]) == (1, 2)


async def test_what_is_not_named_stays_and_clearing_is_said(app: FastAPI, alice: Client) -> None:
    """A null changes nothing, since models fill in nulls; `clear` empties."""
    task = await alice.new_task("a", description="d", due_date="2026-11-21", recurring_pattern="daily")
    nulls: dict[str, Any] = {
        "title": "b",
        "recur_from": "completion",
        "description": None,
        "due_date": None,
        "tags": None,
        "recurring_pattern": None,
    }
    await call(app, "update_task", tasks=[{"id": task["id"], **nulls}])
    now = (await alice.get(f"/api/tasks/{task['id']}")).json()
    assert (now["title"], now["description"], now["due_date"]) == ("b", "d", "2026-11-21")
    assert now["recur_from"] == "completion"
    clear = ["description", "due_date", "recurring_pattern", "tags"]
    await call(app, "update_task", tasks=[{"id": task["id"], "clear": clear}])
    now = (await alice.get(f"/api/tasks/{task['id']}")).json()
    assert (now["description"], now["due_date"], now["recurring"]) == (None, None, False)


async def test_a_dry_run_tells_and_changes_nothing(app: FastAPI, alice: Client) -> None:
    """Deleting, completing, updating and undoing for show leave tasks, versions and the log as they were."""
    task = await alice.new_task("keep me")
    history = (await alice.get("/api/tasks/history")).json()
    for name, arguments in (
        ("delete_task", {"ids": [task["id"]]}),
        ("complete_task", {"ids": [task["id"]]}),
        ("update_task", {"tasks": [{"id": task["id"], "title": "x"}]}),
        ("undo_change", {"change": history[0]["change"]}),
    ):
        shown = await call(app, name, key="one key", dry_run=True, **arguments)
        assert shown["dry_run"] is True
        assert "change" not in shown
        assert (await alice.get("/api/tasks")).json() == [task], name
        assert (await alice.get("/api/tasks/history")).json() == history, name


async def test_a_key_makes_a_call_happen_once(app: FastAPI, alice: Client) -> None:
    """The same call with its key again is answered as the first was; another call with it is refused."""
    first = await call(app, "add_task", "a key", tasks=[{"title": "once"}])
    assert await call(app, "add_task", "a key", tasks=[{"title": "once"}]) == first
    assert len((await alice.get("/api/tasks")).json()) == 1
    with pytest.raises(KeyReused):
        await call(app, "add_task", "a key", tasks=[{"title": "other"}])
    with pytest.raises(KeyReused):
        await call(app, "delete_task", "a key", ids=[first["tasks"][0]["id"]])
    assert len((await alice.get("/api/tasks")).json()) == 1


async def test_anothers_tasks_are_missing_tasks(app: FastAPI, alice: Client, bob: Client) -> None:
    """No tool finds or touches another's; what it says is what it says of a missing one. All or nothing."""
    hers = await alice.new_task("hers")
    own = await bob.new_task("his")
    for name, of in (
        ("delete_task", lambda task_id: {"ids": [own["id"], task_id]}),
        ("complete_task", lambda task_id: {"ids": [own["id"], task_id]}),
        ("update_task", lambda task_id: {"tasks": [{"id": own["id"], "title": "x"}, {"id": task_id}]}),
    ):
        said = {await refused(app, name, user_id="bob", **of(task_id)) for task_id in (hers["id"], 2**62)}
        assert said == {"Nothing was done. number 2: Task not found"}, name
    change = (await alice.get("/api/tasks/history")).json()[0]["change"] + 7
    assert await refused(app, "undo_change", user_id="bob", change=change) == "Change not found"
    assert (await call(app, "list_tasks", user_id="bob"))["total"] == 1
    assert (await alice.get("/api/tasks")).json() == [hers]
    assert (await bob.get("/api/tasks")).json() == [own]


@on_sqlite
async def test_what_is_wrong_is_told_in_words(app: FastAPI, alice: Client) -> None:
    """A model reads which task and which argument is wrong, and why; nothing is done."""
    said = await refused(app, "add_task", tasks=[{"title": "good"}, {"title": " ", "due_date": "tomorrow"}])
    assert "number 2: title: " in said
    assert "due_date: " in said
    assert "must be a date" in said
    assert "recurring task needs a due_date" in await refused(
        app, "add_task", tasks=[{"title": "a", "recurring_pattern": "daily"}]
    )
    assert "sort=relevance needs search" in await refused(app, "list_tasks", sort="relevance")
    assert "pattern" in await refused(app, "preview_recurrence", pattern="now", due_date="2026-11-21")
    assert (await alice.get("/api/tasks")).json() == []


def test_no_tool_can_be_told_a_user() -> None:
    """No schema of arguments or results has a user's id, and none sends anything anywhere."""
    for tool in TOOLS:
        text = json.dumps([tool.arguments.model_json_schema(), tool.result.model_json_schema()])
        assert "user_id" not in text, tool.name
        assert "url" not in text.lower(), tool.name
        assert tool.description, tool.name
        assert issubclass(tool.arguments, BaseModel)


def test_what_destroys_says_so() -> None:
    """What takes something away is marked, so that a chat asks first; what only reads is marked too."""
    assert {tool.name for tool in TOOLS if tool.destroys} == {"delete_task", "undo_change"}
    assert {tool.name for tool in TOOLS if tool.reads} == {"list_tasks", "preview_recurrence"}


def test_tools_are_few_and_short() -> None:
    """What models are told of the tools costs each request less than 9 kB."""
    told = [(tool.name, tool.description, tool.arguments.model_json_schema()) for tool in TOOLS]
    assert len(json.dumps(told)) < 9000


@on_sqlite
async def test_what_a_model_makes_up_is_told_to_it(app: FastAPI, alice: Client) -> None:
    """It would tell its user that it is done."""
    told = await refused(app, "add_task", tasks=[{"title": "a", "assignee": "bob"}])
    assert told.startswith("tasks.0.assignee: ")
    assert (await alice.get("/api/tasks")).json() == []
