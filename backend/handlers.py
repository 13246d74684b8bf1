"""From an exception to the JSON that says so. All errors have one shape."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from backend.bulk_schemas import BatchProblem
from backend.errors import ApiError, BatchFailed, VersionMismatch
from backend.logs import request_id
from backend.schemas import Problem, ValidationProblem, VersionProblem

_SHAPES: dict[int, type[BaseModel]] = {409: BatchProblem, 412: VersionProblem, 422: ValidationProblem}


def install(app: FastAPI) -> None:
    """Let `app` answer every error in the contract's shape."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


Responses = dict[int | str, dict[str, Any]]


def documented(*errors: type[ApiError]) -> Responses:
    """The `responses=` of a route that can answer with these errors."""
    said: dict[int, list[str]] = {}
    for error in errors:
        said.setdefault(error.status, []).append(error.__doc__ or "")
    return {
        status: {"model": _SHAPES.get(status, Problem), "description": "; or ".join(texts)}
        for status, texts in said.items()
    }


# Not http.HTTPStatus' phrases: they change with Python's version.
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "content_too_large"}

ALWAYS_DOCUMENTED: Responses = {
    413: {"model": Problem, "description": "The body is larger than 1 MiB"},
    422: {"model": ValidationProblem, "description": "The request breaks a rule of its schema"},
}


def problem(error: ApiError) -> Response:
    """The answer to a request that met `error`."""
    extra: dict[str, Any] = {}
    if isinstance(error, VersionMismatch):
        extra = {"current": error.current}
    elif isinstance(error, BatchFailed):
        extra = {"results": error.results}
    return _answer(error.status, error.detail, error.code, error.headers, **extra)


def _answer(
    status: int, detail: Any, code: str, headers: Mapping[str, str] | None = None, **extra: Any
) -> Response:
    # json.dumps keeps to ASCII: half of a surrogate pair, quoted in a message, cannot break the answer.
    problem = {"detail": detail, "code": code, "request_id": request_id.get(), **extra}
    content = json.dumps(problem, separators=(",", ":"), default=lambda model: model.model_dump(mode="json"))
    return Response(content, status, headers, media_type="application/json")


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return problem(error)


def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths and methods, a body too large or unreadable."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # the body was not UTF-8, nested too deep or held a number too long
        return _invalid([{"loc": ["body"], "msg": "The body is not readable JSON", "type": "json_invalid"}])
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return _answer(error.status_code, error.detail, _CODES.get(error.status_code, "http_error"), headers)


def _methods(request: Request) -> list[str]:
    """What the path can be asked with. Starlette's own Allow names the methods of one route only."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _invalid([{"loc": e["loc"], "msg": e["msg"], "type": e["type"]} for e in error.errors()])


def _invalid(problems: list[dict[str, Any]]) -> Response:
    return _answer(422, problems, "validation_error")
