"""What a client may send, hold and leave unread: a server in this process, spoken to on real sockets."""

import asyncio
import json
import resource
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from backend.main import create_app
from backend.web import answers, protocol
from backend.web.answers import Outbox, Unread
from backend.web.protocol import BoundedProtocol, _Answer
from tests.conftest import settings_for, token_for

TIMEOUT = 20.0


class Wire:
    """A server, and connections to it."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port = port
        self.server = server
        self._writers: list[StreamWriter] = []

    async def connect(self, sent: bytes = b"") -> tuple[StreamReader, StreamWriter]:
        """A connection on which something was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        writer.write(sent)
        return reader, writer

    async def ask(self, sent: bytes) -> tuple[int, str]:
        """The status and the code of what comes back until the server ends it."""
        reader, _ = await self.connect(sent)
        return parse(await reader.read())

    async def close(self) -> None:
        """Leave nothing open."""
        for writer in self._writers:
            writer.transport.abort()


def parse(answer: bytes) -> tuple[int, str]:
    """The status and the code of an answer; 0 for none."""
    if not answer:
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body).get("code", "")


@asynccontextmanager
async def serving(app: Any = None, *, per_address: int | None = None, **options: Any) -> AsyncIterator[Wire]:
    """A server of the service, or of another application, with uvicorn's options."""

    class Protocol(BoundedProtocol):
        pass

    Protocol.per_address = per_address
    app = app or create_app(settings_for("sqlite://"))
    config = uvicorn.Config(app, http=Protocol, ws="none", log_config=None, access_log=False, **options)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        wire = Wire(listener.getsockname()[1], server)
        try:
            async with asyncio.timeout(TIMEOUT):
                yield wire
        finally:
            await wire.close()
            await server.shutdown([listener])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound in time is a moment."""
    for name in (
        "WAIT_SECONDS",
        "STOP_SECONDS",
        "BODY_GRACE_SECONDS",
        "PIECE_SECONDS",
        "LINGER_SECONDS",
        "SWEEP_SECONDS",
    ):
        monkeypatch.setattr(protocol, name, 0.05)


GET = b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n"
HEALTH = GET % (b"/health", b"Connection: close\r\n")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (GET % (b"/health?" + b"x" * 8193, b""), 414, "url_too_long"),
        (b"GET /" + b"x" * 200_000, 431, "headers_too_large"),
        (GET % (b"/health", b"A: b\r\n" * 101), 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000, 431, "headers_too_large"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
    ],
    ids=["url", "endless-url", "count", "endless-header", "endless-headers", "nonsense"],
)
async def test_a_head_is_bounded(sent: bytes, status: int, code: str) -> None:
    """Who sends too much of a head is told so in the shape of all errors, and heard no further."""
    async with serving() as wire:
        assert await wire.ask(sent) == (status, code)
        assert (await wire.ask(HEALTH))[0] == 200


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (b"\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
        (GET % (b"/slow", b"Content-Length: 9\r\n"), 408),
        (GET % (b"/slow", b"Transfer-Encoding: chunked\r\n") + b"1;" + b"x" * 99, 408),
    ],
    ids=["nothing", "blank", "head", "body", "chunk"],
)
async def test_what_does_not_come_is_not_waited_for(sent: bytes, status: int) -> None:
    """Half of a request ends its connection after a time."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async with serving(app, lifespan="off", timeout_keep_alive=0) as wire:
        assert (await wire.ask(sent))[0] == status


@pytest.mark.usefixtures("quick")
async def test_what_nobody_reads_is_cut() -> None:
    """An answer that is not read ends, with its connection and its request."""
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while server.server_state.connections:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        ended.set()

    async with serving(app, lifespan="off") as wire:
        server = wire.server
        await wire.connect(GET % (b"/", b""))
        await ended.wait()


async def test_too_many_requests_ahead_of_their_answers_are_cut() -> None:
    """A connection may send a few requests at once, not thousands."""
    called = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal called
        called += 1
        await asyncio.Event().wait()

    async with serving(app, lifespan="off", timeout_graceful_shutdown=0) as wire:
        assert (await wire.ask(GET % (b"/", b"") * 1000))[0] == 0
        assert called <= 1


async def test_idle_connections_make_room(capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond the number of places the longest idle goes, who is new is served, and the log says it once."""
    async with serving(limit_concurrency=4) as wire:
        idle = [await wire.connect(b"GET / HTTP/1.1\r\n") for _ in range(20)]
        assert (await wire.ask(HEALTH))[0] == 200
        with suppress(ConnectionResetError):
            assert await idle[0][0].read() == b""
        assert len(wire.server.server_state.connections) <= 5
    assert capsys.readouterr().err.count("all 4 connections are in use") == 1


@pytest.mark.parametrize("bound", [{"limit_concurrency": 2}, {"per_address": 2, "forwarded_allow_ips": ""}])
async def test_busy_connections_keep_their_places(bound: dict[str, Any]) -> None:
    """Where all places are busy who is new is told so, but for the health check."""
    app = create_app(settings_for("sqlite://"))
    busy = asyncio.Semaphore(0)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/slow":
            busy.release()
            await receive()
            await receive()
        else:
            await app(scope, receive, send)

    async with serving(slow, **bound) as wire:
        for _ in range(2):
            await wire.connect(GET % (b"/slow", b""))
            await busy.acquire()
        assert await wire.ask(GET % (b"/", b"")) == (503, "connections_used_up")
        assert (await wire.ask(HEALTH))[0] == 200


async def test_a_trusted_proxys_connections_are_many_clients() -> None:
    """The bound per address does not hold for whom FORWARDED_ALLOW_IPS names."""
    async with serving(per_address=1, forwarded_allow_ips="127.0.0.1") as wire:
        for _ in range(3):
            await wire.connect()
        assert (await wire.ask(HEALTH))[0] == 200
        assert len(wire.server.server_state.connections) >= 3


def test_places_leave_files_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections never take all the files that the process may open."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    assert protocol.affordable(1000) == 75


@pytest.mark.parametrize(
    "path", ["/api/tasks", "/api/tasks/batch", "/api/tasks/import", "/api/alice/tasks/batch"]
)
@pytest.mark.parametrize("token", ["", "Authorization: Bearer forged\r\n"])
async def test_who_asks_is_found_out_before_the_body(path: str, token: str) -> None:
    """Without a good token the answer comes before a byte of the body does."""
    headers = f"{token}Content-Type: application/json\r\nContent-Length: 1048576\r\n".encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n" % (path.encode(), headers)
    async with serving() as wire:
        assert (await wire.ask(head))[0] == 401
        assert (await wire.ask(head + b"{" * 1048576))[0] == 401


async def test_a_body_is_read_of_who_is_known() -> None:
    """With a good token the same body is looked at."""
    own = f"Authorization: Bearer {token_for('alice')}\r\n"
    headers = f"{own}Content-Type: application/json\r\nContent-Length: 1\r\n"
    async with serving() as wire:
        head = b"POST /api/tasks/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n{" % headers.encode()
        assert (await wire.ask(head))[0] == 422


def _taker(sizes: list[int], stop: int, stopped: asyncio.Event) -> Callable[[Message], Awaitable[None]]:
    async def take(message: Message) -> None:
        if len(sizes) == stop:
            stopped.set()
            await asyncio.Event().wait()
        sizes.append(len(message["body"]))

    return take


async def test_unread_answers_hold_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers on their way hold so much at most: who has taken nothing for the longest is given up."""
    monkeypatch.setattr(answers, "UNREAD_MAX", 300_000)
    outbox = Outbox()
    message = {"type": "http.response.body", "body": b"x" * 140_000}
    tasks = []
    for _ in range(5):
        stopped = asyncio.Event()
        tasks.append(asyncio.create_task(outbox.send(_taker([], 1, stopped), message)))
        await stopped.wait()
        assert outbox.held <= 300_000 + 140_000
    sizes: list[int] = []
    await asyncio.sleep(0)
    await outbox.send(_taker(sizes, 9, stopped), message)
    assert sizes == [65536, 65536, 140_000 - 2 * 65536]
    given_up = [task for task in tasks if task.done() and isinstance(task.exception(), Unread)]
    assert given_up == tasks[: len(given_up)]
    assert len(given_up) == 3
    for task in tasks[len(given_up) :]:
        task.cancel()
    await asyncio.wait(tasks)
    assert outbox.held == 0


async def test_an_answer_is_sent_at_once() -> None:
    """Its head and its body are one system call, and one packet."""
    written: list[bytes] = []
    connection: Any = SimpleNamespace(loop=asyncio.get_running_loop())
    transport: Any = SimpleNamespace(write=written.append, is_closing=None)
    cycle: Any = SimpleNamespace(scope={"method": "GET"}, response_started=False)
    answer = _Answer(connection, transport, cycle)
    answer.write(b"100")
    cycle.response_started = True
    for part in (b"head ", b"body ", b"more"):
        answer.write(part)
    await asyncio.sleep(0)
    assert written == [b"100", b"head body ", b"more"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_head_does_not_wait_for_a_body_that_is_not_there(method: bytes) -> None:
    """Who asks sees it before the body comes, also where none does."""
    may_go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await may_go_on.wait()
        await send({"type": "http.response.body", "body": b"x"})

    async with serving(app, lifespan="off") as wire:
        reader, _ = await wire.connect(method + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        may_go_on.set()
        assert await reader.read() == (b"x" if method == b"GET" else b"")


async def test_a_stop_ends_streams() -> None:
    """A server that stops tells the application so: a stream ends at once, as an answer does."""
    request = GET % (b"/api/tasks/events", b"Authorization: Bearer %b\r\n" % token_for("alice").encode())
    async with serving(create_app(settings_for("sqlite://", stream_seconds=600))) as wire:
        reader, _ = await wire.connect(request)
        await reader.readuntil(b"\n\n\r\n")
        async with asyncio.timeout(TIMEOUT):
            await wire.server.shutdown([])
        assert await reader.read() == b"0\r\n\r\n"


@pytest.mark.usefixtures("quick")
async def test_no_bound_in_time_ends_a_stream() -> None:
    """A stream that is read is left alone, however long it is silent."""
    request = GET % (b"/api/tasks/events", b"Authorization: Bearer %b\r\n" % token_for("alice").encode())
    settings = settings_for("sqlite://", stream_seconds=600, stream_keepalive=0.3)
    async with serving(create_app(settings), timeout_keep_alive=0) as wire:
        reader, _ = await wire.connect(request)
        assert b"event: ready" in await reader.readuntil(b"\n\n\r\n")
        for _ in range(2):
            assert await reader.readuntil(b"\n\n\r\n") == b"3\r\n:\n\n\r\n"
