"""Fixtures: a durable PostgreSQL, an empty database a test, a proxy before it, and the service behind."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.conftest import Databases
from tests.postgres import Postgres, free_port
from tests.scratch import scratch
from tests.server import Server, sign_up

# Every commit is on its way to the disk before it is acknowledged. No fsync: here PostgreSQL crashes, but the
# system that holds its pages does not.
DURABLE = ("fsync=off", "synchronous_commit=on", "max_connections=100", "shared_buffers=32MB")

USERS = ["ann", "ben", "cleo", "dan"]

# Ends every connection of the database but the one that says so.
TERMINATE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""

Report = Callable[[str], None]

_REPORT: list[str] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Takes lines for the end of the run: what was measured."""
    return lambda line: _REPORT.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was measured."""
    if _REPORT:
        terminalreporter.section("chaos")
        for line in _REPORT:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of these tests' own, for them to stop and start."""
    with scratch() as folder:
        server = Postgres(folder / "data", settings=DURABLE)
        server.start()
        yield server


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[str]:
    """The URL of an empty database."""
    databases = Databases(postgres.url())
    url = await databases.create(empty=True)
    yield url
    await databases.drop(url)


@pytest.fixture
async def proxy(postgres: Postgres) -> AsyncIterator[Proxy]:
    """A proxy in front of the server."""
    async with Proxy(postgres.port) as proxy:
        yield proxy


async def check(load: Load, database: str, report: Report, line: str = "") -> None:
    """Stop the load: every answer was right or a 503, none came late, and all that was promised is there."""
    await load.stop()
    report(f"{line}{load.summary}")
    assert await load.ledger.compare(database) == []
    assert set(load.unserved) <= {503}, load.summary


async def execute(url: str, *statements: str) -> None:
    """Run statements on one connection of the database's administrator."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Service(Server):
    """The service on a database, and its address, which a restart keeps."""

    def __init__(self, folder: Path, database_url: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.settings = {"DATABASE_URL": database_url, "PORT": str(free_port()), "LOG_LEVEL": "warning"}
        self.address = ""

    async def serve(self, **settings: object) -> str:
        """Start it, with more settings than it has."""
        self.settings |= {name: str(value) for name, value in settings.items()}
        self.address = await self.start(self.settings)
        return self.address

    def load(self, **how: Any) -> Load:
        """A load on it."""
        return Load(self.address, USERS, **how)


@pytest.fixture
async def service(tmp_path: Path, database: str, proxy: Proxy) -> AsyncIterator[Service]:
    """The service, which reaches the database through the proxy; not yet started."""
    async with Service(tmp_path / "service", proxy.url(database)) as service:
        yield service


@pytest.fixture
async def serving(request: pytest.FixtureRequest, service: Service, database: str) -> Service:
    """The service, serving, with users; a `settings` marker has more of its settings."""
    marker = request.node.get_closest_marker("settings")
    await service.serve(**(marker.kwargs if marker else {}))
    for user in USERS:
        await sign_up(database, user)
    return service
