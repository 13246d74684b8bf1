"""The command line: what it prints, where, and how it ends."""

import asyncio
import io
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
import pytest
from jose import jwt
from sqlalchemy import text

from backend.__main__ import main
from backend.db import Database
from backend.main import create_app
from backend.migrate import prepare
from tests.conftest import SECRET, settings_for
from tests.postgres import free_port
from tests.server import TIMEOUT, environment, sign_up

pytestmark = pytest.mark.slow

DATABASE_URL = "sqlite:///tasks.db"
LOCAL = {"database_url": DATABASE_URL, "better_auth_secret": SECRET}
USERS = text('SELECT id, email FROM "user" ORDER BY id')


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def _command(arguments: tuple[str, ...], settings: dict[str, object]) -> Ended:
    stdout, stderr = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        patch.dict(os.environ, environment(**settings), clear=True),
        patch.object(sys, "argv", ["backend", *arguments]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    if isinstance(status, str):  # which the interpreter prints as it ends
        return Ended(1, stdout.getvalue(), f"{stderr.getvalue()}{status}\n")
    assert isinstance(status, int)
    return Ended(status, stdout.getvalue(), stderr.getvalue())


async def command(*arguments: str, **settings: object) -> Ended:
    """Run a command with these settings and no others. Here: a process takes a second to start."""
    return await asyncio.to_thread(_command, arguments, settings)


async def run(*arguments: str, **settings: object) -> Ended:
    """Run `python -m …` as a process in the test's folder with these settings and no others."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env=environment(**settings), stdout=PIPE, stderr=PIPE
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


async def users(database_url: str) -> list[Any]:
    """The id and the e-mail address of every user."""
    database = Database(settings_for(database_url))
    try:
        return [tuple(row) for row in await database.statements.all(USERS, {})]
    finally:
        await database.close()


def refused(ended: Ended) -> str:
    """The one line on stderr of a process that ended with an error and without a traceback."""
    assert ended.status != 0, ended
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


async def test_without_a_database_every_command_ends_at_once() -> None:
    """Serving, under uvicorn too, and making a token: exit status 2 and one line that says what to set."""
    for ended in await asyncio.gather(
        run("backend", "serve"),
        run("backend", "token"),
        run("uvicorn", "--factory", "backend.main:create_app"),
    ):
        assert refused(ended).startswith("configuration error: DATABASE_URL is not set")
        assert ended.status == 2


async def test_settings_that_cannot_work_are_refused() -> None:
    """A port that is none and a password that is not encoded: exit status 2, a line each, no password."""
    url = "postgresql://user:hunter2@@host/db"
    ended = await command("serve", database_url=url, better_auth_secret=SECRET, port=99999)
    assert (ended.status, ended.stdout) == (2, "")
    problems = re.findall("^configuration error: ([A-Z_]+)", ended.stderr, re.MULTILINE)
    assert sorted(problems) == ["DATABASE_URL", "PORT"]
    assert len(ended.stderr.splitlines()) == 2
    assert "hunter2" not in ended.stderr


async def test_a_token_needs_a_secret() -> None:
    """Where tokens are signed with published keys alone there is nothing to sign one with: a line says so."""
    ended = await command("token", database_url=DATABASE_URL, better_auth_url="https://a.example.com")
    assert "BETTER_AUTH_SECRET is not set" in refused(ended)


async def test_purging_says_what_it_removed() -> None:
    """A database that nobody served yet is told so in a line; one without anything old in a number."""
    unserved = await command("purge", **LOCAL)
    assert unserved.status == 1
    assert unserved.stderr.splitlines()[-1].endswith("run: make migrate")
    settings = settings_for(DATABASE_URL)
    database = Database(settings)
    await prepare(database, settings)
    await database.close()
    ended = await command("purge", **LOCAL)
    assert ended == Ended(0, "removed 0 expired idempotency keys\nremoved 0 changes of tasks\n", "")


async def test_the_help_names_the_commands() -> None:
    """--help is for reading: exit status 0, on stdout. To name no command is a mistake that is told so."""
    asked, silent = await command("--help"), await command()
    assert (asked.status, asked.stderr) == (0, "")
    for name in ("serve", "token", "migrate"):
        assert re.search(rf"^ +{name}  +\w", asked.stdout, re.MULTILINE)
    assert (silent.status, silent.stdout) == (2, "")
    assert silent.stderr.startswith("usage: python -m backend ")
    assert "Traceback" not in silent.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_what_keeps_the_service_from_starting_is_said(taken_port: int) -> None:
    """A taken port, no database, no folder for one: an error's exit status and its reason, no traceback."""
    closed = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/db"
    missing = f"sqlite:///{Path.cwd()}/missing/tasks.db"
    refusals = await asyncio.gather(
        run("backend", "serve", **LOCAL, port=taken_port),
        run("backend", "serve", **LOCAL | {"database_url": closed}, port=0, database_connect_budget=0),
        run("backend", "serve", **LOCAL | {"database_url": missing}, port=0),
    )
    for ended, reason in zip(refusals, (str(taken_port), "database", "database"), strict=True):
        assert ended.status != 0
        assert ended.stdout == ""
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "hunter2" not in ended.stderr
        assert ("PORT=" in ended.stderr) == (reason == str(taken_port))


async def test_a_token_on_sqlite_works_at_once() -> None:
    """`token` alone makes the tables, the user and a token that creates tasks, all there is on stdout."""
    ended = await command("token", **LOCAL)
    assert (ended.status, ended.stderr) == (0, "")
    [token] = ended.stdout.splitlines()
    assert await users(DATABASE_URL) == [("local-user", "local-user@localhost")]
    app = create_app(settings_for(DATABASE_URL))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        headers = {"Authorization": f"Bearer {token}"}
        response = await client.post("/api/tasks", json={"title": "a"}, headers=headers)
        assert response.status_code == 201, response.text
        assert response.json()["user_id"] == "local-user"


async def test_a_token_is_for_whom_it_is_asked() -> None:
    """USER_ID and EMAIL choose the user, the options win over them; two at once on a new file both work."""
    options = ("--user-id", "bob", "--email", "bob@example.com")
    by_environment, by_options = await asyncio.gather(
        run("backend", "token", **LOCAL, user_id="ann", email="Ann@Example.com"),
        run("backend", "token", *options, **LOCAL, user_id="x", email="x"),
    )
    claims = [jwt.get_unverified_claims(ended.stdout.strip()) for ended in (by_environment, by_options)]
    assert [claim["sub"] for claim in claims] == ["ann", "bob"]
    assert await users(DATABASE_URL) == [("ann", "ann@example.com"), ("bob", "bob@example.com")]


async def test_an_address_that_is_taken_is_refused_readably() -> None:
    """Another user cannot have an e-mail address in any spelling; a second token of one's own is fine."""
    settings = settings_for(DATABASE_URL)
    database = Database(settings)
    await prepare(database, settings)
    await database.close()
    await sign_up(DATABASE_URL, "ann")
    again = await command("token", **LOCAL, user_id="ann")
    other = await command("token", **LOCAL, user_id="bob", email="ANN@example.com")
    assert (again.status, again.stderr) == (0, "")
    assert "ann@example.com" in refused(other).lower()
    assert await users(DATABASE_URL) == [("ann", "ann@example.com")]


async def test_a_token_on_postgresql_writes_no_user(postgres_database: str) -> None:
    """The users there are Better Auth's: stderr says that this one must be there. The token is on stdout."""
    settings = {"database_url": postgres_database, "auth_issuer": "https://a.example.com"}
    ended = await command("token", **LOCAL | settings, auth_audience="tasks", user_id="ann")
    assert ended.status == 0
    [line] = ended.stderr.splitlines()
    assert "'ann'" in line
    assert "Better Auth" in line
    claims = jwt.decode(ended.stdout.strip(), SECRET, algorithms=["HS256"], audience="tasks")
    assert (claims["sub"], claims["iss"], claims["aud"]) == ("ann", "https://a.example.com", "tasks")
    assert claims["exp"] - claims["iat"] == 24 * 60 * 60
    assert await users(postgres_database) == []
