"""The typed aliases that routes are written with."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.auth.caller import authenticate, sent
from backend.auth.tokens import is_jwt
from backend.config import Settings
from backend.db import Database, get_session
from backend.engine.gate import asking
from backend.engine.statements import Statements
from backend.errors import ForeignOrigin, ForeignUser, Unauthorized
from backend.web.limits import Limits, address

_CALLER = "task_api.caller"  # in the scope: this request's, once it is known


class Caller(NamedTuple):
    """Who is asking, and the fast way to their rows: every query belongs to one user.

    What may read all that they have is run with the `dear_statements`, of which each user has few at once.
    `expires` is when they have to show anew who they are, as time.time() counts.
    """

    id: str
    statements: Statements
    dear_statements: Statements
    expires: float


class _Authenticated(HTTPBearer):
    """The caller of a request. As a security scheme it also puts the token into the OpenAPI document."""

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override] # not credentials: a user
        caller: Caller | None = request.scope.get(_CALLER)
        if caller is None:
            caller = request.scope[_CALLER] = await _find_out(request)
        return caller


async def _find_out(request: Request) -> Caller:
    state, scope = request.app.state, request.scope
    settings: Settings = state.settings  # each look into the state is a hundredth of a request
    limits: Limits = state.limits
    session = _session(request) if settings.auth_accept_sessions else ""
    if session:
        limits.before_lookup(scope, session)
        asking.set(f"address {address(scope)}")  # who guesses waits in a line of their own
    try:
        user = await authenticate(request, settings, state.verifier)
    except (Unauthorized, ForeignOrigin):
        limits.count_address(scope)
        raise
    asking.set(user.id)
    if session:
        limits.remember(session, user.id)
    scope["user_id"] = user.id
    limits.count_user(scope, user.id)
    database: Database = state.database
    return Caller(user.id, database.statements, database.dear_statements, user.expires)


def _session(request: Request) -> str:
    """The header in which a session may have come, which the database has to be asked about."""
    authorization = sent(request, b"authorization")
    if not authorization:
        return request.headers.get("cookie", "")
    return "" if is_jwt(authorization) else authorization


authenticated = _Authenticated(
    scheme_name="BetterAuth", bearerFormat="JWT", description="A token of Better Auth"
)

# One dependency, not one for the user and one for the statements: FastAPI takes its time for each.
CallerDep = Annotated[Caller, Depends(authenticated)]


class OwnedRoute(APIRoute):
    """A route that finds out who asks before it reads the body; FastAPI parses that first."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def authenticate_first(request: Request) -> Response:
            if authenticated not in request.app.dependency_overrides:
                await authenticated(request)
            return await handle(request)

        return authenticate_first if self.body_field else handle


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
