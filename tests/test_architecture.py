"""The rules of the house, read from the source. Each message names the fix."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Table

from backend import models
from backend.config import Settings

ROOT = Path(__file__).parent.parent
LINES_MAX = 350

# Who may import whom: each room only what stands in the lines above it, and within itself without a circle.
# A package is one room, but for those whose files stand on several floors; these are named one by one.
LAYERS = (
    ("tasks.rrule", "engine.sqlite_transactions", "words", "urls"),
    (
        "backend",
        "columns",
        "errors",
        "slices",
        "triggers",
        "fair_cache",
        "observation",
        "auth.strength",
        "engine.dsn",
        "tasks.recurrence",
    ),
    ("models",),
    ("schema",),
    ("config",),
    ("engine",),
    ("db",),
    ("migrate", "auth"),
    ("web",),
    ("deps",),
    ("tasks",),
    ("calendar",),
    ("tools", "conversations"),
    ("assistant", "mcp"),
    ("telemetry",),
    ("main", "purge"),
    ("server",),
    ("workers",),
    ("__main__",),
)

# What opens connections, and who may name it.
CONNECTIONS = {
    "create_engine",
    "create_async_engine",
    "engine_from_config",
    "async_engine_from_config",
    "async_sessionmaker",
    "sessionmaker",
    "asyncpg",
    "aiosqlite",
    "sqlite3",
}
CONNECTING = {"db", "engine", "migrations", "__main__"}

# What statements are made of, who makes them, and who else may import which of it.
STATEMENTS = {"select", "insert", "update", "delete", "text", "exists", "union", "union_all", "col"}
STATEMENT_FILES = {
    "crud",
    "lists",
    "log",
    "conditions",
    "fields",
    "rules",
    "sql",
    "kept_answers",
    "sessions",
    "quota",
    "counters",
    "purge",
    "opening",
}
STATEMENTS_ELSEWHERE = {
    "schema": {"text"},  # server defaults are SQL, but no statements
    "models": {"text"},  # server defaults and index expressions are SQL, but no statements
    "db": {"text", "select"},  # its lock, its ping
    "migrate": {"text"},  # how far an index is
    "__main__": {"text"},  # the local user of the embedded SQLite
    "migrations": STATEMENTS,  # the schema's own history
}


# What asks for the rows of many users: one after the other, or no more than a number of each.
OF_MANY = {"backend.purge", "backend.tasks.changes.counters"}

# What is loaded when it is needed, and not before: who imports it says why.
LATE = {
    "backend.migrations",
    "backend.auth.jwks",
    "backend.calendar.feed",
    "backend.assistant.agent",
    "backend.mcp.endpoint",
    "backend.telemetry.observer",
}


class Module(NamedTuple):
    """One file of the service."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        """The entry in LAYERS that it belongs to."""
        own = self.name.removeprefix("backend.")
        return own if any(own in layer for layer in LAYERS) else own.split(".")[0]

    @property
    def file(self) -> str:
        """Its path as messages name it."""
        return str(self.path.relative_to(ROOT))

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """Every node of these kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def imports(self) -> Iterator[tuple[int, str, str]]:
        """The line, the module and the name of everything it imports; no name for a whole module."""
        for node in self.nodes(ast.Import, ast.ImportFrom):
            for alias in node.names:
                if isinstance(node, ast.Import):
                    yield node.lineno, alias.name, ""
                else:
                    yield node.lineno, node.module or "", alias.name


def _modules() -> list[Module]:
    found = []
    for path in sorted((ROOT / "backend").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path, ast.parse(path.read_text())))
    return found


MODULES = _modules()


def own_imports(module: Module) -> Iterator[tuple[int, str]]:
    """The line and the name of each module of the service that it imports."""
    names = {other.name for other in MODULES}
    for line, source, name in module.imports():
        if source.split(".")[0] == "backend":
            submodule = f"{source}.{name}"
            yield line, submodule if submodule in names else source


def report(problems: list[str]) -> None:
    """Fail with every problem on a line of its own."""
    assert not problems, "\n" + "\n".join(problems)


def test_every_module_has_its_layer() -> None:
    """The table names every module and nothing else."""
    table = [part for layer in LAYERS for part in layer]
    parts = {module.part for module in MODULES} - {"migrations"}
    report(
        [f"backend/{part}: give it its place in LAYERS of {__name__}" for part in sorted(parts - set(table))]
        + [f"{part} is gone: take it out of LAYERS of {__name__}" for part in sorted(set(table) - parts)]
    )


def test_imports_point_one_way() -> None:
    """A module imports from the layers below its own, and within its package."""
    level = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    parts = {module.name: module.part for module in MODULES}
    report(
        [
            f"{module.file}:{line} imports {name}, which is not below it: move what it needs down a layer, "
            "or hand it in as an argument"
            for module in MODULES
            if module.part in level
            for line, name in own_imports(module)
            if parts[name] != module.part and level.get(parts[name], 0) >= level[module.part]
        ]
    )


def test_nothing_imports_in_a_circle() -> None:
    """No chain of imports leads back to where it began."""
    sorter = TopologicalSorter({module.name: {name for _, name in own_imports(module)} for module in MODULES})
    sorter.prepare()  # its CycleError names the circle


def test_imports_are_absolute_and_at_the_top() -> None:
    """What a module needs stands in its first lines; an import in a function hides a circle."""
    problems = []
    for module in MODULES:
        inside = {
            node
            for function in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            for node in ast.walk(function)
        }
        for node in module.nodes(ast.Import, ast.ImportFrom):
            if node in inside and getattr(node, "module", "") not in LATE:
                problems.append(f"{module.file}:{node.lineno} move the import to the top of the module")
            if isinstance(node, ast.ImportFrom) and node.level:
                problems.append(f"{module.file}:{node.lineno} write the import in full: from backend.…")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                problems.append(f"{module.file}:{node.lineno} name what is imported instead of *")
    report(problems)


def test_only_the_database_module_opens_connections() -> None:
    """Engines, session makers and drivers are named in db.py, the migrations and the command line alone."""
    problems = []
    for module in MODULES:
        if module.part in CONNECTING:
            continue
        named = [(line, name or source.split(".")[0]) for line, source, name in module.imports()]
        named += [(line, source.split(".")[0]) for line, source, name in module.imports() if name]
        named += [(node.lineno, node.attr) for node in module.nodes(ast.Attribute)]
        problems += [
            f"{module.file}:{line} names {name}: connections are opened in backend/db.py; take its session"
            for line, name in named
            if name in CONNECTIONS
        ]
    report(problems)


def test_statements_are_built_in_crud_alone() -> None:
    """Whoever wants rows calls a function of a STATEMENT_FILES, where each statement carries its owner."""
    owned = {name for name, value in vars(models).items() if _is_owned(value)}
    assert owned >= {"Task", "tasks"}, "the tables of models.py are not recognised: mend _is_owned"
    problems = []
    for module in MODULES:
        if module.path.stem in STATEMENT_FILES:
            continue
        for line, source, name in module.imports():
            package = source.split(".")[0]
            allowed = STATEMENTS_ELSEWHERE.get(module.part, set())
            if package in ("sqlalchemy", "sqlmodel") and not name and module.part != "migrations":
                problems.append(f"{module.file}:{line} import names from {package}, not the whole of it")
            elif package in ("sqlalchemy", "sqlmodel") and name in STATEMENTS - allowed:
                problems.append(f"{module.file}:{line} imports {name}: write it in a crud.py")
            elif source == "backend.models" and name in owned and module.part != "migrations":
                problems.append(f"{module.file}:{line} imports {name}: call a function of its crud.py")
    report(problems)


def test_only_the_database_module_commits() -> None:
    """A request's session is committed once, before its answer is sent: by whoever opened it."""
    report(
        [
            f"{module.file}:{node.lineno} commits: leave it to Database.session(), which commits at the end"
            for module in MODULES
            if module.part != "db"
            for node in module.nodes(ast.Attribute)
            if node.attr == "commit"
        ]
    )


def _is_owned(value: Any) -> bool:
    table = getattr(value, "__table__", value)
    return isinstance(table, Table) and "user_id" in table.c


def test_functions_on_owned_tables_take_what_runs_them_and_the_owner() -> None:
    """Each public function that asks the database begins with what runs statements and, second, the owner.

    That is of use in async functions alone. The others put statements and parameters together.
    """
    runners = {"statements", "transaction", "session"}
    owned = {name for name, value in vars(models).items() if _is_owned(value)}
    problems = []
    for module in MODULES:
        if module.name in OF_MANY:
            continue
        if not any(source == "backend.models" and name in owned for _, source, name in module.imports()):
            continue
        for node in module.tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            where = f"{module.file}:{node.lineno} {node.name}"
            arguments = [argument.arg for argument in node.args.posonlyargs + node.args.args]
            if isinstance(node, ast.FunctionDef):
                if runners & set(arguments):
                    problems.append(f"{where}: make it async, or take no statements: it only builds one")
            elif (
                arguments[0] not in runners
                or arguments[1] != "user_id"
                or len(node.args.defaults) > len(arguments) - 2
            ):
                problems.append(f"{where}: take statements and user_id first, both required")
    report(problems)


# Imports the service in an empty folder without an environment, and says what that touched or left behind.
IMPORT = """
import gc, json, os, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
watched, seen = set(sys.argv[2].split(",")), []
class Environment(type(os.environ)):
    def __getitem__(self, key):
        if key in watched: seen.append("reads the setting " + key)
        return super().__getitem__(key)
    def __contains__(self, key):
        if key in watched: seen.append("reads the setting " + str(key))
        return super().__contains__(key)
old = os.environ
os.environ = Environment(old._data, old.encodekey, old.decodekey, old.encodevalue, old.decodevalue)
folder = os.getcwd()
def audit(event, args):
    if event == "open" and isinstance(args[0], str):
        path = os.path.abspath(args[0])
        if path.startswith(folder) or os.path.basename(path).startswith(".env"): seen.append("opens " + path)
    elif event.startswith(("socket.", "sqlite3.", "subprocess.", "os.fork", "_thread.start")):
        seen.append(event)
sys.addaudithook(audit)
import backend.main
import backend.__main__
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from sqlalchemy import Engine
from asyncio import AbstractEventLoop
if "icalendar" in sys.modules:
    seen.append("loads icalendar, which takes a quarter of a second")
for thing in gc.get_objects():
    if isinstance(thing, (FastAPI, BaseSettings, Engine, AbstractEventLoop)):
        seen.append("makes a " + type(thing).__name__)
print(json.dumps(seen + os.listdir(folder)))
"""


@pytest.mark.slow
def test_importing_does_nothing(tmp_path: Path) -> None:
    """Until create_app is called no file, socket or setting is touched, and no app, engine or loop exists."""
    names = [name.upper() for name in Settings.model_fields] + ["USER_ID", "EMAIL"]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT, str(ROOT), ",".join(names)],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"importing backend.main alone fails:\n{result.stderr}"
    report([f"importing the service {done}: do it in create_app" for done in json.loads(result.stdout)])


def test_everything_imported_is_installed_with_the_service() -> None:
    """What backend/ imports comes with the dependencies proper, not with those of the tests."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {package["name"]: package for package in lock["package"]}
    [own] = [package for package in packages.values() if package["source"].get("virtual") == "."]
    installed: set[str] = set()
    wanted = [own]
    while wanted:
        package = wanted.pop()
        needs = package.get("dependencies", [])
        for extra in package.get("optional-dependencies", {}).values():
            needs = needs + extra
        fresh = {need["name"] for need in needs} - installed
        installed |= fresh
        wanted += [packages[name] for name in fresh]
    owners = packages_distributions()
    report(
        [
            f"{module.file}:{line} imports {source}: add {owners[top][0]} to pyproject.toml's dependencies"
            for module in MODULES
            for line, source, _ in module.imports()
            if (top := source.split(".")[0]) in owners
            and not installed & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners[top]}
        ]
    )


@cache
def _tests() -> list[Module]:
    """The files of the tests. Not by rglob(): that looks into thousands of node_modules too."""
    paths = [path for pattern in ("*.py", "*/*.py") for path in sorted((ROOT / "tests").glob(pattern))]
    return [Module("tests", path, ast.parse(path.read_text())) for path in paths]


def test_every_module_says_what_it_is_for() -> None:
    """Each file of the service and of its tests begins with a docstring."""
    report(
        [
            f"{module.file}: begin it with a sentence that says what it is for"
            for module in MODULES + _tests()
            if module.tree.body and not ast.get_docstring(module.tree)
        ]
    )


def test_every_test_says_what_it_promises() -> None:
    """Each test has a docstring of its own."""
    report(
        [
            f"{module.file}:{node.lineno} say in a docstring what {node.name} promises"
            for module in _tests()
            for node in module.nodes(ast.FunctionDef, ast.AsyncFunctionDef)
            if node.name.startswith("test_") and not ast.get_docstring(node)
        ]
    )


def test_modules_are_short() -> None:
    """A module that outgrows a few screens holds two things."""
    sizes = {module.file: len(module.path.read_text().splitlines()) for module in MODULES}
    report(
        [
            f"{file} has {size} lines, more than {LINES_MAX}: split it"
            for file, size in sizes.items()
            if size > LINES_MAX
        ]
    )


SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover|pragma:\s*no branch|nosec|fmt:\s*off)")
# The rule that is switched off by its name, and after a dash or another # the words that say why.
REASONED = re.compile(
    r"#\s*(noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[a-z, -]+\]|pragma: no (cover|branch)|fmt: off)"
    r"\s+(-|#)\s*\w"
)


def test_every_suppression_has_its_reason() -> None:
    """Who switches a check off names the one rule and says why, on the same line."""
    problems = []
    for path in [*(module.path for module in MODULES + _tests()), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text()
        if not SUPPRESSION.search(text):
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            found = token.type == tokenize.COMMENT and SUPPRESSION.search(token.string)
            if found and not REASONED.search(token.string):
                where = f"{path.relative_to(ROOT)}:{token.start[0]}"
                problems.append(f"{where} name the rule and the reason: # noqa: N801 - reads as a function")
    report(problems)
