"""Behind nginx and Caddy, as docs/nginx.conf and docs/Caddyfile set them up."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import token_for
from tests.postgres import free_port
from tests.server import CHECKOUT, TIMEOUT, Server, sign_up

pytestmark = pytest.mark.slow

PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has nginx
ADDRESS_MAX = 20  # requests without a token of an address in a minute
ALICE = {"Authorization": f"Bearer {token_for('alice', exp=2**31)}"}


def nginx(folder: Path, port: int, service: str) -> list[str]:
    """The command that runs nginx, and its file with these ports."""
    text = (CHECKOUT / "docs" / "nginx.conf").read_text()
    for written, own in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8000;", f"server {service};"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
    ):
        assert written in text
        text = text.replace(written, own)
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"]


def caddy(folder: Path, port: int, service: str) -> list[str]:
    """The command that runs Caddy, and its file with these ports, without certificates and its own API."""
    text = (CHECKOUT / "docs" / "Caddyfile").read_text()
    for written, own in (
        ("\napi.example.com {", f"\nhttp://127.0.0.1:{port} {{"),
        ("reverse_proxy 127.0.0.1:8000", f"reverse_proxy {service}"),
        ("{\n\tservers {", "{\n\tadmin off\n\tservers {"),
    ):
        assert written in text
        text = text.replace(written, own, 1)
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(params=[nginx, caddy])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Of the service, through a proxy."""
    async with Server(tmp_path) as server:
        own = await server.start(
            {"DATABASE_URL": "sqlite:///tasks.db", "RATE_LIMIT_ANONYMOUS": str(ADDRESS_MAX)}
        )
        await sign_up("sqlite:///tasks.db", "alice")
        port = free_port()
        command = request.param(tmp_path, port, own.removeprefix("http://"))
        program = shutil.which(command[0], path=PATH)
        if program is None and "CI" not in os.environ:
            pytest.skip(f"{command[0]} is not installed")
        assert program, f"{command[0]} is not installed"
        env = {"PATH": PATH, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
        with (tmp_path / "proxy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program, *command[1:], stdout=log, stderr=log, env=env
            )
        try:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except ConnectionRefusedError:
                        assert process.returncode is None, (tmp_path / "proxy.log").read_text()
                        await asyncio.sleep(0.05)
                    else:
                        writer.close()
                        break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def test_the_service_works_behind_a_proxy(address: str) -> None:
    """Requests, errors in JSON, an event the moment it happens, and clients told apart by their address."""
    async with (
        httpx.AsyncClient(base_url=address, headers=ALICE, timeout=TIMEOUT, trust_env=False) as alice,
        httpx.AsyncClient(base_url=address, timeout=TIMEOUT, trust_env=False) as stranger,
        asyncio.timeout(TIMEOUT),
    ):
        assert (await alice.get("/api/tasks")).json() == []
        async with alice.stream("GET", "/api/tasks/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            while not (await anext(lines)).startswith("data:"):
                pass
            assert (await alice.post("/api/tasks", json={"title": "a"})).status_code == 201
            while not (await anext(lines)).startswith("data:"):
                pass  # comes while the stream is open, or not before the timeout
        large = await alice.post("/api/tasks", json={"title": "a" * 1_100_000})
        assert (large.status_code, large.json()["code"]) == (413, "content_too_large")
        # Who is refused by the proxy may be cut off behind the status, with the rest of the body on its way.
        async with alice.stream("POST", "/api/tasks", content=b"a" * 2_200_000) as beyond:
            assert beyond.status_code in (413, 502)  # Caddy before 2.7 has no better word
        assert (await stranger.get("/metrics")).status_code == 404
        answers = [
            await stranger.get(
                "/", headers={"X-Forwarded-For": f"192.0.2.{number}", "X-Forwarded-Prefix": "/x"}
            )
            for number in range(ADDRESS_MAX + 5)
        ]
        assert answers[0].json()["docs"] == "/docs"
        assert answers[-1].status_code == 429, "a client chose its own address"
