"""The database sleeps, as Neon's does, and wakes up for a request."""

import asyncio
import time

import pytest

from tests.chaos.conftest import TERMINATE, USERS, Report, Service, check, execute
from tests.chaos.load import Http, Ledger
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.chaos

NAP = 6.0  # seconds that waking takes; the default budget is 15

PASSING = [
    ("XX000", "Couldn't connect to compute node"),
    ("XX000", "Control plane request failed: endpoint is temporarily unavailable"),
    ("57P03", "the database system is starting up"),
]
LASTING = [
    ("XX000", "Control plane request failed: endpoint is disabled"),
    ("XX000", "password authentication failed for user 'somebody'"),
    ("28P01", 'password authentication failed for user "somebody"'),
]


async def asleep(service: Service, database: str, proxy: Proxy) -> Ledger:
    """Serve a little, and end all connections of the database, as its suspension does."""
    async with service.load(limit=100) as load:
        await load.finish()
    await execute(database, TERMINATE)
    await proxy.quiet()
    client = Http(service.address, USERS[0])
    assert (await client.request("GET", "/health")).ok  # a turn of its loop, in which it notices
    client.close()
    return load.ledger


@pytest.mark.parametrize("how", ["silent", "refused", "errors"])
async def test_waking_takes_time_and_nothing_else(
    serving: Service, database: str, proxy: Proxy, report: Report, how: str
) -> None:
    """More requests than there are connections come while the database wakes: all wait, and none fails."""
    ledger = await asleep(serving, database, proxy)
    if how == "silent":
        proxy.hold()
    elif how == "refused":
        proxy.refuse()
    else:
        proxy.error = PASSING[0]
    async with serving.load(clients=32, ledger=ledger) as load:
        for error in PASSING:
            if how == "errors":
                proxy.error = error
            await asyncio.sleep(NAP / len(PASSING))
        assert load.served == 0
        proxy.error = None
        if how == "silent":
            proxy.flow()
        elif how == "refused":
            await proxy.listen()
        seconds = await load.whole()
        await load.more(100)
        await check(load, database, report, f"whole again after {seconds:.2f} s; ")
    assert load.unserved == {}
    assert load.slowest < NAP + 4


@pytest.mark.parametrize(("state", "message"), LASTING)
async def test_what_waiting_does_not_mend_is_said_at_once(
    serving: Service, database: str, proxy: Proxy, report: Report, state: str, message: str
) -> None:
    """An endpoint that is disabled, a wrong password: 503 without a wait, and service once it is mended."""
    ledger = await asleep(serving, database, proxy)
    proxy.error = (state, message)
    client = Http(serving.address, USERS[0])
    started = time.monotonic()
    answer = await client.request("GET", "/api/tasks")
    seconds = time.monotonic() - started
    client.close()
    assert (answer.status, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert message not in answer.body.decode()
    assert seconds < 1
    proxy.error = None
    async with serving.load(ledger=ledger) as load:
        await load.more(50)
        await check(load, database, report, f"told after {seconds * 1000:.0f} ms; ")
    assert load.unserved == {}


@pytest.mark.settings(database_connect_budget=3)
async def test_a_long_outage_is_told_fast(
    serving: Service, database: str, proxy: Proxy, report: Report
) -> None:
    """Once the budget is spent nobody waits for it anew, and the database is tried by one at a time."""
    ledger = await asleep(serving, database, proxy)
    proxy.hold()
    async with serving.load(clients=32, ledger=ledger) as load:
        await load.until(lambda: load.statuses[503] >= 32)
        first = load.slowest
        before, attempts = len(load.seconds), proxy.accepted
        await load.until(lambda: load.statuses[503] >= 132)
        later = sorted(seconds for _, seconds in load.seconds[before:])
        attempts = proxy.accepted - attempts
        proxy.flow()
        seconds = await load.whole()
        await check(
            load, database, report, f"first told after {first:.2f} s, whole again after {seconds:.2f} s; "
        )
    assert first < 9
    assert later[len(later) * 9 // 10] < 0.5
    assert attempts < 5
    assert seconds < 6
