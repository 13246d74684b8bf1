"""Streams of events: who is told, when and of what; who is not; and what a stream may cost."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import bindparam, text

from backend.columns import UserId
from backend.config import Settings
from backend.engine.gate import asking
from backend.engine.statements import Statements
from backend.errors import DatabaseWaking
from backend.main import create_app
from backend.tasks.changes import counters, hub
from backend.tasks.changes.hub import Hub
from backend.web import answers
from tests.auth.test_sessions import COOKIE, TOKEN, create_session_table, open_session, signed
from tests.conftest import (
    ORIGIN,
    Client,
    Databases,
    MakeTables,
    Sent,
    add_user,
    on_postgresql,
    on_sqlite,
    settings_for,
    token_for,
)
from tests.streams import Event, Watch, until
from tests.tasks.test_changes import Copy, everything, write_at_once
from tests.test_hot_path import CALLS, SLACK, calls


@pytest.fixture
def settings(database_url: str) -> Settings:
    return settings_for(
        database_url,
        stream_seconds=600,
        streams_per_user=3,
        streams_max=5,
        auth_accept_sessions=True,
    )


@pytest.fixture
def own_writes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for changes of their own accord."""
    monkeypatch.setattr(hub, "POLL_SECONDS", 1000.0)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others change is looked for in no time."""
    monkeypatch.setattr(hub, "POLL_SECONDS", 0.02)


async def cursor_of(client: Client) -> str:
    """The cursor of all that there is."""
    cursor: str = (await client.get("/api/tasks/changes")).json()["cursor"]
    return cursor


@pytest.mark.usefixtures("own_writes_alone")
async def test_an_own_write_is_told_at_once(app: FastAPI, alice: Client) -> None:
    """The first event has the cursor of all there is, and a write makes the next: then one asks for it."""
    await alice.new_task()
    async with Watch(app) as watch:
        assert (watch.status, watch.headers["content-type"]) == (200, "text/event-stream")
        ready = await watch.event()
        begun = await cursor_of(alice)
        assert ready == Event("ready", begun, {"cursor": begun})
        task = await alice.new_task("new")
        told = await watch.event()
        assert told == Event("change", await cursor_of(alice), {"cursor": told.id})
        changes = (await alice.get("/api/tasks/changes", params={"since": begun})).json()
        assert [change["task"]["id"] for change in changes["changes"]] == [task["id"]]
        assert changes["cursor"] == told.id
        await alice.get("/api/tasks")
        assert not watch.has_event


Write = Callable[[Client, int], Awaitable[Any]]
NDJSON = {"Content-Type": "application/x-ndjson"}


async def undo_change(client: Client, task_id: int) -> httpx.Response:
    """Complete all, and take it back."""
    change = (await client.post("/api/tasks/complete-all")).json()["change"]
    return await client.post(f"/api/tasks/undo/{change}")


async def restore(client: Client, task_id: int) -> httpx.Response:
    """Delete a task, and bring it back."""
    await client.delete(f"/api/tasks/{task_id}")
    return await client.post(f"/api/tasks/{task_id}/restore")


WRITES: dict[str, Write] = {
    "create": lambda client, task_id: client.post("/api/tasks", json={"title": "t"}),
    "due": lambda client, task_id: client.post("/api/tasks", json={"title": "t", "due_date": "2026-11-21"}),
    "keyed": lambda client, task_id: client.post(
        "/api/tasks", json={"title": "t"}, headers={"Idempotency-Key": "a-key-of-this-test"}
    ),
    "patch": lambda client, task_id: client.patch(f"/api/tasks/{task_id}", json={"title": "other"}),
    "toggle": lambda client, task_id: client.patch(f"/api/tasks/{task_id}/complete"),
    "delete": lambda client, task_id: client.delete(f"/api/tasks/{task_id}"),
    "delete-all": lambda client, task_id: client.delete("/api/tasks?status=pending"),
    "complete-all": lambda client, task_id: client.post("/api/tasks/complete-all"),
    "batch": lambda client, task_id: client.post(
        "/api/tasks/batch", json={"operations": [{"op": "complete", "id": task_id}]}
    ),
    "import": lambda client, task_id: client.post(
        "/api/tasks/import", content='{"title":"i"}', headers=NDJSON
    ),
    "undo": lambda client, task_id: client.post(f"/api/tasks/{task_id}/undo"),
    "undo-change": undo_change,
    "restore": restore,
    "other-prefix": lambda client, task_id: client.patch(f"/api/alice/tasks/{task_id}", json={"title": "o"}),
}


@pytest.mark.usefixtures("own_writes_alone")
async def test_no_way_of_writing_is_forgotten(app: FastAPI, alice: Client) -> None:
    """Whatever changes a task is told of, once each; what fails or changes nothing is not."""
    async with Watch(app, path="/api/alice/tasks/events") as watch:
        cursor = (await watch.event()).id
        for name, write in WRITES.items():
            task = await alice.new_task()
            assert (await watch.event()).id != cursor, name
            response = await write(alice, task["id"])
            assert response.is_success, f"{name}: {response.text}"
            told = await watch.event()
            assert told.id != cursor, name
            while told.id != await cursor_of(alice):
                told = await watch.event()
            cursor = told.id
        await alice.delete("/api/tasks?status=pending")
        await watch.event()
        assert (await alice.patch("/api/tasks/999", json={"title": "t"})).status_code == 404
        assert (await alice.post("/api/tasks", json={"title": ""})).status_code == 422
        assert (await alice.post("/api/tasks/complete-all")).json()["completed"] == 0
        await alice.new_task()
        assert (await watch.event()).id == await cursor_of(alice)
        assert not watch.has_event


@pytest.mark.usefixtures("own_writes_alone")
async def test_an_ordinary_session_tells_too(app: FastAPI, alice: Client) -> None:
    """A noun that writes with SQLModel's session need know nothing of streams."""
    task = await alice.new_task()
    async with Watch(app) as watch:
        await watch.event()
        asking.set("alice")
        async with app.state.database.session() as session:
            renamed = text("UPDATE tasks SET title = 'x' WHERE tasks.user_id = 'alice' AND id = :id")
            await (await session.connection()).execute(renamed, {"id": task["id"]})
        assert (await watch.event()).id == await cursor_of(alice)


async def test_nobody_else_is_told(app: FastAPI, alice: Client, bob: Client) -> None:
    """Another's changes wake nobody, and nothing of them is in a stream."""
    async with Watch(app) as hers, Watch(app, "bob") as his:
        assert (await hers.event()).id != (await his.event()).id
        for _ in range(3):
            await alice.new_task()
            await hers.event()
        await bob.new_task()
        assert (await his.event()).id == await cursor_of(bob)
        assert not his.has_event
        assert len(his.texts) == 2


async def test_who_comes_again_is_told_what_was_missed(app: FastAPI, alice: Client, bob: Client) -> None:
    """With a cursor the first event is a change, if there was one since; and says if nobody knows."""
    await bob.new_task()
    await alice.new_task()
    old = await cursor_of(alice)
    halfway = (await alice.get("/api/tasks/changes?limit=1")).json()["cursor"]
    async with Watch(app, last_event_id=old) as watch:
        assert (await watch.event()).name == "ready"
    await alice.new_task()
    now = await cursor_of(alice)
    half_a_copy = (await alice.get("/api/tasks/changes?limit=1")).json()["cursor"]
    expired = {"cursor": now, "expired": True}
    for since, name, data in (
        (old, "change", {"cursor": now}),
        (now, "ready", {"cursor": now}),
        (halfway, "change", {"cursor": now}),
        (half_a_copy, "change", {"cursor": now}),
        (await cursor_of(bob), "change", expired),
        ("x" * 60, "change", expired),
    ):
        async with Watch(app, last_event_id=since) as watch:
            assert await watch.event() == (name, now, data)
        async with Watch(app, path=f"/api/tasks/events?since={since}") as watch:
            assert await watch.event() == (name, now, data)
    async with Watch(app, path=f"/api/tasks/events?since={old}", last_event_id=now) as watch:
        assert (await watch.event()).name == "ready"
    engine = app.state.database.engine.execution_options(unobserved=True)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE change_counters SET floor = 2 WHERE user_id = 'alice'"))
    async with Watch(app, last_event_id=old) as watch:
        assert (await watch.event()).data == expired
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE change_counters SET floor = 0 WHERE user_id = 'alice'"))


async def test_streams_are_bounded(app: FastAPI, alice: Client, bob: Client) -> None:
    """So many of a user, and so many in all; one that is closed makes room for another."""

    async def refused(user_id: str) -> tuple[int, str, str]:
        async with Watch(app, user_id) as watch:
            await watch.end()
            return watch.status, json.loads("".join(watch.texts))["code"], watch.headers["retry-after"]

    async with AsyncExitStack() as stack:
        open_ones = [await stack.enter_async_context(Watch(app)) for _ in range(3)]
        assert await refused("alice") == (429, "too_many_streams", "10")
        for _ in range(2):
            await stack.enter_async_context(Watch(app, "bob"))
        assert await refused("bob") == (503, "streams_used_up", "10")
        await open_ones[0].__aexit__(None, None, None)
        async with Watch(app, "bob") as watch:
            assert watch.status == 200
            assert (await alice.get("/api/tasks")).status_code == 200


@on_sqlite
def test_a_quarter_of_the_connections_is_left(app: FastAPI) -> None:
    """However many streams there may be, other requests have places too."""
    state = app.state
    settings = settings_for("sqlite://", streams_max=100)
    assert Hub(state.database, state.cursors, settings, 40)._most == 30
    assert Hub(state.database, state.cursors, settings, 1000)._most == 100


async def test_a_stream_ends_with_its_token(app: FastAPI, alice: Client) -> None:
    """It is over, complete, when its client has to show anew who it is: no token outlives its time."""
    expires = int(time.time()) + 2
    async with Watch(app, token=token_for("alice", exp=expires)) as watch:
        await watch.end()
        assert watch.complete
    assert expires - 0.1 < time.time() < expires + 5


@on_sqlite
async def test_a_stream_ends_with_its_session(app: FastAPI, alice: Client) -> None:
    """A session cookie opens one too, for as long as that lasts, and then is a 401."""
    await create_session_table(app)
    await open_session(app, lasts=timedelta(seconds=2))
    cookie = f"{COOKIE}={signed(TOKEN)}"
    async with Watch(app, authorization="", cookie=cookie) as watch:
        assert (await watch.event()).name == "ready"
        await watch.end()
        assert watch.complete
    async with Watch(app, authorization="", cookie=cookie) as watch:
        assert watch.status == 401


@on_sqlite
async def test_a_stream_has_a_greatest_age(app: FastAPI, alice: Client) -> None:
    """It ends after STREAM_SECONDS at most, and not all of one moment at once."""
    app.state.hub.seconds = 0.2
    loop = asyncio.get_running_loop()
    began, ends = loop.time(), []
    async with Watch(app) as one, Watch(app) as other:
        for watch in (one, other):
            await watch.end()
            ends.append(loop.time() - began)
            assert watch.complete
    assert 0.15 < max(ends) < 5


@on_sqlite
async def test_a_stop_ends_all(app: FastAPI, alice: Client) -> None:
    """Once the service stops, streams end as they should, and a new one at once."""
    async with Watch(app) as one, Watch(app) as other:
        app.state.hub.stop()
        for watch in (one, other):
            await watch.end()
            assert watch.complete
    async with Watch(app) as late:
        await late.end()
        assert (await late.event()).name == "ready"
        assert late.complete


@on_sqlite
@pytest.mark.usefixtures("own_writes_alone")
async def test_who_does_not_read_is_told_once(app: FastAPI, alice: Client, bob: Client) -> None:
    """Whatever changes meanwhile is one event, with the last cursor: nothing is kept for each."""
    async with Watch(app) as watch, Watch(app) as other:
        await watch.event()
        await other.event()
        watch.reads.clear()
        for _ in range(5):
            await alice.new_task()
            last = await other.event()
        watch.reads.set()
        first = await watch.event()  # was on its way
        assert first.id != last.id
        assert (await watch.event()).id == last.id
        assert not watch.has_event


@on_sqlite
async def test_who_never_reads_is_given_up(
    app: FastAPI, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is not taken in time ends its stream, unfinished, and no other."""
    monkeypatch.setattr(answers, "PIECE_SECONDS", 0.05)
    async with Watch(app) as watch, Watch(app) as other:
        await watch.event()
        await other.event()
        watch.reads.clear()
        await alice.new_task()
        await watch.end()
        assert not watch.complete
        assert (await other.event()).name == "change"


@on_sqlite
async def test_a_silent_stream_shows_signs_of_life(
    app: FastAPI, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment comes where nothing else did for STREAM_KEEPALIVE seconds."""
    monkeypatch.setattr(app.state.hub, "_keepalive", 0.02)
    async with Watch(app) as watch:
        await watch.event()
        await until(lambda: len(watch.texts) >= 3)
        assert watch.texts[1:3] == [":\n\n", ":\n\n"]
        assert not watch.has_event


async def test_nothing_is_held_while_it_is_open(app: FastAPI, alice: Client) -> None:
    """An open stream has no place at the gate and no connection; once all are closed nothing is left."""
    database = app.state.database
    async with Watch(app), Watch(app):
        await until(lambda: not database.gate._held)
        assert (await alice.get("/api/tasks")).status_code == 200
        assert database.listener is not None
    assert database.listener is None
    await until(app.state.hub._watcher.done)
    assert (app.state.hub._watched, app.state.hub._silent) == ({}, {})


@on_sqlite
async def test_a_stream_is_one_task(app: FastAPI, alice: Client) -> None:
    """The request's own, and one for all that looks for changes."""
    before = len(asyncio.all_tasks())
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(Watch(app)) for _ in range(3)]
        await alice.new_task()
        for watch in watches:
            while (await watch.event()).name != "change":
                pass
        assert len(asyncio.all_tasks()) == before + len(watches) + 1


@on_sqlite
async def test_opening_costs_what_a_request_does(app: FastAPI, alice: Client) -> None:
    """Counted in calls of functions, the client's own included: at most twice those of reading a task."""
    async with Watch(app):
        pass

    async def opened() -> None:
        await stack.enter_async_context(Watch(app))

    async with AsyncExitStack() as stack:
        assert await calls(opened()) < 2 * CALLS["get"] * SLACK


async def test_a_head_has_no_stream(app: FastAPI, alice: Client) -> None:
    """HEAD has the headers of GET, and ends."""
    async with Watch(app, method="HEAD") as watch:
        await watch.end()
        assert (watch.status, watch.texts, watch.complete) == (200, [], True)
        assert watch.headers["content-type"] == "text/event-stream"
        assert watch.headers["cache-control"] == "no-store, no-transform"


@on_sqlite
async def test_browsers_may_read_it(app: FastAPI, alice: Client) -> None:
    """From an allowed origin, with a Last-Event-ID of a client of its own making."""
    async with Watch(app, origin=ORIGIN) as watch:
        assert watch.headers["access-control-allow-origin"] == ORIGIN
        assert watch.headers["access-control-allow-credentials"] == "true"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
    answer = await alice.options("/api/tasks/events", headers={"Origin": ORIGIN} | asked)
    assert answer.status_code == 200, answer.text


@on_sqlite
async def test_opening_counts_as_a_request(settings: Settings, make_tables: MakeTables) -> None:
    """It is one for the rate limit: who opens too many waits."""
    app = create_app(settings.model_copy(update={"rate_limit": 2}))
    await make_tables(app.state.database, settings)
    async with app.router.lifespan_context(app), Watch(app) as one, Watch(app) as two, Watch(app) as three:
        assert [watch.status for watch in (one, two, three)] == [200, 200, 429]
        assert two.headers["ratelimit"] == '"user";r=0;t=60'
        await three.end()
        assert json.loads("".join(three.texts))["code"] == "too_many_requests"


@on_sqlite
async def test_a_stream_is_a_line_in_the_log(app: FastAPI, alice: Client, caplog: Any) -> None:
    """At its end, with the time that it was open."""
    with caplog.at_level(logging.INFO, logger="backend.requests"):
        async with Watch(app) as watch:
            await watch.event()
            assert not caplog.records
    [line] = caplog.records
    assert (line.fields["path"], line.fields["status"], line.fields["user"]) == (
        "/api/tasks/events",
        200,
        "alice",
    )


Copies = Callable[[], Awaitable[tuple[FastAPI, Client]]]


@pytest.fixture(params=["sqlite", "postgresql"])
async def copies(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Copies]:
    """Starts copies of the service on one database, each with a client of bob's."""
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{tmp_path}/t.db"
        if request.param == "postgresql":
            databases: Databases = request.getfixturevalue("databases")
            url = await databases.create()
            stack.push_async_callback(databases.drop, url)

        async def start() -> tuple[FastAPI, Client]:
            app = create_app(settings_for(url, stream_seconds=600))
            await stack.enter_async_context(app.router.lifespan_context(app))
            client = Client(transport=httpx.ASGITransport(app), base_url="http://test")
            client.headers["Authorization"] = f"Bearer {token_for('bob')}"
            return app, await stack.enter_async_context(client)

        yield start


@pytest.mark.usefixtures("often")
async def test_another_copys_write_reaches_a_stream(copies: Copies) -> None:
    """A write through one copy of the service is told in the streams of another, by one statement for all."""
    (one, _), (_, client) = await copies(), await copies()
    sent = Sent()
    sent.watch(one.state.database)
    async with AsyncExitStack() as stack:
        watches = {}
        for user_id in ("alice", "bob", "carol"):
            await add_user(one, user_id)
            watches[user_id] = await stack.enter_async_context(Watch(one, user_id))
            await watches[user_id].event()
        sent.clear()
        await client.new_task()
        assert (await watches["bob"].event()).id == await cursor_of(client)
        assert not watches["alice"].has_event
        assert not watches["carol"].has_event
    assert sent
    assert all("change_counters.user_id, change_counters.seq" in statement for statement in sent)


@pytest.mark.usefixtures("often")
async def test_a_silent_database_may_sleep(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody does anything nobody looks for changes; whoever comes then catches up, for all."""
    monkeypatch.setattr(hub, "ASLEEP_SECONDS", 0.2)
    (one, busy), (_, client) = await copies(), await copies()
    sent = Sent()
    sent.watch(one.state.database)
    await add_user(one, "bob")
    async with Watch(one, "bob") as watch:
        begun = (await watch.event()).id
        await until(lambda: one.state.hub._due == inf)
        sent.clear()
        await client.new_task()
        async with Watch(one, "bob", last_event_id=begun) as again:
            assert (await again.event()).name == "change"
        assert (await watch.event()).name == "change", "what one stream learns its neighbour is told"
        assert len(sent) == 1, "a stream that comes again wakes nobody"
        await until(lambda: one.state.hub._due == inf)
        sent.clear()
        await client.new_task()
        assert (await busy.get("/api/tasks/999")).status_code == 404
        assert (await watch.event()).name == "change"
        assert len(sent) >= 2


@on_postgresql
@pytest.mark.usefixtures("often")
async def test_a_copy_kept_by_events_misses_nothing(app: FastAPI, database_url: str, alice: Client) -> None:
    """Who asks for changes only when told has all, whoever writes, however late it is committed."""
    tasks = [await alice.new_task(f"t{number}") for number in range(40)]
    copy = Copy(alice, limit=7)

    async def read(watch: Watch) -> None:
        while True:
            await watch.event()
            await copy.update()

    async with Watch(app) as watch:
        reading = asyncio.create_task(read(watch))
        await write_at_once(database_url, [task["id"] for task in tasks])
        last = await cursor_of(alice)
        await until(lambda: copy.cursor == last)
        reading.cancel()
    assert copy.tasks == await everything(alice)


async def test_the_less_happens_the_less_is_asked(app: FastAPI) -> None:
    """A second at first, later a thirtieth of the silence, and after five minutes no more."""
    seconds = app.state.hub._interval
    assert [seconds(now) for now in (0.0, 30.0, 60.0, 300.0, 301.0)] == [1.0, 1.0, 2.0, 10.0, inf]


@on_sqlite
async def test_a_database_that_is_down_ends_no_stream(
    app: FastAPI, alice: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again, ever more seldom, without a line in the log, and what happened is told then."""
    asked = 0

    async def get_counters(statements: Statements, user_ids: list[str]) -> dict[str, int]:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise DatabaseWaking
        return await counters.get_counters(statements, user_ids)

    monkeypatch.setattr(hub, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(hub, "get_counters", get_counters)
    async with Watch(app) as watch:
        await watch.event()
        await alice.new_task()
        assert (await watch.event()).id == await cursor_of(alice)
    assert asked >= 4
    assert [record for record in caplog.records if record.name != "backend.requests"] == []


@on_sqlite
async def test_a_deleted_account_is_no_mishap(app: FastAPI, alice: Client) -> None:
    """A stream whose user is gone stays silent; opened anew it has what an empty log has."""
    await alice.new_task()
    async with Watch(app) as watch:
        await watch.event()
        engine = app.state.database.engine.execution_options(unobserved=True)
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM \"user\" WHERE id = 'alice'"))
        await alice.get("/api/tasks")
        assert not watch.has_event
        async with Watch(app) as again:
            assert (await again.event()).name == "ready"


@pytest.mark.parametrize(
    ("kind", "user_id"), [("uuid", "0b9f7a1c-6d2e-4f3a-8b5c-1d2e3f4a5b6c"), ("integer", "7")]
)
async def test_ids_of_other_kinds(databases: Databases, kind: str, user_id: str) -> None:
    """Users are told whatever the type of their ids."""
    url = await databases.create(empty=True)
    app = create_app(settings_for(url, stream_seconds=600, auth_user_id_type=kind))
    async with app.router.lifespan_context(app):
        async with app.state.database.engine.execution_options(unobserved=True).begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO \"user\" (id, name, email, \"emailVerified\") VALUES (:id, 'n', 'e', false)"
                ).bindparams(bindparam("id", type_=UserId())),
                {"id": user_id},
            )
        headers = {"Authorization": f"Bearer {token_for(user_id)}"}
        async with (
            Client(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers) as client,
            Watch(app, user_id) as watch,
        ):
            await watch.event()
            await client.new_task()
            assert (await watch.event()).id == await cursor_of(client)
    await databases.drop(url)
