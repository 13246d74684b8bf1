"""One user who asks for the dearest there is, all the time, and another who only wants a list."""

import asyncio
import time
from itertools import cycle
from statistics import quantiles

import asyncpg
import pytest

from tests.chaos.conftest import Report, Service
from tests.chaos.load import Answer, Http

pytestmark = pytest.mark.chaos

TASKS = 100_000
CLIENTS = 20  # of the one who asks too much
LISTS = 150  # that the other asks for, each time
DEAR = (
    "/api/tasks/stats",
    "/api/tasks?search=nothing+like+that&limit=10",
    "/api/tasks/count?search=task+of+mine",
    "/api/tasks?sort=title&limit=1000",
    "/api/tasks?tag=rare&limit=10",
)

_FILL = """INSERT INTO tasks (user_id, title, description, tags, completed)
SELECT $1, 'task ' || n, 'a description of some length', ARRAY['a', 'b' || n % 20], n % 3 = 0
FROM generate_series(1, $2::int) AS n"""
# The most connections that ask the same kind of thing for one user at once, as the server sees them.
_ACTIVE = """SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()
AND backend_type = 'client backend' AND (query LIKE '%count(*)%' OR query LIKE '%ILIKE%')"""


async def lists(http: Http) -> tuple[list[float], list[Answer]]:
    """Ask for lists of 50, one after the other; how long each took, and what came."""
    seconds, answers = [], []
    for _ in range(LISTS):
        began = time.perf_counter()
        answers.append(await http.request("GET", "/api/tasks?limit=50"))
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return seconds, answers


def told(seconds: list[float]) -> str:
    """The usual and the worst of them."""
    cuts = quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"


@pytest.mark.settings(database_pool_size=10)
async def test_who_asks_for_the_dearest_harms_nobody_else(
    serving: Service, database: str, report: Report
) -> None:
    """The other gets every list, no 503, at its usual pace; of the dear work two are done at once."""
    beside = await asyncpg.connect(database)
    await beside.execute(_FILL.replace("$1", "'ann'").replace("$2::int", str(TASKS)))
    await beside.execute(_FILL.replace("$1", "'ben'").replace("$2::int", "200"))
    await beside.execute("ANALYZE tasks")
    victim = Http(serving.address, "ben")
    await lists(victim)
    idle, _ = await lists(victim)
    stopped = False
    hammered: list[Answer] = []

    async def hammer() -> None:
        http = Http(serving.address, "ann")
        for path in cycle(DEAR):
            if stopped:
                break
            hammered.append(await http.request("GET", path))
        http.close()

    most = 0

    async def watch() -> None:
        nonlocal most
        while not stopped:
            most = max(most, await beside.fetchval(_ACTIVE))
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(hammer()) for _ in range(CLIENTS)] + [asyncio.create_task(watch())]
    await asyncio.sleep(1)
    try:
        busy, answers = await lists(victim)
    finally:
        stopped = True
        await asyncio.gather(*tasks)
        await beside.close()
        victim.close()
    report(
        f"idle {told(idle)}; beside {CLIENTS} dear clients {told(busy)}, {most} of their statements at once"
    )
    assert {answer.status for answer in answers} == {200}
    assert {answer.status for answer in hammered} <= {200, 503}
    assert any(answer.status == 200 for answer in hammered)
    assert most <= 2
