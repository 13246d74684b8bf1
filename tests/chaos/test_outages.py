"""The database goes away under load, in all ways, and comes back."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import TERMINATE, Report, Service, check, execute
from tests.chaos.proxy import Proxy
from tests.postgres import SYSTEM_USER, Postgres

pytestmark = pytest.mark.chaos


async def test_every_backend_terminated_again_and_again(
    serving: Service, database: str, report: Report
) -> None:
    """Killing all connections, ten times, costs single requests at most a 503, and no second."""
    slowest = 0.0
    async with serving.load() as load:
        await load.more(100)
        for _ in range(10):
            await execute(database, TERMINATE)
            slowest = max(slowest, await load.whole())
        await check(load, database, report, f"whole again after {slowest:.2f} s at most; ")
    assert slowest < 2


async def test_crash_and_recovery_of_the_server(
    serving: Service, database: str, postgres: Postgres, report: Report
) -> None:
    """A crash of PostgreSQL loses nothing that was acknowledged, and service returns with it."""
    async with serving.load() as load:
        await load.more(300)
        await asyncio.to_thread(postgres.stop, "immediate")
        await asyncio.to_thread(postgres.start)
        seconds = await load.whole()
        await check(load, database, report, f"whole again {seconds:.2f} s after the server; ")
    assert seconds < 5


async def test_orderly_restart_of_the_server(
    serving: Service, database: str, postgres: Postgres, report: Report
) -> None:
    """A fast restart, as a minor upgrade is, is the same: waited for where that is safe."""
    async with serving.load() as load:
        await load.more(100)
        await asyncio.to_thread(postgres.stop, "fast")
        await asyncio.to_thread(postgres.start)
        seconds = await load.whole()
        await check(load, database, report, f"whole again {seconds:.2f} s after the server; ")
    assert seconds < 5


@pytest.mark.settings(database_statement_timeout=2, database_connect_budget=6)
@pytest.mark.parametrize("heals", [False, True], ids=["forgets", "stalls"])
async def test_black_hole(serving: Service, database: str, proxy: Proxy, report: Report, heals: bool) -> None:
    """Five seconds of a network that swallows or holds everything end in answers, and then in service."""
    async with serving.load() as load:
        await load.more(100)
        if heals:
            proxy.hold()
        else:
            proxy.black_hole()
        await asyncio.sleep(5)
        if heals:
            proxy.flow()
        else:
            proxy.heal()
        seconds = await load.whole()
        await check(load, database, report, f"whole again after {seconds:.2f} s; ")
    assert seconds < 8
    assert load.slowest < 12


async def test_resets(serving: Service, database: str, proxy: Proxy, report: Report) -> None:
    """A reset of every connection, ten times, costs single requests at most a 503."""
    slowest = 0.0
    async with serving.load() as load:
        await load.more(100)
        for _ in range(10):
            proxy.reset()
            slowest = max(slowest, await load.whole())
        await check(load, database, report, f"whole again after {slowest:.2f} s at most; ")
    assert slowest < 2


async def test_a_slow_network(serving: Service, database: str, proxy: Proxy, report: Report) -> None:
    """200 ms more to each reply are waited for: nothing fails."""
    async with serving.load() as load:
        await load.more(100)
        proxy.delay = 0.2
        await load.more(300)
        proxy.delay = 0
        seconds = await load.whole()
        await check(load, database, report, f"at full speed after {seconds:.2f} s; ")
    assert load.unserved == {}


async def test_replies_cut_in_their_middle(
    serving: Service, database: str, proxy: Proxy, report: Report
) -> None:
    """Half a reply is none: a read is asked again, a write is not, and nobody is told half a truth."""
    async with serving.load() as load:
        await load.more(100)
        for _ in range(10):
            proxy.cuts = 5
            await load.until(lambda: proxy.cuts == 0)
        seconds = await load.whole()
        await check(load, database, report, f"whole again after {seconds:.2f} s; ")
    assert seconds < 2


async def test_read_only_and_back(
    serving: Service, database: str, postgres: Postgres, report: Report
) -> None:
    """While the database takes no writes, reads are served and writes told so; it ends by itself."""
    admin, setting, reload = postgres.url(), "default_transaction_read_only", "SELECT pg_reload_conf()"
    async with serving.load() as load:
        await load.more(100)
        await execute(admin, f"ALTER SYSTEM SET {setting} = on", reload)
        try:
            await load.until(lambda: load.codes["database_read_only"] > 20)
            await load.more(50)  # the reads
        finally:
            await execute(admin, f"SET {setting} = off", f"ALTER SYSTEM RESET {setting}", reload)
        seconds = await load.whole()
        await check(load, database, report, f"whole again after {seconds:.2f} s; ")
    assert set(load.codes) == {"database_read_only"}
    assert seconds < 2


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a file system of 8 MB that is PostgreSQL's."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small file system is not permitted here")
        shutil.chown(folder, SYSTEM_USER)
        yield Path(folder)
        subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_and_room_again(
    serving: Service, database: str, small_disk: Path, report: Report
) -> None:
    """While the table has no room to grow, reads are served and writes told so; it ends with the shortage."""
    await execute(database, f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    await execute(database, "ALTER TABLE tasks SET TABLESPACE small")
    try:
        async with serving.load() as load:
            await load.more(100)
            ballast = small_disk / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            await load.until(lambda: load.codes["database_unavailable"] > 20)
            await load.more(50)  # the reads
            ballast.unlink()
            seconds = await load.whole()
            await check(load, database, report, f"whole again after {seconds:.2f} s; ")
        assert "No space left on device" in serving.stderr
        assert seconds < 2
    finally:
        await execute(database, "ALTER TABLE tasks SET TABLESPACE pg_default")
        await execute(database, "DROP TABLESPACE small")
