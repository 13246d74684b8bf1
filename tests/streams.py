"""A client of a stream of events, in this process: the application is called as a server calls it."""

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastapi import FastAPI

from tests.asgi import http_scope
from tests.conftest import token_for

TIMEOUT = 10.0


class Event(NamedTuple):
    """An event as a client reads it."""

    name: str
    id: str
    data: Any


def parse(text: str) -> Event | None:
    """The event of a text that ends with a blank line; None for a comment."""
    lines = [line.partition(": ") for line in text.splitlines() if line and not line.startswith(":")]
    fields = {name: value for name, _, value in lines}
    return Event(fields["event"], fields["id"], json.loads(fields["data"])) if "data" in fields else None


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what tells nobody that it has happened."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


class Watch:
    """Reads a stream of a user's. Leaving the context hangs up."""

    def __init__(
        self,
        app: FastAPI,
        user_id: str = "alice",
        *,
        path: str = "/api/tasks/events",
        method: str = "GET",
        token: str = "",
        **headers: str,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.texts: list[str] = []
        """All that came, in the pieces that it came in."""
        self.complete = False
        """Whether the answer has ended as it should."""
        self.reads = asyncio.Event()
        """Cleared: the client takes nothing, and whoever writes waits."""
        self.reads.set()
        self._app = app
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._gone = asyncio.Event()
        self._asked = False
        sent = {"host": "test", "authorization": f"Bearer {token or token_for(user_id)}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        headers_sent = [(name.encode(), value.encode()) for name, value in sent.items() if value]
        self._scope = http_scope(method, path, headers_sent)

    async def event(self) -> Event:
        """The next event."""
        return await asyncio.wait_for(self._events.get(), TIMEOUT)

    @property
    def has_event(self) -> bool:
        """Whether there is an event that was not read."""
        return not self._events.empty()

    async def end(self) -> None:
        """Wait until the service has ended it."""
        await asyncio.wait_for(asyncio.shield(self._task), TIMEOUT)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._call())
        began = asyncio.create_task(self._begun.wait())
        await asyncio.wait((self._task, began), timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
        assert self.status, "there was no answer"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gone.set()
        self.reads.set()
        await asyncio.wait_for(self._task, TIMEOUT)

    async def _call(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._begun.set()
            return
        text = message.get("body", b"").decode()
        self.texts += [text] if text else []
        self.complete = not message.get("more_body")
        if event := parse(text) if text.endswith("\n\n") else None:
            self._events.put_nowait(event)
