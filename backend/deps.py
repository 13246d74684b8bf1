"""The typed aliases that routes are written with."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.auth.caller import authenticate
from backend.db import get_session
from backend.engine.statements import Statements
from backend.errors import ForeignUser


class Caller(NamedTuple):
    """Who is asking, and the fast way to their rows: every query belongs to one user."""

    id: str
    statements: Statements


class _Authenticated(HTTPBearer):
    """The caller of a request. As a security scheme it also puts the token into the OpenAPI document."""

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override] # not credentials: a user
        user = await authenticate(request)
        request.scope["user_id"] = user.id
        return Caller(user.id, request.app.state.database.statements)


authenticated = _Authenticated(
    scheme_name="BetterAuth", bearerFormat="JWT", description="A token of Better Auth"
)

# One dependency, not one for the user and one for the statements: FastAPI takes its time for each.
CallerDep = Annotated[Caller, Depends(authenticated)]

# An ordinary session of SQLModel's, in one transaction that is committed before the answer is sent. It holds
# a connection from its beginning to its end: a route that takes it does nothing slow beside the database.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def require_own_path(caller: CallerDep, user_id: Annotated[str, Path()]) -> None:
    """Refuse a path that names another user than the token does, before anything is read.

    Raises:
        ForeignUser: it does.
    """
    if user_id != caller.id:
        raise ForeignUser
