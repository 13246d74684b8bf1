"""The OpenAPI document: what a route that reads a parameter itself says of it, and what all answers have."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

# The headers of answers. Which answers have them, a document says of itself (_headers).
_HEADERS = {
    "ETag": "What If-Match and If-None-Match take",
    "Idempotency-Replayed": "`true`: this is the answer to the first request with this Idempotency-Key",
    "Link": 'The next page: `<…>; rel="next"`; absent on the last one',
    "Location": "The address of what was created",
    "RateLimit": 'What is left, as in `"user";r=599;t=60`; only where RATE_LIMIT is set',
    "RateLimit-Policy": 'How much there may be, as in `"user";q=600;w=60`; only where RATE_LIMIT is set',
    "Retry-After": "The seconds after which to try again",
    "WWW-Authenticate": "`Bearer`",
    "X-Request-ID": "What the log calls this request",
}
_REFERENCE = "#/components/schemas/"


class DocumentedApp(FastAPI):
    """An application whose document says what clients are generated from, beside what FastAPI knows."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, with the headers of answers, and with other addresses of the same marked."""
        known = self.openapi_schema
        document = super().openapi()
        if document is not known:
            _complete(document)
        return document


def _complete(document: dict[str, Any]) -> None:
    document["components"]["headers"] = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in _HEADERS.items()
    }
    bodies: set[str] = set()
    answers: set[str] = set()
    for path, item in document["paths"].items():
        for operation in item.values():
            if "{user_id}" in path:
                operation["x-internal"] = True  # generators leave it out
            bodies |= reachable(document, operation.get("requestBody"))
            answers |= reachable(document, operation["responses"])
            for status, response in operation["responses"].items():
                names = _headers(operation, status, response)
                response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    for name in bodies - answers:
        _say_defaults(document["components"]["schemas"][name])


def _headers(operation: dict[str, Any], status: str, response: dict[str, Any]) -> Iterator[str]:
    """The headers that an answer of this status has, or may have."""
    read = {parameter["name"] for parameter in operation.get("parameters", ())}
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    is_good = status < "400"
    yield "X-Request-ID"
    if "security" in operation and (is_good or status == "429"):
        yield from ("RateLimit", "RateLimit-Policy")
    if status == "304" or (status < "300" and ("if-none-match" in read or _is_task(schema))):
        yield "ETag"
    if status == "201":
        yield "Location"
    if is_good and {"cursor", "limit"} <= read:
        yield "Link"
    if is_good and "idempotency-key" in read:
        yield "Idempotency-Replayed"
    if status in ("429", "503"):
        yield "Retry-After"
    if status == "401":
        yield "WWW-Authenticate"


def _is_task(schema: dict[str, Any]) -> bool:
    return bool(schema.get("$ref") == f"{_REFERENCE}TaskPublic")


def _say_defaults(schema: dict[str, Any]) -> None:
    """Say in words what stands for an absent field: generators take one with a `default` for always there."""
    for field in schema.get("properties", {}).values():
        if "default" in field:
            value = field.pop("default")
            said = str(value).lower() if isinstance(value, bool) else value if value != [] else "[]"
            field["description"] = f"{field.get('description', '')} (by default `{said}`)".strip()


def reachable(document: dict[str, Any], part: Any) -> set[str]:
    """Return the names of the schemas that a part of a document needs."""
    found: set[str] = set()
    parts = [part]
    while parts:
        match parts.pop():
            case {"$ref": str(reference)} if reference.startswith(_REFERENCE):
                name = reference.removeprefix(_REFERENCE)
                if name not in found:
                    found.add(name)
                    parts.append(document["components"]["schemas"][name])
            case dict(mapping):
                parts += mapping.values()
            case list(items):
                parts += items
    return found


def parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An optional parameter of the OpenAPI document."""
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": place, "required": False, "schema": schema, **said}


def header_parameter(name: str, description: str) -> dict[str, Any]:
    """The `openapi_extra=` of a route that reads a header itself, which spares FastAPI's looking for it."""
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": description, "title": name}
    return {"parameters": [parameter(name.lower(), "header", schema)]}
