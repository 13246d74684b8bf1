"""The page that shows the OpenAPI document: Swagger UI, all of it from here, so that no CDN is asked."""

from importlib.metadata import distribution

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

PATH = "/docs"
# The package brings the files of npm's swagger-ui-dist as they are, and code that is never imported.
PACKAGE = "fastapi-swagger"
_FOLDER = "fastapi_swagger/resources"
_SCRIPT, _STYLE, _ICON = (
    f"{PATH}/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
)
ASSETS = (_SCRIPT, _STYLE, _ICON)


async def _page(request: Request) -> Response:
    """The page. Its addresses begin with the prefix that a proxy takes away."""
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=root + _SCRIPT,
        swagger_css_url=root + _STYLE,
        swagger_favicon_url=root + _ICON,
        swagger_ui_parameters={"tryItOutEnabled": True},
    )


async def _asset(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]  # the route is for the path as a whole
    return FileResponse(str(distribution(PACKAGE).locate_file(f"{_FOLDER}/{name}")))


ROUTES = [Route(PATH, _page), *(Route(path, _asset) for path in ASSETS)]
