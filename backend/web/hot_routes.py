"""Routes that are asked for all the time, in front of what FastAPI finds out anew at each request.

See docs/decisions/hot-routes.md.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any, get_type_hints

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import ApiError
from backend.web.handlers import answer_error
from backend.web.spelling import camel_names

Values = dict[str, Any]
Read = Callable[[Request, dict[Any, Any]], Awaitable[Any]]


class _Unusual(Exception):
    """A request that FastAPI has to look at: it is wrong somewhere, or says more than most do."""


class HotRoutes:
    """Answers the usual request to some routes itself, and hands every other one to FastAPI behind it.

    The usual request has a valid path, no header that the route declares, and a valid JSON body, in the
    model's own spelling, where the route takes one. FastAPI answers the others, so that there is one
    description of a route and one set of answers. A route with a parameter of another kind (a query, a
    cookie, a `yield`), or that leaves its Response to FastAPI, is none of these.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._routes = [
            (route, route.path_regex.match, route.methods or (), route.endpoint, _reader(route.dependant))
            for route in routes
            if is_hot(route)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send) if scope["type"] == "http" else None
        if request is None or scope["app"].dependency_overrides:
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(request)
        except (_Unusual, ClientDisconnect):
            await asyncio.sleep(0)  # a large body has been parsed for nothing, and is parsed once more
            await self._app(scope, _again(request, receive), send)
        else:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scope = request.scope
        path, method = get_route_path(scope), scope["method"]
        for route, match, methods, endpoint, values_of in self._routes:
            if method in methods and (found := match(path)):
                scope["path_params"], scope["route"] = found.groupdict(), route
                try:
                    answer: Response = await endpoint(**await values_of(request, {}))
                except (ApiError, HTTPException, RequestValidationError) as error:
                    return answer_error(request, error)
                return answer
        raise _Unusual


def is_hot(route: APIRoute) -> bool:
    """Whether HotRoutes can read all that a route takes, and has its answer from the route."""
    answers = get_type_hints(route.endpoint).get("return") is Response
    return answers and _is_plain(route.dependant) and route.max_body_size is None


def _is_plain(dependant: Dependant) -> bool:
    """Whether _reader can read all that a function takes."""
    others = (
        dependant.query_params,
        dependant.cookie_params,
        dependant.websocket_param_name,
        dependant.http_connection_param_name,
        dependant.response_param_name,
        dependant.background_tasks_param_name,
        dependant.security_scopes_param_name,
    )
    call = dependant.call
    return (
        not any(others)
        and (iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__))
        and len(dependant.body_params) <= 1
        and all(_media_type(field.field_info) == "application/json" for field in dependant.body_params)
        and not any(field.field_info.is_required() for field in dependant.header_params)
        and all(_is_plain(part) for part in dependant.dependencies)
    )


def _media_type(body: FieldInfo) -> str:
    media_type: str = getattr(body, "media_type", "application/json")
    return media_type


def _reader(dependant: Dependant) -> Read:
    """Return what reads a function's arguments from a request, each dependency once."""
    parts = [(part.name, part.call, _reader(part)) for part in dependant.dependencies]
    paths = [(field.name, field.alias, field.validate) for field in dependant.path_params]
    unsaid = {field.name: field.get_default() for field in dependant.header_params}
    unusual = {field.alias.lower().encode() for field in dependant.header_params}
    bodies = [(field.name, _body_reader(field.field_info)) for field in dependant.body_params]
    own_name = dependant.request_param_name

    async def values_of(request: Request, known: dict[Any, Any]) -> Values:
        values: Values = {} if own_name is None else {own_name: request}
        for name, call, read in parts:
            if call not in known:
                known[call] = await call(**await read(request, known))  # type: ignore[misc] # each has one
            if name is not None:
                values[name] = known[call]
        for name, alias, validate in paths:
            values[name], errors = validate(request.path_params[alias])
            if errors:
                raise _Unusual
        if unusual and not unusual.isdisjoint([name for name, _ in request.scope["headers"]]):
            raise _Unusual
        for name, read_body in bodies:
            values[name] = read_body(request.headers, await _body(request))
        return values | unsaid

    return values_of


async def _body(request: Request) -> bytes:
    """Read the body, which mostly comes in one piece, and keep it where request.body() does.

    That one makes a generator of it first, in ten times the time.

    Raises:
        ClientDisconnect: it did not come to its end.
    """
    parts: list[bytes] = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    content = request._body = b"".join(parts)
    return content


def _body_reader(body: FieldInfo) -> Callable[[Headers, bytes], Any]:
    annotation: Any = body.annotation
    validate, required = TypeAdapter(annotation).validate_json, body.is_required()
    spelt = any(isinstance(part, BeforeValidator) for part in body.metadata)
    names = camel_names(annotation) if spelt else {}
    other_spelling = re.compile("|".join(f'"{name}"' for name in names).encode()).search if names else None

    def read(headers: Headers, content: bytes) -> Any:
        if not content and not required:
            return None
        if headers.get("content-type") != "application/json":
            raise _Unusual
        if other_spelling is not None and other_spelling(content):
            raise _Unusual
        try:
            return validate(content)
        except ValidationError:
            raise _Unusual from None

    return read


def _again(request: Request, receive: Receive) -> Receive:
    """Let what was read of the body be read once more."""
    content: bytes | None = getattr(request, "_body", None)
    return receive if content is None else body_again(content, receive)


def body_again(content: bytes, receive: Receive) -> Receive:
    """Let a body that was read be read once more."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def first() -> Message:
        return messages.pop() if messages else await receive()

    return first
