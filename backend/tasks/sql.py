"""SQL that PostgreSQL and SQLite say differently."""

from datetime import date
from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, Dialect, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, Date, NullType, TypeEngine

from backend.columns import TextList


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


class local_day(FunctionElement[date]):  # noqa: N801 - as above
    """The day that an instant lies on in a time zone, its second argument. db.py gives it to SQLite."""

    type = Date()
    inherit_cache = True


@compiles(local_day, "postgresql")
def _local_day_postgresql(element: local_day, compiler: SQLCompiler, **kw: Any) -> str:
    instant, zone = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({instant} AT TIME ZONE {zone})::date"


@compiles(local_day, "sqlite")
def _local_day_sqlite(element: local_day, compiler: SQLCompiler, **kw: Any) -> str:
    instant, zone = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"local_day({instant}, {zone})"


class folded(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """A folded column, or where it is empty the column itself in ASCII's lower case, whatever the locale."""

    type = Text()
    inherit_cache = True


@compiles(folded, "postgresql")
def _folded_postgresql(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    made, plain = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"""(coalesce({made}, lower({plain} COLLATE "C")) COLLATE "C")"""


@compiles(folded, "sqlite")
def _folded_sqlite(element: folded, compiler: SQLCompiler, **kw: Any) -> str:
    made, plain = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"coalesce({made}, lower({plain}))"


class folded_list(FunctionElement[Any]):  # noqa: N801 - as above
    """The same of TextLists."""

    type = TextList()
    inherit_cache = True


@compiles(folded_list, "postgresql")
def _folded_list_postgresql(element: folded_list, compiler: SQLCompiler, **kw: Any) -> str:
    made, plain = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"""coalesce({made}, lower({plain}::text COLLATE "C")::text[])"""


# As JSON, which writes what is not ASCII in ASCII.
compiles(folded_list, "sqlite")(_folded_sqlite)


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
