"""Routes as the application's own. FastAPI's include_router() looks for a request's route twice."""

import inspect

from fastapi import APIRouter, FastAPI, params
from fastapi.routing import APIRoute

from backend.web.handlers import Responses

# All that a route can be told. It keeps each under the name of the argument.
_SAID = tuple(inspect.signature(APIRoute).parameters)


def add_routes(
    app: FastAPI, router: APIRouter, prefix: str, responses: Responses, *dependencies: params.Depends
) -> None:
    """Add the routes of `router` under `prefix`, with whatever each of them says of itself.

    `responses` and `dependencies` are those of all of them: a route's own have the last word, or come after.
    """
    for route in router.routes:
        assert isinstance(route, APIRoute)
        said = {name: getattr(route, name) for name in _SAID}
        said |= {
            "path": prefix + route.path,
            "responses": responses | route.responses,
            "dependencies": [*dependencies, *route.dependencies],
            "dependency_overrides_provider": app,
            "generate_unique_id_function": app.router.generate_unique_id_function,
        }
        app.router.routes.append(type(route)(**said))
