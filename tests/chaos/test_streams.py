"""Streams of events of the real service: many, its end, another copy's writes, a database that fails."""

import asyncio
import resource
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.server import STOP_SECONDS
from tests.chaos.conftest import USERS, Report, Service
from tests.chaos.load import Http
from tests.chaos.proxy import Proxy
from tests.conftest import token_for
from tests.server import sign_up
from tests.streams import Event, parse

pytestmark = pytest.mark.chaos

STREAMS = 1000
AT_ONCE = 50  # that are opened
TIMEOUT = 20.0
KIB, MILLISECONDS = 30, 2.0  # that a stream may cost: 15 to 20 and 0.6 to 1.2 were measured

STOP_CPU = 1.5  # seconds; 0.3 to 0.8 were measured, the end of the process included

# So many streams of one user, and of one server.
MANY = {"streams_per_user": 2 * STREAMS, "connections_max": 2 * STREAMS}


class Stream:
    """A client's connection with a stream on it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def event(self) -> Event:
        """The next event."""
        while True:
            part = await asyncio.wait_for(self._reader.readuntil(b"\n\n"), TIMEOUT)
            if event := parse(part[part.index(b"\r\n") + 2 :].decode()):
                return event

    async def rest(self) -> bytes:
        """What comes until the server hangs up."""
        return await asyncio.wait_for(self._reader.read(), TIMEOUT)

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


def children_cpu() -> float:
    """The CPU seconds of all processes that this one has seen the end of."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def opened(address: str, user_id: str, number: int = 1) -> AsyncIterator[list[Stream]]:
    """So many streams of a user, each of which has had its first event."""
    parts, token = urlsplit(address), token_for(user_id)

    async def connect() -> Stream:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
        head = f"GET /api/tasks/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        stream = Stream(reader, writer)
        assert (await stream.event()).name == "ready"
        return stream

    streams: list[Stream] = []
    try:
        while len(streams) < number:
            few = min(AT_ONCE, number - len(streams))
            streams += await asyncio.gather(*(connect() for _ in range(few)))
        yield streams
    finally:
        for stream in streams:
            stream.close()


@pytest.mark.settings(**MANY)
async def test_many_streams_cost_little_and_end_at_once(serving: Service, report: Report) -> None:
    """A thousand hold little memory, cost little to open, are told of a write and end with the service."""
    async with opened(serving.address, USERS[0], AT_ONCE):
        pass
    await asyncio.sleep(1)
    memory, cpu = serving.memory(), serving.cpu()
    async with opened(serving.address, USERS[0], STREAMS) as streams:
        kib = (serving.memory() - memory) / STREAMS / 1024
        milliseconds = (serving.cpu() - cpu) / STREAMS * 1000
        client = Http(serving.address, USERS[0])
        began = time.monotonic()
        assert (await client.request("POST", "/api/tasks", {"title": "t"})).ok
        told = {(await stream.event()).name for stream in streams}
        news = time.monotonic() - began
        client.close()
        before, cpu = children_cpu(), serving.cpu()
        began = time.monotonic()
        status = await serving.terminate()
        stopped = time.monotonic() - began
        cpu = children_cpu() - before - cpu
        ends = {await stream.rest() for stream in streams}
    report(
        f"{kib:.1f} KiB and {milliseconds:.2f} ms of CPU each; all told in {news:.2f} s, "
        f"ended in {stopped:.2f} s, {cpu:.2f} s of CPU"
    )
    assert told == {"change"}
    assert ends == {b"\r\n0\r\n\r\n"}, "each has ended as an answer does"
    assert status == 0
    assert "Traceback" not in serving.stderr
    assert "error" not in serving.stderr
    # Within three seconds where the machine has nothing else to do; nothing of it is waiting.
    assert cpu < STOP_CPU
    assert stopped < STOP_SECONDS
    assert kib < KIB
    assert milliseconds < MILLISECONDS


async def slowest_news(services: list[Service], database: str) -> str:
    """Serve, and write through the first what streams of the second are told of; say how long that took."""
    await asyncio.gather(*(service.serve() for service in services))
    for user in USERS:
        await sign_up(database, user)
    seconds = []
    async with AsyncExitStack() as stack:
        own = [await stack.enter_async_context(opened(services[0].address, user)) for user in USERS]
        others = [await stack.enter_async_context(opened(services[1].address, user)) for user in USERS]
        for number, user in enumerate(USERS):
            client = Http(services[0].address, user)
            began = time.monotonic()
            assert (await client.request("POST", "/api/tasks", {"title": "t"})).ok
            assert (await own[number][0].event()).name == "change"
            seconds.append(time.monotonic() - began)
            assert (await others[number][0].event()).name == "change"
            seconds.append(time.monotonic() - began)
            client.close()
    assert max(seconds) < 3
    return f"own news after {max(seconds[::2]):.2f} s at most, another's after {max(seconds[1::2]):.2f} s"


async def test_another_services_write_reaches_a_stream(tmp_path: Path, database: str, report: Report) -> None:
    """What is written through one service is told in the streams of the other, within about a second."""
    async with Service(tmp_path / "one", database) as one, Service(tmp_path / "two", database) as two:
        report(await slowest_news([one, two], database))


@pytest.mark.settings(database_connect_budget=1, database_statement_timeout=1)
async def test_a_database_that_fails_ends_no_stream(serving: Service, proxy: Proxy, report: Report) -> None:
    """Cut off or in a black hole: the streams stay, the log is calm, and news come when it is back."""
    async with opened(serving.address, USERS[0]) as [stream]:
        client = Http(serving.address, USERS[0])
        for fail, mend in (
            (proxy.reset, proxy.heal),
            (proxy.black_hole, proxy.heal),
        ):
            fail()
            await asyncio.sleep(3)
            mend()
            began = time.monotonic()
            while not (await client.request("POST", "/api/tasks", {"title": "t"})).ok:  # noqa: ASYNC110 - asks
                await asyncio.sleep(0.1)
            assert (await stream.event()).name == "change"
            report(f"news {time.monotonic() - began:.1f} s after the database was back")
        client.close()
    lines = [line for line in serving.stderr.splitlines() if "database" in line]
    assert len(lines) < 20, "\n".join(lines)
    assert "Traceback" not in serving.stderr
