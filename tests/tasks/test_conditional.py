"""ETags of lists, counts and statistics, on both databases: while nothing has changed, nothing is read."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from backend.engine.statements import Statements
from backend.tasks import conditional
from backend.tasks.conditions import BY_THE_CLOCK
from backend.tasks.log import last_change
from tests.conftest import ORIGIN, Client, Sent, on_postgresql, on_sqlite
from tests.tasks.test_lists import FILTERS
from tests.tasks.test_routes import next_link

SORTS = ("sort=title", "sort=due_date&order=desc", "sort=priority", "search=a&sort=relevance", "limit=1")
ASKED = [f"/api/tasks?{query}" for query in ("", *(query for query, _ in FILTERS), *SORTS)]
ASKED += [f"/api/tasks/count?{query}" for query in ("", *(query for query, _ in FILTERS))]
ASKED += ["/api/tasks/stats"]
TIMELESS = [path for path in ASKED if "overdue" not in path]


async def etag(client: Client, path: str) -> str:
    """The ETag of what is there."""
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return str(response.headers["etag"])


async def has_changed(client: Client, path: str, known: str) -> bool:
    """Whether who has this ETag is sent another answer, which has another; a 304 has no body."""
    response = await client.get(path, headers={"If-None-Match": known})
    if response.status_code == 304:
        assert response.content == b""
        assert response.headers["etag"] == known
        return False
    assert response.status_code == 200
    return True


async def test_unchanged_is_one_statement_that_reads_no_task(
    alice: Client, bob: Client, statements: Sent
) -> None:
    """Whatever is asked for: a 304 until the caller's tasks change, and after no change of another's."""
    task = await alice.new_task("past", due_date="2020-01-01", tags=["work", "home"])
    await alice.new_task("later", due_date="2035-01-01")
    etags = {path: await etag(alice, path) for path in TIMELESS}
    assert len(set(etags.values())) > len(FILTERS)
    await bob.new_task()
    for path, known in etags.items():
        statements.clear()
        assert not await has_changed(alice, path, known), path
        [statement] = statements
        assert "tasks" not in statement.replace("task_events", ""), statement
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", f"/{task['id']}", {"title": "new"}),
        ("PATCH", f"/{task['id']}/complete", None),
        ("POST", "", {"title": "another"}),
        ("POST", "/batch", {"operations": [{"op": "update", "id": task["id"], "tags": []}]}),
        ("POST", "/complete-all", None),
        ("DELETE", f"/{task['id']}", None),
        ("POST", f"/{task['id']}/restore", None),
        ("DELETE", "?status=completed", None),
    ]
    seen = set(etags.values())
    for method, path, body in writes:
        answer = await alice.request(method, f"/api/tasks{path}", json=body)
        assert answer.status_code < 300, answer.text
        for asked in TIMELESS[:2] + TIMELESS[-1:]:
            assert await has_changed(alice, asked, etags[asked]), (method, path, asked)
            etags[asked] = await etag(alice, asked)
            assert etags[asked] not in seen
            seen.add(etags[asked])


async def test_a_miss_costs_one_index_read_more(alice: Client, statements: Sent) -> None:
    """Without an ETag there is one statement, empty or not; with an old one there are two."""
    for _ in range(2):
        for path in TIMELESS:
            for headers, number in (({}, 1), ({"If-None-Match": '"old"'}, 2)):
                statements.clear()
                response = await alice.get(path, headers=headers)
                assert (response.status_code, len(statements)) == (200, number), path
                assert response.headers["etag"]
        await alice.new_task()


SPELT = [
    (
        "status=pending",
        "completed=false",
        "status=PENDING&cursor=",
        "status_filter=pending",
        "x=y&status=pending",
    ),
    ("tag=a&tag=b", "tag=B&tag=a&tag=A"),
    ("priority=low&priority=high", "priority=high&priority=low&priority=HIGH&priority=urgent"),
    ("search=b+a", "search=A++B&tag_match=any"),
    ("sort=created_at", "sortBy=created", "order=desc", "limit=1000", ""),
    ("due_before=2026-11-21T09:00:00Z", "dueBefore=2026-11-21T10:00:00%2B01:00"),
]


async def test_a_filter_has_one_etag_however_it_is_spelt(alice: Client, client_for: Any) -> None:
    """In other words, another order, under either prefix; no two filters, pages or users share one."""
    for title in "ab":
        await alice.new_task(f"a{title}", tags=["a", "b"])
    seen = set()
    for spellings in SPELT:
        for kind, prefix in (("", "alice/"), ("/count", "")):
            found = {
                await etag(alice, f"/api/{middle}tasks{kind}?{spelling}")
                for spelling in spellings
                for middle in ("", prefix)
            }
            assert len(found) == 1, spellings
            seen |= found
    assert len(seen) == 2 * len(SPELT) - 1 + 1
    first = await alice.get("/api/tasks?limit=1")
    following = next_link(first)
    assert following
    pages = {first.headers["etag"], await etag(alice, following), await etag(alice, "/api/tasks?limit=2")}
    assert len(pages) == 3
    assert not pages & seen
    empty = [await client_for(name) for name in ("carol", "dave")]
    assert await etag(empty[0], "/api/tasks") != await etag(empty[1], "/api/tasks")


async def test_nobody_who_never_wrote_is_forgotten(app: FastAPI, alice: Client) -> None:
    """A user without a counter has ETags, too, which are good until the first task."""
    known = {path: await etag(alice, path) for path in ("/api/tasks", "/api/tasks/count", "/api/tasks/stats")}
    for path, tag in known.items():
        assert not await has_changed(alice, path, tag)
    await alice.new_task()
    for path, tag in known.items():
        assert await has_changed(alice, path, tag)


async def test_conditions_are_those_of_the_rfc(alice: Client) -> None:
    """Weak, among others, in several lines, `*`: as for a task. What cannot be asked for is refused."""
    await alice.new_task()
    for path in (
        "/api/tasks",
        "/api/alice/tasks?limit=3",
        "/api/tasks/count",
        "/api/tasks/stats",
        "/api/stats",
    ):
        path = path.replace("/api/stats", "/api/alice/stats")
        known = await etag(alice, path)
        for sent in (f"W/{known}", f'"x", {known}', f'W/"1",W/{known} , "2"', "*"):
            answer = await alice.get(path, headers={"If-None-Match": sent})
            assert (answer.status_code, answer.content) == (304, b""), (path, sent)
            assert answer.headers["etag"].startswith(known.rstrip('"'))
            assert "link" not in answer.headers
            assert answer.headers["cache-control"] == "no-store"
        lines = [("If-None-Match", '"x"'), ("If-None-Match", known)]
        assert (await alice.get(path, headers=lines)).status_code == 304
        assert (await alice.head(path, headers={"If-None-Match": known})).status_code == 304
        assert (await alice.head(path)).headers["etag"] == known
        for sent in ("", known.strip('"'), known[:-2] + '"', '"1"', f'"{known[1:-1]}.9999"', '"."', '"*"'):
            assert (await alice.get(path, headers={"If-None-Match": sent})).status_code == 200, sent
        browser = await alice.get(path, headers={"Origin": ORIGIN})
        exposed = browser.headers["access-control-expose-headers"].lower().split(", ")
        assert "etag" in exposed
    for path in ("/api/tasks?limit=0", "/api/tasks?cursor=x", "/api/tasks/count?overdue=perhaps"):
        assert (await alice.get(path, headers={"If-None-Match": "*"})).status_code == 422


async def test_what_goes_by_the_clock_is_always_answered(alice: Client) -> None:
    """A list or count of the overdue changes by itself: it has no ETag, and is no 304."""
    assert sorted(BY_THE_CLOCK) == ["not_overdue", "overdue"]
    await alice.new_task(due_date="2020-01-01")
    for kind in ("", "/count"):
        for value in ("true", "false"):
            answer = await alice.get(f"/api/tasks{kind}?overdue={value}", headers={"If-None-Match": "*"})
            assert answer.status_code == 200
            assert "etag" not in answer.headers


async def test_statistics_hold_until_a_task_is_overdue(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has changed anything, and yet one more is overdue: the ETag of before is good no more."""
    moment = datetime.now(UTC) + timedelta(hours=1)
    await alice.new_task(due_date="9999-12-31")
    await alice.new_task(due_date="2020-01-01T00:00:00Z")
    known = await etag(alice, "/api/tasks/stats")
    clock = {"passed": timedelta()}

    async def later(statements: Statements, user_id: str) -> Any:
        last, now = await last_change(statements, user_id) or (None, moment)
        return last, now + clock["passed"]

    monkeypatch.setattr(conditional, "last_change", later)
    for completed in (True, False):
        await alice.new_task(due_date=moment.isoformat(), completed=completed)
        assert await has_changed(alice, "/api/tasks/stats", known)
        known = await etag(alice, "/api/tasks/stats")
        for minutes, changed in ((59, False), (61, not completed), (0, False)):
            clock["passed"] = timedelta(minutes=minutes)
            assert await has_changed(alice, "/api/tasks/stats", known) is changed


@on_sqlite
async def test_another_service_has_other_etags(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of its code is changed, no client takes an old answer for the new one."""
    known = {path: await etag(alice, path) for path in TIMELESS}
    monkeypatch.setattr(conditional, "CODE", "another")
    for path, tag in known.items():
        assert await has_changed(alice, path, tag)


COUNTER = "SELECT seq FROM change_counters WHERE user_id = 'alice'"


async def test_a_number_that_comes_again_is_no_304(app: FastAPI, alice: Client) -> None:
    """A database that was set back, or a user made anew, counts to the same number with other tasks."""
    await alice.new_task("first")
    known = await etag(alice, "/api/tasks")
    engine = app.state.database.engine.execution_options(unobserved=True)
    async with engine.begin() as connection:
        assert (await connection.execute(text(COUNTER))).scalar() == 1
        await connection.execute(text("DELETE FROM tasks"))
        await connection.execute(text("DELETE FROM change_counters"))
        await connection.execute(text("DELETE FROM task_events"))
    await alice.new_task("second")
    async with engine.begin() as connection:
        assert (await connection.execute(text(COUNTER))).scalar() == 1
    assert await has_changed(alice, "/api/tasks", known)


async def test_equal_etags_are_equal_answers(alice: Client, bob: Client) -> None:
    """Along random writes of two users: what has an ETag of before is what it was, `next` links included."""
    chance = random.Random(7)
    seen: dict[tuple[str, str], tuple[bytes, str | None]] = {}
    ids: list[int] = []
    again = 0
    paths = [*chance.sample(TIMELESS, 12), "/api/tasks?limit=2", "/api/tasks/stats"]
    for _ in range(40):
        match chance.randrange(5):
            case 0:
                await bob.new_task()
            case 1 if ids:
                await alice.delete(f"/api/tasks/{ids.pop()}")
            case 2 if ids:
                await alice.patch(f"/api/tasks/{chance.choice(ids)}/complete")
            case 3 if ids:
                change = {"title": chance.choice(["a past", "b"]), "priority": chance.choice(["low", "high"])}
                await alice.patch(f"/api/tasks/{chance.choice(ids)}", json=change)
            case _:
                due = chance.choice([None, "2020-01-01", "2031-05-05"])
                ids.append((await alice.new_task("past", due_date=due, tags=["work"]))["id"])
        for path in chance.sample(paths, 4):
            response = await alice.get(path)
            answer = response.content, response.headers.get("link")
            key = path, response.headers["etag"]
            again += key in seen
            assert seen.setdefault(key, answer) == answer, path
    assert again


@on_postgresql
async def test_the_last_change_is_one_index_read(app: FastAPI, alice: Client, statements: Sent) -> None:
    """What a 304 asks PostgreSQL for is one row, by its key."""
    await alice.new_task()
    known = await etag(alice, "/api/tasks")
    statements.clear()
    assert not await has_changed(alice, "/api/tasks", known)
    [statement] = statements
    engine = app.state.database.engine.execution_options(unobserved=True)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = (await connection.exec_driver_sql(f"EXPLAIN {statement}", ("alice",))).scalars().all()
    assert sum("Scan" in line for line in plan) == 1, plan
    assert any("change_counters_pkey" in line for line in plan), plan
