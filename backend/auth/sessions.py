"""The one statement on Better Auth's session table: read, never written."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, column, select, table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, String

from backend.columns import UserId
from backend.engine.statements import Statements


class _in_future(FunctionElement[bool]):  # noqa: N801 - reads as the SQL function it is
    """Whether a time is yet to come."""

    type = Boolean()
    inherit_cache = True


@compiles(_in_future)
def _compile(element: _in_future, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)} > now()"


@compiles(_in_future, "sqlite")
def _compile_sqlite(element: _in_future, compiler: SQLCompiler, **kw: Any) -> str:
    # Better Auth writes ISO 8601 text there.
    return f"julianday({compiler.process(element.clauses, **kw)}) > julianday('now')"


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
    return select(sessions.c.userId).where(
        sessions.c.token == bindparam("token"), _in_future(sessions.c.expiresAt)
    )


async def get_user_id(statements: Statements, session_table: str, token: str) -> str | None:
    """Return the user whose session this token is; None when it is nobody's, expired or signed out."""
    row = await statements.first(_user_statement(session_table), {"token": token})
    return None if row is None else row[0]
