"""The service's own process ends under load: by a crash, by an orderly stop, and when nothing answers."""

import time

import pytest

from backend.db import CLOSE_TIMEOUT
from backend.server import STOP_SECONDS
from tests.chaos.conftest import Report, Service
from tests.chaos.load import CUT, REFUSED
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.chaos


async def test_killed_and_started_again(serving: Service, database: str, report: Report) -> None:
    """A crash of the service loses no write that it acknowledged; started again, it serves at once."""
    async with serving.load() as load:
        for _ in range(2):
            await load.more(200)
            await serving.kill()
            await serving.serve()
            seconds = await load.whole()
        await load.stop()
    report(f"whole again {seconds:.2f} s after its start; {load.summary}")
    assert await load.ledger.compare(database) == []
    assert set(load.unserved) <= {503, CUT, REFUSED}
    assert seconds < 2


async def test_stopped_under_load(serving: Service, database: str, report: Report) -> None:
    """SIGTERM cuts no request: whatever the service began, it answers, and then it ends with status 0."""
    # A connection a request: on a kept one, a request may cross the service's goodbye.
    async with serving.load(keep_alive=False) as load:
        await load.more(300)
        started = time.monotonic()
        status = await serving.terminate()
        seconds = time.monotonic() - started
        await load.until(lambda: load.statuses[REFUSED] > 16)
        await load.stop()
    report(f"stopped in {seconds:.2f} s; {load.summary}")
    assert status == 0
    assert set(load.unserved) <= {CUT, REFUSED}
    # Connections that the system had taken for it, and that it never read, are cut: nothing of them happened.
    for title in load.ledger.unanswered:
        load.ledger.states[title] = load.ledger.before[title]
    assert await load.ledger.compare(database) == []


@pytest.mark.settings(database_statement_timeout=60)
@pytest.mark.parametrize("how", ["idle", "busy"])
async def test_stopped_while_nothing_answers(
    serving: Service, proxy: Proxy, report: Report, how: str
) -> None:
    """With the database in a black hole the service still ends, soon after the time it gives to requests."""
    async with serving.load() as load:
        await load.more(50)
        if how == "idle":
            await load.stop()
        proxy.black_hole()
        started = time.monotonic()
        status = await serving.terminate()
        seconds = time.monotonic() - started
        await load.stop()
    report(f"stopped in {seconds:.2f} s; {load.summary}")
    assert status == 0
    assert "Traceback" not in serving.stderr or how == "busy"
    assert seconds < (STOP_SECONDS if how == "busy" else 0) + CLOSE_TIMEOUT + 2
