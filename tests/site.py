"""The documentation as a site that needs no network: `make docs` builds it into site/."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).parent.parent
OUTPUT = CHECKOUT / "site"
DOCS = CHECKOUT / "docs"
CONTENTS = DOCS / "README.md"

PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")

# Fonts are the reader's own: a font of the theme's would come from elsewhere.
CONFIG = """\
[project]
site_name = "Task API"
site_description = "{description}"
docs_dir = "source"
site_dir = "site"
use_directory_urls = false
nav = {nav}

[project.validation]
invalid_links = true
invalid_link_anchors = true

[project.theme]
font = false
features = ["navigation.sections", "navigation.footer", "toc.follow", "content.code.copy"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
"""


def build(output: Path) -> None:
    """Build the site into a folder, which is replaced.

    Raises:
        RuntimeError: a page or a heading that is linked to is missing; the message says where.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for page in PAGES:
            _copy(page, folder / "source")
        (folder / "zensical.toml").write_text(_config())
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if built.returncode:
            raise RuntimeError(built.stdout + built.stderr)
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(folder / "source", output, ignore=shutil.ignore_patterns("*.md"))
        shutil.copytree(folder / "site", output, dirs_exist_ok=True)  # which has no hidden files


def _copy(page: Path, source: Path) -> None:
    """Copy a page with the files that it leads to. Of a folder there is no page: only its name stays."""

    def settled(link: re.Match[str]) -> str:
        text, path, _ = link.groups()
        target = page.parent / path
        if target.is_dir():
            return text
        if target.is_file() and target.suffix != ".md":
            _place(target.resolve(), source)
        return link[0]

    for picture in re.findall(r"<img src=\"([^\"]+)\"", page.read_text()):
        _place(page.parent / picture, source)
    _place(page, source).write_text(LINK.sub(settled, page.read_text()))


def _place(file: Path, source: Path) -> Path:
    """Where a file of the checkout is in the site's source; it is there then."""
    place = source / file.relative_to(CHECKOUT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)
    return place


def _config() -> str:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return CONFIG.format(description=project["description"], nav=_navigation())


def _navigation() -> str:
    """The pages in the order and under the headings of docs/README.md, as TOML."""
    first, *parts = re.split(r"^\*\*(.+)\*\*$", CONTENTS.read_text(), flags=re.MULTILINE)
    entries = ['"README.md"', '"docs/README.md"', *_pages(first)]
    for heading, part in zip(parts[::2], parts[1::2], strict=True):
        entries.append(f'{{"{heading}" = [{", ".join(_pages(part))}]}}')
    return f'[{", ".join(entries)}, "CHANGELOG.md"]'


def _pages(part: str) -> list[str]:
    """The pages that a table of docs/README.md has in its first column."""
    cells = re.findall(r"^\| (.*?) \|", part, re.MULTILINE)
    return [_listed(path) for cell in cells for path in re.findall(r"\]\(([^)#]+\.md)\)", cell)]


def _listed(path: str) -> str:
    """A page in the navigation; with the page of its folder all that are in it."""
    page = (DOCS / path).resolve()
    if page.name != "README.md":
        return f'"{page.relative_to(CHECKOUT)}"'
    others = [page, *sorted(other for other in page.parent.glob("*.md") if other != page)]
    listed = ", ".join(f'"{other.relative_to(CHECKOUT)}"' for other in others)
    return f'{{"{page.parent.name.title()}" = [{listed}]}}'


if __name__ == "__main__":
    build(OUTPUT)
    print(OUTPUT / "index.html")
