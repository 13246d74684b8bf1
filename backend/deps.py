"""The typed aliases that routes are written with."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.auth import CurrentUser, TokenVerifier, bearer_token, is_jwt, session_token
from backend.config import Settings
from backend.crud import sessions
from backend.errors import ForeignOrigin, ForeignUser, InvalidToken
from backend.queries import ListRequest, TaskListQuery, parse_list_query

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Caller(NamedTuple):
    """Who is asking, and a session for what they ask: every query belongs to one user."""

    id: str
    session: AsyncSession


class _Authenticated(HTTPBearer):
    """The caller of a request. As a security scheme it also puts the token into the OpenAPI document."""

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override] # not credentials: a user
        user = await _authenticate(request)
        request.scope["user_id"] = user.id
        return Caller(user.id, request.app.state.database.session())


async def _authenticate(request: Request) -> CurrentUser:
    settings: Settings = request.app.state.settings
    verifier: TokenVerifier = request.app.state.verifier
    authorization = request.headers.get("authorization")
    if settings.auth_accept_sessions and not authorization:
        prefix = settings.auth_cookie_prefix
        for name in (f"__Secure-{prefix}.session_token", f"{prefix}.session_token"):
            if cookie := request.cookies.get(name):
                return await _user_of_cookie(request, cookie)
    token = bearer_token(authorization)
    if user := verifier.known(token):  # nothing is awaited for a token seen before
        return user
    if settings.auth_accept_sessions and not is_jwt(token):
        # Better Auth takes its session token bare or signed.
        bare = token if "." not in token else session_token(token, settings.secrets)
        return await _user_of_session(request, bare)
    return await verifier.verify(token)


async def _user_of_cookie(request: Request, cookie: str) -> CurrentUser:
    """The user of a session cookie. Browsers send it with any site's requests, but they name the site."""
    if request.method not in SAFE_METHODS:
        origin = request.headers.get("origin", "").lower()
        if origin not in request.app.state.settings.cors_origins:
            raise ForeignOrigin
    return await _user_of_session(request, session_token(cookie, request.app.state.settings.secrets))


async def _user_of_session(request: Request, token: str | None) -> CurrentUser:
    """The user of a session that Better Auth has. Asked each time, so that a sign-out works at once."""
    state = request.app.state
    if token is None or not token.isalnum() or not token.isascii():
        raise InvalidToken
    user_id = await sessions.get_user_id(state.database.session(), state.settings.auth_session_table, token)
    if user_id is None:
        raise InvalidToken
    return CurrentUser(user_id)


# One dependency, not one for the user and one for the session: FastAPI takes its time for each.
CallerDep = Annotated[
    Caller,
    Depends(
        _Authenticated(scheme_name="BetterAuth", bearerFormat="JWT", description="A token of Better Auth")
    ),
]


def list_request(request: Request) -> ListRequest:
    """Return what a list is asked for.

    FastAPI's own way, Query(), looks at each field of the model anew for every request. A route that does
    without it documents the parameters with LIST_PARAMETERS.

    Raises:
        RequestValidationError: it cannot be asked for.
    """
    try:
        return parse_list_query(request.scope["query_string"])
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in problems]) from None


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": place, "required": False, "schema": schema, **said}


LIST_PARAMETERS = {
    "parameters": [
        _parameter(name, "query", schema)
        for name, schema in TaskListQuery.model_json_schema()["properties"].items()
    ]
}


def header(name: str, description: str) -> dict[str, Any]:
    """The `openapi_extra=` of a route that reads a header itself, which spares FastAPI's looking for it."""
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": description, "title": name}
    return {"parameters": [_parameter(name.lower(), "header", schema)]}


async def require_own_path(caller: CallerDep, user_id: Annotated[str, Path()]) -> None:
    """Refuse a path that names another user than the token does, before anything is read.

    Raises:
        ForeignUser: it does.
    """
    if user_id != caller.id:
        raise ForeignUser
