"""The form in which a statement changes a table that is in use, so that nobody waits for it. Pure.

PostgreSQL lets no new reader or writer in while an ALTER TABLE waits for those that are there, and none while
it reads or writes the whole table. So what takes long is done under a lock that lets them all go on, and what
takes a lock that does not is done in a moment. Each form can be run again: it passes over what is done.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from backend.migrations.state import SchemaError

# What an author vouches for: see steps.brief() and steps.backfill().
BRIEF, BACKFILL = "/* brief */ ", "/* in batches */ "

_NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
Form = Callable[[re.Match[str]], list["Step"]]
ActionForm = Callable[[str, str, re.Match[str]], list["Step"]]
_TEXT = re.compile(r"'(?:[^']|'')*'")
_PARENTHESES = re.compile(r"\([^()]*\)")
_CALL = re.compile(r"([\w.]+)\s*\(")
# What a new column brings that every row would have to be read or written for.
_COSTLY = re.compile(r"\b(?:GENERATED|REFERENCES|UNIQUE|PRIMARY|CHECK|(?:BIG|SMALL)?SERIAL)\b", re.IGNORECASE)


class Step(NamedTuple):
    """One statement, and how it is run: `brief`, or as long as it takes and outside of a transaction.

    It is passed over where the query `unless` says so. What an unfinished run left of the index that it
    `builds` on `table` is dropped first.
    """

    sql: str
    brief: bool = True
    unless: str | None = None
    builds: str = ""
    table: str = ""


def safe(statement: str) -> list[Step]:
    """Return what is run in place of a statement.

    Raises:
        SchemaError: it would hold up a large table, or nobody knows; the message says what to write.
    """
    sql = statement.strip().rstrip(";").strip()
    if sql.startswith((BRIEF, BACKFILL)):
        return [Step(sql)]
    for pattern, form in _FORMS:
        if match := pattern.match(sql):
            return form(match)
    if re.match(r"UPDATE|INSERT|DELETE|MERGE|WITH", sql, re.IGNORECASE):
        raise _refused(sql, "all its rows stay locked until the end", "write backfill(…)")
    raise _refused(
        sql, "it is not known to be brief", "write brief(…) if it neither reads nor writes all rows"
    )


def _refused(sql: str, why: str, instead: str) -> SchemaError:
    short = " ".join(sql.split())
    return SchemaError(
        f"{short[:200]!r} would hold up a large table: {why}; {instead} "
        "(backend/migrations/steps.py, CONTRIBUTING.md)"
    )


def _create_index(match: re.Match[str]) -> list[Step]:
    unique, name, table, rest = match.groups()
    build = f"CREATE {unique or ''}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} {rest}"
    return [Step(build, brief=False, builds=name, table=table)]


def _drop_index(match: re.Match[str]) -> list[Step]:
    return [Step(f"DROP INDEX CONCURRENTLY IF EXISTS {match[1]}", brief=False)]


def _table(match: re.Match[str]) -> list[Step]:
    verb, rest = match.groups()
    condition = "IF NOT EXISTS" if verb.upper() == "CREATE" else "IF EXISTS"
    return [Step(f"{verb} TABLE {condition} {rest}")]


def _alter(match: re.Match[str]) -> list[Step]:
    table, action = match.groups()
    bare = _TEXT.sub("''", action)
    while _PARENTHESES.search(bare):
        bare = _PARENTHESES.sub("", bare)
    if "," in bare:
        raise _refused(match[0], "it does several things at once", "write an ALTER TABLE for each")
    for pattern, form in _ACTIONS:
        if found := pattern.match(action):
            return form(f"ALTER TABLE {table}", table, found)
    if re.match(rf"ALTER (?:COLUMN )?{_NAME} (?:SET DATA )?TYPE", action, re.IGNORECASE):
        instead = "add a column of the new type, backfill() it, drop the old one a version later; or write "
        instead += "brief('ALTER TABLE …') where the type only becomes wider (varchar(200) to varchar(300))"
        raise _refused(match[0], "another type is another row", instead)
    raise _refused(match[0], "it is not known to be brief", "write brief(…) if it does not look at all rows")


def _add_column(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    name, rest = match.groups()
    bare = _TEXT.sub("''", rest)
    if _COSTLY.search(bare):
        why = "a column that is computed, counted or constrained is made for every row"
        raise _refused(match[0], why, "add the plain column, and its constraint as a step of its own")
    _, has_default, default = bare.partition(" DEFAULT ")
    if set(_CALL.findall(default)) - {"now", "NUMERIC", "VARCHAR"}:
        instead = "add it without, set it with op.alter_column(…, server_default=…), then backfill(…)"
        raise _refused(match[0], "a default that differs from row to row is written to each", instead)
    if "NOT NULL" in bare and not has_default:
        raise _refused(match[0], "the rows that are there have no value", "give it a server_default")
    return [Step(f"{alter} ADD COLUMN IF NOT EXISTS {name} {rest}")]


def _drop_column(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    return [Step(f"{alter} DROP COLUMN IF EXISTS {match[1]}")]


def _add_constraint(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    name, kind = match.groups()
    add = f"{alter} ADD CONSTRAINT {name} {kind} NOT VALID"
    validate = f"{alter} VALIDATE CONSTRAINT {name}"
    return [Step(add, unless=_has_constraint(table, name)), Step(validate, brief=False)]


def _add_unique(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    name, columns = match.groups()
    there = _has_constraint(table, name)
    build = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} {columns}"
    add = f"{alter} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"
    return [Step(build, brief=False, unless=there, builds=name, table=table), Step(add, unless=there)]


def _set_not_null(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    column = match[1]
    check = '"' + f"{table}_{column}_not_null".replace('"', "") + '"'
    add = f"{alter} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
    return [
        Step(add, unless=_has_constraint(table, check)),
        Step(f"{alter} VALIDATE CONSTRAINT {check}", brief=False),
        Step(f"{alter} ALTER COLUMN {column} SET NOT NULL"),  # which takes the check's word for it
        Step(f"{alter} DROP CONSTRAINT IF EXISTS {check}"),
    ]


def _drop_constraint(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    return [Step(f"{alter} DROP CONSTRAINT IF EXISTS {match[1]}")]


def _rename(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    there = f"attrelid = to_regclass({_quoted(table)}) AND attname = {_quoted(match[2])}"
    return [Step(f"{alter} {match[0]}", unless=f"SELECT EXISTS (SELECT FROM pg_attribute WHERE {there})")]  # noqa: S608 - quoted


def _as_it_is(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    return [Step(f"{alter} {match[0]}")]


def _validate(alter: str, table: str, match: re.Match[str]) -> list[Step]:
    return [Step(f"{alter} {match[0]}", brief=False)]


def _has_constraint(table: str, name: str) -> str:
    # A name in quotes is itself within them; a table's keeps them, for to_regclass reads it as SQL does.
    named = f"conrelid = to_regclass({_quoted(table)}) AND conname = {_quoted(name)}"
    return f"SELECT EXISTS (SELECT FROM pg_constraint WHERE {named})"  # noqa: S608 - quoted


def _quoted(name: str) -> str:
    bare = name if "." in name else name.strip('"')
    return "'" + bare.replace("'", "''") + "'"


def _pattern(words: str) -> re.Pattern[str]:
    """A pattern in which a space stands for any white space, and NAME for a name."""
    return re.compile(words.replace("NAME", _NAME).replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


_FORMS: list[tuple[re.Pattern[str], Form]] = [
    (
        _pattern(r"CREATE (UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?NAME ON NAME\s*(.+)"),
        _create_index,
    ),
    (_pattern(r"DROP INDEX (?:CONCURRENTLY )?(?:IF EXISTS )?NAME$"), _drop_index),
    (_pattern(r"(CREATE|DROP) TABLE (?:IF (?:NOT )?EXISTS )?(.+)"), _table),
    (_pattern(r"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?NAME (.+)"), _alter),
]

# The actions of an ALTER TABLE.
_ACTIONS: list[tuple[re.Pattern[str], ActionForm]] = [
    (_pattern(r"ADD CONSTRAINT NAME ((?:CHECK|FOREIGN KEY)\b.+?)(?: NOT VALID)?$"), _add_constraint),
    (_pattern(r"ADD CONSTRAINT NAME UNIQUE\s*(\(.+\))$"), _add_unique),
    (_pattern(r"VALIDATE CONSTRAINT NAME$"), _validate),
    (_pattern(r"DROP CONSTRAINT (?:IF EXISTS )?NAME$"), _drop_constraint),
    (_pattern(r"ADD COLUMN (?:IF NOT EXISTS )?NAME (.+)"), _add_column),
    (_pattern(r"DROP COLUMN (?:IF EXISTS )?NAME$"), _drop_column),
    (_pattern(r"ALTER (?:COLUMN )?NAME SET NOT NULL$"), _set_not_null),
    (_pattern(r"ALTER (?:COLUMN )?NAME (?:SET DEFAULT .+|DROP DEFAULT|DROP NOT NULL)"), _as_it_is),
    (_pattern(r"RENAME (?:COLUMN )?NAME TO NAME$"), _rename),
]
