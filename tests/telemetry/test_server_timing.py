"""Server-Timing: where the time of an answer went, for a browser's tools."""

import re
from typing import Any

import pytest
from fastapi import FastAPI

from tests.conftest import Client, on_sqlite

TIMING = re.compile(r"wait;dur=([0-9.]+), db;dur=([0-9.]+), total;dur=([0-9.]+)")


@pytest.fixture
def more_settings() -> dict[str, Any]:
    """What is on."""
    return {"server_timing": True}


async def test_every_answer_says_where_its_time_went(alice: Client, client: Client) -> None:
    """Errors too; the parts are in the whole, and what asks no database has none of its time."""
    answers = [await alice.post("/api/tasks", json={"title": "a"}), await alice.get("/api/tasks")]
    answers += [await client.get(path) for path in ("/health", "/nowhere", "/api/tasks")]
    for answer in answers:
        found = TIMING.fullmatch(answer.headers["server-timing"])
        assert found, answer.headers
        wait, database, total = map(float, found.groups())
        assert wait + database <= total + 0.2
        assert (database > 0) == (answer in answers[:2])


@on_sqlite
async def test_browsers_of_other_origins_may_read_it(alice: Client) -> None:
    """It is for whoever develops the frontend, which is another origin."""
    answer = await alice.get("/api/tasks", headers={"Origin": "http://localhost:3000"})
    assert answer.headers["timing-allow-origin"] == "http://localhost:3000"


@pytest.mark.parametrize("more_settings", [{}])
@on_sqlite
async def test_it_is_silent_unless_asked(alice: Client, app: FastAPI) -> None:
    """By default no answer has it."""
    assert "server-timing" not in (await alice.get("/api/tasks")).headers
