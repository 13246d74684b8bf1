"""Routes as the application's own. FastAPI's include_router() looks for a request's route twice."""

import inspect
from collections.abc import Iterable, Iterator
from copy import copy

from fastapi import APIRouter, FastAPI, params
from fastapi.routing import APIRoute, request_response
from fastapi.routing import wrap_app_with_body_limit as limit_body  # type: ignore[attr-defined] # as APIRoute does
from starlette.convertors import Convertor, register_url_convertor

from backend.errors import UnsupportedMediaType
from backend.web.handlers import Responses, documented

_OF_BODIES = documented(UnsupportedMediaType)

# All that a route can be told. It keeps each under the name of the argument.
_SAID = tuple(inspect.signature(APIRoute).parameters)


class _Text(Convertor[str]):
    """What stands in a path, as it is."""

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register_text(name: str, regex: str) -> None:
    """Let `{…:name}` in a path stand for what `regex` matches: the route reads it as any other."""
    register_url_convertor(name, type(name, (_Text,), {"regex": regex})())


def operation_id(route: APIRoute) -> str:
    """The endpoint's name; generated clients call their functions so."""
    return f"{route.name}_of_user" if "{user_id}" in route.path_format else route.name


def routes_under(
    prefix: str,
    router: APIRouter,
    responses: Responses,
    *dependencies: params.Depends,
    kind: type[APIRoute] | None = None,
) -> Iterator[APIRoute]:
    """Make the routes of `router` under `prefix`, each with whatever it says of itself, of a `kind` if given.

    `responses` and `dependencies` are those of all of them: a route's own have the last word, or come after.
    """
    for route in router.routes:
        assert isinstance(route, APIRoute)
        said = {name: getattr(route, name) for name in _SAID}
        said |= {
            "path": prefix + route.path,
            "responses": responses | (_OF_BODIES if route.body_field else {}) | route.responses,
            "dependencies": [*dependencies, *route.dependencies],
            "generate_unique_id_function": operation_id,
        }
        yield (kind or type(route))(**said)


def add_routes(app: FastAPI, routes: Iterable[APIRoute]) -> None:
    """Give an application routes that are made already: own copies, which heed its dependency_overrides."""
    own = []
    for made in routes:
        route = copy(made)  # what is dear to build, the models, stays shared
        route.dependency_overrides_provider = app
        route.app = limit_body(request_response(route.get_route_handler()), route.max_body_size)
        own.append(route)
    app.router.routes[:0] = own  # before the document's, which a request would be compared with first
