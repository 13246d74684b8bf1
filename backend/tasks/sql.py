"""SQL that PostgreSQL and SQLite say differently."""

from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, Dialect, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, NullType, TypeEngine

from backend.models import TextList


class contains_all(FunctionElement[bool]):  # noqa: N801 - reads as the SQL function it is
    """Whether a TextList has every text of another."""

    type = Boolean()
    inherit_cache = True


class contains_any(FunctionElement[bool]):  # noqa: N801 - as above
    """Whether a TextList has any text of another."""

    type = Boolean()
    inherit_cache = True


@compiles(contains_all, "postgresql")
def _all_postgresql(element: contains_all, compiler: SQLCompiler, **kw: Any) -> str:
    here, asked = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{here} @> {asked}"


@compiles(contains_any, "postgresql")
def _any_postgresql(element: contains_any, compiler: SQLCompiler, **kw: Any) -> str:
    here, asked = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{here} && {asked}"


@compiles(contains_all, "sqlite")
def _all_sqlite(element: contains_all, compiler: SQLCompiler, **kw: Any) -> str:
    here, asked = (compiler.process(clause, **kw) for clause in element.clauses)
    having = f"SELECT value FROM json_each({here})"
    return f"NOT EXISTS (SELECT 1 FROM json_each({asked}) WHERE value NOT IN ({having}))"


@compiles(contains_any, "sqlite")
def _any_sqlite(element: contains_any, compiler: SQLCompiler, **kw: Any) -> str:
    here, asked = (compiler.process(clause, **kw) for clause in element.clauses)
    having = f"SELECT value FROM json_each({here})"
    return f"EXISTS (SELECT 1 FROM json_each({asked}) WHERE value IN ({having}))"


class IdList(TypeDecorator[list[int]]):
    """A list of ids as one parameter, so that a statement is the same for any number of them."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(BigInteger()) if dialect.name == "postgresql" else JSON()


class among(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """Whether a value is in an IdList or TextList.

    Without the type of a condition: SQLite would be asked whether it `= 1`, and use no index.
    """

    type = NullType()
    inherit_cache = True


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    value, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{value} = ANY({values})"


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    value, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{value} IN (SELECT value FROM json_each({values}))"


class wire_time(FunctionElement[str]):  # noqa: N801 - as above
    """A time as clients read it, which is as pydantic writes it: no fraction where there is none."""

    type = Text()
    inherit_cache = True


@compiles(wire_time, "postgresql")
def _time_postgresql(element: wire_time, compiler: SQLCompiler, **kw: Any) -> str:
    time = compiler.process(element.clauses, **kw)
    text = f"""to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    ends = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
    return _between(time, ends, f"replace({text}, '.000000Z', 'Z')")


def _between(value: str, ends: tuple[str, str], text: str) -> str:
    """Python's first and last date and time are to asyncpg PostgreSQL's infinities, which have no digits."""
    return f"CASE {value} WHEN '-infinity' THEN '{ends[0]}' WHEN 'infinity' THEN '{ends[1]}' ELSE {text} END"


@compiles(wire_time, "sqlite")
def _time_sqlite(element: wire_time, compiler: SQLCompiler, **kw: Any) -> str:
    time = compiler.process(element.clauses, **kw)
    return f"replace(replace({time}, ' ', 'T') || 'Z', '.000000Z', 'Z')"


class wire_day(FunctionElement[str]):  # noqa: N801 - as above
    """A date as clients read it."""

    type = Text()
    inherit_cache = True


@compiles(wire_day, "postgresql")
def _day_postgresql(element: wire_day, compiler: SQLCompiler, **kw: Any) -> str:
    day = compiler.process(element.clauses, **kw)
    return _between(day, ("0001-01-01", "9999-12-31"), f"to_char({day}, 'YYYY-MM-DD')")


@compiles(wire_day, "sqlite")
def _day_sqlite(element: wire_day, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class json_object(FunctionElement[str]):  # noqa: N801 - as above
    """A JSON object of labelled expressions, as text without blanks."""

    type = Text()
    inherit_cache = True


def _members(element: json_object, compiler: SQLCompiler, **kw: Any) -> list[tuple[str, str, Any]]:
    labels: Any = element.clauses
    return [(label.name, compiler.process(label.element, **kw), label.type) for label in labels]


@compiles(json_object, "postgresql")
def _object_postgresql(element: json_object, compiler: SQLCompiler, **kw: Any) -> str:
    columns = ", ".join(f"{value} AS {name}" for name, value, _ in _members(element, compiler, **kw))
    return f"(SELECT row_to_json(members)::text FROM (SELECT {columns}) AS members)"


@compiles(json_object, "sqlite")
def _object_sqlite(element: json_object, compiler: SQLCompiler, **kw: Any) -> str:
    members = []
    for name, value, kind in _members(element, compiler, **kw):
        if isinstance(kind, Boolean):
            value = f"json(iif({value}, 'true', 'false'))"
        elif isinstance(kind, TextList):
            value = f"json({value})"
        members.append(f"'{name}', {value}")
    return f"json_object({', '.join(members)})"
