"""What the documentation tells people to paste does what it says."""

import asyncio
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.better_auth.conftest import refuse
from tests.better_auth.harness import available, install
from tests.client.package import build
from tests.conftest import token_for
from tests.server import Server, sign_up

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
API = CHECKOUT / "docs" / "api.md"
TYPESCRIPT = re.compile(r"^```tsx?\n// (\S+\.tsx?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def run(command: Sequence[str | Path], folder: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def documents() -> list[Path]:
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def write_app(folder: Path) -> list[Path]:
    """Write each snippet of TypeScript to the file that its first line names; return the files.

    Another way of doing the same is beside the app: it finds the app's other files by the same names.
    """
    written: list[Path] = []
    for text in (document.read_text() for document in documents()):
        snippets = TYPESCRIPT.findall(text)
        assert len(snippets) == len(re.findall("^```tsx?$", text, re.MULTILINE)), "which file is it?"
        for name, content in snippets:
            path = folder / name
            if path in written:
                path = folder / f"other{len(written)}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            written.append(path)
    return written


# Calls the API as pages do; prints what was asked for each time, and who was sent where.
PAGE = """
const asked = [], answers = { "/api/auth/token": [], "http://localhost:8000/api/tasks": [] };
globalThis.window = { location: { assign: (path) => asked.push(`to ${path}`) } };
globalThis.fetch = async (url, init) => {
  asked.push(init?.headers ? `${new Headers(init.headers).get("Authorization")}` : url);
  const [status, body] = answers[url].shift() ?? [200, { token: "t0" }];
  return new Response(JSON.stringify(body), { status });
};
const told = () => asked.splice(0).join(", ");
const { api, forgetToken } = await import("./lib/api.js");
const tokens = answers["/api/auth/token"], tasks = answers["http://localhost:8000/api/tasks"];
tokens.push([200, { token: "t1" }]);
await Promise.all([api("/tasks"), api("/tasks")]);
await api("/tasks");
console.log("kept:", told());
tasks.push([401, {}], [401, {}]);
tokens.push([200, { token: "t2" }]);
await Promise.all([api("/tasks"), api("/tasks")]);
console.log("expired:", told());
forgetToken();
tokens.push([401, {}], [503, {}], [200, {}], [200, { token: "t3" }]);
for (let n = 0; n < 4; n++) await api("/tasks").catch((error) => asked.push(error.message));
console.log("signed out:", told());
"""
TOLD = """\
kept: /api/auth/token, Bearer t1, Bearer t1, Bearer t1
expired: Bearer t1, Bearer t1, /api/auth/token, Bearer t2, Bearer t2
signed out: /api/auth/token, to /sign-in, signed out, /api/auth/token, no token: 503, \
/api/auth/token, no token: 200, /api/auth/token, Bearer t3
"""


def link_packages(folder: Path, client: Path) -> None:
    """What the app has installed, and beside it the client as it is packed."""
    folder.mkdir()
    for package in (HERE / "node_modules").iterdir():
        (folder / package.name).symlink_to(package)
    packed = run(["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder], client)
    assert packed.returncode == 0, packed.stderr
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package").rename(folder / "task-api-client")


def test_every_snippet_compiles_and_keeps_its_token(tmp_path: Path) -> None:
    """Pasted into a Next.js app with Better Auth, each passes TypeScript's strict check.

    And the first way asks for a token once, for a new one once that has expired, and never calls without one.
    """
    if reason := available(HERE):
        refuse(reason)
    install(HERE)
    assert len(write_app(tmp_path)) >= 6
    link_packages(tmp_path / "node_modules", build())
    options = json.loads((HERE / "tsconfig.json").read_text())
    options["compilerOptions"] |= {"paths": {"@/*": ["./*"]}, "outDir": "out"}
    (tmp_path / "tsconfig.json").write_text(json.dumps(options))
    compiled = run([HERE / "node_modules" / ".bin" / "tsc"], tmp_path)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    (tmp_path / "out" / "package.json").write_text('{"type": "module"}')
    (tmp_path / "out" / "page.js").write_text(PAGE)
    page = run(["node", "out/page.js"], tmp_path)
    assert (page.stdout, page.stderr) == (TOLD, "")


async def test_what_to_try_works_any_number_of_times(tmp_path: Path) -> None:
    """Each request is an answer on a line of its own, and the task that it began with is gone in the end."""
    [script] = [
        block for block in re.findall(r"```sh\n(.*?)```", API.read_text(), re.DOTALL) if "ask" in block
    ]
    assert shutil.which("curl"), "curl is needed"
    async with Server(tmp_path) as server:
        address = await server.start({"DATABASE_URL": "sqlite:///tasks.db"})
        await sign_up("sqlite:///tasks.db", "alice")
        script = script.replace("$(make -s token)", token_for("alice"))
        script = script.replace("http://127.0.0.1:8000", address)
        for _ in range(2):
            ran = await asyncio.to_thread(run, ["sh", "-eu", "-c", script])
            assert ran.returncode == 0, ran.stderr
            *answers, deleted = ran.stdout.splitlines()
            created, completed, changed, listed = map(json.loads, answers)
            assert (created["title"], completed["completed"], changed["description"]) == (
                "Buy milk",
                True,
                "Two litres",
            )
            assert listed == [changed]
            assert (deleted, ran.stderr) == ("204", "")


async def test_what_follows_can_be_tried_too(tmp_path: Path) -> None:
    """With what trying it has set, the blocks on changes, events and calendars show what the page says."""
    first, changes, events, calendar = re.findall(r"```(?:ba)?sh\n(.*?)```", API.read_text(), re.DOTALL)
    async with Server(tmp_path) as server:
        address = await server.start({"DATABASE_URL": "sqlite:///tasks.db", "STREAM_SECONDS": "2"})
        await sign_up("sqlite:///tasks.db", "alice")

        async def answers(block: str) -> list[str]:
            script = "".join(first.splitlines(keepends=True)[:3]) + block
            script = script.replace("$(make -s token)", token_for("alice"))
            script = script.replace("http://127.0.0.1:8000", address).replace("localhost:8000", address)
            ran = await asyncio.to_thread(run, ["sh", "-eu", "-c", script])
            assert ran.returncode == 0, ran.stderr
            return ran.stdout.splitlines()

        [again] = map(json.loads, await answers(changes))
        assert again["changes"] == []
        watch, write = events.splitlines()
        watching = asyncio.create_task(answers(watch))
        assert json.loads((await answers(write))[0])["title"] == "Buy milk"
        seen = await watching
        assert [line for line in seen if line.startswith("event:")] in (
            ["event: ready", "event: change"],
            ["event: ready"],  # it was written before the stream had begun
        )
        [made] = map(json.loads, await answers(calendar))
        assert made["url"].startswith(f"{address}/api/calendar/")
