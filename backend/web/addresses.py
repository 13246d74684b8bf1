"""A request's address in the one spelling that the routes know. Pure.

Frontends write the same address in several ways: with a slash at its end, with parameters that a form left
blank, with names in camelCase. Each is answered directly: a redirect would cost a round trip, and some
clients leave their token behind when they follow one.
"""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette._utils import get_route_path
from starlette.types import Scope

REMEMBERED_MAX = 512  # bytes of a query string

_HEAD = "task_api.head"  # in the scope: whether the client wants no body
_PREFIX = re.compile(rb"(?:/[A-Za-z0-9._~-]{1,64}){1,8}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CAPITAL = re.compile(r"(?<=[a-z])[A-Z]")


def settled(scope: Scope, prefix: bytes = b"") -> Scope:
    """Return the request as the routes know it: `scope` itself where it is so already, else a copy.

    A HEAD is its GET, of which only the head is sent on. `prefix` is an X-Forwarded-Prefix to be trusted:
    what a proxy has taken from the path. It counts where the server itself was told no root_path.
    """
    changed: dict[str, Any] = {}
    if scope["method"] == "HEAD":
        changed |= {"method": "GET", _HEAD: True}
    if prefix and not scope.get("root_path") and _PREFIX.fullmatch(prefix):
        root = prefix.decode()
        changed |= {"root_path": root, "path": root + scope["path"]}
        scope = {**scope, **changed}
    path = get_route_path(scope)
    if (path.endswith("/") and path != "/") or not path:
        changed["path"] = _without_slashes(scope["path"], path, scope["raw_path"])
    if query := scope["query_string"]:
        usual = _usual(query) if len(query) <= REMEMBERED_MAX else _usual.__wrapped__(query)
        if usual != query:
            changed["query_string"] = usual
    return {**scope, **changed} if changed else scope


def is_head(request: Request) -> bool:
    """Whether the client wants no body, so that none has to be made."""
    return _HEAD in request.scope


def address(request: Request) -> str:
    """The path of a request as its client has to write it, prefixes included and percent-encoded."""
    scope = request.scope
    return _quoted(scope.get("root_path", "") + get_route_path(scope))


def is_feed(path: str) -> bool:
    """Whether a path is the secret address of a calendar, for which nobody has to be known."""
    return path.startswith("/api/calendar/") and path.endswith(".ics")


def base_url(request: Request, public_url: str | None) -> str:
    """Where clients reach this service, for an address that is handed on: without a slash at its end.

    That is `public_url`, or else what the request was sent to, as far as its Host header can be one.
    """
    if public_url is not None:
        return public_url
    scope, host = request.scope, request.headers.get("host", "")
    if _HOST.fullmatch(host) is None:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scope['scheme']}://{host}{quote(scope.get('root_path', ''))}"


def snake_case(name: str) -> str:
    """Return a name as this API spells it: `dueDate` is `due_date`."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0]}", name).lower()


_quoted = lru_cache(maxsize=256)(quote)  # mostly of the same few


def _without_slashes(path: str, below_root: str, raw: bytes) -> str:
    """A path without the slashes at its end, of which an encoded one is none; the root keeps its own."""
    if not below_root:
        return f"{path}/"
    slashes = len(raw) - len(raw.rstrip(b"/"))
    return path[: len(path) - slashes] if slashes < len(below_root) else path


@lru_cache(maxsize=256)
def _usual(query: bytes) -> bytes:
    """A query string without its blank parameters, and with names in snake_case."""
    parts = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if value.replace(b"%20", b"").strip(b"+ "):
            spelt = snake_case(name.decode()).encode() if name.isalpha() and not name.islower() else name
            parts.append(spelt + b"=" + value)
    return b"&".join(parts)
