"""/docs: a page that needs nothing but the service."""

import re
from urllib.parse import urljoin, urlsplit

import pytest

from backend.web.docs import ASSETS
from tests.conftest import Client, on_sqlite

pytestmark = on_sqlite

REFERENCE = re.compile(r"(?:src|href)=\"([^\"]*)\"|url: '([^']*)'")


async def test_the_page_asks_nobody_else(client: Client) -> None:
    """All that /docs names is answered by the service itself, as what the page takes it for, to be kept."""
    page = await client.get("/docs")
    assert "//" not in re.sub(r"^ *//.*", "", page.text).replace("<!--", "")
    names = {script or other for script, other in REFERENCE.findall(page.text)}
    assert names == {*ASSETS, "/openapi.json"}
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".json": "application/json"}
    for name in names:
        response = await client.get(urljoin("/docs", name))
        assert response.status_code == 200, name
        kind = response.headers["content-type"].partition(";")[0]
        assert kind == kinds[name[name.rindex(".") :]], name
        if name in ASSETS:
            assert response.headers.get_list("cache-control") == ["public, max-age=3600"], name


async def test_the_style_asks_nobody_else(client: Client) -> None:
    """The pictures of Swagger UI's style are in it."""
    style = await client.get(next(name for name in ASSETS if name.endswith(".css")))
    addresses = re.findall(r"url\(\"?([^)\"]*)", style.text)
    assert {urlsplit(address).scheme for address in addresses} == {"data"}


async def test_the_policy_lets_the_page_ask_the_service_alone(client: Client) -> None:
    """The Content-Security-Policy of /docs names no host."""
    response = await client.get("/docs")
    [policy] = response.headers.get_list("content-security-policy")
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    sources = {source for value in directives.values() for source in value.split()}
    assert sources == {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert directives["connect-src"] == "'self'"


@pytest.mark.parametrize("name", ["swagger-ui.css.map", "__init__.py", "../main.py", "%2e%2e/main.py"])
async def test_nothing_else_of_the_package_is_served(client: Client, name: str) -> None:
    """What the page does not name is a 404."""
    assert (await client.get(f"/docs/{name}")).status_code == 404
