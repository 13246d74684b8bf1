"""From an exception to the JSON that says so. All errors have one shape."""

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from backend.errors import ApiError, Problem, Unauthorized, UnsupportedMediaType, ValidationProblem
from backend.web.logs import request_id

TOOL = "task_api.tool"  # in the scope: which tool an agent called, for its line in the log
REASON = "task_api.reason"  # in the scope: why a request was refused, for its line in the log


def install(app: FastAPI) -> None:
    """Let `app` answer every error in the contract's shape."""
    for kind in (ApiError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)


JSON = "application/json"

Responses = dict[int | str, dict[str, Any]]


def documented(*errors: type[ApiError]) -> Responses:
    """The `responses=` of a route that can answer with these errors."""
    by_status: dict[int, list[type[ApiError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: {
            "model": reduce(or_, dict.fromkeys(error.model for error in alike)),
            "description": "; or ".join(error.__doc__ or "" for error in alike),
        }
        for status, alike in by_status.items()
    }


# Not http.HTTPStatus' phrases: they change with Python's version.
CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "content_too_large",
}

ALWAYS_DOCUMENTED: Responses = {
    413: {"model": Problem, "description": "The body is larger than 1 MiB"},
    422: {"model": ValidationProblem, "description": "The request breaks a rule of its schema"},
}


def problem(error: ApiError) -> Response:
    """The answer to a request that met `error`."""
    return _answer(error.status, error.detail, error.code, error.headers, **error.members)


def _answer(
    status: int, detail: Any, code: str, headers: Mapping[str, str] | None = None, **extra: Any
) -> Response:
    # json.dumps keeps to ASCII: half of a surrogate pair, quoted in a message, cannot break the answer.
    problem = {"detail": detail, "code": code, "request_id": request_id.get(), **extra}
    content = json.dumps(problem, separators=(",", ":"), default=lambda model: model.model_dump(mode="json"))
    return Response(content, status, headers, media_type="application/json")


def answer_error(request: Request, error: Exception) -> Response:
    """The answer to an error that was raised on purpose: ours, Starlette's or FastAPI's."""
    if isinstance(error, ApiError):
        if isinstance(error, Unauthorized) or error.reason:
            request.scope[REASON] = error.reason or error.code
        return problem(error)
    if isinstance(error, HTTPException):
        return _http_error(request, error)
    assert isinstance(error, RequestValidationError)
    if misread := _misread(request, error):
        return problem(misread)
    return _invalid([{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in error.errors()])


def _http_error(request: Request, error: HTTPException) -> Response:
    """Starlette's own: unknown paths and methods, a body too large or unreadable."""
    if error.status_code == 400:  # the body was not UTF-8, nested too deep or held a number too long
        return _invalid([{"loc": ["body"], "msg": "The body is not readable JSON", "type": "json_invalid"}])
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return _answer(error.status_code, error.detail, CODES.get(error.status_code, "http_error"), headers)


def _methods(request: Request) -> list[str]:
    """What the path can be asked with. Starlette's own Allow names the methods of one route only."""
    methods = [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]
    return [*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"]


def _misread(request: Request, error: RequestValidationError) -> ApiError | None:
    """What is wrong with a body of another media type, of which pydantic can only speak in riddles."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not any(problem["loc"][0] == "body" for problem in error.errors()):
        return None
    sent = request.headers.get("content-type")
    readable = media_types(route)
    if JSON in readable:
        # FastAPI leaves it bytes where the media type is none of JSON.
        return unreadable(sent, readable) if error.body and isinstance(error.body, bytes) else None
    return None if media_type(sent) in readable else unreadable(sent, readable)


def unreadable(sent: str | None, readable: Iterable[str]) -> UnsupportedMediaType:
    """The error that a body met which came with the Content-Type `sent`."""
    said = f"the Content-Type {sent[:100]!r} cannot be read here" if sent else "there is no Content-Type"
    return UnsupportedMediaType(f"{said}; send {' or '.join(readable)}")


def media_type(content_type: str | None) -> str:
    """The media type of a Content-Type, without its parameters."""
    return (content_type or "").partition(";")[0].strip().lower()


def media_types(route: APIRoute) -> list[str]:
    """The media types that a route can read, as its document says."""
    body = (route.openapi_extra or {}).get("requestBody", {})
    return list(body.get("content", {})) or [JSON]


def _invalid(problems: list[dict[str, Any]]) -> Response:
    return _answer(422, problems, "validation_error")
