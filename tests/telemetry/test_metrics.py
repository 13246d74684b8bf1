"""Metrics: what is counted, who may read it, and what is never in it."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import httpx
import pytest
from fastapi import FastAPI

from backend.errors import DatabaseWaking, Overloaded
from backend.main import create_app
from backend.observation import Histogram
from backend.tasks.changes.hub import Waiter
from backend.telemetry import board
from backend.telemetry.board import Board, make
from backend.telemetry.metrics import FAMILIES
from backend.telemetry.observer import _Observer, _Route
from tests.assistant.stand_in import Fails, Says, stand_in
from tests.conftest import Client, add_user, on_postgresql, on_sqlite, settings_for, token_for
from tests.telemetry.conftest import METRICS_TOKEN, SCRAPER, read, sample, scrape
from tests.test_hot_path import calls

DURATION = "task_api_http_request_duration_seconds_count"


@on_sqlite
async def test_requests_are_counted_by_route_and_class(alice: Client, scraper: httpx.AsyncClient) -> None:
    """Templates, never the path that was sent; hot routes and others alike, and what no route has as none."""
    task = await alice.new_task()
    for path in (
        f"/api/tasks/{task['id']}",
        "/api/tasks/999",
        f"/api/alice/tasks/{task['id']}",
        "/nowhere/1",
    ):
        await alice.get(path)
    await alice.get("/api/tasks?search=needle")
    await alice.request("BREW", "/api/tasks")
    await alice.head("/api/tasks/")
    found = await scrape(scraper)
    expected = {
        ("POST", "/api/tasks", "2xx"): 1,
        ("GET", "/api/tasks/{task_id}", "2xx"): 1,
        ("GET", "/api/tasks/{task_id}", "4xx"): 1,
        ("GET", "/api/{user_id}/tasks/{task_id}", "2xx"): 1,
        ("GET", "none", "4xx"): 1,
        ("GET", "/api/tasks", "2xx"): 1,
        ("HEAD", "/api/tasks", "2xx"): 1,
    }
    for (method, route, status), count in expected.items():
        assert sample(found, DURATION, method=method, route=route, status=status) == count, (method, route)
    others = {labels for name, labels in found if name == DURATION and ("method", "other") in labels}
    assert len(others) == 1
    assert sample(found, "task_api_http_requests_in_flight") == 1  # the scraper's own


@on_sqlite
async def test_no_label_is_a_clients(alice: Client, scraper: httpx.AsyncClient) -> None:
    """Users, ids, words, titles and made-up paths and methods are in no sample."""
    task = await alice.new_task("a secret-title", description="needle")
    for path in (f"/api/tasks/{task['id']}", "/api/alice/tasks", "/api/needle/tasks", "/needle"):
        await alice.get(path, params={"search": "needle"})
        await alice.request("NEEDLE", path)
    text = (await scraper.get("/metrics")).text.lower()
    for private in ("alice", "needle", "secret-title"):
        assert private not in text


@on_postgresql
async def test_the_database_is_watched(alice: Client, scraper: httpx.AsyncClient, app: FastAPI) -> None:
    """Connections, their opening, statements in and out of transactions, the line, the state."""
    await alice.new_task()
    before = await scrape(scraper)
    await alice.post("/api/tasks/batch", json={"operations": [{"op": "create", "title": "a"}]})
    found = await scrape(scraper)
    assert sample(found, "task_api_database_connections_opened_total") >= 1
    assert sample(found, "task_api_database_connect_seconds_count") >= 1
    assert sample(found, "task_api_database_connections", state="idle") >= 1
    assert sample(found, "task_api_database_connections", state="in_use") == 0
    statements = "task_api_database_statement_seconds_count"
    assert sample(found, statements) - sample(before, statements) >= 2
    assert sample(found, "task_api_database_state", state="up") == 1
    gate = app.state.database.gate
    assert sample(found, "task_api_gate_free") == gate.free
    for _ in range(gate.free):
        await gate.enter()
    waiter = asyncio.create_task(gate.enter("bob"))
    await asyncio.sleep(0)
    assert sample(await scrape(scraper), "task_api_gate_waiting") == 1
    gate.leave()
    await waiter
    found = await scrape(scraper)
    assert sample(found, "task_api_gate_wait_seconds_count") == 1
    assert sample(found, "task_api_gate_free") == 0


@pytest.mark.parametrize("more_settings", [{"metrics_enabled": True, "metrics_token": METRICS_TOKEN,
                                            "database_queue_size": 0, "database_pool_size": 1}])  # fmt: skip
@on_sqlite
async def test_refusals_and_errors_are_counted(app: FastAPI, scraper: httpx.AsyncClient) -> None:
    """Who is turned away from the line is counted there; what the database fails at by its code."""
    gate = app.state.database.gate
    await gate.enter()
    with pytest.raises(Overloaded):
        await gate.enter("bob")
    gate.leave()
    assert sample(await scrape(scraper), "task_api_gate_refused_total") == 1


async def test_an_outage_is_counted(scraper: httpx.AsyncClient, app: FastAPI) -> None:
    """A database that does not answer is an error of its kind and a state, until a statement succeeds."""
    with pytest.raises(DatabaseWaking):
        async with app.state.database.turn():
            raise DatabaseWaking
    found = await scrape(scraper)
    assert sample(found, "task_api_database_errors_total", kind="database_waking") == 1
    assert sample(found, "task_api_database_state", state="waking") == 1
    assert (await scraper.get("/ready")).status_code in (200, 503)
    found = await scrape(scraper)
    assert sample(found, "task_api_database_state", state="waking") == 0


@on_sqlite
async def test_open_streams_are_counted(scraper: httpx.AsyncClient, app: FastAPI) -> None:
    """As long as they are open."""
    with app.state.hub.place("alice", create_autospec(Waiter), returning=False):
        assert sample(await scrape(scraper), "task_api_streams") == 1
    assert sample(await scrape(scraper), "task_api_streams") == 0


@on_sqlite
async def test_tokens_and_replays_are_counted(alice: Client, scraper: httpx.AsyncClient) -> None:
    """A token is verified once and then known; an answer that is given again for its key is a replay."""
    before = await scrape(scraper)
    for _ in range(2):
        answer = await alice.post("/api/tasks", json={"title": "a"}, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 201
    found = await scrape(scraper)
    cache = "task_api_token_cache_total"
    assert sample(found, cache, result="miss") - sample(before, cache, result="miss") == 1
    assert sample(found, cache, result="hit") - sample(before, cache, result="hit") == 1
    assert sample(found, "task_api_idempotency_replays_total") == 1


@on_sqlite
async def test_pauses_are_counted(scraper: httpx.AsyncClient) -> None:
    """What holds the event loop is seen by how late it comes to the next thing."""
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - it is what is to be seen
    await asyncio.sleep(0.15)
    found = await scrape(scraper)
    pause = "task_api_event_loop_pause_seconds"
    assert sample(found, f"{pause}_bucket", le="+Inf") > sample(found, f"{pause}_bucket", le="0.1")
    assert sample(found, "process_resident_memory_bytes") > 2**20
    assert sample(found, "process_cpu_seconds_total") > 0


@on_sqlite
async def test_metrics_want_their_token(client: Client, alice: Client, scraper: httpx.AsyncClient) -> None:
    """Nobody else reads them: not without a token, nor with a user's, nor with one like it."""
    assert (await client.get("/metrics")).json()["code"] == "missing_token"
    assert (await alice.get("/metrics")).json()["code"] == "invalid_token"
    for wrong in (METRICS_TOKEN[:-1], f"{METRICS_TOKEN}x", "é" * 40):
        answer = await client.get("/metrics", headers={b"Authorization": f"Bearer {wrong}".encode()})
        assert answer.status_code == 401
    assert (await scraper.get("/metrics")).status_code == 200


@on_sqlite
async def test_openmetrics_is_spoken_where_it_is_asked_for(scraper: httpx.AsyncClient) -> None:
    """Prometheus prefers it."""
    answer = await scraper.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


async def test_nothing_is_there_when_it_is_off() -> None:
    """No address, no layer around requests, nothing that measures statements."""
    app = create_app(settings_for("sqlite://"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/metrics", headers=SCRAPER)).status_code == 404
    assert app.state.telemetry is None
    assert [layer.cls.__module__ for layer in app.user_middleware] == [
        "backend.web.middleware",
        "backend.web.hot_routes",
    ]
    assert "_fetch" not in vars(app.state.database.statements)
    await app.state.database.close()


async def test_counting_costs_few_calls(app: FastAPI) -> None:
    """A request with a statement is some twenty calls dearer: no client library stands in its way."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        telemetry.measured("SELECT 1", 0.001, False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None: ...

    async def receive() -> Any: ...

    telemetry = app.state.telemetry
    observed = _Observer(_Route(serve), telemetry)
    scope = {"type": "http", "method": "GET"}
    await observed(scope, receive, send)
    assert await calls(observed(scope, receive, send)) - await calls(serve(scope, receive, send)) < 25


def test_every_metric_is_described() -> None:
    """A name says its unit and kind as Prometheus wants it, a sentence what it counts; the page has each."""
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    assert set(re.findall("`((?:task_api|process)_[a-z_]+)`", page)) == FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert name.startswith(("task_api_", "process_"))
        assert family.help
        assert family.kind.__name__.startswith("Counter") == name.endswith("_total")
        assert not family.kind.__name__.startswith("Histogram") or name.endswith("_seconds")


def test_a_histogram_counts_up_to_its_bounds() -> None:
    """A bound itself belongs to what it bounds; what is longer than all is counted too."""
    histogram = Histogram()
    for seconds in (0.0, 0.0005, 0.0006, 10.0, 11.0):
        histogram.add(seconds)
    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-2:]) == (2, 1, [1, 1])
    assert histogram.seconds == pytest.approx(21.0011)


def test_workers_add_up() -> None:
    """What each has counted is one sum; who takes a place that is free goes on from what is there."""
    descriptor = make(3)
    boards = [Board(descriptor, place) for place in range(2)]
    for number, own in enumerate(boards):
        own.write({"a": {("x",): [number + 1.0]}}, {"g": {(): [1.0]}})
        own.write({"a": {("x",): [number + 10.0]}}, {"g": {(): [5.0]}})
    [said] = boards[0].others()
    assert (said.counters, said.gauges) == ({"a": {("x",): [11.0]}}, {"g": {(): [5.0]}})
    assert Board(descriptor, 1).inherited == {"a": {("x",): [11.0]}}
    assert Board(descriptor, 2).inherited == {}


def test_who_has_ended_has_counted_but_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters stay, gauges go."""
    descriptor = make(2)
    Board(descriptor, 1).write({"a": {(): [1.0]}}, {"g": {(): [1.0]}})
    monkeypatch.setattr(board, "STALE_SECONDS", -1.0)
    [said] = Board(descriptor, 0).others()
    assert (said.counters, said.gauges) == ({"a": {(): [1.0]}}, {})


@pytest.mark.slow  # it loads two libraries
async def test_turns_and_tools_are_counted() -> None:
    """Turns by their outcome with their tokens, calls by who made them; nothing of users or their words."""
    async with stand_in() as model:
        settings = settings_for(
            "sqlite:///turns.db",
            metrics_enabled=True,
            metrics_token=METRICS_TOKEN,
            assistant_model="stand-in",
            assistant_base_url=model.url,
            mcp_enabled=True,
            mcp_accept_api_tokens=True,
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            await add_user(app, "alice")
            headers = {"Authorization": f"Bearer {token_for('alice')}"}
            hold = asyncio.Event()
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
            ) as client:
                model.script = [Says("needle", until=hold)]
                running = asyncio.create_task(client.post("/api/chat", json={"message": "needle"}))
                await model.began.wait()
                found = read((await client.get("/metrics", headers=SCRAPER)).text)
                assert sample(found, "task_api_turns") == 1
                hold.set()
                assert (await running).status_code == 200
                for message in ("add milk", "delete milk"):
                    assert (await client.post("/api/chat", json={"message": message})).status_code == 200
                model.script = [Fails(401)]
                assert (await client.post("/api/chat", json={"message": "needle"})).status_code == 502
                for name in ("list_tasks", "add_task", "needle"):
                    params: dict[str, Any] = {"name": name, "arguments": {}}
                    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                    assert (await client.post("/mcp", json=body)).status_code == 200
                text = (await client.get("/metrics", headers=SCRAPER)).text
    found = read(text)
    assert sample(found, "task_api_turns") == 0
    ended = "task_api_turn_duration_seconds_count"
    assert {status: sample(found, ended, outcome=status) for status in ("complete", "approval_required")} == {
        "complete": 2,
        "approval_required": 1,
    }
    assert sample(found, ended, outcome="failed") == 1
    assert sample(found, "task_api_turn_tokens_total") == 110 * 5
    calls = {labels: value for (name, labels), value in found.items() if name == "task_api_tool_calls_total"}
    assert {tuple(value for _, value in sorted(labels)): count for labels, count in calls.items()} == {
        ("assistant", "done", "add_task"): 1,
        ("assistant", "done", "list_tasks"): 1,
        ("assistant", "approval_required", "delete_task"): 1,
        ("mcp", "done", "list_tasks"): 1,
        ("mcp", "failed", "add_task"): 1,
    }
    assert "needle" not in text
    assert "alice" not in text
