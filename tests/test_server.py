"""The service as a process: it starts, stops and crashes without losing what it acknowledged."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import httpx
import pytest

from tests.conftest import Databases, token_for
from tests.server import TIMEOUT, Server, sign_up

ALICE = {"Authorization": f"Bearer {token_for('alice', exp=2**31)}"}
WRITERS = 20
ENOUGH = 100  # acknowledged tasks before the crash


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server, not yet started."""
    async with Server(tmp_path) as server:
        yield server


@pytest.fixture
def url(database_url: str) -> str:
    """A database of each kind that outlives a process: SQLite's is a file."""
    return "sqlite:///tasks.db" if database_url == "sqlite://" else database_url


def client_of(address: str) -> httpx.AsyncClient:
    """Alice's."""
    return httpx.AsyncClient(base_url=address, headers=ALICE, timeout=TIMEOUT, trust_env=False)


async def titles(client: httpx.AsyncClient) -> set[str]:
    """Those of all of Alice's tasks."""
    response = await client.get("/api/tasks")
    assert response.status_code == 200, response.text
    return {task["title"] for task in response.json()}


async def refuses_connections(address: str) -> None:
    """Return once nothing listens there any more."""
    host, port = httpx.URL(address).host, httpx.URL(address).port
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)


async def test_a_stop_lets_running_requests_finish(server: Server) -> None:
    """SIGTERM while a request's body is on its way: nobody new is let in, the request is answered, exit 0."""
    address = await server.start({"DATABASE_URL": "sqlite:///tasks.db"})
    await sign_up("sqlite:///tasks.db", "alice")
    body = b'{"title": "just in time"}'
    host, port = httpx.URL(address).host, httpx.URL(address).port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /api/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        b"Authorization: %b\r\nContent-Length: %d\r\n\r\n" % (ALICE["Authorization"].encode(), len(body))
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")  # the service asks for the body
    server.signal(SIGTERM)
    async with asyncio.timeout(TIMEOUT):
        await refuses_connections(address)
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
    writer.close()
    status = await server.terminate()
    async with client_of(await server.start({"DATABASE_URL": "sqlite:///tasks.db"})) as client:
        assert await titles(client) == {"just in time"}
    assert status == 0, server.stderr
    assert "Traceback" not in server.stderr


async def test_a_draining_server_serves_on_and_says_that_it_is_not_ready(server: Server) -> None:
    """After SIGTERM /ready is 503 at once, all else is served with a goodbye; a second one ends that."""
    address = await server.start({"DATABASE_URL": "sqlite:///tasks.db", "DRAIN_SECONDS": "60"})
    await sign_up("sqlite:///tasks.db", "alice")
    async with client_of(address) as client, client_of(address) as idle:
        assert (await idle.get("/ready")).status_code == 200
        server.signal(SIGTERM)
        async with asyncio.timeout(TIMEOUT):
            while (ready := await client.get("/ready")).status_code == 200:
                pass
        assert (ready.status_code, ready.json()["code"]) == (503, "stopping")
        for one in (client, idle):  # a new connection, and one that was open before
            answer = await one.post("/api/tasks", json={"title": "late"})
            assert (answer.status_code, answer.headers["connection"]) == (201, "close")
        assert (await client.get("/health")).status_code == 200
        assert await server.terminate() == 0
    assert "Traceback" not in server.stderr


async def test_a_stop_while_a_worker_starts_is_a_stop(server: Server) -> None:
    """A worker that is told to stop before it serves has not failed."""
    await server.start({"DATABASE_URL": "sqlite:///tasks.db", "WEB_CONCURRENCY": "2"})
    first = server.workers()
    os.kill(min(first), SIGKILL)
    async with asyncio.timeout(TIMEOUT):
        while not server.workers() - first:  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)
    assert await server.terminate() == 0


async def test_a_server_stops_when_it_has_drained(server: Server) -> None:
    """Nothing further is needed than the time."""
    await server.start({"DATABASE_URL": "sqlite:///tasks.db", "DRAIN_SECONDS": "0.5"})
    started = time.monotonic()
    assert await server.terminate() == 0
    assert time.monotonic() - started > 0.5


async def test_a_worker_that_dies_is_replaced(server: Server) -> None:
    """Two workers serve on one address; the place of one that was killed is taken by another."""
    address = await server.start({"DATABASE_URL": "sqlite:///tasks.db", "WEB_CONCURRENCY": "2"})
    await sign_up("sqlite:///tasks.db", "alice")
    first = server.workers()
    assert len(first) == 2
    os.kill(min(first), SIGKILL)
    async with asyncio.timeout(TIMEOUT):
        while len(server.workers() - {min(first)}) < 2:  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.05)
        async with client_of(address) as client:
            assert (await client.post("/api/tasks", json={"title": "a"})).status_code == 201
    assert await server.terminate() == 0
    assert "a worker has ended" in server.stderr
    assert "Traceback" not in server.stderr


async def test_workers_end_with_who_keeps_them(server: Server) -> None:
    """Where the process that keeps them is killed they stop by themselves, and the address is free."""
    address = await server.start({"DATABASE_URL": "sqlite:///tasks.db", "WEB_CONCURRENCY": "2"})
    await server.kill()
    async with asyncio.timeout(TIMEOUT):
        await refuses_connections(address)


async def test_workers_that_do_not_start_say_why(server: Server, postgres_database: str) -> None:
    """Nothing is tried for ever: the reason is in the log, and the status is theirs."""
    nowhere = f"{postgres_database}?options=-csearch_path%3Dnowhere"
    with pytest.raises(RuntimeError, match="no schema has been selected to create in"):
        await server.start({"DATABASE_URL": nowhere, "WEB_CONCURRENCY": "2"})
    assert "Traceback" not in server.stderr


async def test_ctrl_c_is_a_stop_too(server: Server) -> None:
    """SIGINT ends an idle server as quietly as SIGTERM."""
    await server.start({"DATABASE_URL": "sqlite:///tasks.db"})
    status = await server.terminate(SIGINT)
    assert "Traceback" not in server.stderr
    assert status == 0


async def test_what_was_acknowledged_survives_a_crash(server: Server, url: str) -> None:
    """After kill -9 while 20 clients write, and a restart, each task whose 201 was read is there."""
    client = client_of(await server.start({"DATABASE_URL": url}))
    await sign_up(url, "alice")
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def write(name: str) -> None:
        for number in range(100_000):
            title = f"{name} {number}"
            try:
                response = await client.post("/api/tasks", json={"title": title})
            except httpx.TransportError:
                return
            if response.status_code == 503:  # a slow disk: nothing was promised
                continue
            assert response.status_code == 201, response.text
            acknowledged.add(title)
            if len(acknowledged) >= ENOUGH:
                enough.set()

    async with asyncio.timeout(TIMEOUT), client:
        writers = [asyncio.create_task(write(f"writer {number}")) for number in range(WRITERS)]
        await enough.wait()
        await server.kill()
        await asyncio.gather(*writers)
    async with client_of(await server.start({"DATABASE_URL": url})) as client:
        stored = await titles(client)
        assert acknowledged - stored == set()
        assert len(stored - acknowledged) <= WRITERS  # each may have had one on its way
        assert (await client.post("/api/tasks", json={"title": "after"})).status_code == 201


async def exchange(address: str, method: str, path: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
    """An answer as it is on the wire: its head, and all that follows until the server closes."""
    url = httpx.URL(address)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    lines = {"Host": "x", "Connection": "close", **ALICE, **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    async with asyncio.timeout(TIMEOUT):
        answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return answer, body


async def test_answers_without_a_body_have_none(server: Server) -> None:
    """A 304 and a 204 end with their head and promise no bytes; the server has nothing to complain of."""
    address = await server.start({"DATABASE_URL": "sqlite:///tasks.db"})
    await sign_up("sqlite:///tasks.db", "alice")
    async with client_of(address) as client:
        task = (await client.post("/api/tasks", json={"title": "a"})).json()
        path = f"/api/tasks/{task['id']}"
        unchanged = {"If-None-Match": (await client.get(path)).headers["ETag"]}
        for method, headers, status in (("GET", unchanged, b"304"), ("DELETE", {}, b"204")):
            head, body = await exchange(address, method, path, headers)
            start, *lines = head.lower().split(b"\r\n")
            assert start.split()[1] == status, head
            assert body == b"", head
            promised = [line for line in lines if line.startswith((b"content-length", b"transfer-encoding"))]
            assert promised in ([], [b"content-length: 0"]), head
            if status == b"304":
                assert b'etag: "1"' in lines  # RFC 9110 §15.4.5
                assert promised == []  # 0 would be a lie: the task has a length
        # And on a connection that stays open, as a frontend's does, the next answer is its own.
        second = (await client.post("/api/tasks", json={"title": "b"})).json()
        path = f"/api/tasks/{second['id']}"
        for _ in range(3):
            assert (await client.get(path, headers={"If-None-Match": '"1"'})).status_code == 304
            assert (await client.get(path)).json() == second
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
    await server.terminate()
    assert "Traceback" not in server.stderr
    assert "Content-Length" not in server.stderr


async def test_the_start_line_says_where_things_are(server: Server, databases: Databases) -> None:
    """One line on stdout has the address, the database without its password, and how to get a token."""
    plain = await databases.create()
    try:
        address = await server.start({"DATABASE_URL": plain.replace("postgres@", "postgres:hunter2@")})
        async with client_of(address) as client:
            assert (await client.get("/ready")).status_code == 200
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", address)
        await server.kill()
        [line] = server.stdout.splitlines()
        for said in (address, plain.rpartition("@")[2], "make token"):
            assert said in line
        assert "hunter2" not in server.stdout + server.stderr
    finally:
        await databases.drop(plain)


async def test_a_server_that_does_not_start_says_why(server: Server, postgres_database: str) -> None:
    """Where the tables cannot be made the process ends, with the database's reason and no traceback."""
    nowhere = f"{postgres_database}?options=-csearch_path%3Dnowhere"
    with pytest.raises(RuntimeError, match="no schema has been selected to create in"):
        await server.start({"DATABASE_URL": nowhere})
    assert "Traceback" not in server.stderr
