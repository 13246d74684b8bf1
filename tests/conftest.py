"""Fixtures. Each test has a database of its own, a copy of a template: SQLite in memory, or PostgreSQL."""

import asyncio
import gc
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiosqlite
import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from jose import jwt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from backend.config import Settings
from backend.db import Database
from backend.main import create_app, spared_garbage_collection
from backend.migrate import prepare
from tests.ownership import objection
from tests.postgres import Postgres
from tests.replay import replay
from tests.scratch import scratch

# Where hypothesis keeps its tables of characters: in the tests' own folders, each run would make them anew.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(__file__).parent.parent / ".hypothesis"))

SECRET = "a-secret-of-the-tests-that-is-long-enough"
# A folder that Linux keeps in memory, and the bytes that the tests' PostgreSQL wants of it.
IN_MEMORY, IN_MEMORY_MIN = Path("/dev/shm"), 4 * 2**30
ORIGIN = "http://localhost:3000"

# Fixtures that start processes; a test that starts its own is marked where it stands.
SLOW = {"postgres_url", "databases", "server", "checkout", "_better_auth"}

# `make check` sets it, so that `make test` is over soon: then the same is tried with more examples.
THOROUGH = "THOROUGH" in os.environ


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Name what fails as it fails, and not only at the end."""
    if not report.failed:
        return None
    kind = "failed" if report.when == "call" else "error"
    return kind, f"\n{kind.upper()} {report.nodeid}\n", kind.upper()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect no garbage while a failure is told.

    Python parses the test's source for that, and cannot when the end of a forgotten connection, which is told
    of likewise, comes between: the whole run would break off (pytest-dev/pytest#10763).
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a PostgreSQL or processes of its own: `make quick` does without."""
    for item in items:
        assert isinstance(item, pytest.Function)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "postgresql" in parameters or SLOW & set(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def _one_round_of_garbage_collection() -> Iterator[None]:
    """Every application would collect what there is to collect as it starts; one round does for all."""
    with spared_garbage_collection():
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the machine's settings or the checkout's .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def settings_for(database_url: str, **others: Any) -> Settings:
    """Settings that read nothing but their arguments. Tests may send as many bad tokens as they like.

    A stream is over at once: whoever reads answers to their end comes to it.
    """
    own: dict[str, Any] = {"better_auth_secret": SECRET, "rate_limit_anonymous": 0, "stream_seconds": 0.01}
    own |= others
    return Settings(_env_file=None, database_url=database_url, **own)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The admin URL of a real PostgreSQL: TEST_DATABASE_URL's, or an embedded one."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    # In memory, where there is room, the databases of the tests are made four times as fast.
    in_memory = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > IN_MEMORY_MIN
    with scratch(IN_MEMORY if in_memory else None) as folder:
        server = Postgres(folder / "data")
        server.start()
        yield server.url()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _replace_name(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def _admin(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Databases:
    """Makes databases on one PostgreSQL, each a copy of a template with the service's tables."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._template = ""

    async def create(self, *, empty: bool = False) -> str:
        """A new database, with the service's tables unless `empty`; returns its URL."""
        if not self._template and not empty:
            template = await self.create(empty=True)
            database = Database(settings_for(template))
            await prepare(database, settings_for(template))
            await database.close()
            self._template = _name(template)
        name = f"test_{uuid4().hex}"
        await _admin(
            self._admin_url,
            f"CREATE DATABASE {name} TEMPLATE {'template1' if empty else self._template} STRATEGY FILE_COPY",
        )
        return _replace_name(self._admin_url, name)

    async def drop(self, url: str) -> None:
        """Drop it, whoever is connected."""
        await _admin(self._admin_url, f"DROP DATABASE {_name(url)} WITH (FORCE)")

    async def drop_template(self) -> None:
        """Drop what every copy was made from."""
        if self._template:
            await self.drop(_replace_name(self._admin_url, self._template))


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Iterator[Databases]:
    """Makes PostgreSQL databases."""
    made = Databases(postgres_url)
    yield made
    asyncio.run(made.drop_template())


@pytest.fixture
async def postgres_database(databases: Databases) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database with the service's tables."""
    url = await databases.create()
    yield url
    await databases.drop(url)


@pytest.fixture
async def empty_database(databases: Databases) -> AsyncIterator[str]:
    """The URL of a PostgreSQL database with nothing in it."""
    url = await databases.create(empty=True)
    yield url
    await databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield "sqlite://"
        return
    databases: Databases = request.getfixturevalue("databases")
    url = await databases.create()
    yield url
    await databases.drop(url)


# For what one database alone does; what never gets to one is tried on SQLite, which would take more of it.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


class Sent(list[str]):
    """What the service sent to its database, held to the rules of ownership.py."""

    def watch(self, database: Database) -> None:
        def record(statement: str, parameters: Any) -> None:
            self.append(statement)
            if problem := objection(statement, parameters):
                raise AssertionError(f"{problem}: {statement}")

        database.observe(record)


@pytest.fixture
def statements() -> Sent:
    """What the app's database is sent, as it is sent."""
    return Sent()


@pytest.fixture
def settings(database_url: str) -> Settings:
    """The settings of the app under test."""
    return settings_for(database_url)


MakeTables = Callable[[Database, Settings], Awaitable[None]]


async def _driver(database: Database) -> aiosqlite.Connection:
    """The one connection of an in-memory SQLite."""
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    return driver


@pytest.fixture(scope="session")
def make_tables() -> MakeTables:
    """Makes an in-memory SQLite's tables, in a tenth of the time that migrating takes; others have theirs."""

    async def migrated() -> str:
        database = Database(settings_for("sqlite://"))
        await prepare(database, settings_for("sqlite://"))
        sql = "\n".join([line async for line in (await _driver(database)).iterdump()])
        await database.close()
        return sql

    tables = asyncio.run(migrated())

    async def make(database: Database, settings: Settings) -> None:
        if settings.dsn.is_memory:
            await (await _driver(database)).executescript(tables)

    return make


@pytest.fixture
async def app(settings: Settings, statements: Sent, make_tables: MakeTables) -> AsyncIterator[FastAPI]:
    """The application, started."""
    app = create_app(settings)
    await make_tables(app.state.database, settings)
    async with app.router.lifespan_context(app):
        statements.watch(app.state.database)
        yield app
        await replay(app.state.database.engine)


def token_for(user_id: str, **claims: Any) -> str:
    """A token as a frontend would send it."""
    now = int(time.time())
    return str(jwt.encode({"sub": user_id, "iat": now, "exp": now + 900} | claims, SECRET, algorithm="HS256"))


class Client(httpx.AsyncClient):
    """An HTTP client of one user."""

    user_id: str = ""

    async def new_task(self, title: str = "a task", **fields: Any) -> dict[str, Any]:
        """Create a task and return it."""
        response = await self.post("/api/tasks", json={"title": title, **fields})
        assert response.status_code == 201, response.text
        task: dict[str, Any] = response.json()
        return task


def moment(text: str) -> datetime:
    """A time of an answer. As texts a full second would come after its fractions."""
    return datetime.fromisoformat(text)


async def add_user(app: FastAPI, user_id: str) -> None:
    """Do what Better Auth does at sign-up."""
    engine: AsyncEngine = app.state.database.engine
    async with engine.execution_options(unobserved=True).begin() as connection:
        await connection.execute(
            text('INSERT INTO "user" (id, name, email, "emailVerified") VALUES (:id, :id, :email, false)'),
            {"id": user_id, "email": f"{user_id}@example.com"},
        )


MakeClient = Callable[..., Any]


@pytest.fixture
async def client_for(app: FastAPI) -> AsyncIterator[MakeClient]:
    """Makes a client for a user who exists; without a name, an anonymous one."""
    async with AsyncExitStack() as stack:

        async def make(user_id: str = "", **claims: Any) -> Client:
            client = Client(transport=httpx.ASGITransport(app), base_url="http://test")
            if user_id:
                await add_user(app, user_id)
                client.user_id = user_id
                client.headers["Authorization"] = f"Bearer {token_for(user_id, **claims)}"
            return await stack.enter_async_context(client)

        yield make


@pytest.fixture
async def client(client_for: MakeClient) -> Client:
    """Nobody: no token."""
    return await client_for()  # type: ignore[no-any-return] # the callable's type says no more


@pytest.fixture
async def alice(client_for: MakeClient) -> Client:
    """A user."""
    return await client_for("alice")  # type: ignore[no-any-return] # as above


@pytest.fixture
async def bob(client_for: MakeClient) -> Client:
    """Another user."""
    return await client_for("bob")  # type: ignore[no-any-return] # as above
