"""The benchmark compares like with like, and can be run by anybody."""

import importlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from benchmarks import __main__ as benchmark
from benchmarks import chart, data, growth, load, profile
from tests.conftest import SECRET, Databases, settings_for, token_for

TASKS, USERS = 200, 4


@pytest.fixture
async def clients(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """The service and its peers on one database with the benchmark's data, as one of its users sees them."""
    url = await databases.create()
    await data.load(url, TASKS, USERS)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)
    # They read the environment as they are imported: each time anew.
    for name in ("benchmarks.raw", "benchmarks.documents"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    raw, documents = (importlib.import_module(f"benchmarks.{name}") for name in ("raw", "documents"))
    service: FastAPI = create_app(settings_for(url))
    headers = {"Authorization": f"Bearer {token_for('user-2')}"}
    async with AsyncExitStack() as stack:
        found = {}
        for name, app in {"service": service, "raw": raw.app, "documents": documents.app}.items():
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app)
            client = httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
            found[name] = await stack.enter_async_context(client)
        yield found
        await documents.engine.dispose()
    await databases.drop(url)


async def test_all_answer_byte_for_byte_alike(clients: dict[str, httpx.AsyncClient]) -> None:
    """What is read is the same from each; what is written has the same members, in the same order."""
    for path in ("/api/tasks?limit=50", "/api/tasks/2", "/api/tasks/6", "/api/tasks/194"):
        answers = {name: await client.get(path) for name, client in clients.items()}
        # A field that was added since is not in the peers' answers; all else is, byte for byte.
        known = answers["raw"].json()
        known = [known] if isinstance(known, dict) else known
        told = answers["service"].json()
        told = [told] if isinstance(told, dict) else told
        assert [{name: task[name] for name in known[0]} for task in told] == known, path
        whole = told == known
        for name, answer in answers.items():
            assert answer.status_code == 200
            assert answer.content == answers["service" if whole else "raw"].content or name == "service", path
    for client in clients.values():
        missing = await client.get("/api/tasks/3")  # another user's
        assert missing.status_code == 404
        made = await client.post("/api/tasks", json={"title": "new", "description": "made"})
        assert made.status_code == 201
        assert list(made.json()) == [name for name in told[0] if name in made.json()]
        turned = [await client.patch(f"/api/tasks/{made.json()['id']}/complete") for _ in range(2)]
        assert [answer.json()["completed"] for answer in turned] == [True, False]
        assert [answer.json()["version"] for answer in turned] == [2, 3]
        assert turned[0].json()["completed_at"]
        assert turned[1].json()["completed_at"] is None


@pytest.mark.slow
def test_it_runs_without_wrk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing installed the bundled client measures all three, and the results are kept and drawn."""
    for name, size in {"SMALL": 3000, "GROWN": 6000, "MANY": 300}.items():
        monkeypatch.setattr(growth, name, size)
    results = tmp_path / "results.json"
    monkeypatch.setattr(load, "has_wrk", lambda: False)
    arguments = ["compare", "start", "growth", "--seconds", "0.1", "--rounds", "1", "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    monkeypatch.setattr(benchmark, "WARM_UP", 0.1)
    benchmark.main()
    found = json.loads(results.read_text())
    assert found["machine"]["client"] == "the bundled client"
    assert set(found["compare"]) == set(benchmark.WORKLOADS)
    for compared in found["compare"].values():
        assert compared["figures"]["service"]["rate"] > 0
        assert compared["ratios"]["documents"]["cpu"] < 1, "no benchmark is so short that it says otherwise"
    assert len(found["growth"]) == 2 * len(growth.REQUESTS)
    assert "this service" in results.with_suffix(".svg").read_text()
    assert "service" in chart.table(found)


def test_the_profile_knows_its_layers() -> None:
    """What `make profile` measures is there: a layer that was renamed would be missed at the next profile."""
    for layer, owner, names in profile.LAYERS:
        for name in names:
            assert callable(getattr(owner, name)), f"{layer}: {owner.__name__} has no {name}"
