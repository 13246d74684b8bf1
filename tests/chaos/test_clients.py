"""Clients that send half of a request, or do not read its answer, beside one who does neither."""

import asyncio
import json
import time
from statistics import median, quantiles

import httpx
import pytest

from tests.chaos.conftest import Report, Service
from tests.conftest import token_for

pytestmark = pytest.mark.chaos

AUTH = f"Authorization: Bearer {token_for('ann', exp=2**31)}\r\n".encode()
POST = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
LISTS, HALVES, SECONDS = 40, 200, 4.0
ATTACKS = {
    "heads": [b"GET / HTTP/1.1\r\nHost: x\r\n"] * HALVES,
    "bodies": [POST % (b"/api/tasks", 100, AUTH)] * HALVES,
    "anonymous": [POST % (b"/api/tasks/batch", 2**20, b"") + b"[" * 2**20] * 20,
    "headers": [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1_000_000],
    "url": [b"GET /" + b"x" * 20_000_000],
    "lists": [b"GET /api/tasks?limit=1000 HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n"] * LISTS,
}


async def fill(address: str) -> None:
    """Give ann a list of 4 MB."""
    operation = {"op": "create", "title": "t", "description": "\U0001f9c0" * 1000}
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
        for _ in range(10):
            content = json.dumps({"operations": [operation] * 100}, ensure_ascii=False).encode()
            headers = {"Authorization": f"Bearer {token_for('ann')}", "Content-Type": "application/json"}
            assert (await client.post("/api/tasks/batch", content=content, headers=headers)).is_success


@pytest.mark.parametrize("attack", ATTACKS)
async def test_others_are_served_and_the_service_stops(serving: Service, report: Report, attack: str) -> None:
    """Another user is served throughout, memory stays bounded, and the service ends within its time."""
    if attack == "lists":
        await fill(serving.address)
    url = httpx.URL(serving.address)
    before, peak = serving.memory(), 0
    times: list[float] = []
    writers = []
    for sent in ATTACKS[attack]:
        _, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
        writer.write(sent)
        writers.append(writer)
    headers = {"Authorization": f"Bearer {token_for('ben')}"}
    async with httpx.AsyncClient(
        base_url=serving.address, headers=headers, trust_env=False, timeout=30
    ) as ben:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or len(times) < 2:
            started = time.perf_counter()
            assert (await ben.get("/api/tasks?limit=50")).status_code == 200
            times.append(1000 * (time.perf_counter() - started))
            peak = max(peak, serving.memory())
            await asyncio.sleep(0.02)
    started = time.monotonic()
    status = await serving.terminate()
    stopped = time.monotonic() - started
    for writer in writers:
        writer.transport.abort()
    p99 = quantiles(times, n=100)[98]
    sizes = f"{before / 2**20:.0f} MiB, at most {peak / 2**20:.0f}"
    report(f"p50 {median(times):.0f} ms, p99 {p99:.0f} ms; {sizes}; stopped in {stopped:.1f} s")
    assert status == 0
    assert stopped < 10
    assert peak - before < (256 if attack == "lists" else 64) * 2**20
