"""The TypeScript client, against the real service on both databases. Its tests are in client/tests."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from backend.main import create_app
from backend.migrate import prepare
from tests.client.corpus import write
from tests.client.package import CLIENT, build
from tests.conftest import SECRET, THOROUGH, Databases, settings_for
from tests.node import run_node
from tests.server import Server

SCHEDULES = 30 if THOROUGH else 12
# The files of tests, each with the users that it takes.
USERS = {
    "assistant": 2,
    "clock": 0,
    "core": 40,
    "hidden": 20,
    "hostile": 40,
    "live": 40,
    "react": 5,
    "schedules": 2 * SCHEDULES,
    "select": 5,
    "users": 40,
}
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
    ids = [f"{file}-{number}" for file, count in USERS.items() for number in range(count)]
    try:
        await prepare(database, settings)
        async with database.engine.execution_options(unobserved=True).begin() as connection:
            await connection.execute(ADD, [{"id": one, "email": f"{one}@example.com"} for one in ids])
    finally:
        await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database with users."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path}/tasks.db"
        await add_users(made)
        yield made
        return
    databases: Databases = request.getfixturevalue("databases")
    made = await databases.create()
    await add_users(made)
    yield made
    await databases.drop(made)


async def test_the_client_keeps_its_promises(built: Path, url: str, tmp_path: Path) -> None:
    """Each test in client/tests passes, and so do random schedules, whose seeds are printed otherwise."""
    corpus = tmp_path / "corpus.json"
    write(corpus)
    async with Server(tmp_path) as server:
        given = {
            "API": await server.start({"DATABASE_URL": url, "RATE_LIMIT_ANONYMOUS": "0"}),
            "SECRET": SECRET,
            "CORPUS": str(corpus),
            "SCHEDULES": str(SCHEDULES),
            "SEED": str(int.from_bytes(os.urandom(3), "big")),
        }
        files = [f"tests/{file}.test.mjs" for file in USERS]
        await run_node(CLIENT, given, "--test", "--test-reporter=spec", *files)


def test_it_is_small(built: Path) -> None:
    """A page loads no more than docs/client.md says."""
    ran = subprocess.run(
        ["node", "--test", "tests/size.test.mjs"], cwd=built, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
