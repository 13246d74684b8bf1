"""What is written about the service is true of it."""

import os
import re
import subprocess
import tomllib
from collections import Counter
from datetime import timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import Column, DefaultClause, Dialect, make_url

from backend import __version__
from backend.config import Settings
from backend.main import create_app
from backend.models import DESCRIPTION_MAX, TITLE_MAX
from backend.schema import schema as schema_of
from backend.tasks.batch.schemas import BATCH_MAX
from backend.tasks.files.schemas import LINES_MAX
from backend.tasks.filters import LIST_MAX, WORDS_MAX, TaskListQuery
from backend.tasks.schemas import TAG_MAX, TAGS_MAX
from backend.web.handlers import CODES
from backend.web.kept_answers import KEPT
from backend.web.middleware import BODY_MAX
from tests.conftest import settings_for
from tests.site import PAGES
from tests.test_errors import CATALOGUE

CHECKOUT = Path(__file__).parent.parent
README = CHECKOUT / "README.md"
CONTRIBUTING = CHECKOUT / "CONTRIBUTING.md"
DOCS = CHECKOUT / "docs"
API = DOCS / "api.md"
EXAMPLE = CHECKOUT / ".env.example"
MAKEFILE = CHECKOUT / "Makefile"
SCHEMA = DOCS / "schema.md"

# Files that a command makes.
MADE = {"example/.env"}

VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")

# What the example has to fill in for `make run` to work at once.
FILLED_IN = {"database_url", "better_auth_secret"}


@pytest.fixture
def unstarted() -> FastAPI:
    """The application, for what it says of itself."""
    return create_app(settings_for("sqlite://"))


def operations(app: FastAPI) -> list[str]:
    """Every operation of the OpenAPI document: the method and the path, without the user that it may name."""
    document: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return sorted(
        {
            f"{method.upper()} {path.replace('/api/{user_id}/', '/api/')}"
            for path, item in document.items()
            for method in item
        }
    )


def targets() -> set[str]:
    """The Makefile's targets that are for people: those with a `##` comment."""
    return set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE.read_text(), re.MULTILINE))


def test_every_setting_is_in_the_example() -> None:
    """.env.example has each setting once, and no variable that the service does not know."""
    names = [match[1] for match in map(VARIABLE.fullmatch, EXAMPLE.read_text().splitlines()) if match]
    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)


def test_every_line_of_the_example_is_explained() -> None:
    """Above each variable of .env.example a comment says what it is; there is nothing else in the file."""
    lines = EXAMPLE.read_text().splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("# "):
            assert VARIABLE.fullmatch(line), line
            assert above.startswith("# "), f"say above {line} what it is"


def test_the_examples_values_are_the_defaults() -> None:
    """Taking a line out of .env.example's copy changes nothing, but for what has no good default."""
    example = Settings(_env_file=EXAMPLE, better_auth_secret="of make's making")
    for name, field in Settings.model_fields.items():
        if name not in FILLED_IN:
            assert getattr(example, name) == field.default, name


def test_the_example_works_as_it_is() -> None:
    """A copy with a secret, as make makes it, serves from a SQLite file, in a folder that is there."""
    dsn = Settings(_env_file=EXAMPLE, better_auth_secret="of make's making").dsn
    assert dsn.is_sqlite
    assert not dsn.is_memory
    assert Path(dsn.url.database or "").parent == Path()


def test_every_operation_is_documented(unstarted: FastAPI) -> None:
    """docs/api.md has each method and path, and none that is not served."""
    cells = [line for line in API.read_text().splitlines() if line.startswith("| `")]
    named = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /\S*)`", "\n".join(cells))
    assert sorted(named) == operations(unstarted)


def table(first: str) -> list[list[str]]:
    """The rows of the one table of docs/api.md whose first column is called so."""
    [part] = API.read_text().split(f"| {first} |")[1:]
    lines = part.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def parameters(app: FastAPI, path: str, method: str = "get") -> dict[str, dict[str, Any]]:
    """The schemas of an operation's query parameters."""
    found = app.openapi()["paths"][path][method]["parameters"]
    return {part["name"]: part["schema"] for part in found if part["in"] == "query"}


def choices(schema: dict[str, Any]) -> set[str]:
    """The words that a parameter may be, if it is one of some."""
    if "items" in schema:
        return choices(schema["items"])
    found = set(schema.get("enum", ()))
    return found.union(*(choices(part) for part in schema.get("anyOf", ())))


def test_every_parameter_of_a_list_is_documented(unstarted: FastAPI) -> None:
    """The table has each parameter, with each of the words that it may be, and none that is not taken."""
    served = parameters(unstarted, "/api/tasks")
    written = {name: row for row in table("parameter") for name in re.findall("`([a-z_]+)`", row[0])}
    assert written.keys() == served.keys()
    assert len(table("parameter")) <= len(served)
    for name, schema in served.items():
        said = set(re.findall("`([a-z_]+)`", written[name][1]))
        assert choices(schema) <= said, name
        if choices(schema):
            others = {"search", "status", "true", "false"}  # named in what a word means
            assert said <= choices(schema) | others, name


def test_the_other_names_of_parameters_are_taken() -> None:
    """What the table calls also accepted is: a list with it is another list than one without."""
    accepted = {row[0].strip("`"): re.findall("`([a-z_]+)`", row[2]) for row in table("parameter")}
    values = {"status": "pending", "sort": "updated", "order": "asc"}
    for name, others in accepted.items():
        for other in others:
            value = other.removesuffix("_at")
            if value != other:  # another spelling of a value
                assert TaskListQuery.model_validate({name: other}) == TaskListQuery.model_validate(
                    {name: value}
                )
                continue
            asked = TaskListQuery.model_validate({other: values[name]})
            assert asked == TaskListQuery.model_validate({name: values[name]}), other
            assert asked != TaskListQuery(), other
    assert accepted["status"] == ["status_filter"]


def test_what_many_take_are_the_filters_of_a_list(unstarted: FastAPI) -> None:
    """Counting, completing and deleting take all that the table has but its last four rows."""
    filters = list(parameters(unstarted, "/api/tasks"))
    assert [row[0] for row in table("parameter")][-4:] == ["`sort`", "`order`", "`limit`", "`cursor`"]
    expected = set(filters) - {"sort", "order", "limit", "cursor"}
    for path, method in (("/count", "get"), ("/complete-all", "post"), ("", "delete")):
        assert parameters(unstarted, f"/api/tasks{path}", method).keys() == expected, path


def test_every_field_of_a_task_is_documented(unstarted: FastAPI) -> None:
    """The table has what a client may send, and the sentence after it all else that it reads."""
    schemas = unstarted.openapi()["components"]["schemas"]
    sent = {name for row in table("field") for name in re.findall("`([a-z_]+)`", row[0])}
    assert sent == schemas["TaskCreate"]["properties"].keys()
    [sentence] = re.findall(r"and what the service adds: (.*?)\(", API.read_text(), re.DOTALL)
    added = set(re.findall("`([a-z_]+)`", sentence))
    assert sent | added == schemas["TaskPublic"]["properties"].keys()


def test_the_limits_that_are_documented_are_the_services() -> None:
    """The numbers that a client has to keep to are those that it is held to."""
    text = API.read_text()
    assert f"1 to {TITLE_MAX} characters" in text
    assert f"up to {DESCRIPTION_MAX} characters" in text
    assert f"up to {TAGS_MAX}, each up to {TAG_MAX} characters" in text
    assert f"up to {BATCH_MAX} operations" in text
    assert f"1 to {LIST_MAX} (default {LIST_MAX})" in text
    assert f"up to {WORDS_MAX} words" in text
    assert f"Files over {BODY_MAX // 2**20} MiB or {LINES_MAX:,} lines" in text
    assert f"within {KEPT // timedelta(hours=1)} hours" in text


def test_the_other_prefix_is_documented(unstarted: FastAPI) -> None:
    """It says that the tasks are under the user's own path too, and they are."""
    assert "`/api/{user_id}/tasks`" in API.read_text()
    assert "/api/{user_id}/tasks" in unstarted.openapi()["paths"]


def test_every_make_target_is_documented() -> None:
    """CONTRIBUTING.md names each command, and no page names one that make does not know."""
    command = re.compile(r"(?:`|\$\(|^)make (?:-s )?([a-z-]+)\b", re.MULTILINE)
    named = {page: set(command.findall(page.read_text())) for page in PAGES}
    known = set(re.findall(r"^([a-z-]+):", MAKEFILE.read_text(), re.MULTILINE))
    assert set().union(*named.values()) - known == set()
    assert targets() - named[CONTRIBUTING] == {"help"}  # which is `make` alone


def test_make_prints_every_target() -> None:
    """`make` alone is help: each target with what it does."""
    for command in (["make"], ["make", "-s", "help"]):
        # Without what a make that runs the tests hands down: it would say which folder it enters.
        own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        printed = subprocess.run(command, cwd=CHECKOUT, env=own, capture_output=True, text=True, check=True)
        lines = [line.split(maxsplit=2) for line in printed.stdout.splitlines()]
        assert {line[1] for line in lines} == targets()
        assert all(line[0] == "make" and line[2] for line in lines)
        assert printed.stderr == ""


def test_the_version_is_one(unstarted: FastAPI) -> None:
    """The package, the project and the OpenAPI document name the same version."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__ == unstarted.version


def documented(table: str) -> list[list[str]]:
    """The rows about the named things in a table's section of docs/schema.md."""
    [section] = re.findall(rf"^## {table}\n(.*?)^## ", SCHEMA.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def declared(column: Column[Any], postgresql: Dialect) -> list[str]:
    """A column's type and default, as PostgreSQL is told."""
    kind = column.type.compile(postgresql).lower() + ("" if column.nullable else " not null")
    if column is column.table.autoincrement_column:
        return [kind, "the next of a sequence"]
    default = column.server_default
    if default is None:
        return [kind, ""]
    assert isinstance(default, DefaultClause)
    said = default.arg
    return [kind, said if isinstance(said, str) else str(said.compile(dialect=postgresql))]


def test_every_table_is_in_the_documentation() -> None:
    """docs/schema.md has each table's columns, constraints and indexes, types and defaults, and no others."""
    postgresql = make_url("postgresql+asyncpg://").get_dialect()()
    preparer = postgresql.identifier_preparer
    for table in schema_of("user", "text").sorted_tables:
        rows = [[cells[0].strip("`"), *cells[1:3]] for cells in documented(table.name)]
        columns = [[column.name, *declared(column, postgresql)] for column in table.c]
        assert rows[: len(columns)] == columns
        others = [str(preparer.format_constraint(constraint)) for constraint in table.constraints]
        others += [str(index.name) for index in table.indexes]
        assert sorted(row[0] for row in rows[len(columns) :]) == sorted(others), table.name


def prose(page: Path) -> str:
    """A page without its code, in which nothing is a link or a heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link may name within a page: its headings, as GitHub spells them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(page: Path) -> set[str]:
    """Where a page leads within the repository."""
    found = re.findall(r"\]\(([^()\s]+)\)|<img src=\"([^\"]+)\"", prose(page))
    return {link for pair in found for link in pair if link and not urlsplit(link).scheme}


def test_every_link_leads_somewhere() -> None:
    """Each relative link and picture of a page is a file or folder, and what follows a # a heading there."""
    for page in PAGES:
        for link in links(page):
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_relative_to(CHECKOUT), f"{page.name}: {link}"
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_named_in_code_is_there() -> None:
    """What a comment, a setting or a message calls docs/… is a file."""
    files = [*CHECKOUT.glob("backend/**/*.py"), *CHECKOUT.glob("docs/*.yaml"), EXAMPLE, MAKEFILE, *PAGES]
    for file in files:
        for name in re.findall(r"\bdocs/[\w/.-]+\.\w+", file.read_text()):
            assert (CHECKOUT / name).is_file(), f"{file.name}: {name}"


def test_every_file_named_in_a_page_is_there() -> None:
    """A path to a file or folder of the repository is one, wherever a page has it in backquotes."""
    folders = "backend|benchmarks|client|docs|example|tests"
    for page in PAGES:
        for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(page)):
            assert (CHECKOUT / name).exists() or name in MADE, f"{page.name}: {name}"


def test_the_drawing_is_of_the_text() -> None:
    """docs/architecture.svg has the parts, arrows and words of the .dot: `make docs/architecture.svg`."""
    text = (DOCS / "architecture.dot").read_text()
    drawn = unescape((DOCS / "architecture.svg").read_text())
    chains = re.findall(r"^ +(\w+(?: -> \w+)+)", text, re.MULTILINE)
    arrows = [f"{one}->{other}" for chain in chains for one, other in pairwise(chain.split(" -> "))]
    parts = re.findall(r"^ +(\w+) \[label=", text, re.MULTILINE)
    titles = re.findall(r"<title>(.*)</title>", drawn)
    assert sorted(titles) == sorted(["architecture", "cluster_service", *parts, *arrows])
    labels = [line for label in re.findall(r"label=\"(.*?)\"", text) for line in label.split("\\n")]
    assert sorted(re.findall(r"<text[^>]*>(.*)</text>", drawn)) == sorted(labels)


def test_every_folder_in_the_drawing_is_there() -> None:
    """What a part of the drawing names lives there: in the service, or beside it."""
    for label in re.findall(r"label=\"(.*?)\"", (DOCS / "architecture.dot").read_text().replace("\\n", " ")):
        for name in re.findall(r"[\w/]+/(?:\w+\.py)?|\w+\.py", label):
            assert (CHECKOUT / "backend" / name).exists() or (CHECKOUT / name).exists(), name


def test_every_error_is_documented() -> None:
    """docs/errors.md has each code with its status and its sentence, in order, and no others."""
    rows = re.findall(
        r"^\| (\d+) \| `(\w+)` \| (.*?) \| (.+) \|$", (DOCS / "errors.md").read_text(), re.MULTILINE
    )
    own = {(str(error.status), error.code): error.__doc__ for error in reversed(CATALOGUE)}
    others = {(str(status), code): "" for status, code in CODES.items()}
    assert [row[:2] for row in rows] == sorted(own | others)
    for status, code, sentence, _ in rows:
        assert own.get((status, code), sentence) == sentence, code


def test_every_page_is_in_the_table_of_contents() -> None:
    """docs/README.md leads to each page, but for the decisions, which have a list of their own."""
    for contents in (DOCS / "README.md", DOCS / "decisions" / "README.md"):
        pages = {page.name for page in contents.parent.glob("*.md")} - {contents.name}
        assert pages <= links(contents)


def test_the_readme_is_a_screenful() -> None:
    """Who comes sees what this is before having to scroll far; the rest is in docs/."""
    assert len(README.read_text().splitlines()) <= 110
