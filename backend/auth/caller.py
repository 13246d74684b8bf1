"""Who asks: from a request's header or cookie to a user, by whichever way the settings allow."""

import time
from collections.abc import Sequence

from fastapi import Request

from backend.auth import sessions
from backend.auth.cookies import session_cookies
from backend.auth.tokens import CurrentUser, TokenVerifier, bearer_token, is_jwt, session_token
from backend.config import Settings
from backend.engine.gate import NOBODY
from backend.errors import AmbiguousSession, ForeignOrigin, InvalidToken, Unauthorized

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
COOKIES_MAX = 32  # session cookies of one request whose signatures are checked; browsers send one
SESSIONS_MAX = 4  # of those, rightly signed ones of one name that are looked up

_NO_SESSION = "its session has ended, or there is none such"


def known_user(verifiers: Sequence[TokenVerifier], authorization: bytes) -> str:
    """Return whose token an Authorization header has, if one of them found that out before; else NOBODY."""
    try:
        token = bearer_token(authorization.decode("latin-1"))
        user = next(filter(None, (verifier.known(token) for verifier in verifiers)), None)
    except Unauthorized:
        return NOBODY
    return NOBODY if user is None else user.id


def sent(request: Request, name: bytes) -> str | None:
    """Return a header's first line. For each request: Starlette's way takes four times as long."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")  # type: ignore[no-any-return] # bytes, as ASGI says
    return None


async def authenticate(request: Request, settings: Settings, verifier: TokenVerifier) -> CurrentUser:
    """Return the user that a request's header, or else its session cookie, stands for.

    Raises:
        Unauthorized: nobody, or not clear who, for one of its reasons.
        ForeignOrigin: a cookie came with a change from another site.
        KeysUnavailable: the key of a token is not known, and the issuer cannot be asked.
    """
    authorization = sent(request, b"authorization")
    if settings.auth_accept_sessions and not authorization:
        found = session_cookies(request.headers.getlist("cookie"), settings.auth_cookie_prefix)
        if any(found):
            return await _user_of_cookies(request, found)
    token = bearer_token(authorization)
    if user := verifier.known(token):  # nothing is awaited for a token seen before
        return user
    if settings.auth_accept_sessions and not is_jwt(token):
        # Better Auth takes its session token bare or signed.
        bare = token if "." not in token else session_token(token, settings.secrets)
        return await _user_of_session(request, bare)
    return await verifier.verify(token)


async def _user_of_cookies(request: Request, found: list[list[str]]) -> CurrentUser:
    """The user of the session cookies that came, by how well their names are protected.

    Browsers send them with any site's requests, but they name the site. A neighbour on the same parent domain
    can add cookies of the same name, of its own session or of none: of each name all are looked at, and two
    users under one name are none. See docs/decisions/session-cookies.md.
    """
    state = request.app.state
    if request.method not in SAFE_METHODS:
        origin = request.headers.get("origin", "").lower()
        if origin not in state.settings.cors_origins:
            raise ForeignOrigin
    if sum(map(len, found)) > COOKIES_MAX:
        raise InvalidToken(reason=f"more than {COOKIES_MAX} session cookies")
    refused = "no session cookie is signed with BETTER_AUTH_SECRET"
    for values in found:
        signed = dict.fromkeys(token for value in values if (token := _signed(value, state.settings.secrets)))
        if len(signed) > SESSIONS_MAX:
            raise AmbiguousSession(reason=f"more than {SESSIONS_MAX} sessions under one cookie name")
        users = [user for token in signed if (user := await _find(request, token)) is not None]
        if len({user.id for user in users}) > 1:
            raise AmbiguousSession(reason="sessions of several users under one cookie name")
        if users:
            return max(users)  # of one user: the session that lasts longest
        if signed:
            refused = _NO_SESSION
    raise InvalidToken(reason=refused)


def _signed(value: str, secrets: list[str]) -> str | None:
    """The session token of a cookie's value, if it can be one of Better Auth's."""
    token = session_token(value, secrets)
    return token if token is not None and token.isalnum() and token.isascii() else None


async def _user_of_session(request: Request, token: str | None) -> CurrentUser:
    """The user of a session that Better Auth has."""
    if token is None or not token.isalnum() or not token.isascii():
        raise InvalidToken(reason="neither a JWT nor a session token with the right signature")
    user = await _find(request, token)
    if user is None:
        raise InvalidToken(reason=_NO_SESSION)
    return user


async def _find(request: Request, token: str) -> CurrentUser | None:
    """Whose session it is. Asked each time, so that a sign-out works at once."""
    database, table = request.app.state.database, request.app.state.settings.auth_session_table
    found = await sessions.get_user(database.quiet_statements, table, token)
    return None if found is None else CurrentUser(found[0], time.time() + found[1])
