"""Where the microseconds of a request go: `make profile`.

The service runs in this process, a client in another one sends one request at a time. The CPU time of this
process is attributed to the innermost layer that a request is in, so that waiting costs nothing and what the
event loop does for a driver counts as the driver's.
"""

import asyncio
import functools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi.routing
import uvicorn
import uvloop
from sqlalchemy.engine import Engine

from backend import deps
from backend.engine.autocommit import Autocommit
from backend.engine.connector import Connection
from backend.engine.prepared import PreparedStatement
from backend.main import create_app
from backend.tasks import crud as tasks
from backend.tasks import lists as find
from backend.web import middleware
from benchmarks import data, load, subjects
from tests.postgres import free_port

ROUTES = ("list", "get", "create", "toggle")
SECONDS = 4.0
WARM_UP = 1.0

# The layers, from the outside in. Who calls whom is found out by running.
SERVER = "uvicorn, HTTP and the event loop"
LAYERS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("request id, headers, log line", middleware.RequestMiddleware, ("__call__",)),
    ("FastAPI's own middleware", middleware.RequestMiddleware, ("_serve",)),
    ("FastAPI: routing", fastapi.routing.APIRoute, ("matches",)),
    ("FastAPI: parameters, dependencies, the answer", fastapi.routing.APIRoute, ("handle",)),
    ("the token", deps._Authenticated, ("__call__",)),
    ("crud: values in, the task out", tasks, ("get_task", "create_task", "set_completed")),
    ("crud: values in, the task out", find, ("list_tasks",)),
    ("the gate, the greenlet", Autocommit, ("fetch",)),
    ("parameters and rows converted", PreparedStatement, ("arguments", "rows")),
    ("SQLAlchemy's pool", Engine, ("raw_connection",)),
    ("the driver, asyncpg", Connection, ("fetch_kept",)),
]


class Meter:
    """Adds up CPU time by layer."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.requests = 0
        self._stack = [SERVER]
        self._since = time.process_time_ns()

    def enter(self, layer: str) -> None:
        self._count()
        self._stack.append(layer)

    def leave(self) -> None:
        self._count()
        self._stack.pop()

    def reset(self) -> None:
        """Forget what was counted."""
        self._count()
        self.spent.clear()
        self.requests = 0

    def _count(self) -> None:
        now = time.process_time_ns()
        self.spent[self._stack[-1]] += now - self._since
        self._since = now


def _measured(function: Callable[..., Any], layer: str, meter: Meter) -> Callable[..., Any]:
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def measured_async(*args: Any, **named: Any) -> Any:
            meter.enter(layer)
            try:
                return await function(*args, **named)
            finally:
                meter.leave()

        return measured_async

    @functools.wraps(function)
    def measured(*args: Any, **named: Any) -> Any:
        meter.enter(layer)
        try:
            return function(*args, **named)
        finally:
            meter.leave()

    return measured


def instrument(meter: Meter) -> None:
    """Let every layer tell the meter when a request comes and goes."""
    for layer, owner, names in LAYERS:
        for name in names:
            setattr(owner, name, _measured(getattr(owner, name), layer, meter))


def run(database_url: str, tokens: Path, log: Path) -> dict[str, dict[str, float]]:
    """Return the microseconds that each layer takes of a request, by route; keep what is logged in `log`."""
    terminal = sys.stderr
    with log.open("w") as sys.stderr:
        try:
            return uvloop.run(_profile(database_url, tokens))
        finally:
            sys.stderr = terminal


async def _profile(database_url: str, tokens: Path) -> dict[str, dict[str, float]]:
    meter = Meter()
    app = create_app(subjects.settings(database_url))
    config = uvicorn.Config(app, port=free_port(), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    instrument(meter)  # not before: the lifespan, which runs all along, would be a layer too
    address = f"http://127.0.0.1:{config.port}"
    found = {}
    for route in ROUTES:
        await _load(address, route, tokens, WARM_UP)
        meter.reset()
        requests = await _load(address, route, tokens, SECONDS)
        meter.enter("end")
        found[route] = {layer: spent / requests / 1000 for layer, spent in meter.spent.items()}
        meter.leave()
    server.should_exit = True
    await serving
    return found


async def _load(address: str, route: str, tokens: Path, seconds: float) -> int:
    command = ("-m", "benchmarks.load", address, route, str(data.TASKS), str(tokens), str(seconds), "1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=load.CHECKOUT, stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    return int(load.Result(**json.loads(said)).requests)


def table(found: dict[str, dict[str, float]]) -> str:
    """The layers as lines, the routes as columns."""
    layers = [SERVER, *dict.fromkeys(layer for layer, _, _ in LAYERS)]
    lines = [f"{'CPU microseconds of a request':52}" + "".join(f"{route:>9}" for route in found)]
    for layer in [*layers, "in all"]:
        spent = [
            by_layer.get(layer, 0) if layer != "in all" else sum(by_layer.values())
            for by_layer in found.values()
        ]
        lines += [f"{layer:52}" + "".join(f"{value:9.0f}" for value in spent)]
    return "\n".join(lines)
