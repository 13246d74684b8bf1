"""What the pages have to be pasted: all of it is tried somewhere, or it says here why not."""

import json
import re
import subprocess
import tomllib
from typing import NamedTuple

from backend.config import Settings
from tests.site import CHECKOUT, PAGES

SNIPPETS = "tests/snippets/test_snippets.py"
MOVING = "tests/test_coming_from.py"

# Where a block of commands, SQL or Python is run, by its page and how it begins.
TRIED = {
    ("README.md", "make run"): "tests/test_make.py",  # `make token`, on which it rests, as a stranger
    ("README.md", "make example"): "tests/example/test_example.py",
    ("docs/api.md", "TOKEN="): SNIPPETS,
    ("docs/api.md", "CURSOR="): SNIPPETS,
    ("docs/api.md", "curl -N"): SNIPPETS,
    ("docs/api.md", "ask http"): SNIPPETS,
    ("docs/coming-from-route-handlers.md", "-- tasks.sql"): MOVING,
    ("docs/coming-from-route-handlers.md", "psql"): MOVING,
    ("docs/coming-from-supabase.md", "-- tasks.sql"): MOVING,
    ("docs/coming-from-supabase.md", "-- users.sql"): MOVING,
    ("docs/coming-from-supabase.md", "psql"): MOVING,
}
UNTRIED = {
    ("CONTRIBUTING.md", "@router.post"): "a line of a noun that is not there",
    ("docs/assistant.md", "ASSISTANT_MODEL="): "settings, checked below; wants a provider's key",
    ("docs/assistant.md", "MCP_ENABLED="): "settings, checked below",
    ("docs/assistant.md", "claude mcp add --transport http tasks https:"): "a program with an account",
    ("docs/assistant.md", "claude mcp add --transport http tasks http:"): "a program with an account",
    ("docs/neon.md", "BRANCH="): "wants an account at Neon",
    ("docs/neon.md", "neonctl branches restore"): "wants an account at Neon",
    ("docs/scale.md", "ALTER TABLE"): "settings of a whole server, one of which needs its restart",
}
THEIRS = {"BRANCH", "BETTER_AUTH_SECRET"}  # variables that are not, or not only, this service's


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """Those in these languages, of all pages."""
    fence = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = [
        Block(str(page.relative_to(CHECKOUT)), language, text)
        for page in PAGES
        for language, text in fence.findall(page.read_text())
    ]
    return [block for block in found if block.language in languages]


def test_every_language_is_known() -> None:
    """A block is TypeScript, which is compiled, of a language that is looked at here, or plain text."""
    looked_at = {"sh", "bash", "sql", "python", "json", "ini", "ts", "tsx"}
    for page in PAGES:
        assert set(re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE)) <= looked_at, page.name


def test_every_block_is_tried_or_says_why_not() -> None:
    """Each block of commands, SQL or Python is in one of the lists above, which have no others."""
    listed = TRIED | UNTRIED
    assert TRIED.keys() & UNTRIED.keys() == set()
    used = set()
    for block in blocks("sh", "bash", "sql", "python"):
        matches = {
            (page, start) for page, start in listed if page == block.page and block.text.startswith(start)
        }
        assert len(matches) == 1, f"{block.page}: try this in a test, and say where: {block.text[:60]}"
        used |= matches
    assert used == listed.keys()
    for name in TRIED.values():
        assert (CHECKOUT / name).is_file()


def test_commands_are_shell() -> None:
    """A shell can read them."""
    for block in blocks("sh", "bash"):
        read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), block.page


def test_json_is_json() -> None:
    """It parses as it stands."""
    for block in blocks("json"):
        assert json.loads(block.text), block.page


def test_settings_are_settings() -> None:
    """What is written as NAME=value at the beginning of a line is a setting, or used by a later line."""
    known = {name.upper() for name in Settings.model_fields}
    for block in blocks("ini", "sh", "bash"):
        for name in re.findall(r"^([A-Z][A-Z_]+)=", block.text, re.MULTILINE):
            used = f"${name}" in "".join(
                other.text for other in blocks("sh", "bash") if other.page == block.page
            )
            assert name in known | THEIRS or used, f"{block.page}: {name}"


def test_versions_named_are_those_tried() -> None:
    """`ai` is named in the versions with which the tests talk to the assistant."""
    packages = json.loads((CHECKOUT / "tests" / "snippets" / "package.json").read_text())["dependencies"]
    tried = [packages[name].removeprefix("npm:ai@").partition(".")[0] for name in ("ai6", "ai")]
    text = (CHECKOUT / "docs" / "assistant.md").read_text()
    assert re.findall(r"`ai` (\d+) and (\d+)", text) == [tuple(tried)]


def test_python_named_is_the_one_required() -> None:
    """README.md asks for the Python that the project does."""
    required = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"`python3` ({required.removeprefix('>=')} or newer)" in (CHECKOUT / "README.md").read_text()
