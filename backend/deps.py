"""The typed aliases that routes are written with."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from backend.auth.caller import authenticate
from backend.errors import ForeignUser


class Caller(NamedTuple):
    """Who is asking, and a session for what they ask: every query belongs to one user."""

    id: str
    session: AsyncSession


class _Authenticated(HTTPBearer):
    """The caller of a request. As a security scheme it also puts the token into the OpenAPI document."""

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override] # not credentials: a user
        user = await authenticate(request)
        request.scope["user_id"] = user.id
        return Caller(user.id, request.app.state.database.session())


# One dependency, not one for the user and one for the session: FastAPI takes its time for each.
CallerDep = Annotated[
    Caller,
    Depends(
        _Authenticated(scheme_name="BetterAuth", bearerFormat="JWT", description="A token of Better Auth")
    ),
]


async def require_own_path(caller: CallerDep, user_id: Annotated[str, Path()]) -> None:
    """Refuse a path that names another user than the token does, before anything is read.

    Raises:
        ForeignUser: it does.
    """
    if user_id != caller.id:
        raise ForeignUser
