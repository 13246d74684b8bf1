"""A stream of events as an answer: one task, and no queue. See docs/decisions/event-streams.md."""

import asyncio
import random
import time

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from backend.errors import ApiError
from backend.tasks.changes.cursors import to_place
from backend.tasks.changes.hub import Hub
from backend.tasks.errors import CursorExpired
from backend.web.addresses import is_head
from backend.web.answers import Unread
from backend.web.cursor import CursorCodec
from backend.web.handlers import answer_error
from backend.web.limits import ANSWER_HEADERS

RETRY = (1000, 4000)  # milliseconds before a client returns; any number of them, so that not all come at once
AGE = (0.8, 1.0)  # the part of the greatest age at which a stream ends, for the same reason

PING = b":\n\n"

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),  # what compresses it would hold it back
    (b"x-accel-buffering", b"no"),  # to nginx
]


class EventStream(Response):
    """Tells a client that something has changed, until it hangs up, its time is over or the service stops.

    What it has not read yet is one event however much has changed: of those that are to come only that there
    is one is known.
    """

    media_type = "text/event-stream"

    def __init__(
        self, hub: Hub, user_id: str, expires: float, cursors: CursorCodec, request: Request
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [*_HEADERS]
        self._hub = hub
        self._user_id = user_id
        self._expires = expires
        self._cursors = cursors
        self._last_id = request.headers.get("last-event-id")
        self._since = self._last_id or request.query_params.get("since")
        self._send: Send | None = None  # once it has begun
        self._next: bytes | None = None  # what is to be sent: a PING, or anything else for an event
        self._writer: asyncio.Task[None] | None = None  # while something is sent
        self._failure: Exception | None = None
        self._timeout: asyncio.Timeout | None = None
        self._over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        headers = scope.get(ANSWER_HEADERS, [])
        try:
            if is_head(request):
                await self._start(headers, send)
            else:
                with self._hub.place(self._user_id, self, returning=self._last_id is not None):
                    while (await receive()).get("more_body"):
                        pass
                    first = await self._first()
                    await self._start(headers, send)
                    if await self._run(first, receive, send):
                        return
        except (ApiError, HTTPException) as error:
            await answer_error(request, error)(scope, receive, send)
        else:
            await send({"type": "http.response.body", "body": b""})

    def tell(self) -> None:
        self._next = b""
        self._work()

    def ping(self) -> None:
        if self._next is None:
            self._next = PING
        self._work()

    def end(self) -> None:
        self._over = True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(0)

    async def _first(self) -> bytes:
        """The first event: a change where there was one since the client's cursor."""
        reach = await self._hub.reach(self._user_id)
        self._next = None
        name, more = "ready", {}
        if self._since is not None:
            try:
                place = to_place(self._cursors, self._since, self._user_id)
                if not reach.is_known(place):
                    raise CursorExpired
                name = "ready" if place == reach.end else "change"
            except CursorExpired:
                name, more = "change", {"expired": True}
        retry = random.randint(*RETRY)  # noqa: S311 - no secret
        return f"retry: {retry}\n".encode() + self._hub.message(name, self._user_id, **more)

    async def _start(self, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        headers[:] = [header for header in headers if header[0] != b"cache-control"]
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _run(self, first: bytes, receive: Receive, send: Send) -> bool:
        """Send what comes, until the end; return whether that is because the client has hung up.

        Raises:
            Unread: the client does not read.
        """
        await send(_part(first))
        self._send = send
        if self._next is not None:
            self._work()
        left = min(self._hub.seconds * random.uniform(*AGE), self._expires - time.time())  # noqa: S311 - no secret
        try:
            until = 0.0 if self._over else asyncio.get_running_loop().time() + left
            async with asyncio.timeout_at(until) as self._timeout:
                while (await receive())["type"] != "http.disconnect":
                    pass
            return True
        except TimeoutError:
            self._over = True
            await asyncio.sleep(0)  # what has been begun in this moment is still sent
            if self._failure is not None:
                raise self._failure from None
            if self._writer is not None:
                raise Unread from None
            return False
        finally:
            self._timeout = self._send = None
            if self._writer is not None:
                self._writer.cancel()

    def _work(self) -> None:
        if self._writer is None and self._send is not None and not self._over:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        assert self._send is not None
        try:
            while self._next is not None:
                text, self._next = self._next or self._hub.event(self._user_id), None
                self._hub.sent(self)
                await self._send(_part(text))
        except Exception as error:
            self._failure = error
            self.end()
        finally:
            self._writer = None


def _part(text: bytes) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": True}
