"""The typed aliases that routes are written with."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from backend.auth import CurrentUser
from backend.errors import ForeignUser


class _BearerUser(HTTPBearer):
    """The user of the request's bearer token; as a security scheme, OpenAPI shows it by itself."""

    async def __call__(self, request: Request) -> CurrentUser:  # type: ignore[override] # a user, not credentials
        user: CurrentUser = request.app.state.verifier.verify(request.headers.get("authorization"))
        request.scope["user_id"] = user.id
        return user


CurrentUserDep = Annotated[
    CurrentUser,
    Depends(_BearerUser(scheme_name="BetterAuth", bearerFormat="JWT", description="A Better Auth token")),
]


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.database.session() as session:
        yield session


# "function": the session ends before the answer is sent, so an error there is still an error to the client.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]


async def require_own_path(user: CurrentUserDep, user_id: Annotated[str, Path()]) -> None:
    """Refuse a path that names another user than the token does, before anything is read.

    Raises:
        ForeignUser: it does.
    """
    if user_id != user.id:
        raise ForeignUser
