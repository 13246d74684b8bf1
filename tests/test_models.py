"""The tables as both databases have them, seen from beside the service."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from backend.models import Base, idempotency_keys, tasks, users
from backend.schema import schema
from tests.conftest import add_user, on_postgresql, on_sqlite
from tests.test_docs import CHECKOUT


@pytest.fixture
async def connection(app: FastAPI) -> AsyncIterator[AsyncConnection]:
    """A connection of the test's own to the database of a started service, with a user `alice`."""
    await add_user(app, "alice")
    engine: AsyncEngine = app.state.database.engine
    own = engine.execution_options(unobserved=True, isolation_level="AUTOCOMMIT")
    async with own.connect() as connection:
        yield connection


async def rows(connection: AsyncConnection, statement: str, **parameters: Any) -> Sequence[Any]:
    """What a statement returns."""
    return (await connection.execute(text(statement), parameters)).all()


async def insert(connection: AsyncConnection, **values: Any) -> None:
    """Insert a task with these columns and no others."""
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    await connection.execute(text(f"INSERT INTO tasks ({names}) VALUES ({places})"), values)


async def test_every_constraint_has_its_name(connection: AsyncConnection) -> None:
    """Errors are told apart and migrations find their way by names, which are PostgreSQL's own."""
    tasks_key = None if connection.dialect.name == "sqlite" else "tasks_pkey"  # AUTOINCREMENT's has no name

    def names(sync: Connection) -> set[str | None]:
        inspector = inspect(sync)
        found: set[str | None] = set()
        for table in ("user", "tasks", "idempotency_keys"):
            found.add(inspector.get_pk_constraint(table)["name"])
            found |= {key["name"] for key in inspector.get_foreign_keys(table)}
            found |= {key["name"] for key in inspector.get_unique_constraints(table)}
            found |= {check["name"] for check in inspector.get_check_constraints(table)}
        return found

    assert await connection.run_sync(names) == {
        "user_pkey",
        "user_email_key",
        tasks_key,
        "tasks_user_id_fkey",
        "tasks_title_check",
        "tasks_description_check",
        "tasks_priority_check",
        "idempotency_keys_pkey",
        "idempotency_keys_user_id_fkey",
    }


async def test_the_lists_have_their_indexes(connection: AsyncConnection) -> None:
    """Newest first, the pending newest first, by due date: each is read in order from one index."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'tasks'"
    else:
        statement = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'tasks'"
    indexes = {name: definition.partition("(")[2] for name, definition in await rows(connection, statement)}
    assert indexes.pop("tasks_pkey", "user_id, id)") == "user_id, id)"  # a rowid on SQLite
    assert indexes.pop("tasks_newest_idx") == "user_id, created_at DESC, id DESC)"
    assert indexes.pop("tasks_due_idx") == "user_id, due_at, id)"
    imported = indexes.pop("tasks_import_idx").replace("(", "").replace(")", "")
    assert imported == "user_id, import_key WHERE import_key IS NOT NULL"
    pending = indexes.pop("tasks_pending_idx")
    assert re.fullmatch(
        r"user_id, created_at DESC, id DESC\) WHERE (\(NOT completed\)|completed = 0)", pending
    )
    assert indexes == {}


@on_postgresql
async def test_owned_tables_can_be_distributed(connection: AsyncConnection) -> None:
    """What is unique is unique for an owner; what refers to another owned row refers to its owner too."""
    owned = [table for table in Base.metadata.sorted_tables if table is not users]
    assert all("user_id" in table.c for table in owned)
    names = ", ".join(f"'{table.name}'::regclass" for table in owned)
    unique = f"""SELECT indexrelid::regclass::text FROM pg_index
                 WHERE indrelid IN ({names}) AND indisunique AND NOT EXISTS (
                     SELECT FROM pg_attribute WHERE attrelid = indexrelid AND attname = 'user_id')"""
    assert await rows(connection, unique) == []
    references = f"""SELECT conname FROM pg_constraint
                     WHERE contype = 'f' AND confrelid IN ({names}) AND NOT EXISTS (
                         SELECT FROM pg_attribute
                         WHERE attrelid = conrelid AND attnum = ANY(conkey) AND attname = 'user_id')"""
    assert await rows(connection, references) == []


def test_each_owned_table_is_distributed() -> None:
    """docs/distribute.sql names all of them, and the users', each once."""
    told = (CHECKOUT / "docs" / "distribute.sql").read_text()
    named = re.findall(r"create_(?:reference|distributed)_table\('\"?(\w+)\"?'", told)
    assert sorted(named) == sorted(Base.metadata.tables)


async def test_what_is_imported_is_there_once(app: FastAPI, connection: AsyncConnection) -> None:
    """A user has no two tasks with the same import key; others, and tasks without one, are free."""
    await add_user(app, "bob")
    for user_id, key in (("alice", "a"), ("alice", "b"), ("bob", "a"), ("alice", None), ("alice", None)):
        await insert(connection, user_id=user_id, title="a", import_key=key)
    with pytest.raises(DBAPIError, match=r"(?i)unique"):
        await insert(connection, user_id="alice", title="a", import_key="a")


async def test_answers_are_kept_by_user_and_key(app: FastAPI, connection: AsyncConnection) -> None:
    """Two users may use the same key, one user uses it once; it goes with its user, and has an age."""
    await add_user(app, "bob")
    statement = text("INSERT INTO idempotency_keys (user_id, key, fingerprint) VALUES (:user_id, :key, 'f')")
    for user_id in ("alice", "bob"):
        await connection.execute(statement, {"user_id": user_id, "key": "k"})
    refused: list[dict[str, Any]] = [
        {"user_id": "alice", "key": "k"},
        {"user_id": "mallory", "key": "k"},
        {"user_id": "alice", "key": None},
        {"user_id": None, "key": "k"},
    ]
    for values in refused:
        with pytest.raises(DBAPIError):
            await connection.execute(statement, values)
    kept = (await connection.execute(select(idempotency_keys).order_by(idempotency_keys.c.user_id))).all()
    assert [(row.user_id, row.key, row.fingerprint) for row in kept] == [
        ("alice", "k", "f"),
        ("bob", "k", "f"),
    ]
    for row in kept:
        assert (row.status, row.headers, row.body) == (None, None, None)
        assert abs(datetime.now(UTC) - row.created_at) < timedelta(minutes=1)
    await connection.execute(text("""DELETE FROM "user" WHERE id = 'alice'"""))
    assert await rows(connection, "SELECT user_id FROM idempotency_keys") == [("bob",)]
    assert {index.name for index in idempotency_keys.indexes} == {"idempotency_keys_age_idx"}


async def test_a_users_tasks_go_with_the_user(app: FastAPI, connection: AsyncConnection) -> None:
    """Better Auth deletes a user without asking us: the tasks go too, and nobody else's."""
    await add_user(app, "bob")
    for user_id in ("alice", "alice", "bob"):
        await insert(connection, user_id=user_id, title="a")
    await connection.execute(text("""DELETE FROM "user" WHERE id = 'alice'"""))
    assert await rows(connection, "SELECT user_id FROM tasks") == [("bob",)]


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"title": ""}, "tasks_title_check"),
    ({"title": "x" * 201}, "tasks_title_check|too long"),  # PostgreSQL's varchar is faster than the check
    ({"title": None}, "title"),
    ({"description": "x" * 1001}, "tasks_description_check"),
    ({"completed": None}, "completed"),
    ({"priority": 0}, "tasks_priority_check"),
    ({"priority": 4}, "tasks_priority_check"),
    ({"priority": None}, "priority"),
    ({"tags": None}, "tags"),
    ({"timezone": None}, "timezone"),
    ({"version": None}, "version"),
    ({"created_at": None}, "created_at"),
    ({"updated_at": None}, "updated_at"),
    ({"user_id": None}, "user_id"),
    ({"user_id": "mallory"}, "tasks_user_id_fkey|FOREIGN KEY"),
]


async def test_bad_rows_are_refused(connection: AsyncConnection) -> None:
    """Whoever writes past the service is held to the same limits, each by the constraint that is for it."""
    for values, reason in BAD_ROWS:
        with pytest.raises(DBAPIError) as refused:
            await insert(connection, **{"user_id": "alice", "title": "a"} | values)
        assert re.search(reason, str(refused.value.orig)), values
    assert await rows(connection, "SELECT 1 FROM tasks") == []


async def test_the_limits_are_taken_to_the_last_character(connection: AsyncConnection) -> None:
    """What is just within the limits is stored whole, counted in characters."""
    await insert(connection, user_id="alice", title="é" * 200, description="漢" * 1000)
    await insert(connection, user_id="alice", title="🧀", description="")
    stored = await rows(connection, "SELECT length(title), length(description) FROM tasks ORDER BY id")
    assert stored == [(200, 1000), (1, 0)]


async def test_the_database_fills_in_the_rest(connection: AsyncConnection) -> None:
    """A new row is open, and made and changed now: in UTC, by a clock finer than a second."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock counts them
    for _ in range(3):
        await insert(connection, user_id="alice", title="a")
    after = datetime.now(UTC)
    made = (await connection.execute(select(tasks).order_by(tasks.c.id))).all()
    for row in made:
        assert (row.completed, row.description) == (False, None)
        assert (row.priority, row.tags, row.timezone, row.version) == ("medium", [], "UTC", 1)
        assert (row.completed_at, row.due_at, row.due_day) == (None, None, None)
        assert (row.recurring_pattern, row.series_start) == (None, None)
        assert (row.next_task_id, row.import_key) == (None, None)
        assert row.created_at == row.updated_at
        assert before <= row.created_at <= after
        assert row.created_at.utcoffset() == timedelta(0)
    assert any(row.created_at.microsecond for row in made)


@on_sqlite
async def test_default_times_compare_with_written_ones(connection: AsyncConnection) -> None:
    """SQLite compares times as text: the default has the same form as a time that the service binds."""
    await insert(connection, user_id="alice", title="a")
    [row] = (await connection.execute(select(tasks))).all()
    values = {"user_id": "alice", "title": "b", "created_at": row.created_at}
    await connection.execute(tasks.insert().values(values))
    forms = await rows(connection, "SELECT DISTINCT created_at FROM tasks")
    assert len(forms) == 1, forms


# What Better Auth's own migration makes, word for word.
BETTER_AUTHS_USER = """create table "user" ("id" text not null primary key, "name" text not null,
"email" text not null unique, "emailVerified" boolean not null, "image" text,
"createdAt" timestamptz default CURRENT_TIMESTAMP not null,
"updatedAt" timestamptz default CURRENT_TIMESTAMP not null)"""


@on_postgresql
async def test_the_user_table_is_better_auths(connection: AsyncConnection) -> None:
    """Column for column and constraint for constraint, so that either side may make it first."""
    await connection.execute(text("CREATE SCHEMA better_auth"))
    await connection.execute(text("SET search_path TO better_auth"))
    await connection.execute(text(BETTER_AUTHS_USER))
    await connection.execute(text("RESET search_path"))
    columns = """SELECT column_name, data_type, column_default, is_nullable, is_identity, collation_name,
                        character_maximum_length, datetime_precision
                 FROM information_schema.columns WHERE table_name = 'user' AND table_schema = :schema
                 ORDER BY ordinal_position"""
    constraints = """SELECT conname, pg_get_constraintdef(pg_constraint.oid)
                     FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
                     WHERE conrelid IN ('public.user'::regclass, 'better_auth.user'::regclass)
                       AND nspname = :schema ORDER BY conname"""
    for statement in (columns, constraints):
        ours = await rows(connection, statement, schema="public")
        theirs = await rows(connection, statement, schema="better_auth")
        assert theirs
        assert ours == theirs


@on_sqlite
async def test_the_user_table_has_better_auths_columns(connection: AsyncConnection) -> None:
    """On SQLite too the names are Better Auth's, and so is which of them may be empty."""
    columns = await rows(connection, "SELECT name, \"notnull\" FROM pragma_table_info('user')")
    assert columns == [
        ("id", 1),
        ("name", 1),
        ("email", 1),
        ("emailVerified", 1),
        ("image", 0),
        ("createdAt", 1),
        ("updatedAt", 1),
    ]


@pytest.mark.parametrize("name", ["user", "users", "neon_auth.user"])
@pytest.mark.parametrize("kind", ["text", "uuid", "integer"])
def test_the_user_table_may_have_another_name(name: str, kind: str) -> None:
    """Only the user table and what leads to it follow the settings; the models stay as they are."""
    tables = schema(name, kind).tables
    owned = [table for table in Base.metadata.sorted_tables if table is not users]
    assert {tasks, idempotency_keys} <= set(owned)
    assert set(tables) == {name, *(table.name for table in owned)}
    for table in owned:
        [key] = tables[table.name].c.user_id.foreign_keys
        [original] = table.c.user_id.foreign_keys
        if original.column is users.c.id:
            assert (key.column, key.ondelete) == (tables[name].c.id, "CASCADE")
        else:
            referred = tables[original.column.table.name].c.user_id
            assert (key.column, key.ondelete) == (referred, "CASCADE")
