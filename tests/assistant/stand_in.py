"""A stand-in for a model: a small OpenAI-compatible server that streams, calls tools, and fails on demand.

It is no model. Without a script it understands a few words: `add milk and eggs`, `list`, `done milk`,
`delete milk`, `undo 3`, and `count`, which takes its time; everything else it repeats. `make assistant` and
`make example` start the service with it.
"""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "stand-in-key"
MODEL = "stand-in"
COUNTED = 100  # for twenty seconds: there is something to stop


class Says(NamedTuple):
    """An answer that is words; `until` holds it back after its first word, `cut` breaks it off there.

    `pause` is the time between words, in seconds.
    """

    text: str
    until: asyncio.Event | None = None
    cut: bool = False
    pause: float = 0.0


class Calls(NamedTuple):
    """An answer that is calls of tools: their names and arguments, or what is no JSON in their place."""

    calls: Sequence[tuple[str, dict[str, Any] | str]]
    until: asyncio.Event | None = None


class Fails(NamedTuple):
    """An answer that is an error."""

    status: int
    body: Mapping[str, Any] = MappingProxyType({})


Step = Says | Calls | Fails


class StandIn:
    """The server. `script` is what it answers next; `asked` the requests that it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: list[Step] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.began = asyncio.Event()
        """Set as soon as a request is being answered."""
        self._calls = 0

    @property
    def settings(self) -> dict[str, str]:
        """What a service is told, so that it asks this one."""
        return {"ASSISTANT_MODEL": MODEL, "ASSISTANT_BASE_URL": self.url, "ASSISTANT_API_KEY": KEY}

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.add(request.headers.get("authorization", ""))
        step = self.script.pop(0) if self.script else understood(body["messages"])
        self.began.set()
        if isinstance(step, Fails):
            error = {"message": f"failed with {step.status}", "type": "stand_in", "code": "on_demand"}
            now = {"retry-after-ms": "1"}  # clients wait for half a second otherwise
            return JSONResponse({"error": error | dict(step.body)}, step.status, now)
        return StreamingResponse(self._stream(step), media_type="text/event-stream")

    async def _stream(self, step: Says | Calls) -> AsyncIterator[str]:
        if isinstance(step, Says):
            for number, word in enumerate(re.findall(r"\s*\S+", step.text)):
                yield _chunk({"content": word})
                if number == 0 and step.cut:
                    raise ConnectionResetError
                if number == 0 and step.until is not None:
                    await step.until.wait()
                if step.pause:
                    await asyncio.sleep(step.pause)
            yield _chunk({}, "stop")
        else:
            if step.until is not None:
                await step.until.wait()
            for index, (name, arguments) in enumerate(step.calls):
                self._calls += 1
                text = arguments if isinstance(arguments, str) else json.dumps(arguments)
                head = {"id": f"call_{self._calls}", "type": "function", "index": index}
                yield _chunk({"tool_calls": [head | {"function": {"name": name, "arguments": ""}}]})
                for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            yield _chunk({}, "tool_calls")
        yield _chunk(None, usage={"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})
        yield "data: [DONE]\n\n"


def _chunk(delta: dict[str, Any] | None, reason: str | None = None, usage: Any = None) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "stand-in"}
    return f"data: {json.dumps(chunk | {'choices': choices, 'usage': usage})}\n\n"


def understood(messages: list[dict[str, Any]]) -> Step:
    """What the stand-in makes of a conversation."""
    last = messages[-1]
    said = str(next(each["content"] for each in reversed(messages) if each["role"] == "user")).strip()
    word, _, rest = said.partition(" ")
    if last["role"] == "tool":
        return _after(word.lower(), rest, json.loads(last["content"]))
    if word.lower() == "add" and rest:
        titles = re.split(r",\s*|\s+and\s+", rest)
        return Calls([("add_task", {"tasks": [{"title": title} for title in titles]})])
    if word.lower() == "list":
        return Calls([("list_tasks", {"status": "pending"})])
    if word.lower() in ("done", "delete") and rest:
        return Calls([("list_tasks", {"search": rest})])
    if word.lower() == "undo" and rest.isdigit():
        return Calls([("undo_change", {"change": int(rest)})])
    if word.lower() == "count":
        return Says(" ".join(map(str, range(1, COUNTED + 1))), pause=0.2)
    return Says(
        f"I am a stand-in, no model. You said: {said}. Try: add milk and eggs; list; done milk; delete milk"
    )


def _after(word: str, rest: str, result: dict[str, Any]) -> Step:
    tasks = result.get("tasks", [])
    if "error" in result:
        return Says(f"That was not done: {result['error']}")
    found = isinstance(tasks, list) and "total" in result
    if found and word in ("done", "delete"):
        ids = [task["id"] for task in tasks]
        if not ids:
            return Says(f"I found no task with {rest}.")
        return Calls([("complete_task" if word == "done" else "delete_task", {"ids": ids})])
    titles = ", ".join(task["title"] for task in tasks) if isinstance(tasks, list) else f"{tasks} tasks"
    return Says(f"Done: {titles}." if not found else f"You have: {titles or 'nothing'}.")


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    """The server, on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        model = StandIn(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        route = Route("/v1/chat/completions", model.answer, methods=["POST"])
        config = uvicorn.Config(
            Starlette(routes=[route]), log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listening]))
        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0)
            yield model
        finally:
            server.should_exit = True
            await serving


async def _serve_with_stand_in() -> int:
    """Run `python -m backend serve` with the stand-in for a model, until it ends."""
    async with stand_in() as model:
        print(f"a stand-in for a model, which understands a few words, is on {model.url}", file=sys.stderr)
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backend", "serve"),
            env=os.environ | model.settings,
            cwd=Path(__file__).parent.parent.parent,
        )
        return await service.wait()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_serve_with_stand_in()))
