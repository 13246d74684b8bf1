"""A service that nobody uses lets the database sleep."""

import asyncio

import pytest

from tests.chaos.conftest import USERS, Service
from tests.chaos.load import Http
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.chaos


async def test_an_idle_service_sends_nothing(serving: Service, proxy: Proxy) -> None:
    """Seconds without requests, and any number of liveness checks, are no byte to the database."""
    client = Http(serving.address, USERS[0])
    assert (await client.request("GET", "/api/tasks")).ok
    sent, connections = proxy.received, proxy.accepted
    await asyncio.sleep(4)
    for _ in range(50):
        assert (await client.request("GET", "/health")).ok
    assert (proxy.received, proxy.accepted) == (sent, connections)
    client.close()


async def test_readiness_is_looked_at_once(serving: Service, proxy: Proxy) -> None:
    """Fifty readiness checks, some of them at once, are one statement to the database."""
    clients = [Http(serving.address, USERS[0]) for _ in range(10)]
    assert (await clients[0].request("GET", "/api/tasks")).ok
    executed = proxy.executed
    for _ in range(5):
        answers = await asyncio.gather(*(client.request("GET", "/ready") for client in clients))
        assert all(answer.ok for answer in answers)
    assert proxy.executed == executed + 1
    for client in clients:
        client.close()
