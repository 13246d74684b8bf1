"""How a difference is written down, so that it is right on both databases."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from alembic.operations import ops
from sqlalchemy import (
    BigInteger,
    Connection,
    DefaultClause,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    event,
    make_url,
)
from sqlalchemy.sql.elements import conv
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine
from sqlmodel.sql.sqltypes import AutoString, UTCDateTime

from backend.columns import OwnersKey, TextList, no_texts, utc_now
from backend.db import VERSION_TABLE
from backend.migrations.state import SchemaError
from backend.models import users

Facts = dict[tuple[str, str, str], str]
"""What is known of a schema: a kind of thing, where it is and its name, and what it is."""

SQLITE, POSTGRESQL = (make_url(url).get_dialect()() for url in ("sqlite://", "postgresql+asyncpg://"))
# What SQLite's names for a type and a default stand for, where PostgreSQL's are others.
_TYPES: dict[str, TypeEngine[Any]] = {"DATETIME": UTCDateTime(), "JSON": TextList()}
_ID = BigInteger().with_variant(Integer(), "sqlite")
_DEFAULTS = {str(function.compile(dialect=SQLITE)): function for function in (utc_now(), no_texts())}
_CONSTANT = re.compile(r"'[^']*'|[+-]?[0-9.]+|true|false|null", re.IGNORECASE)


class _Code(str):
    """A word that Alembic is to write as it is, and not in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def differing(some: Facts, others: Facts) -> list[tuple[str, str, str]]:
    """The things that are not the same in both."""
    return sorted(fact for fact in some | others if some.get(fact) != others.get(fact))


def render(
    connection: Connection, models: MetaData, there: Facts, wanted: Facts
) -> tuple[dict[str, Any], str]:
    """The parts of the file that leads from the database's schema to the models', and a warning or nothing.

    Raises:
        SchemaError: the models ask for what a table with rows cannot become.
    """
    for table in models.tables.values():
        table.indexes.clear()  # they are compared as statements, for Alembic does not see all of them
    options = {
        "target_metadata": models,
        "version_table": VERSION_TABLE,
        "compare_server_default": True,
        "include_object": lambda _, name, kind, *__: (
            kind != "index" and (kind, name) != ("table", users.name)
        ),
        "render_item": _item,
        "sqlalchemy_module_prefix": "sa.",
        "alembic_module_prefix": "op.",
        "user_module_prefix": "",
    }
    context = MigrationContext.configure(connection, opts=options)
    with _reflecting_our_types():
        upgrade = produce_migrations(context, models).upgrade_ops
        assert upgrade is not None
    _refuse_valueless(upgrade)
    _add_checks(upgrade, there, wanted)
    writer = AutogenContext(context, models)
    upgrades = _body(writer, upgrade, there, wanted)
    downgrade = upgrade.reverse()
    for change in downgrade.ops:
        if isinstance(change, ops.CreateTableOp) and ("autoincrement", change.table_name, "") in there:
            change.kw["sqlite_autoincrement"] = True
    downgrades = _body(writer, downgrade, wanted, there)
    parts = {"upgrades": upgrades, "downgrades": downgrades, "imports": "\n".join(sorted(writer.imports))}
    return parts, _warning(there, wanted)


def _refuse_valueless(upgrade: ops.UpgradeOps) -> None:
    for change in upgrade.ops:
        for step in change.ops if isinstance(change, ops.ModifyTableOps) else ():
            if isinstance(step, ops.AddColumnOp) and not (step.column.nullable or step.column.server_default):
                raise SchemaError(
                    f"{step.table_name}.{step.column.name} has no value for the rows that are there: "
                    "give it a server_default, or let it be null"
                )


def _warning(there: Facts, wanted: Facts) -> str:
    """What is lost, and a hint to what may have been meant."""
    gone = [f"{table}.{name}" for kind, table, name in there.keys() - wanted if kind == "column"]
    return (
        f"it drops {', '.join(sorted(gone))} with all that is there; "
        "to rename, write op.alter_column(…, new_column_name=…) instead\n"
        if gone
        else ""
    )


def _add_checks(upgrade: ops.UpgradeOps, there: Facts, wanted: Facts) -> None:
    """Add what Alembic does not compare: the CHECKs of tables that stay."""
    changes = {change.table_name: change for change in upgrade.ops if isinstance(change, ops.ModifyTableOps)}
    stay = {table for _, table, _ in there} & {table for _, table, _ in wanted}
    for fact in differing(there, wanted):
        kind, table, name = fact
        if kind != "check" or table not in stay:
            continue
        if table not in changes:
            changes[table] = ops.ModifyTableOps(table, [])
            upgrade.ops.append(changes[table])
        if fact in there:
            old = ops.CreateCheckConstraintOp(conv(name), table, there[fact])
            drop = ops.DropConstraintOp(conv(name), table, "check", _reverse=old)
            changes[table].ops.insert(0, drop)
        if fact in wanted:
            changes[table].ops.append(ops.CreateCheckConstraintOp(conv(name), table, wanted[fact]))


def _body(writer: AutogenContext, changes: ops.OpContainer, there: Facts, wanted: Facts) -> str:
    lines = [*_indexes(there, wanted, drop=True)]
    lines += [_change(writer, change) for change in changes.ops]
    lines += _indexes(wanted, there, drop=False)
    return textwrap.indent("\n".join(lines) or "pass", "    ")


def _indexes(facts: Facts, others: Facts, *, drop: bool) -> Iterator[str]:
    """Drop or make the indexes that the others have not so."""
    names = sorted({name for kind, _, name in facts if kind == "index"})
    for name in names:
        statements = {}
        for dialect in ("sqlite", "postgresql"):
            index = facts.get(("index", dialect, name))
            if index and index != others.get(("index", dialect, name)):
                statements[dialect] = f"DROP INDEX {name}" if drop else index
        if len(statements) == 2 and len(set(statements.values())) == 1:
            yield f"op.execute({statements['sqlite']!r})"
        else:
            yield from (f"execute_on({dialect!r}, {sql!r})" for dialect, sql in statements.items())


def _change(writer: AutogenContext, change: ops.MigrateOperation) -> str:
    if not isinstance(change, ops.ModifyTableOps):
        return render_op_text(writer, change)
    for step in change.ops:
        if isinstance(step, ops.CreateForeignKeyOp) and step.referent_table == users.name:
            step.referent_table = _Code("user_table().name")
            step.kw["referent_schema"] = _Code("user_table().schema")
    in_place = all(_is_done_in_place(step) for step in change.ops)
    writer.opts["render_as_batch"] = not in_place
    written = render_op_text(writer, change)
    if in_place:
        return written
    _, steps = written.split("\n", 1)
    return f"with altered({change.table_name!r}) as batch_op:\n" + textwrap.indent(steps, "    ")


def _is_done_in_place(step: ops.MigrateOperation) -> bool:
    """Whether SQLite needs no copy of the table for it."""
    if not isinstance(step, ops.AddColumnOp):
        return isinstance(step, ops.DropColumnOp)
    default = step.column.server_default
    if isinstance(default, DefaultClause):
        return isinstance(default.arg, str) or bool(_CONSTANT.fullmatch(_bare(default)))
    return default is None and bool(step.column.nullable)


def _bare(default: DefaultClause) -> str:
    """A default as SQLite has it, less the parentheses that Alembic puts around what it has read."""
    written = _sql(default.arg, SQLITE)
    bare = written.removeprefix("(").removesuffix(")") if default.reflected else written
    return bare if bare in _DEFAULTS or _CONSTANT.fullmatch(bare) else written


def _sql(clause: Any, dialect: Any) -> str:
    return str(clause.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


@contextmanager
def _reflecting_our_types() -> Iterator[None]:
    """Let what comes from the database be of the types that both databases have."""

    def reflect(_: Any, __: Table, column: Any) -> None:
        kind = str(column["type"])
        is_id = column["primary_key"] and kind == "INTEGER"
        column["type"] = _ID if is_id else _TYPES.get(kind) or column["type"].as_generic()

    event.listen(Table, "column_reflect", reflect)
    try:
        yield
    finally:
        event.remove(Table, "column_reflect", reflect)


def _item(kind: str, item: Any, writer: AutogenContext) -> str | Literal[False]:
    """How a part of a column or a table is written; False leaves it to Alembic."""
    if isinstance(item, AutoString):
        return f"sa.String({item.length or ''})"
    if kind == "type" and not type(item).__module__.startswith("sqlalchemy."):
        return _ours(item, writer)
    if isinstance(item, DefaultClause) and not isinstance(item.arg, str):
        return _default(item, writer)
    if isinstance(item, PrimaryKeyConstraint):
        columns = ", ".join(repr(column.name) for column in item.columns)
        kind = "sa.PrimaryKeyConstraint"
        if (
            item.columns.keys() == ["id"] and "user_id" in item.table.c
        ):  # as SQLite has it, whence all is read
            kind = OwnersKey.__name__
            writer.imports.add(f"from {OwnersKey.__module__} import {kind}")
        return f"{kind}({columns}, name=op.f('{item.table.name}_pkey'))"
    if isinstance(item, ForeignKeyConstraint) and item.elements[0].target_fullname == f"{users.name}.id":
        options = {name: getattr(item, name) for name in ("ondelete", "onupdate") if getattr(item, name)}
        kwargs = "".join(f", {name}={value!r}" for name, value in options.items())
        return f"sa.ForeignKeyConstraint({item.column_keys}, [f'{{user_table().fullname}}.id']{kwargs})"
    return False


def _ours(item: Any, writer: AutogenContext) -> str:
    writer.imports.add(f"from {type(item).__module__} import {type(item).__name__}")
    return repr(item) if isinstance(item, TypeEngine) else f"{type(item).__name__}()"


def _default(default: DefaultClause, writer: AutogenContext) -> str:
    clause: Any = default.arg
    written = _bare(default)
    if default.reflected:
        clause = _DEFAULTS.get(written, clause)
    if isinstance(clause, FunctionElement) and not type(clause).__module__.startswith("sqlalchemy."):
        return _ours(clause, writer)
    if not default.reflected and written != _sql(clause, POSTGRESQL):
        raise SchemaError(
            f"the server default {written} is another on PostgreSQL: "
            "write it as text(), or as a function of backend/columns.py as utc_now() is"
        )
    return f"sa.text({written!r})"
