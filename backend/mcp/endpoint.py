"""/mcp itself: who asks, how often and how much, before the protocol is spoken; and where to sign in."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from backend.auth.access_tokens import AccessTokenVerifier, Agent, ApiTokensToo
from backend.auth.tokens import TokenVerifier, bearer_token
from backend.config import Settings
from backend.db import Database
from backend.engine.gate import asking
from backend.errors import (
    ApiError,
    ForeignOrigin,
    InvalidScheme,
    MissingToken,
    Unauthorized,
)
from backend.mcp.errors import InsufficientScope, NotOneMessage, TooManyValues
from backend.mcp.server import SCOPES, Call, calling, make_server
from backend.web.handlers import JSON, REASON, TOOL, media_type, problem, unreadable
from backend.web.hot_routes import body_again
from backend.web.limits import Limits

if TYPE_CHECKING:
    from backend.auth.jwks import Jwks

VALUES_MAX = 5000  # of a message, those in lists and objects counted; fifty whole tasks are 1,500
METADATA_PATH = "/.well-known/oauth-protected-resource"


class Mcp:
    """The protocol's endpoint: streamable HTTP without streams and sessions. A POST, and its answer as JSON.

    Nobody but the bearer of a token is let in: cookies count for nothing here, and a page of an origin that
    is not allowed is refused, so that no site acts through a browser, under whatever name it reaches us.
    """

    def __init__(
        self, settings: Settings, database: Database, limits: Limits, verifier: AccessTokenVerifier
    ) -> None:
        self.verifier = verifier
        self._settings = settings
        self._limits = limits
        self.calls: Counter[tuple[str, str]] = Counter()
        """Of tools, by name and outcome."""
        self._server = make_server(settings, database, self.calls)
        self._protocol: StreamableHTTPSessionManager | None = None
        self._metadata_url = f"{settings.mcp_url.removesuffix('/mcp')}{METADATA_PATH}/mcp"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the protocol be spoken, from the start of an application to its end.

        In a task of its own: what the SDK opens has to be closed by the task that opened it.
        """
        protocol = self._protocol = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True
        )
        ready, ended = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            async with protocol.run():
                ready.set()
                await ended.wait()

        serving = asyncio.create_task(serve())
        await ready.wait()
        try:
            yield
        finally:
            ended.set()
            await serving

    @property
    def routes(self) -> list[Route]:
        """Where it is, and where it is described: at both addresses that clients try."""
        return [
            Route("/mcp", self, methods=["POST"]),
            Route(METADATA_PATH, self.metadata, methods=["GET"]),
            Route(f"{METADATA_PATH}/mcp", self.metadata, methods=["GET"]),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._protocol is not None, "the lifespan has not begun"
        request = Request(scope, receive)
        try:
            call = Call(await self._agent(request))
            body = await _body(request)
        except (Unauthorized, InsufficientScope) as error:
            await self._refuse(error, scope, receive, send)
            return
        except ClientDisconnect:
            return

        async def send_unless_refused(message: Message) -> None:
            if call.refusal is None:
                await send(message)

        reset = calling.set(call)
        try:
            await self._protocol.handle_request(_plain(scope), body_again(body, receive), send_unless_refused)
        finally:
            calling.reset(reset)
        if call.tool:
            scope[TOOL] = call.tool
        if call.refusal is not None:
            await self._refuse(call.refusal, scope, receive, send)

    async def _agent(self, request: Request) -> Agent:
        """Whom the agent acts for, as far as its token reaches.

        Raises:
            ForeignOrigin: a page of another origin sends it.
            Unauthorized: it has no token that is good here.
            InsufficientScope: the token is good for none of the tools.
            TooManyRequests: the user, or the address, has sent too many.
        """
        scope = request.scope
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in self._settings.cors_origins:
            raise ForeignOrigin("Access denied: pages of this Origin may not act for users; see CORS_ORIGINS")
        try:
            agent = await self.verifier.verify(bearer_token(request.headers.get("authorization")))
        except Unauthorized:
            self._limits.count_address(scope)
            raise
        asking.set(agent.id)
        scope["user_id"] = agent.id
        self._limits.count_user(scope, agent.id)
        if not agent.scopes & set(SCOPES):
            raise InsufficientScope(" ".join(SCOPES))
        return agent

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an error, and say where a better token is to be had."""
        response: Response = problem(error)
        scope[REASON] = error.reason or error.code
        if isinstance(error, Unauthorized | InsufficientScope):
            said = {"scope": error.scope if isinstance(error, InsufficientScope) else " ".join(SCOPES)}
            said["resource_metadata"] = self._metadata_url
            if isinstance(error, InsufficientScope):
                said["error"] = error.code
            elif not isinstance(error, MissingToken | InvalidScheme):
                said["error"] = "invalid_token"
            parts = ", ".join(f'{name}="{value}"' for name, value in said.items())
            response.headers["WWW-Authenticate"] = f"Bearer {parts}"
        await response(scope, receive, send)

    async def metadata(self, request: Request) -> Response:
        """What this is and who issues tokens for it (RFC 9728). For everybody."""
        issuer = self._settings.mcp_issuer
        return JSONResponse(
            {
                "resource": self._settings.mcp_url,
                "resource_name": "Tasks",
                "authorization_servers": [issuer] if issuer else [],
                "scopes_supported": list(SCOPES),
                "bearer_methods_supported": ["header"],
            }
        )


def make_mcp(
    settings: Settings, database: Database, limits: Limits, jwks: "Jwks | None", api: TokenVerifier
) -> Mcp:
    """The endpoint as the settings have it. `api` knows the API's tokens, which may count in development."""
    if settings.mcp_accept_api_tokens:
        verifier: AccessTokenVerifier = ApiTokensToo(settings, jwks, api=api, scopes=frozenset(SCOPES))
    else:
        verifier = AccessTokenVerifier(settings, jwks)
    return Mcp(settings, database, limits, verifier)


async def _body(request: Request) -> bytes:
    """A body that the protocol can be handed: one message that asks or tells something."""
    sent = request.headers.get("content-type")
    if media_type(sent) != JSON:
        raise unreadable(sent, [JSON])
    body = await request.body()
    try:
        message = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise HTTPException(400) from None
    if not _is_message(message):
        raise NotOneMessage
    if _is_large(message):
        raise TooManyValues
    return body


def _is_message(value: Any) -> bool:
    """Whether a value is a request or a notification of JSON-RPC 2.0. What the SDK says of others is long."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        return False
    named = "id" not in value or type(value["id"]) in (str, int)
    return named and isinstance(value.get("method"), str) and isinstance(value.get("params", {}), dict)


def _is_large(value: Any) -> bool:
    """Whether there is more in a value than in any call that could be done: checking each has its price."""
    left, values = VALUES_MAX, [value]
    while values and left > 0:
        value = values.pop()
        if isinstance(value, dict | list):
            left -= len(value)
            if left >= 0:
                values += value.values() if isinstance(value, dict) else value
    return left < 0


def _plain(scope: Scope) -> Scope:
    """The request as one whose client takes whatever we send: the protocol has it say more than that."""
    headers = [(name, value) for name, value in scope["headers"] if name not in (b"accept", b"content-type")]
    plain = (b"application/json, text/event-stream", b"application/json")
    return {**scope, "headers": [*headers, (b"accept", plain[0]), (b"content-type", plain[1])]}
