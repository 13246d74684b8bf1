"""Answers on their way out: large ones in pieces, so that who does not read holds little for long."""

import asyncio
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Message, Send

PIECE = 64 * 1024  # as much as the server keeps for a connection before it lets who writes wait
PIECE_SECONDS = 20.0
UNREAD_MAX = 64 * 1024 * 1024


class JsonResponse(Response):
    """JSON that is written already.

    Starlette's constructor comes to the same headers in three times the time; FastAPI's own class would write
    the JSON once more.
    """

    media_type = "application/json"

    def __init__(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))


class Unread(Exception):
    """An answer was given up: a piece of it was not taken in time, or others needed its memory."""


class Outbox:
    """Sends large answers piece by piece.

    Each piece has PIECE_SECONDS to be taken. All together they hold at most UNREAD_MAX bytes beside the one
    that came last: beyond it whoever has taken nothing for the longest time is given up.
    """

    def __init__(self) -> None:
        self._held = 0
        self._waiting: dict[asyncio.Timeout, int] = {}  # the longest wait first: when it ends, what it holds

    @property
    def held(self) -> int:
        """The bytes of large answers that are on their way."""
        return self._held

    async def send(self, send: Send, message: Message) -> None:
        """Send a part of an answer.

        Raises:
            Unread: it was given up.
        """
        body, more = message.get("body", b""), message.get("more_body", False)
        self._held += len(body)
        self._make_room()
        try:
            for start in range(0, len(body) or 1, PIECE):
                end = start + PIECE
                piece = {**message, "body": body[start:end], "more_body": more or end < len(body)}
                await self._send_piece(send, piece, len(body))
        finally:
            self._held -= len(body)

    async def _send_piece(self, send: Send, piece: Message, held: int) -> None:
        try:
            async with asyncio.timeout(PIECE_SECONDS) as wait:
                self._waiting[wait] = held
                try:
                    await send(piece)
                finally:
                    self._waiting.pop(wait, None)
        except TimeoutError:
            raise Unread from None

    def _make_room(self) -> None:
        excess = self._held - UNREAD_MAX
        while excess > 0 and self._waiting:
            wait = next(iter(self._waiting))
            excess -= self._waiting.pop(wait)
            if not wait.expired():
                wait.reschedule(0)
