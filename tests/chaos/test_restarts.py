"""A new version goes out while everybody works: nobody notices."""

import time
from pathlib import Path
from signal import SIGHUP

import pytest

from tests.chaos.balancer import Balancer
from tests.chaos.conftest import USERS, Report, Service, check
from tests.chaos.load import Load
from tests.server import sign_up

pytestmark = pytest.mark.chaos

CLIENTS, PAUSE = 40, 0.15  # together some 200 requests a second


async def test_a_rolling_restart_loses_nothing(tmp_path: Path, database: str, report: Report) -> None:
    """Two copies behind a balancer are stopped and started in turn: each request is served."""
    copies = [Service(tmp_path / name, database) for name in ("a", "b")]
    async with copies[0], copies[1]:
        addresses = [await copy.serve(drain_seconds=1.5) for copy in copies]
        for user in USERS:
            await sign_up(database, user)
        async with Balancer(addresses) as balancer:
            await balancer.sees(2)
            began = time.monotonic()
            async with Load(balancer.address, USERS, clients=CLIENTS, pause=PAUSE) as load:
                await load.more(200)
                for copy in copies:
                    assert await copy.terminate() == 0
                    await copy.serve()
                    await balancer.sees(2)
                    await load.more(50)
                rate = load.sent / (time.monotonic() - began)
                await check(load, database, report, f"{rate:.0f} requests a second; ")
    assert load.unserved == {}
    assert rate > 100


@pytest.mark.settings(web_concurrency=2)
async def test_replacing_the_workers_loses_nothing(serving: Service, database: str, report: Report) -> None:
    """SIGHUP under load: whoever keeps connections open and whoever does not is served throughout."""
    before = serving.workers()
    kept = serving.load(clients=CLIENTS, pause=PAUSE)
    fresh = serving.load(keep_alive=False, ledger=kept.ledger, clients=CLIENTS, pause=PAUSE)
    async with kept, fresh:
        await kept.more(100)
        serving.signal(SIGHUP)
        await kept.until(lambda: not before & serving.workers(), within=60)
        await fresh.stop()
        await check(kept, database, report)
    assert kept.unserved == {}
    assert fresh.unserved == {}
    assert len(serving.workers()) == 2
    assert await serving.terminate() == 0
