"""The TypeScript client, against the real service on both databases. Its tests are in client/tests."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import text

from backend.main import create_app
from backend.migrate import prepare
from tests.client.corpus import write
from tests.client.package import CLIENT, build
from tests.conftest import SECRET, THOROUGH, Databases, settings_for
from tests.server import Server

USERS = 400
ADD = text('INSERT INTO "user" (id, name, email, "emailVerified") VALUES (:id, :id, :email, false)')

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def built() -> Path:
    """The client, compiled."""
    return build()


async def add_users(database_url: str) -> None:
    """Do what Better Auth does at sign-up, for many."""
    settings = settings_for(database_url)
    app = create_app(settings)
    database = app.state.database
    try:
        await prepare(database, settings)
        async with database.engine.execution_options(unobserved=True).begin() as connection:
            people = [{"id": f"user-{n}", "email": f"{n}@example.com"} for n in range(USERS)]
            await connection.execute(ADD, people)
    finally:
        await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Mapping[str, str]]:
    """The environment of tests of the service, which runs."""
    url = f"sqlite:///{tmp_path}/tasks.db"
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("databases")
        url = await databases.create()
    await add_users(url)
    async with Server(tmp_path) as server:
        address = await server.start({"DATABASE_URL": url, "RATE_LIMIT_ANONYMOUS": "0"})
        yield {"API": address, "SECRET": SECRET}
    if request.param == "postgresql":
        await databases.drop(url)


async def run(service: Mapping[str, str], first: int, last: int, *names: str, **env: str) -> str:
    """Run test files with the users from `first` to `last`, and return what they print."""
    node = await asyncio.create_subprocess_exec(
        "node",
        "--test",
        "--test-reporter=spec",
        *[f"tests/{name}.test.mjs" for name in names],
        cwd=CLIENT,
        env={"PATH": os.environ["PATH"], **service, "USERS": f"{first}-{last}", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        printed, _ = await node.communicate()
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0, printed.decode()
    return printed.decode()


async def test_requests_keep_their_promises(built: Path, service: Mapping[str, str]) -> None:
    """Pages, keys, tokens, retries, merges, errors and signals are as the client says, on both databases."""
    await run(service, 0, 49, "core")


async def test_copies_are_listed_as_the_service_lists(
    built: Path, service: Mapping[str, str], tmp_path: Path
) -> None:
    """Filters and sorts of a copy have the service's members in its order, on both databases."""
    corpus = tmp_path / "corpus.json"
    await asyncio.to_thread(write, corpus)
    await run(service, 50, 59, "select", CORPUS=str(corpus))


async def test_random_schedules_lose_nothing(built: Path, service: Mapping[str, str]) -> None:
    """Tabs and browsers on a bad network: what was done is there once, and every copy is the same."""
    schedules = 250 if THOROUGH else 12
    seed = int.from_bytes(os.urandom(3), "big")
    await run(service, 100, 100 + schedules, "schedules", SCHEDULES=str(schedules), SEED=str(seed))


def test_it_is_small(built: Path) -> None:
    """A page loads no more than the README says."""
    ran = subprocess.run(
        ["node", "--test", "tests/size.test.mjs"], cwd=built, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
