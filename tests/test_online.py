"""Migrations of a database that is in use: the form of each step, and what others notice of it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from backend.migrate import upgrade
from backend.migrations import online, writing
from backend.migrations.safe import BRIEF, safe
from backend.migrations.state import SchemaError
from tests.conftest import Databases, settings_for
from tests.test_migrate import described, made, opened

FORMS = {
    "CREATE INDEX i ON tasks (user_id)": ["CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON tasks (user_id)"],
    "CREATE UNIQUE INDEX IF NOT EXISTS i\nON tasks (a) WHERE a = 'x, y'": [
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON tasks (a) WHERE a = 'x, y'"
    ],
    "DROP INDEX i": ["DROP INDEX CONCURRENTLY IF EXISTS i"],
    "CREATE TABLE notes (id int)": ["CREATE TABLE IF NOT EXISTS notes (id int)"],
    "ALTER TABLE tasks ADD COLUMN a NUMERIC(3, 2) DEFAULT 2 NOT NULL": [
        "ALTER TABLE tasks ADD COLUMN IF NOT EXISTS a NUMERIC(3, 2) DEFAULT 2 NOT NULL"
    ],
    "ALTER TABLE tasks ADD COLUMN a TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL": [
        "ALTER TABLE tasks ADD COLUMN IF NOT EXISTS a TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL"
    ],
    "ALTER TABLE tasks ADD CONSTRAINT c CHECK (a > 0)": [
        "ALTER TABLE tasks ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "ALTER TABLE tasks VALIDATE CONSTRAINT c",
    ],
    'ALTER TABLE tasks ADD CONSTRAINT f FOREIGN KEY(user_id) REFERENCES "user" (id)': [
        'ALTER TABLE tasks ADD CONSTRAINT f FOREIGN KEY(user_id) REFERENCES "user" (id) NOT VALID',
        "ALTER TABLE tasks VALIDATE CONSTRAINT f",
    ],
    "ALTER TABLE tasks ADD CONSTRAINT u UNIQUE (user_id, a)": [
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON tasks (user_id, a)",
        "ALTER TABLE tasks ADD CONSTRAINT u UNIQUE USING INDEX u",
    ],
    "ALTER TABLE tasks ALTER COLUMN a SET NOT NULL": [
        'ALTER TABLE tasks ADD CONSTRAINT "tasks_a_not_null" CHECK (a IS NOT NULL) NOT VALID',
        'ALTER TABLE tasks VALIDATE CONSTRAINT "tasks_a_not_null"',
        "ALTER TABLE tasks ALTER COLUMN a SET NOT NULL",
        'ALTER TABLE tasks DROP CONSTRAINT IF EXISTS "tasks_a_not_null"',
    ],
}

REFUSED = {
    "UPDATE tasks SET a = 1": r"write backfill\(",
    "ALTER TABLE tasks ADD COLUMN a UUID DEFAULT gen_random_uuid()": "without, set it with",
    "ALTER TABLE tasks ADD COLUMN a TEXT DEFAULT 'now()' || md5(random()::text)": "without, set it with",
    "ALTER TABLE tasks ADD COLUMN a TEXT NOT NULL": "give it a server_default",
    "ALTER TABLE tasks ADD COLUMN a INT GENERATED ALWAYS AS (b) STORED": "add the plain column",
    "ALTER TABLE tasks ADD COLUMN a TEXT REFERENCES notes (id)": "add the plain column",
    "ALTER TABLE tasks ALTER COLUMN id TYPE NUMERIC": "a column of the new type",
    "ALTER TABLE tasks ADD COLUMN a INT, ALTER COLUMN id TYPE NUMERIC": "an ALTER TABLE for each",
    "ALTER TABLE tasks ADD PRIMARY KEY (id)": r"write brief\(",
    "ALTER TABLE tasks SET UNLOGGED": r"write brief\(",
    "CLUSTER tasks": r"write brief\(",
    "VACUUM FULL tasks": r"write brief\(",
}


@pytest.mark.parametrize("statement", FORMS)
def test_a_statement_is_taken_in_its_safe_form(statement: str) -> None:
    """What takes long lets others go on, what does not let them is brief, and both can be run again."""
    steps = safe(statement)
    assert [step.sql for step in steps] == FORMS[statement]
    for step in steps:
        assert step.brief != any(word in step.sql for word in ("CONCURRENTLY", "VALIDATE"))


@pytest.mark.parametrize("statement", REFUSED)
def test_what_has_no_safe_form_is_refused(statement: str) -> None:
    """The message says what to write instead; whoever knows better says `brief`."""
    with pytest.raises(SchemaError, match=REFUSED[statement]):
        safe(statement)
    assert safe(BRIEF + statement)[0].brief


def test_no_migration_holds_up_a_large_table() -> None:
    """Every step from the first schema on has a safe form."""
    assert writing.outages(settings_for("sqlite://"), "0001:head") == []


ROWS = """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true);
INSERT INTO tasks (user_id, title, completed)
SELECT 'ann', 'a task', n % 2 = 0 FROM generate_series(1, 25) n"""


@pytest.fixture
async def first(databases: Databases) -> AsyncIterator[str]:
    """A database with the first schema and some tasks."""
    url = await databases.create(empty=True)
    await made(url, lambda database, its: upgrade(database, its, "0001"))
    connection = await asyncpg.connect(url)
    await connection.execute(ROWS)
    await connection.close()
    yield url
    await databases.drop(url)


async def test_a_run_that_ended_anywhere_is_taken_up(
    first: str, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any of its steps, the next run goes on, and the schema is a fresh one's."""
    monkeypatch.setattr(online, "BATCH", 10)
    patiently, lives = online._patiently, 0

    def mortal(connection: Any, sql: str, run: Any) -> None:
        nonlocal lives
        patiently(connection, sql, run)
        lives -= 1
        if lives < 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(online, "_patiently", mortal)
    async with opened(first) as (database, its):
        for revision, steps in (
            ("0002", 15),
            ("0003", 3),
            ("0004", 4),
            ("0005", 9),
            ("0006", 1),
            ("0007", 1),
            ("0008", 2),
            ("0009", 3),
        ):
            for ends in range(100):
                lives = ends
                try:
                    await upgrade(database, its, revision)
                    break
                except KeyboardInterrupt:
                    continue
            assert ends >= steps
    assert await described(first) == await described(postgres_database)
    connection = await asyncpg.connect(first)
    assert (
        await connection.fetchval("SELECT count(*) FROM tasks WHERE completed <> (completed_at IS NOT NULL)")
        == 0
    )
    await connection.close()


async def test_several_may_migrate_at_once(first: str) -> None:
    """One does, while the others wait for it without being waited for."""

    async def one() -> None:
        await made(first, upgrade)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one() for _ in range(3)))


async def test_nobody_waits_for_a_lock_that_is_waited_for(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While somebody's transaction keeps the table, the migration lets others pass, and says who keeps it."""
    caplog.set_level(logging.INFO, "backend")
    holder = await asyncpg.connect(first, server_settings={"application_name": "a report"})
    client = await asyncpg.connect(first, server_settings={"lock_timeout": "1s"})
    holding = holder.transaction()
    await holding.start()
    await holder.fetch("SELECT 1 FROM tasks")
    migrating = asyncio.create_task(made(first, upgrade))
    async with asyncio.timeout(60):
        while "letting others pass" not in caplog.text:
            await client.execute("INSERT INTO tasks (user_id, title) VALUES ('ann', 'meanwhile')")
            await asyncio.sleep(0.01)
        await holding.rollback()
        await migrating
    assert await client.fetchval("SELECT count(*) FROM tasks WHERE title = 'meanwhile'") > 0
    await holder.close()
    await client.close()


async def test_a_lock_that_never_comes_is_given_up(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the run ends with who keeps the table, and what to do."""
    monkeypatch.setattr(online, "PATIENCE", 0.0)
    holder = await asyncpg.connect(first)
    async with holder.transaction():
        await holder.fetch("SELECT 1 FROM tasks")
        with pytest.raises(
            SchemaError, match=r"gave up after 0 s on 'ALTER TABLE tasks ADD COLUMN.*make migrate"
        ):
            await made(first, upgrade)
    await holder.close()


async def test_what_a_dead_run_left_of_an_index_is_replaced(first: str) -> None:
    """An index that is not valid is no index: it is built anew."""
    connection = await asyncpg.connect(first)
    await made(first, lambda database, its: upgrade(database, its, "0002"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY tasks_pending_idx ON tasks (user_id)")
    await made(first, upgrade)
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    definition = "SELECT pg_get_indexdef('tasks_pending_idx'::regclass)"
    assert await connection.fetchval(invalid) == 0
    assert "created_at DESC" in await connection.fetchval(definition)
    await connection.close()
