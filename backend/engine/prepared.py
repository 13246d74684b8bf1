"""A statement of SQLAlchemy's, compiled once into what the driver takes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, Executable
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ReturnsRows
from sqlalchemy.types import TypeEngine

_REQUIRED = object()


class PreparedStatement:
    """The SQL of a statement, and how its parameters and rows are converted.

    SQLAlchemy's own execution finds all this out anew each time, which costs more than the round trip. Not
    for statements whose SQL depends on their parameters (`IN` with a list) or that take several sets of them.
    """

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined] # every clause has it
        assert isinstance(compiled, SQLCompiler)
        assert not compiled.post_compile_params, f"its SQL depends on its parameters: {compiled}"
        assert not compiled.insert_prefetch, f"it leaves a default to SQLAlchemy: {compiled}"
        self.sql = str(compiled)
        embedded = compiled.construct_params(_check=False)
        self._binds = tuple(
            (
                compiled.binds[name].key,
                _REQUIRED if compiled.binds[name].required else embedded[name],
                _implementation(compiled.binds[name].type, dialect).bind_processor(dialect),
            )
            for name in compiled.positiontup or ()
        )
        columns = list(statement.exported_columns) if isinstance(statement, ReturnsRows) else ()
        converters = [
            _implementation(column.type, dialect).result_processor(dialect, None) for column in columns
        ]
        self._converters = tuple((index, convert) for index, convert in enumerate(converters) if convert)
        self._names_no_columns = not columns
        self._metadata = SimpleResultMetaData([column.key for column in columns])

    def arguments(self, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the parameters as the driver takes them, in the order of the SQL.

        Raises:
            KeyError: one is missing.
        """
        values = []
        for name, default, convert in self._binds:
            value = parameters[name] if default is _REQUIRED else parameters.get(name, default)
            values.append(convert(value) if convert else value)
        return tuple(values)

    def result(self, rows: Sequence[Sequence[Any]]) -> IteratorResult[Any]:
        """Return the driver's rows as SQLAlchemy's. Those of a text, which names no columns, are numbered."""
        if rows and self._names_no_columns:
            return IteratorResult(SimpleResultMetaData([str(n) for n in range(len(rows[0]))]), iter(rows))
        if self._converters:
            rows = [self._converted(row) for row in rows]
        return IteratorResult(self._metadata, iter(rows))

    def _converted(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, convert in self._converters:
            values[index] = convert(values[index])
        return values


def _implementation(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return kind.dialect_impl(dialect)
