"""A real PgBouncer in transaction mode between two services and the database."""

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from backend.main import create_app
from tests.chaos.conftest import USERS, Report, Service
from tests.chaos.load import Ledger
from tests.chaos.test_streams import slowest_news
from tests.conftest import Client, add_user, settings_for, token_for
from tests.postgres import SYSTEM_USER, Postgres, free_port
from tests.scratch import scratch
from tests.server import sign_up
from tests.tasks.test_changes import nothing_is_missed

pytestmark = pytest.mark.chaos

CONFIG = """[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
"""


@pytest.fixture
async def pooled(postgres: Postgres, database: str) -> AsyncIterator[str]:
    """The database's URL by way of a PgBouncer of the test's own."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        message = "pgbouncer is not installed: apt-get install pgbouncer"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    port = free_port()
    url = urlsplit(database)._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
    with scratch() as folder:
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(server=postgres.port, port=port))
        user = []
        if os.geteuid() == 0:  # it will not run as root
            user = ["-u", SYSTEM_USER]
            shutil.chown(folder, SYSTEM_USER)
        process = await asyncio.create_subprocess_exec(program, *user, config, stdout=DEVNULL, stderr=DEVNULL)
        try:
            async with asyncio.timeout(10):
                await _answers(url)
            yield url
        finally:
            process.kill()
            await process.wait()


async def _answers(url: str) -> None:
    while True:
        try:
            connection = await asyncpg.connect(url, statement_cache_size=0)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            await connection.close()
            return


@pytest.fixture
async def two(pooled: str, database: str, tmp_path: Path) -> AsyncIterator[list[Service]]:
    """Two services behind the pooler, not yet started; their schema's way is the direct one."""
    async with AsyncExitStack() as stack:
        services = [Service(tmp_path / name, pooled) for name in ("one", "two")]
        for service in services:
            await stack.enter_async_context(service)
            service.settings["DATABASE_URL_UNPOOLED"] = database
        yield services


async def used(
    services: list[Service], database: str, report: Report, requests: int
) -> tuple[int, set[int | str]]:
    """Send each so many mixed requests; return how many were served, and the statuses of the others."""
    await asyncio.gather(*(service.serve() for service in services))
    for user in USERS:
        await sign_up(database, user)
    ledger = Ledger()
    loads = [service.load(limit=requests, ledger=ledger) for service in services]
    async with loads[0], loads[1]:
        for load in loads:
            await load.finish()
    report("; ".join(load.summary for load in loads))
    assert await ledger.compare(database) == []
    return sum(load.served for load in loads), set(loads[0].unserved) | set(loads[1].unserved)


async def test_two_services_behind_a_pooler(two: list[Service], database: str, report: Report) -> None:
    """Without prepared statements a pooler that knows none changes nothing: every request is served."""
    for service in two:
        service.settings["DATABASE_PREPARED_STATEMENTS"] = "false"
    served, failures = await used(two, database, report, 1000)
    assert served >= 2000
    assert not failures


async def test_no_reader_misses_what_is_committed_late(pooled: str, database: str) -> None:
    """Eight writers of one user, some slow to commit, all behind the pooler: nothing is stale in the end."""
    settings = settings_for(pooled, database_url_unpooled=database, database_prepared_statements=False)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await add_user(app, "alice")
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        transport = httpx.ASGITransport(app)
        async with Client(transport=transport, base_url="http://test", headers=headers) as alice:
            await nothing_is_missed(alice, pooled)


async def test_another_services_write_reaches_a_stream(
    two: list[Service], database: str, report: Report
) -> None:
    """What is written through one service is told in the streams of the other, where LISTEN would be deaf."""
    for service in two:
        service.settings["DATABASE_PREPARED_STATEMENTS"] = "false"
    report(await slowest_news(two, database))


async def test_prepared_statements_behind_a_pooler_that_knows_none(
    two: list[Service], database: str, report: Report
) -> None:
    """The wrong setting is a clear 503 and a line in the log; never a 500, and never another's statement."""
    _, failures = await used(two, database, report, 200)
    assert failures == {503}
    assert "set DATABASE_PREPARED_STATEMENTS=false" in two[0].stderr
