"""Who asks: from a request's header or cookie to a user, by whichever way the settings allow."""

from fastapi import Request

from backend.auth import sessions
from backend.auth.tokens import CurrentUser, TokenVerifier, bearer_token, is_jwt, session_token
from backend.config import Settings
from backend.errors import ForeignOrigin, InvalidToken

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


async def authenticate(request: Request) -> CurrentUser:
    """Return the user that a request's header, or else its session cookie, stands for.

    Raises:
        Unauthorized: nobody, for one of its reasons.
        ForeignOrigin: a cookie came with a change from another site.
        KeysUnavailable: the key of a token is not known, and the issuer cannot be asked.
    """
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
    statements, table = state.database.statements, state.settings.auth_session_table
    user_id = await sessions.get_user_id(statements, table, token)
    if user_id is None:
        raise InvalidToken
    return CurrentUser(user_id)
