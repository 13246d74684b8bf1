"""Writes the next migration: what the models have and the migrations do not make yet.

Both make their schema in a scratch SQLite database, so that the developer's own plays no part. What SQLite
does not show, PostgreSQL's indexes, is read from the statements that either would send there.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, create_mock_engine, inspect, text
from sqlalchemy.schema import DDLElement

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.migrations.rendering import POSTGRESQL, Facts, differing, render
from backend.migrations.running import alembic
from backend.migrations.safe import safe
from backend.migrations.state import SchemaError
from backend.models import users
from backend.schema import schema

_NAME = r'("[^"]+"|\w+)'
_MADE = re.compile(rf"CREATE (?:UNIQUE )?INDEX {_NAME} ON {_NAME} .+")
# What a constraint is made of is an index no more.
_DROPPED = re.compile(rf"(?:DROP (?:INDEX|TABLE)|USING INDEX) {_NAME}")
_WHERE_NEEDED = re.compile(r"IF (?:NOT )?EXISTS ")


def write(settings: Settings, message: str) -> str:
    """Write the migration, try it on SQLite there and back, and return what to tell of it.

    Raises:
        SchemaError: it cannot be written, or not all of it; the message says what to do.
    """
    message = " ".join(message.split()).rstrip(".")
    if not message:
        raise SchemaError('say what it does: make migration m="add a column"')
    # The steps ask the settings what Better Auth's table is called and keyed: here as nowhere in particular.
    settings = settings.model_copy(update={"auth_user_table": users.name, "auth_user_id_type": "text"})
    models = schema(settings.auth_user_table, settings.auth_user_id_type)
    with _scratch() as connection:
        models.create_all(connection)
        wanted = _facts(connection, _sent_by(models))
    with _scratch() as connection:
        there = _migrated(settings, connection)
        if there == wanted:
            return "nothing to migrate: the migrations make what the models have"
        parts, warning = render(connection, models, there, wanted)
        script = _file(settings, message, parts)
        made = _migrated(settings, connection)
        back = _migrated(settings, connection, back=True)
    if unfinished := differing(made, wanted) + differing(back, there):
        raise SchemaError(
            f"wrote {script.path}, but some is left for you to write: "
            + ", ".join(dict.fromkeys(" ".join(fact) for fact in unfinished))
        )
    if refused := outages(settings, f"{script.down_revision}:head"):
        raise SchemaError(f"wrote {script.path}, but change this in it: " + "; ".join(refused))
    return f"{warning}wrote {script.path}: read it, then run `make migrate`"


def outages(settings: Settings, span: str) -> list[str]:
    """What of the steps of a span (`0001:head`) would hold up a large table, and what to write instead."""
    sent = StringIO()
    command.upgrade(alembic(settings, None, output_buffer=sent), span, sql=True)
    found = []
    for statement in re.sub(r"^--.*$", "", sent.getvalue(), flags=re.MULTILINE).split(";\n\n"):
        if statement.strip() in ("", "BEGIN", "COMMIT") or VERSION_TABLE in statement:
            continue
        try:
            safe(statement)
        except SchemaError as error:
            found.append(str(error))
    return found


@contextmanager
def _scratch() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _migrated(settings: Settings, connection: Connection, *, back: bool = False) -> Facts:
    """Migrate to the newest revision, or from there one step back, and see what is there."""
    if back:
        command.downgrade(alembic(settings, connection), "-1")
    else:
        command.upgrade(alembic(settings, connection), "head")
    sent = StringIO()
    to_postgresql = alembic(settings, None, output_buffer=sent)
    try:
        command.upgrade(to_postgresql, "head", sql=True)
        if back:
            command.downgrade(to_postgresql, "head:-1", sql=True)
    except (AttributeError, TypeError) as error:
        raise SchemaError(
            "a migration reads rows, and no PostgreSQL is there to answer while its statements are only "
            "written down: let it do so unless op.get_context().as_sql"
        ) from error
    return _facts(connection, sent.getvalue().split(";"))


def _sent_by(models: MetaData) -> list[str]:
    statements: list[str] = []

    def send(ddl: DDLElement, *_: object) -> None:
        statements.append(str(ddl.compile(dialect=POSTGRESQL)))

    models.create_all(create_mock_engine("postgresql+asyncpg://", send), checkfirst=False)
    return statements


def _indexes(statements: Iterable[str]) -> dict[str, str]:
    """The indexes that are there after these statements, by name."""
    there: dict[str, tuple[str, str]] = {}
    for statement in statements:
        statement = _WHERE_NEEDED.sub("", " ".join(statement.split()))
        if made := _MADE.search(statement):
            there[made[1]] = made[2], made[0]
        elif dropped := _DROPPED.search(statement):
            there = {name: its for name, its in there.items() if dropped[1] not in (name, its[0])}
    return {name: sql for name, (_, sql) in there.items()}


def _facts(connection: Connection, sent_to_postgresql: Iterable[str]) -> Facts:
    """All that is known of the tables, as kind, place and name, and what it is."""
    sql = "SELECT sql FROM sqlite_master WHERE tbl_name NOT IN (:users, :versions) AND sql IS NOT NULL"
    own = list(connection.scalars(text(sql), {"users": users.name, "versions": VERSION_TABLE}))
    facts: Facts = {("index", "sqlite", name): made for name, made in _indexes(own).items()}
    facts |= {("index", "postgresql", name): made for name, made in _indexes(sent_to_postgresql).items()}
    inspector = inspect(connection)
    for table in set(inspector.get_table_names()) - {users.name, VERSION_TABLE}:
        for column in inspector.get_columns(table):
            described = f"{column['type']} {column['default']} {column['nullable']}"
            facts["column", table, column["name"]] = described
        key = inspector.get_pk_constraint(table)
        facts["primary key", table, str(key["name"])] = str(key["constrained_columns"])
        for check in inspector.get_check_constraints(table):
            facts["check", table, str(check["name"])] = check["sqltext"]
        for unique in inspector.get_unique_constraints(table):
            facts["unique", table, str(unique["name"])] = str(unique["column_names"])
        for reference in inspector.get_foreign_keys(table):
            facts["foreign key", table, str(reference["name"])] = str(sorted(reference.items(), key=str))
    for made in own:
        if "AUTOINCREMENT" in made:
            facts["autoincrement", made.split()[2].strip('"'), ""] = ""
    return facts


def _file(settings: Settings, message: str, parts: dict[str, Any]) -> Script:
    scripts = ScriptDirectory.from_config(alembic(settings, None))
    number = f"{int(scripts.get_current_head() or 0) + 1:04}"
    script = scripts.generate_revision(number, message, **parts)
    assert script is not None
    for how in (("check", "--fix", "--select", "F401,I"), ("format",)):
        command_line = [sys.executable, "-m", "ruff", *how, "--quiet", script.path]
        subprocess.run(command_line, check=True)  # noqa: S603 - a file of our own
    return script
