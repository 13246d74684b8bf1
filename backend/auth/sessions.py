"""The one statement on Better Auth's session table: read, never written."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, column, literal_column, select, table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, String

from backend.columns import UserId
from backend.engine.statements import Statements


class _seconds_until(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """In how many seconds a time comes; 0 and less: it is past."""

    type = NullType()  # both drivers have a float of their own accord
    inherit_cache = True


@compiles(_seconds_until)
def _compile(element: _seconds_until, compiler: SQLCompiler, **kw: Any) -> str:
    return f"extract(epoch FROM {compiler.process(element.clauses, **kw)} - now())::float8"


@compiles(_seconds_until, "sqlite")
def _compile_sqlite(element: _seconds_until, compiler: SQLCompiler, **kw: Any) -> str:
    # Better Auth writes ISO 8601 text there.
    return f"((julianday({compiler.process(element.clauses, **kw)}) - julianday('now')) * 86400)"


@lru_cache(maxsize=4)
def _user_statement(session_table: str) -> Select[Any]:
    schema, _, name = session_table.rpartition(".")
    sessions = table(
        name,
        column("token", String()),
        column("userId", UserId()),
        column("expiresAt"),
        schema=schema or None,
    )
    lasts = _seconds_until(sessions.c.expiresAt)
    return select(sessions.c.userId, lasts.label("lasts")).where(
        sessions.c.token == bindparam("token"), lasts > literal_column("0")
    )


async def get_user(statements: Statements, session_table: str, token: str) -> tuple[str, float] | None:
    """Return whose session this token is, and how many seconds it lasts.

    None when it is nobody's, expired or signed out.
    """
    row = await statements.first(_user_statement(session_table), {"token": token})
    return None if row is None else (row[0], row[1])
