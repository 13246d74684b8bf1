"""Our service as a process beside the real Better Auth, over a database of PostgreSQL. Nothing is mocked."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Unpack

import asyncpg
import pytest
import pytest_asyncio

from tests.better_auth.harness import (
    SECRET,
    TIMEOUT,
    Algorithm,
    BetterAuth,
    Options,
    Session,
    available,
    install,
)
from tests.conftest import ORIGIN, Client, Databases
from tests.postgres import free_port
from tests.server import Server

PASSWORD = "correct horse battery staple"
NEEDS_NODE = {"better_auth", "client", "example", "snippets"}  # folders of tests
_numbers = count(1)


def refuse(reason: str, what: str = "Better Auth") -> None:
    """Skip what needs Node.js; on CI, where nobody reads what was skipped, fail it."""
    said = f"{what} cannot run here: {reason}"
    if os.environ.get("CI"):
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why these tests were skipped: unless asked, pytest only counts them."""
    skipped = [r for r in terminalreporter.getreports("skipped") if NEEDS_NODE & set(r.nodeid.split("/"))]
    for reason in {report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)}:
        terminalreporter.write_line(reason, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _better_auth() -> None:
    """Better Auth itself; the first run installs it."""
    if reason := available():
        refuse(reason)
    install()


class Person(Client):
    """Somebody who has signed up: a client of our service that sends a JWT."""

    session: Session
    email: str

    @property
    def token(self) -> str:
        """The JWT."""
        return self.headers["Authorization"].removeprefix("Bearer ")

    async def titles(self) -> list[str]:
        """What the list shows, newest first."""
        response = await self.get("/api/tasks")
        assert response.status_code == 200, response.text
        return [task["title"] for task in response.json()]


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


class Pair:
    """Better Auth and our service over one database."""

    def __init__(
        self, auth: BetterAuth, url: str, environment: dict[str, str], opened: AsyncExitStack
    ) -> None:
        self.auth = auth
        self.url = url
        """Where our service is."""
        self.environment = environment
        """What it was started with."""
        self._opened = opened

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    async def sign_up(self) -> Person:
        """A new user of both."""
        email = f"user{next(_numbers)}@example.com"
        session = await self.auth.sign_up(email, PASSWORD, "Somebody")
        headers = bearer(await self.auth.token(session))
        person = Person(base_url=self.url, headers=headers, trust_env=False, timeout=TIMEOUT)
        person.user_id, person.session, person.email = session.user_id, session, email
        return await self._opened.enter_async_context(person)

    async def nobody(self) -> Client:
        """A client that sends no token."""
        client = Client(base_url=self.url, trust_env=False, timeout=TIMEOUT)
        return await self._opened.enter_async_context(client)

    async def query(self, statement: str, *arguments: Any) -> list[Any]:
        """The first column of what the database itself answers."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return [row[0] for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()


@asynccontextmanager
async def new_database(databases: Databases, *, empty: bool) -> AsyncIterator[str]:
    """A database of its own, with our tables unless it is to be empty."""
    url = await databases.create(empty=empty)
    try:
        yield url
    finally:
        await databases.drop(url)


@asynccontextmanager
async def serving(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Our service with these settings; the address of it. Whatever the test did, it never answered 500."""
    with TemporaryDirectory() as folder:
        async with Server(Path(folder)) as server:
            yield await server.start(environment)
            await server.terminate()
            assert "unhandled error" not in server.stderr, server.stderr


@asynccontextmanager
async def together(
    databases: Databases,
    settings: Mapping[str, str] | None = None,
    *,
    first: Literal["ours", "theirs"] | None = None,
    alg: Algorithm = "EdDSA",
    **options: Unpack[Options],
) -> AsyncIterator[Pair]:
    """Both over a new database, our service with these settings.

    Where somebody is `first`, it finds the database empty. Else our tables are there, and both start at once.
    """
    async with AsyncExitStack() as opened:
        database_url = await opened.enter_async_context(new_database(databases, empty=first is not None))
        # Who does not wait for the other has to know where it will be.
        port = options.setdefault("port", free_port())
        environment = {
            "DATABASE_URL": database_url,
            "BETTER_AUTH_SECRET": SECRET,
            "BETTER_AUTH_URL": f"http://127.0.0.1:{port}",
            "CORS_ORIGINS": ORIGIN,
        } | dict(settings or {})
        theirs, ours = BetterAuth.start(database_url, alg=alg, **options), serving(environment)
        if first == "ours":
            url = await opened.enter_async_context(ours)
            auth = await opened.enter_async_context(theirs)
        elif first == "theirs":
            auth = await opened.enter_async_context(theirs)
            url = await opened.enter_async_context(ours)
        else:
            async with asyncio.TaskGroup() as group:
                starting = group.create_task(opened.enter_async_context(theirs))
                url = await opened.enter_async_context(ours)
                auth = await starting
        yield Pair(auth, url, environment, opened)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pair(databases: Databases, _better_auth: None) -> AsyncIterator[Pair]:
    """Both, with every way to sign in, for tests that leave the servers as they were."""
    async with together(databases, {"AUTH_ACCEPT_SESSIONS": "true"}, cookie_cache="jwt") as pair:
        yield pair
