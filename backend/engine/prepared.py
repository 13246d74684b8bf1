"""A statement of SQLAlchemy's core, compiled once into what the driver takes. Pure."""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ReturnsRows
from sqlalchemy.types import TypeEngine
from sqlmodel.sql.sqltypes import UTCDateTime


class Row(Protocol):
    """A row: a named tuple of the statement's columns."""

    def __getattr__(self, name: str) -> Any: ...
    def __getitem__(self, index: int) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def _asdict(self) -> dict[str, Any]: ...


class PreparedStatement:
    """The SQL of a statement, and how its parameters and rows are converted.

    SQLAlchemy's own execution finds all this out anew each time, which costs more than the round trip. Not
    for statements whose SQL depends on their parameters (`IN` with a list), nor for ORM entities.

    Raises:
        TypeError: the statement is one of those.
    """

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined] # every clause has it
        assert isinstance(compiled, SQLCompiler)
        if compiled.post_compile_params:
            raise TypeError(f"its SQL depends on its parameters: {compiled}")
        if compiled.insert_prefetch:
            raise TypeError(f"it leaves a default to SQLAlchemy: {compiled}")
        if compiled.compile_state is not None and compiled.compile_state.__class__.__module__.startswith(
            "sqlalchemy.orm"
        ):
            raise TypeError(f"it is about ORM entities, which need a session (SessionDep): {compiled}")
        self.sql = str(compiled)
        self.reads = statement.is_select
        embedded = compiled.construct_params(_check=False)
        binds = {name: compiled.binds[name] for name in compiled.positiontup or ()}
        self._order = tuple(compiled.positiontup or ())  # one may stand in several places
        self._names = binds.keys()
        self._defaults = {name: embedded[name] for name, bind in binds.items() if not bind.required}
        takes = [binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._order]
        self._arguments = tuple((index, convert) for index, convert in enumerate(takes) if convert)
        self._owner = self._order.index("owner") if "owner" in binds else None
        columns = list(statement.exported_columns) if isinstance(statement, ReturnsRows) else ()
        converters = [_result_processor(column.type, dialect) for column in columns]
        self._converters = tuple((index, convert) for index, convert in enumerate(converters) if convert)
        names = tuple(str(column.key) for column in columns)
        self._row = _row_type(names) if names else None

    def arguments(self, parameters: Mapping[str, object]) -> tuple[Any, ...]:
        """Return the parameters as the driver takes them, in the order of the SQL.

        Raises:
            KeyError: one is missing.
            TypeError: the statement knows nothing of one, which would be lost in silence.
        """
        if not parameters.keys() <= self._names:
            unknown = ", ".join(sorted(parameters.keys() - self._names))
            raise TypeError(f"the statement has no parameter {unknown}: {self.sql}")
        given = {**self._defaults, **parameters}
        values = [given[name] for name in self._order]
        for index, convert in self._arguments:
            values[index] = convert(values[index])
        return tuple(values)

    def user(self, arguments: Sequence[Any]) -> object:
        """Return the user among the driver's arguments; None where the statement has no owner."""
        return None if self._owner is None else arguments[self._owner]

    def rows(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Return the driver's rows with what the columns' types make of their values."""
        return [self._converted(row) for row in rows] if self._converters else rows

    def named(self, rows: Sequence[Sequence[Any]]) -> list[Row]:
        """Return the driver's rows as named tuples of what the columns' types make of their values.

        A text() that was not told its columns gives them numbers for names.
        """
        if not rows:
            return []
        make = self._row or _row_type(("",) * len(rows[0]))
        return [make(row) for row in self.rows(rows)]

    def _converted(self, row: Sequence[Any]) -> list[Any]:
        values = [*row]
        for index, convert in self._converters:
            values[index] = convert(values[index])
        return values


def _result_processor(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(kind, UTCDateTime) and dialect.name == "postgresql":
        return None  # it is aware and in UTC as asyncpg reads it
    if isinstance(kind, UTCDateTime) and dialect.name == "sqlite":
        return _in_utc  # what SQLAlchemy makes of it, in a tenth of the time
    own = kind.dialect_impl(dialect)
    return own.result_processor(dialect, None)


def _in_utc(stored: str | None) -> datetime | None:
    return None if stored is None else datetime.fromisoformat(f"{stored}+00:00")


@lru_cache(maxsize=64)  # made by exec(), and alike for all lists
def _row_type(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Row]:
    """What makes named tuples with these names; one that Python cannot have becomes a number."""
    named: Any = namedtuple  # of names that mypy cannot know
    make: Callable[[Sequence[Any]], Row] = named("Row", names, rename=True)._make
    return make
