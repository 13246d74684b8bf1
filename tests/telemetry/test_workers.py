"""Several workers: whichever is asked, the numbers are those of all."""

import asyncio
from pathlib import Path
from signal import SIGHUP

import httpx
import pytest

from tests.server import TIMEOUT, Server
from tests.telemetry.conftest import METRICS_TOKEN, SCRAPER, Samples, read, sample

pytestmark = pytest.mark.slow

COUNT = "task_api_http_request_duration_seconds_count"
SETTINGS = {
    "DATABASE_URL": "sqlite:///tasks.db",
    "WEB_CONCURRENCY": "2",
    "METRICS_ENABLED": "true",
    "METRICS_TOKEN": METRICS_TOKEN,
}


async def test_workers_add_up(tmp_path: Path) -> None:
    """Nothing is counted twice, nothing lost when workers are replaced, and no counter ever falls."""
    async with Server(tmp_path) as server:
        address = await server.start(SETTINGS)

        async def ask(path: str) -> httpx.Response:
            async with httpx.AsyncClient(base_url=address, headers=SCRAPER, trust_env=False) as client:
                return await client.get(path)  # on a connection of its own: any worker's

        async def served() -> tuple[float, Samples]:
            found = read((await ask("/metrics")).text)
            return sample(found, COUNT, method="GET", route="/health", status="2xx"), found

        for _ in range(30):
            await ask("/health")
        async with asyncio.timeout(TIMEOUT):
            while (found := await served())[0] < 30:  # noqa: ASYNC110 - other processes' doing
                await asyncio.sleep(0.1)
        assert found[0] == 30
        assert sample(found[1], "task_api_workers") == 2
        old = server.workers()
        server.signal(SIGHUP)
        async with asyncio.timeout(TIMEOUT):
            while old & server.workers():
                assert (await served())[0] == 30
                await asyncio.sleep(0.1)
        for _ in range(10):
            await ask("/health")
        async with asyncio.timeout(TIMEOUT):
            while (count := (await served())[0]) < 40:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        assert count == 40
        assert await server.terminate() == 0
