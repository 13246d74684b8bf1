"""A small balancer, as platforms have one: it asks each copy of the service whether it is ready."""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PROBE_SECONDS = 0.1
IDLE_SECONDS = 2.0  # after which a connection is not used again: less than the copies leave one open

Idle = tuple[StreamReader, StreamWriter, float]  # and since when


class Balancer:
    """Hands each request to the next copy that is ready, once, on a connection that it keeps.

    A request that gets no answer is not repeated: its client's connection is cut.
    """

    def __init__(self, copies: Sequence[str]) -> None:
        self._copies = [(urlsplit(copy).hostname or "", urlsplit(copy).port or 0) for copy in copies]
        self._idle: dict[tuple[str, int], list[Idle]] = {copy: [] for copy in self._copies}
        self._ready: list[tuple[str, int]] = []
        self._turn = 0
        self._changed = asyncio.Event()
        self._clients: set[StreamWriter] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._probes = asyncio.create_task(self._probe())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._probes.cancel()
        self._server.close()
        for writer in [*self._clients, *(writer for idle in self._idle.values() for _, writer, _ in idle)]:
            writer.close()

    async def sees(self, ready: int) -> None:
        """Return once so many copies are ready."""
        while len(self._ready) != ready:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)

    async def _probe(self) -> None:
        while True:
            self._ready = [copy for copy in self._copies if await _is_ready(*copy)]
            self._changed.set()
            await asyncio.sleep(PROBE_SECONDS)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while True:
                request = await _message(reader)
                self._turn += 1
                writer.write(await self._forward(self._ready[self._turn % len(self._ready)], request))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ZeroDivisionError):
            pass  # the client has gone, the copy has given no answer, or no copy is ready
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _forward(self, copy: tuple[str, int], request: bytes) -> bytes:
        idle = self._idle[copy]
        while idle and (idle[-1][0].at_eof() or time.monotonic() - idle[-1][2] > IDLE_SECONDS):
            idle.pop()[1].close()
        reader, writer = idle.pop()[:2] if idle else await asyncio.open_connection(*copy)
        writer.write(request)
        answer = await _message(reader)
        if b"\r\nconnection: close\r\n" in answer.lower():
            writer.close()
        else:
            idle.append((reader, writer, time.monotonic()))
        return answer


async def _message(reader: StreamReader) -> bytes:
    """A request or an answer, whole; its length is always said."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"\r\ncontent-length:")
    return head + await reader.readexactly(int(length.split(b"\r\n")[0] or 0))


async def _is_ready(host: str, port: int) -> bool:
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b" 200 " in (await reader.readuntil(b"\r\n"))
            finally:
                writer.close()
    return False
