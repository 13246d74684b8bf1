"""Traces, as a collector gets them: what spans there are, what they are a part of, and what is in none."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from backend.main import create_app
from backend.telemetry import tracing
from backend.web.logs import Handler
from tests.assistant.stand_in import stand_in
from tests.conftest import Client, add_user, on_postgresql, on_sqlite, settings_for, token_for
from tests.server import CHECKOUT
from tests.telemetry.collector import Collector, attributes

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector, of which the standard variables tell."""
    async with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
def more_settings(collector: Collector) -> dict[str, Any]:
    """What is on."""
    return {"tracing_enabled": True, "log_format": "json"}


async def spans(app: FastAPI, collector: Collector) -> list[Span]:
    """What the collector has, once it has all."""
    assert await asyncio.to_thread(app.state.telemetry.tracing.provider.force_flush)
    return collector.spans


@on_postgresql
async def test_a_request_and_its_parts_are_spans(
    alice: Client, app: FastAPI, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trace: the request by its route, in it the line and each statement; its log line names it."""
    [handler] = [handler for handler in logging.root.handlers if isinstance(handler, Handler)]
    log = io.StringIO()
    monkeypatch.setattr(handler, "stream", log)
    gate = app.state.database.gate
    places = gate.free
    for _ in range(places):
        await gate.enter()
    asked = asyncio.create_task(alice.post("/api/tasks", json={"title": "a"}, headers=TRACEPARENT))
    while not gate.waiting:  # noqa: ASYNC110 - the line has no event of its own
        await asyncio.sleep(0)
    for _ in range(places):
        gate.leave()
    assert (await asked).status_code == 201
    found = {span.name: span for span in await spans(app, collector) if span.trace_id.hex() == TRACE}
    request = found["POST /api/tasks"]
    assert (request.parent_span_id.hex(), request.kind) == (PARENT, Span.SPAN_KIND_SERVER)
    assert attributes(request) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/api/tasks",
        "http.response.status_code": 201,
    }
    [statement] = [span for name, span in found.items() if name in ("INSERT", "WITH")]
    assert found.keys() >= {"gate", statement.name}
    for part in (found["gate"], statement):
        assert part.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
        assert part.end_time_unix_nano <= request.end_time_unix_nano
    said = attributes(statement)
    assert said["db.system.name"] == "postgresql"
    assert "INSERT INTO tasks" in str(said["db.query.text"])
    assert collector.resource["service.name"] == "task-api"
    [line] = [json.loads(line) for line in log.getvalue().splitlines() if '"path"' in line]
    assert line["trace_id"] == TRACE


async def test_nothing_private_leaves_the_process(
    alice: Client, app: FastAPI, collector: Collector, client: Client
) -> None:
    """Titles, words, users, tokens, paths and queries are in none of the bytes, whatever comes of them."""
    private = "needle4711"
    task = await alice.new_task(private, description=private, tags=[private])
    path = f"/api/alice/tasks/{task['id']}"
    await alice.get("/api/tasks", params={"search": private, "tag": private})
    await alice.patch(path, json={"title": f"{private} more"}, headers={"X-Request-ID": f"{private}-id"})
    await alice.post("/api/tasks/batch", json={"operations": [{"op": "create", "title": private}]})
    await alice.post("/api/tasks", json={"title": private}, headers={"Idempotency-Key": private})
    await alice.get(f"/api/tasks/{private}")
    await alice.get(f"/{private}?{private}={private}", headers={"User-Agent": private, "Referer": private})
    await alice.request(private.upper(), "/api/tasks")
    await client.get("/api/tasks", headers={"Authorization": f"Bearer {private}"})
    assert len(await spans(app, collector)) > 10
    for word in (private, "alice", str(alice.headers["authorization"]).split(".")[1]):
        assert word.lower().encode() not in collector.received.lower(), word


@pytest.mark.slow  # it loads the model's library
async def test_the_log_is_sent_where_it_is_asked_for(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_LOGS_EXPORTER=otlp sends each line with its trace; nothing private, nor what libraries say.

    A turn of the assistant is a span with its tools, by their names alone.
    """
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    async with stand_in() as model:
        own = {"assistant_model": "stand-in", "assistant_base_url": model.url, "tracing_enabled": True}
        app = create_app(settings_for("sqlite:///logs.db", **own))
        async with app.router.lifespan_context(app):
            await add_user(app, "alice")
            headers = {"Authorization": f"Bearer {token_for('alice')}", **TRACEPARENT}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
            ) as client:
                named = {"X-Request-ID": "needle"}
                assert (await client.get("/api/alice/tasks?search=needle", headers=named)).status_code == 200
                assert (await client.post("/api/chat", json={"message": "add needle"})).status_code == 200
                logging.getLogger("library").error("needle")
                try:
                    raise RuntimeError("needle")
                except RuntimeError:
                    logging.getLogger("backend.x").exception("it failed for %s", "needle")
        assert all(handler.__class__.__name__ != "OtlpHandler" for handler in logging.root.handlers)
    requests = [line for line in collector.logs if line.body.string_value == "request"]
    assert [line.trace_id.hex() for line in requests] == [TRACE] * 2
    assert [attributes(line)["status"] for line in requests] == [200, 200]
    [failed] = [line for line in collector.logs if line.severity_text == "ERROR"]
    assert failed.body.string_value == "it failed for %s"
    assert attributes(failed) == {"exception.type": "RuntimeError"}
    assert b"needle" not in collector.received
    assert b"alice" not in collector.received
    found = {span.name: span for span in collector.spans}
    assert found.keys() >= {"turn", "tool add_task"}
    assert found["turn"].parent_span_id == found["POST /api/chat"].span_id


@on_sqlite
async def test_errors_are_marked(
    alice: Client, app: FastAPI, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 5xx is an error with its status, a 4xx is none, and what no route has is named by its method."""
    await alice.get("/api/tasks/999")
    await alice.get("/nowhere")
    monkeypatch.setattr(app.state, "stopping", True)
    await alice.get("/ready")
    found = {span.name: span for span in await spans(app, collector)}
    missing, unready, lost = found["GET /api/tasks/{task_id}"], found["GET /ready"], found["GET"]
    assert (missing.status.code, attributes(missing)["http.response.status_code"]) == (0, 404)
    assert (unready.status.code, attributes(unready)["error.type"]) == (2, "503")
    assert "http.route" not in attributes(lost)
    assert missing.parent_span_id == b""


@on_sqlite
async def test_who_samples_decides(alice: Client, app: FastAPI, collector: Collector) -> None:
    """A client whose trace is not sampled adds nothing to it; the log line has its trace all the same."""
    await alice.get("/api/tasks", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert [span for span in await spans(app, collector) if span.trace_id.hex() == TRACE] == []


async def test_a_collector_that_hangs_holds_nobody_up(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service serves, and stops soon, whether or not anybody takes its traces."""
    collector.hangs = True
    monkeypatch.setattr(tracing, "STOP_SECONDS", 0.2)
    app = create_app(settings_for("sqlite://", tracing_enabled=True))
    async with app.router.lifespan_context(app):
        app.state.telemetry.tracing.begin({"method": "GET", "headers": []}).end()
        began = time.monotonic()
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_what_is_off_is_not_imported() -> None:
    """Neither an SDK nor a client library is loaded by a service that does not use it."""
    program = (
        "import sys, backend.__main__; from tests.conftest import settings_for; "
        "backend.main.create_app(settings_for('sqlite://')); "
        "print([name for name in sys.modules if name.startswith("
        "('opentelemetry.sdk', 'opentelemetry.exporter', 'prometheus_client', 'backend.telemetry.o'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
