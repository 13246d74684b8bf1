"""The documentation as a site: `make docs`."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.site import CHECKOUT, PAGES, build

pytestmark = pytest.mark.slow

# What a browser fetches by itself, in whatever order its attributes are.
FETCHED = re.compile(
    r"<(?:script|img|source|iframe|link(?=[^>]*stylesheet|[^>]*icon))\b[^>]*?(?:src|href)=\"([^\"]*)\""
)
LINKED = re.compile(r"<a\b[^>]*?href=\"([^\"]*)\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning: else it is an error that says which link is broken."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    build(folder)
    return folder


def rendered(site: Path) -> list[Path]:
    return [page for page in site.rglob("*.html") if page.name != "404.html"]


def test_every_page_is_rendered(site: Path) -> None:
    """There is a page of HTML for each of Markdown, and it is in the navigation of the first one."""
    names = {str(page.relative_to(CHECKOUT)) for page in PAGES}
    expected = {re.sub(r"\.md$", ".html", re.sub(r"README\.md$", "index.md", name)) for name in names}
    assert {str(page.relative_to(site)) for page in rendered(site)} == expected
    first = set(LINKED.findall((site / "index.html").read_text()))
    assert expected <= {name.removeprefix("./") for name in first}


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site, and so is what styles name."""
    for page in site.rglob("*.html"):
        for address in FETCHED.findall(page.read_text()):
            parts = urlsplit(unescape(address))
            assert not parts.scheme, f"{page.name}: {address}"
            assert not parts.netloc, f"{page.name}: {address}"
            if page.name != "404.html":  # served from the root
                assert (page.parent / unquote(parts.path)).is_file(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?(?:https?:)?//", style.read_text()), style.name


def test_every_link_is_a_file_of_the_site(site: Path) -> None:
    """What a page leads to is there when the site is opened from a disk, files that are no pages too."""
    for page in rendered(site):
        for address in LINKED.findall(page.read_text()):
            parts = urlsplit(unescape(address))
            if not parts.scheme and parts.path:
                assert (page.parent / unquote(parts.path)).is_file(), f"{page.name}: {address}"
