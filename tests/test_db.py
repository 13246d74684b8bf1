"""The database's sessions: who gets one, what becomes of errors, and how the tables come to be."""

import asyncio
import re
import sqlite3
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import String, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from backend import db
from backend.db import Database
from backend.engine.connector import KEPT_MAX, Connection
from backend.errors import (
    ApiError,
    DatabaseConflict,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWaking,
    Overloaded,
    SchemaOutdated,
    StatementTimeout,
    Unavailable,
)
from backend.migrate import prepare
from backend.models import Base
from tests.chaos.proxy import Proxy
from tests.conftest import SECRET, Sent, settings_for
from tests.postgres import free_port
from tests.server import TIMEOUT, environment

FILE = "sqlite:///tasks.db"
AT_ONCE = 0.02  # seconds to wait in line, for those who will be turned away


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Database]:
    """A database object, closed in the end."""
    database = Database(settings_for(url, **settings))
    try:
        yield database
    finally:
        await database.close()


async def run(database: Database, statement: str) -> Any:
    """The first value that a statement of the service's returns, if it returns any."""
    row = await database.statements.first(text(statement), {})
    return None if row is None else row[0]


async def settle() -> None:
    """Let every task go on until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


# ---- Who gets a session. No connection is opened for these: the gate stands before the pool.


async def free_places(database: Database) -> int:
    """How many sessions are to be had now."""
    async with asyncio.timeout(TIMEOUT), AsyncExitStack() as stack:
        for number in range(100):
            try:
                await stack.enter_async_context(database.turn())
            except Overloaded:
                return number
    raise AssertionError("there is no limit")


async def test_no_more_sessions_than_connections() -> None:
    """`database_pool_size` sessions are open at once; in memory SQLite has one connection for all."""
    async with opened(FILE, database_pool_size=3, database_pool_wait=AT_ONCE) as database:
        assert await free_places(database) == 3
        assert await free_places(database) == 3  # and they were all given back
    async with opened("sqlite://", database_pool_size=3, database_pool_wait=AT_ONCE) as database:
        assert await free_places(database) == 1


async def test_sessions_are_given_in_the_order_of_arrival() -> None:
    """Nobody overtakes, not even who asks in the moment that a place comes free."""
    order: list[str] = []

    async def arrive(name: str) -> None:
        async with database.turn():
            order.append(name)
            await asyncio.sleep(0)

    async with opened(FILE, database_pool_size=1) as database, asyncio.timeout(TIMEOUT):
        async with database.turn():
            waiting = [asyncio.create_task(arrive(name)) for name in "abcdef"]
            await settle()
        await arrive("late")
        await asyncio.gather(*waiting)
    assert order == [*"abcdef", "late"]


async def test_waiting_in_line_has_an_end() -> None:
    """After `database_pool_wait` seconds it is Overloaded, and who has left the line takes no place later."""
    async with opened(FILE, database_pool_size=2, database_pool_wait=AT_ONCE) as database:
        async with database.turn(), database.turn(), asyncio.timeout(TIMEOUT):
            late = await asyncio.gather(
                *(run(database, "SELECT 1") for _ in range(5)), return_exceptions=True
            )
            assert [type(error) for error in late] == [Overloaded] * 5
        assert await free_places(database) == 2


async def test_the_line_has_a_length() -> None:
    """Behind `database_queue_size` others nobody waits at all; once they are served there is room again."""
    async with (
        opened(FILE, database_pool_size=1, database_pool_wait=60, database_queue_size=2) as database,
        asyncio.timeout(TIMEOUT),
    ):
        for _ in range(2):
            async with database.turn():
                waiting = [asyncio.create_task(run(database, "SELECT 1")) for _ in range(2)]
                await settle()
                with pytest.raises(Overloaded):
                    await run(database, "SELECT 1")
            assert await asyncio.gather(*waiting) == [1, 1]


async def test_a_place_is_given_back_whatever_happens() -> None:
    """An error in a session, a cancelled session and a cancelled wait cost no place."""
    inside = asyncio.Event()

    async def stay() -> None:
        async with database.turn():
            inside.set()
            await asyncio.Event().wait()

    async with (
        opened(FILE, database_pool_size=1, database_pool_wait=AT_ONCE) as database,
        asyncio.timeout(TIMEOUT),
    ):
        with pytest.raises(ZeroDivisionError):
            async with database.turn():
                _ = 1 / 0
        staying = asyncio.create_task(stay())
        await inside.wait()
        waiting = asyncio.create_task(stay())
        await settle()
        for task in (waiting, staying):
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert await free_places(database) == 1


# ---- What becomes of errors.


async def refusal(database: Database, statement: str = "SELECT 1") -> type[BaseException]:
    """The class of the error that a statement ends with."""
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises((ApiError, DBAPIError)) as refused:
            await run(database, statement)
    return refused.type


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the service's."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def cut(connection: asyncpg.Connection) -> int:
    """End every other connection to the database, as a restart does; returns how many there were."""
    ended = await connection.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    return len(ended)


async def closing(session: AsyncSession) -> asyncio.Event:
    """Set once the driver knows that the connection beneath the session is closed."""
    connection: Any = (await (await session.connection()).get_raw_connection()).driver_connection
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    return closed


async def test_a_database_that_is_not_there() -> None:
    """A port where nobody listens: waking, for all we know, and told at once where the budget is none."""
    async with opened(f"postgresql://u@127.0.0.1:{free_port()}/d", database_connect_budget=0) as database:
        assert await refusal(database) is DatabaseWaking
        with pytest.raises(DatabaseWaking):
            await database.ready()


async def test_a_database_that_refuses(postgres_url: str) -> None:
    """No such database or role, no TLS where it must be: unavailable, without waiting for a change."""
    server = postgres_url.rpartition("/")[0]
    urls = [f"{server}/missing", f"{server.replace('postgres@', 'nobody@')}/postgres"]
    for url in urls:
        async with opened(url, database_connect_budget=60) as database:
            async with asyncio.timeout(5):
                assert await refusal(database) is DatabaseUnavailable
    async with opened(f"{postgres_url}?sslmode=require", database_connect_budget=0) as database:
        assert issubclass(await refusal(database), Unavailable)


async def test_an_idle_connection_that_was_cut_is_replaced(postgres_database: str) -> None:
    """A database that restarted or slept between two requests costs neither of them an error, nor a write."""
    async with (
        opened(postgres_database, database_pool_size=1) as database,
        admin(postgres_database) as beside,
    ):
        async with database.session() as session:
            closed = await closing(session)
        assert await cut(beside) == 1
        async with asyncio.timeout(TIMEOUT):
            await closed.wait()
        await run(database, "CREATE TABLE written (n int)")
        assert await run(database, "SELECT count(*) FROM written") == 0


async def test_a_read_whose_connection_is_cut_is_sent_again(postgres_database: str) -> None:
    """Before or during the statement: a read is answered all the same."""
    async with (
        opened(postgres_database, database_pool_size=1) as database,
        admin(postgres_database) as beside,
    ):
        statements, pid = database.statements, select(func.pg_backend_pid())
        first = await statements.first(pid, {})
        assert await cut(beside) == 1
        assert await statements.first(pid, {}) != first
        reading = asyncio.create_task(statements.all(select(func.pg_sleep(0.2)), {}))
        await running(beside, "pg_sleep")
        assert await cut(beside) == 1
        await reading


async def test_a_write_whose_connection_is_cut_is_not(postgres_database: str) -> None:
    """Whether it was done nobody knows: it is unavailable, not done twice, and the next session is good."""
    async with (
        opened(postgres_database, database_pool_size=1) as database,
        admin(postgres_database) as beside,
    ):
        await run(database, "CREATE SEQUENCE attempts")
        writing = asyncio.create_task(refusal(database, "SELECT nextval('attempts'), pg_sleep(30)"))
        await running(beside, "pg_sleep")
        assert await cut(beside) == 1
        assert await writing is DatabaseUnavailable
        assert await run(database, "SELECT nextval('attempts')") == 2


async def test_a_plan_that_a_migration_has_outdated_is_made_anew(postgres_database: str) -> None:
    """Connections that have prepared a statement before its table changed serve it after all, at once."""
    statement = "SELECT *, pg_sleep(0.05) FROM changing"
    async with (
        opened(postgres_database, database_pool_size=2) as database,
        admin(postgres_database) as beside,
    ):
        await beside.execute("CREATE TABLE changing AS SELECT 1 AS n")
        assert await asyncio.gather(*(run(database, statement) for _ in range(2))) == [1, 1]
        await beside.execute("ALTER TABLE changing ALTER n TYPE text")
        assert await asyncio.gather(*(run(database, statement) for _ in range(2))) == ["1", "1"]


async def test_prepared_statements_are_not_kept_for_ever(postgres_database: str) -> None:
    """However many different statements a connection runs, the server holds some of them only."""
    async with opened(postgres_database, database_pool_size=1) as database:
        for number in range(KEPT_MAX + 50):
            assert await run(database, f"SELECT {number}") == number
        kept = await run(database, "SELECT count(*) FROM pg_prepared_statements")
        assert KEPT_MAX // 2 < kept < KEPT_MAX + 10  # asyncpg has some of its own


_OWNER = bindparam("owner", type_=String())


async def test_no_user_pushes_out_statements_that_others_use(postgres_database: str) -> None:
    """A thousand statements of one user leave prepared what the others use, together or alone."""

    async def ask(number: int, owner: str) -> None:
        statement = text(f"SELECT {number} WHERE :owner <> ''").bindparams(_OWNER)
        await database.statements.plain(statement, {"owner": owner})

    async def prepared() -> set[int]:
        rows = await database.statements.all(text("SELECT statement FROM pg_prepared_statements"), {})
        found = (re.match(r"SELECT (\d+) WHERE", sql) for (sql,) in rows)
        return {int(match[1]) for match in found if match}

    async with opened(postgres_database, database_pool_size=1) as database:
        for owner in ("alice", "bob"):
            for number in range(10):
                await ask(number, owner)
        for number in range(10, 15):
            await ask(number, "bob")
        for number in range(100, 1100):
            await ask(number, "mallory")
        kept = await prepared()
        assert set(range(15)) < kept
        assert len(kept) <= KEPT_MAX


_SLEEP = select(func.pg_sleep(30))
_RUNNING = """SELECT count(*) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%' || $1 || '%'"""


async def running(beside: asyncpg.Connection, word: str) -> None:
    """Return once the server runs a statement with this word in it."""
    async with asyncio.timeout(TIMEOUT):
        while not await beside.fetchval(_RUNNING, word):
            pass


async def test_a_statement_that_takes_too_long(postgres_database: str) -> None:
    """Whoever ends it, the client is told, and neither the server nor the next session still has it."""
    ours = opened(postgres_database, database_pool_size=1, database_statement_timeout=0.1)
    limit = f"{postgres_database}?options=-c%20statement_timeout%3D100"
    servers = opened(limit, database_pool_size=1)
    async with admin(postgres_database) as beside:
        for opening in (ours, servers):
            async with opening as database:
                assert await refusal(database, "SELECT pg_sleep(30)") is StatementTimeout
                for statements in (database.statements, database.dear_statements):
                    with pytest.raises(StatementTimeout):
                        await statements.all(_SLEEP, {})
                    with pytest.raises(StatementTimeout):
                        async with statements.transaction() as transaction:
                            await transaction.all(_SLEEP, {})
                with pytest.raises(StatementTimeout):
                    async with database.session() as session:
                        await (await session.connection()).execute(_SLEEP)
                with pytest.raises(StatementTimeout):
                    async with database.session() as session:
                        await (await database.within(session)).all(_SLEEP, {})
                assert await run(database, "SELECT 1") == 1
                async with asyncio.timeout(TIMEOUT):
                    while await beside.fetchval(_RUNNING, "pg_sleep"):
                        pass


async def test_a_statement_that_takes_too_long_without_kept_statements(postgres_database: str) -> None:
    """Nor does it matter how statements are sent."""
    fast = opened(postgres_database, database_statement_timeout=0.1, database_prepared_statements=False)
    async with fast as database:
        with pytest.raises(StatementTimeout):
            await database.statements.all(_SLEEP, {})


async def test_an_answer_that_never_comes_is_no_slow_statement(postgres_database: str) -> None:
    """Where the server does not say that it has stopped the statement, it cannot be reached."""
    port = urlsplit(postgres_database).port
    assert port is not None
    async with (
        Proxy(port) as proxy,
        opened(
            proxy.url(postgres_database), database_pool_size=1, database_statement_timeout=0.1
        ) as database,
    ):
        await run(database, "SELECT 1")
        proxy.black_hole()
        with pytest.raises(DatabaseUnavailable):
            await database.statements.all(_SLEEP, {})


async def test_a_statement_that_takes_a_file_too_long() -> None:
    """SQLite is interrupted, and its connection is good for the next."""
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
    for url in (FILE, "sqlite://"):
        async with opened(url, database_pool_size=1, database_statement_timeout=0.05) as database:
            with pytest.raises(StatementTimeout):
                await database.statements.all(endless.columns(), {})
            assert await refusal(database, str(endless)) is StatementTimeout
            assert await run(database, "SELECT 1") == 1


async def test_a_cancelled_request_leaves_nothing_behind(postgres_database: str) -> None:
    """A client that hangs up mid-statement: the server stops it, and its connection and place are free."""
    async with (
        opened(postgres_database, database_pool_size=1) as database,
        admin(postgres_database) as beside,
    ):
        task = asyncio.create_task(run(database, "SELECT pg_sleep(30)"))
        await running(beside, "pg_sleep")
        task.cancel()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.wait([task])
            assert task.cancelled()
            assert (
                await run(database, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(30)'")
                == 0
            )


async def test_what_the_database_cannot_do_now(postgres_database: str) -> None:
    """A lock that is not to be had is unavailable, a replica or a read-only database says so."""
    waiting = f"{postgres_database}?options=-c%20lock_timeout%3D50"
    reading = f"{postgres_database}?options=-c%20default_transaction_read_only%3Don"
    async with admin(postgres_database) as beside, beside.transaction():
        await beside.execute("LOCK TABLE tasks")
        async with opened(waiting) as database:
            assert await refusal(database, "DELETE FROM tasks WHERE user_id = ''") is DatabaseUnavailable
    async with opened(reading) as database:
        assert await refusal(database, "DELETE FROM tasks WHERE user_id = ''") is DatabaseReadOnly


@pytest.fixture
def other_process() -> Iterator[sqlite3.Connection]:
    """A connection to the SQLite file that is none of the service's."""
    connection = sqlite3.connect("tasks.db")
    yield connection
    connection.close()


async def test_a_file_that_another_process_writes_to(other_process: sqlite3.Connection) -> None:
    """While another holds the SQLite file a write conflicts in the end; reads go on."""
    async with opened(FILE, database_pool_size=1) as database:
        await run(database, "CREATE TABLE t (n int)")
        await run(database, "PRAGMA busy_timeout = 10")
        other_process.execute("BEGIN IMMEDIATE")
        assert await refusal(database, "INSERT INTO t VALUES (1)") is DatabaseConflict
        assert await run(database, "SELECT count(*) FROM t") == 0
        other_process.rollback()
        await run(database, "INSERT INTO t VALUES (1)")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"only a file" * 100)])
async def test_a_file_that_is_no_database(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A SQLite file that cannot be opened or read is unavailable, and no attempt leaves a thread behind."""
    make(tmp_path / "tasks.db")
    before = set(threading.enumerate())
    async with opened(FILE) as database:
        assert await refusal(database) is DatabaseUnavailable
        for thread in set(threading.enumerate()) - before:
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()


async def test_a_mistake_of_ours_is_not_disguised(database_url: str) -> None:
    """A statement that can never work is no trouble of the database's: its error comes through as it is."""
    async with opened(database_url) as database:
        assert issubclass(await refusal(database, "SELEC 1"), DBAPIError)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (
            asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
            True,
        ),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), True),
        (asyncpg.InvalidCachedStatementError("cached statement plan is invalid due to a change"), True),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), False),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), False),
        # Whatever words a server chooses, it has seen the statement.
        (asyncpg.AdminShutdownError("connection is closed: another operation is in progress"), False),
        (asyncpg.AdminShutdownError("cached statement plan is invalid"), False),
    ],
)
async def test_a_write_is_sent_again_only_if_it_never_ran(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch, error: Exception, again: bool
) -> None:
    """What the driver refused to send leaves no doubt; what broke later does, and is unavailable."""
    async with opened(postgres_database, database_pool_size=1) as database:
        fetch = Connection.fetch_kept
        errors = [error]

        async def fail_once(self: Connection, *arguments: Any) -> Any:
            if errors:
                raise errors.pop()
            return await fetch(self, *arguments)

        monkeypatch.setattr(Connection, "fetch_kept", fail_once)
        if again:
            await run(database, "CREATE TABLE written ()")
        else:
            assert await refusal(database, "CREATE TABLE written ()") is DatabaseUnavailable
        assert await run(database, "SELECT count(*) FROM pg_class WHERE relname = 'written'") == again


# ---- How the tables come to be.

TABLES = {*Base.metadata.tables, db.VERSION_TABLE}


async def found_tables(database: Database) -> set[str]:
    """The tables of the database."""
    if database.engine.dialect.name == "sqlite":
        statement = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    else:
        statement = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {name for (name,) in await database.statements.all(text(statement), {})}


async def prepare_at_once(url: str, number: int) -> None:
    """Let as many database objects prepare the same empty database."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(opened(url, database_pool_size=1)) for _ in range(number)]
        await asyncio.gather(*(prepare(database, settings_for(url)) for database in made))
        assert await found_tables(made[0]) == TABLES
        assert await run(made[0], f"SELECT count(*) FROM {db.VERSION_TABLE}") == 1
        await made[-1].ready()


async def test_many_start_at_once_on_postgresql(empty_database: str) -> None:
    """Of eight that find an empty database one makes the tables, and all go on."""
    await prepare_at_once(empty_database, 8)


async def test_many_start_at_once_on_a_file() -> None:
    """The same on a SQLite file that nobody had made."""
    await prepare_at_once(FILE, 8)


STARTER = """
import asyncio, sys
from backend.config import Settings
from backend.engine.connector import KEPT_MAX, Connection
from backend.db import Database
from backend.migrate import prepare

async def main():
    for url in sys.argv[1:]:
        settings = Settings(database_url=url)
        database = Database(settings)
        print("go?", flush=True)
        sys.stdin.readline()
        await prepare(database, settings)
        await database.close()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_many_processes_start_at_once(empty_database: str) -> None:
    """Four processes on one empty database, let go at the same moment: PostgreSQL, then a SQLite file."""
    urls = (empty_database, FILE)
    command = (sys.executable, "-c", STARTER, *urls)
    env = environment(better_auth_secret=SECRET)
    processes = [
        await asyncio.create_subprocess_exec(*command, env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        for _ in range(4)
    ]
    try:
        async with asyncio.timeout(TIMEOUT):
            for _ in urls:
                for process in processes:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    assert await process.stdout.readline() in (b"go?\n", b"")
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write(b"\n")
            ended = await asyncio.gather(*(process.communicate() for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    for process, (_, stderr) in zip(processes, ended, strict=True):
        assert process.returncode == 0, stderr.decode()
    for url in urls:
        async with opened(url) as database:
            assert await found_tables(database) == TABLES


# ---- Ready, and gone.


async def count(database: Database, statements: Sent, ask: Callable[[], Awaitable[Any]]) -> int:
    """How many statements it takes."""
    statements.clear()
    await ask()
    return len(statements)


async def test_ready_asks_rarely(statements: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many probes come at once, the database is asked once in READY_INTERVAL seconds."""
    async with opened(FILE) as database:
        await prepare(database, settings_for(FILE))
        statements.watch(database)
        assert (
            await count(database, statements, lambda: asyncio.gather(*(database.ready() for _ in range(20))))
            == 1
        )
        assert await count(database, statements, database.ready) == 0
        monkeypatch.setattr(db, "READY_INTERVAL", 0)
        assert await count(database, statements, database.ready) == 1


async def test_ready_means_this_versions_tables(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another revision, two, or none is not ready and says so; once mended it is ready again."""
    monkeypatch.setattr(db, "READY_INTERVAL", 0)
    async with opened(database_url) as database:
        await prepare(database, settings_for(database_url))
        await database.ready()
        await run(database, f"UPDATE {db.VERSION_TABLE} SET version_num = 'other'")
        with pytest.raises(SchemaOutdated):
            await database.ready()
        await run(database, f"INSERT INTO {db.VERSION_TABLE} VALUES ('{database.revision}')")
        with pytest.raises(SchemaOutdated):
            await database.ready()
        await run(database, f"DELETE FROM {db.VERSION_TABLE}")
        with pytest.raises(SchemaOutdated):
            await database.ready()
        await run(database, f"INSERT INTO {db.VERSION_TABLE} VALUES ('{database.revision}')")
        await database.ready()
        await run(database, f"DROP TABLE {db.VERSION_TABLE}")
        with pytest.raises(SchemaOutdated):
            await database.ready()


async def test_sqlite_is_set_up_on_every_connection() -> None:
    """Foreign keys hold, writes are safe from a power cut and wait for each other, reads do not wait."""
    pragmas = {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000}
    async with (
        opened(FILE, database_pool_size=2) as database,
        database.engine.connect() as one,
        database.engine.connect() as another,
    ):
        for connection in (one, another):
            found = {name: await connection.scalar(text(f"PRAGMA {name}")) for name in pragmas}
            assert found == pragmas


async def test_close_leaves_no_connection(postgres_database: str) -> None:
    """After close() the server knows of no connection of ours."""
    async with admin(postgres_database) as beside:
        async with opened(postgres_database, database_pool_size=3) as database:
            await asyncio.gather(*(run(database, "SELECT pg_sleep(0.1)") for _ in range(2)))
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert await beside.fetchval(others) == 3
        async with asyncio.timeout(TIMEOUT):
            while await beside.fetchval(others) > 1:
                pass
