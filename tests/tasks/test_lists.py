"""Finding tasks: filters, sorts, search, pages, counts and statistics, on both databases."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from fastapi import FastAPI

from backend.models import tasks
from backend.tasks import conditions
from backend.tasks.filters import parse_list_query
from backend.tasks.lists import TAGS_COUNTED, is_dear
from tests.conftest import Client, Sent, on_sqlite
from tests.tasks.test_routes import next_link
from tests.test_words import IN_ORDER


async def titles(client: Client, query: str) -> list[str]:
    """The titles that a list query finds."""
    response = await client.get(f"/api/tasks?{query}")
    assert response.status_code == 200, response.text
    return [task["title"] for task in response.json()]


@pytest.fixture
async def planned(alice: Client, bob: Client) -> Client:
    """Alice, with tasks of every kind; bob has the same ones."""
    for client in (alice, bob):
        await client.new_task("past", due_date="2020-01-01", priority="high", tags=["work", "home"])
        await client.new_task("past done", due_date="2020-01-01", completed=True, tags=["work"])
        await client.new_task("instant", due_date="2031-05-05T12:00:00+02:00", priority="low")
        await client.new_task("far", due_date="2035-12-31", timezone="America/Los_Angeles", tags=["home"])
        await client.new_task("never", description="100% of_the\\Straße")
    return alice


FILTERS: list[tuple[str, set[str]]] = [
    ("priority=high", {"past"}),
    ("priority=high&priority=low", {"past", "instant"}),
    ("tag=work", {"past", "past done"}),
    ("tag=work&tag=home", {"past"}),
    ("tag=work&tag=home&tag_match=any", {"past", "past done", "far"}),
    ("tag=nothing", set()),
    ("tag=work&tag=work", {"past", "past done"}),
    ("overdue=true", {"past"}),
    ("overdue=false", {"past done", "instant", "far", "never"}),
    ("has_due_date=true", {"past", "past done", "instant", "far"}),
    ("has_due_date=false", {"never"}),
    ("due_before=2020-01-01", set()),
    ("due_before=2020-01-02", {"past", "past done"}),
    ("due_before=2031-05-05T10:00:00Z", {"past", "past done"}),
    ("due_before=2031-05-05T10:00:01Z", {"past", "past done", "instant"}),
    ("due_after=2031-05-05", {"far"}),
    ("due_after=2031-05-04", {"instant", "far"}),
    ("due_after=2035-12-31", set()),
    ("due_after=9999-12-31", set()),
    ("due_before=0001-01-01", set()),
    ("due_after=2031-05-05T12:00:00%2B02:00", {"far"}),
    ("due_after=2031-05-05T12:00:00+02:00", {"far"}),
    ("created_after=2020-01-01", {"past", "past done", "instant", "far", "never"}),
    ("created_after=2100-01-01T00:00:00Z", set()),
    ("updated_after=2100-01-01", set()),
    ("search=PAST", {"past", "past done"}),
    ("search=done+past", {"past done"}),
    ("search=100%25", {"never"}),
    ("search=0%25+of", {"never"}),
    ("search=%25", {"never"}),
    ("search=_", {"never"}),
    ("search=%5C", {"never"}),
    ("search=", {"past", "past done", "instant", "far", "never"}),
    ("status=pending&tag=work&priority=high&overdue=true&search=pa&has_due_date=true", {"past"}),
]


async def test_filters_find_what_they_name(planned: Client, statements: Sent) -> None:
    """Each filter, alone and combined, finds its tasks, in one statement; the count agrees."""
    for query, expected in FILTERS:
        statements.clear()
        assert set(await titles(planned, query)) == expected, query
        assert len(statements) == 1
        assert (await planned.get(f"/api/tasks/count?{query}")).json() == {"count": len(expected)}, query


@on_sqlite
@pytest.mark.parametrize(
    "query",
    [
        "tag=" + "x" * 51,
        "tag=%00",
        "tag_match=some",
        "due_before=someday",
        "due_before=2026-13-01",
        "due_after=0001-01-01T00:00:00%2B14:00",
        "overdue=perhaps",
        "search=" + "x" * 201,
        "search=" + "+".join("abcdefghijk"),
        "search=%00",
        "sort=relevance",
        "sort=due_at",
        "&".join(["tag=a"] * 21),
    ],
)
async def test_bad_filters_are_refused(alice: Client, query: str) -> None:
    """A filter that cannot be meant is a 422 that names it."""
    response = await alice.get(f"/api/tasks?{query}")
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["loc"][0] == "query"


class _Clock(datetime):
    """Stands at a moment."""

    at = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override] # as it is called
        return cls.at.astimezone(tz)

    @classmethod
    def combine(cls, *parts: Any) -> datetime:  # type: ignore[override] # as it is called
        return datetime.combine(*parts)


async def test_today_is_the_day_of_whoever_asks(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their zone, or else in UTC, and not a moment longer: it is another one when they ask again."""
    monkeypatch.setattr(conditions, "datetime", _Clock)
    for day in (20, 21, 22):
        await alice.new_task(f"{day}", due_date=f"2026-11-{day}", timezone="Asia/Tokyo")
        await alice.new_task(f"{day} Tokyo", due_date=f"2026-11-{day}T00:10", timezone="Asia/Tokyo")
    today = "due_after=Yesterday&due_before=TOMORROW"
    for zone, day in (("Pacific/Kiritimati", 22), ("Pacific/Pago_Pago", 20), ("Asia/Tokyo", 21)):
        found = set(await titles(alice, f"{today}&timezone={zone}"))
        assert found & {"20", "21", "22"} == {f"{day}"}
    assert found == {"21", "21 Tokyo"}
    assert set(await titles(alice, today)) == found
    monkeypatch.setattr(_Clock, "at", _Clock.at + timedelta(days=1))
    assert set(await titles(alice, f"{today}&timezone=Asia/Tokyo")) == {"22", "22 Tokyo"}
    assert (await alice.get(f"/api/tasks/count?{today}")).json() == {"count": 2}
    deleted = await alice.delete("/api/tasks?due_before=today&timezone=Asia/Tokyo")
    assert deleted.json()["deleted"] == 4
    assert (await alice.get("/api/tasks?due_before=someday")).status_code == 422


async def test_sorts_put_what_has_none_last(planned: Client) -> None:
    """Due dates sort both ways with undated tasks at the end; priorities by rank; relevance by title."""
    assert await titles(planned, "sort=due_date") == ["past", "past done", "instant", "far", "never"]
    assert await titles(planned, "sort=due_date&order=desc") == [
        "far",
        "instant",
        "past done",
        "past",
        "never",
    ]
    by_priority = await titles(planned, "sort=priority")
    assert (by_priority[0], by_priority[-1]) == ("past", "instant")
    await planned.new_task("about the past", description="x")
    await planned.new_task("other", description="the past")
    found = await titles(planned, "sort=relevance&search=the+past")
    assert found == ["about the past", "other"]


SPELT = ["Äpfel", "A\u0308PFEL", "STRASSE", "Straße", "ΟΔΟΣ", "οδος", "Привет", "ПРИВЕТ", "İzmir", "izmir"]
SPELT += ["\uff21\uff22", "ab"]


async def test_words_are_found_in_any_case(alice: Client) -> None:
    """On either database, in title and description, whatever the letters; nothing seen is no search."""
    for spelling in SPELT:
        await alice.new_task(f"x{spelling}y")
        await alice.new_task("described", description=f"100%_\\{spelling}")
    for spelling in SPELT:
        for word in (
            spelling,
            spelling.upper(),
            spelling.lower(),
            f"_\\{spelling}",
            spelling[:1] + "\u200b" + spelling[1:],
        ):
            found = (await alice.get("/api/tasks", params={"search": word})).json()
            assert len(found) == (2 if word[0] == "_" else 4), word
        relevant = await alice.get("/api/tasks", params={"search": spelling, "sort": "relevance"})
        assert [task["title"] == "described" for task in relevant.json()] == [False, False, True, True]
    assert len((await alice.get("/api/tasks?search=%E2%80%8B")).json()) == 24
    assert (await alice.get("/api/tasks?search=%E2%80%8B&sort=relevance")).status_code == 422


async def test_what_is_found_follows_the_text(alice: Client) -> None:
    """However a text came to be written, it is found by what it says now, and only by that."""
    task = await alice.new_task("Öl", description="Über", tags=["Grün"], due_date="2026-11-21")
    path = f"/api/tasks/{task['id']}"

    async def found(**query: str) -> list[str]:
        return [task["title"] for task in (await alice.get("/api/tasks", params=query)).json()]

    await alice.patch(path, json={"title": "ÄTNA"})
    assert await found(search="öl") == []
    assert await found(search="ätna über", tag="grün") == ["ÄTNA"]
    await alice.patch(path, json={"title": "Ärger", "recurring_pattern": "daily", "tags": ["BLÄU"]})
    assert await found(search="ÄRGER") == await found(tag="bläu") == ["Ärger"]
    operations = [
        {"op": "update", "id": task["id"], "title": "ÜBUNG", "description": None},
        {"op": "create", "title": "ÖDE"},
    ]
    await alice.post("/api/tasks/batch", json={"operations": operations})
    assert await found(search="übung") == ["ÜBUNG"]
    assert await found(search="öde") == ["ÖDE"]
    assert await found(search="über") == []
    await alice.patch(f"{path}/complete", json={"completed": True})
    assert await found(search="übung", tag="Bläu") == ["ÜBUNG"] * 2
    headers = {"Content-Type": "application/x-ndjson"}
    await alice.post("/api/tasks/import", content='{"title": "ÉTÉ"}\n'.encode(), headers=headers)
    assert await found(search="été") == ["ÉTÉ"]
    plain = (await alice.patch(path, json={"title": "plain", "tags": ["Work"]})).json()
    assert await found(search="PLAIN", tag="wORK") == ["plain"]
    again = await alice.patch(path, json={"title": "plain", "tags": ["Work"]})
    assert again.json()["version"] == plain["version"]


async def test_two_spellings_of_a_tag_are_one(alice: Client) -> None:
    """A task has a tag once, a filter finds all its spellings, the statistics count them under the first."""
    first = await alice.new_task("1", tags=["Café  Noir", "cafe\u0301 noir", "work", "WORK", "b"])
    assert first["tags"] == ["Café  Noir", "work", "b"]
    await alice.new_task("2", tags=["CAFÉ\u00a0NOIR", "Work"])
    await alice.new_task("3", tags=["cafe", '{"NULL", \\'])
    for tag in ("café noir", "CAFE\u0301 NOIR"):
        found = (await alice.get("/api/tasks", params={"tag": [tag, "wORK"], "sort": "title"})).json()
        assert [task["title"] for task in found] == ["1", "2"]
    assert len((await alice.get("/api/tasks", params={"tag": '{"null", \\'})).json()) == 1
    by_tag = (await alice.get("/api/tasks/stats")).json()["by_tag"]
    assert by_tag == {"Café  Noir": 2, "work": 2, "b": 1, "cafe": 1, '{"NULL", \\': 1}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_titles_are_sorted_as_people_read(alice: Client, order: str) -> None:
    """The same on both databases, page by page too, and titles that are alike by their ids."""
    for title in [*reversed(IN_ORDER), *IN_ORDER]:
        await alice.new_task(title)
    expected = [title for title in IN_ORDER for _ in range(2)]
    whole = (await alice.get(f"/api/tasks?sort=title&order={order}")).json()
    assert [task["title"] for task in whole] == (expected if order == "asc" else expected[::-1])
    for limit in (1, 3):
        pages: list[int] = []
        url: str | None = f"/api/tasks?sort=title&order={order}&limit={limit}"
        while url:
            response = await alice.get(url)
            pages += [task["id"] for task in response.json()]
            url = next_link(response)
        assert pages == [task["id"] for task in whole]


async def test_what_others_wrote_is_found_by_ascii(app: FastAPI, alice: Client) -> None:
    """A row that was written past the service is found in any case of ASCII, and sorted."""
    async with app.state.database.engine.execution_options(unobserved=True).begin() as connection:
        await connection.execute(tasks.insert().values(user_id="alice", title="Zoo Äpfel", tags=["Work"]))
    await alice.new_task("banana")
    assert await titles(alice, "search=zOO&tag=wORK") == ["Zoo Äpfel"]
    assert await titles(alice, "sort=title") == ["banana", "Zoo Äpfel"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_every_sort_can_be_paged(planned: Client, order: str) -> None:
    """Pages of any sort make up the list, ties and nulls included."""
    for sort in ("created", "updated", "title", "due_date", "priority", "relevance&search=a"):
        whole = await titles(planned, f"sort={sort}&order={order}")
        for limit in (1, 2):
            pages: list[str] = []
            url: str | None = f"/api/tasks?sort={sort}&order={order}&limit={limit}"
            while url:
                response = await planned.get(url)
                pages += [task["title"] for task in response.json()]
                url = next_link(response)
            assert pages == whole, (sort, limit)


async def test_cursors_belong_to_their_filter(planned: Client) -> None:
    """A cursor of one filter is refused by another."""
    url = next_link(await planned.get("/api/tasks?limit=1&has_due_date=true"))
    assert url
    assert (await planned.get(url)).status_code == 200
    assert (await planned.get(url.replace("has_due_date=true", "has_due_date=false"))).status_code == 422
    assert (await planned.get(url.replace("has_due_date=true", "search=a"))).status_code == 422


async def test_stats_count_each_kind(planned: Client, statements: Sent) -> None:
    """The statistics are the caller's alone, and one statement."""
    statements.clear()
    stats = (await planned.get("/api/tasks/stats")).json()
    assert len(statements) == 1
    assert stats == {
        "total": 5,
        "pending": 4,
        "completed": 1,
        "overdue": 1,
        "by_priority": {"low": 1, "medium": 3, "high": 1},
        "by_tag": {"work": 2, "home": 2},
    }


async def test_stats_name_the_tags_that_most_tasks_have(alice: Client) -> None:
    """However many tags somebody makes up, the answer has a thousand, the most used among them."""
    made_up = [[f"t{n}-{m}" for m in range(19)] + ["often"] for n in range(60)]
    operations = [{"op": "create", "title": "a", "tags": tags} for tags in made_up]
    assert (await alice.post("/api/tasks/batch", json={"operations": operations})).status_code == 200
    stats = (await alice.get("/api/tasks/stats")).json()
    assert (stats["total"], len(stats["by_tag"]), stats["by_tag"]["often"]) == (60, TAGS_COUNTED, 60)


@pytest.mark.parametrize(
    ("query", "dear"),
    [
        ("", False),
        ("limit=50", False),
        ("status=pending&order=asc", False),
        ("completed=false&cursor=x", False),
        ("sort=due_date", False),
        ("sort=due_date&order=desc", True),  # what has none stands last: no index says so
        ("sort=due_date&status=pending", True),
        ("status=completed", True),
        ("sort=title", True),
        ("sort=updated", True),
        ("priority=low", True),
        ("tag=a", True),
        ("search=a", True),
        ("due_before=2026-01-01", True),
    ],
)
def test_dear_is_what_may_read_all_tasks(query: str, dear: bool) -> None:
    """A list whose tasks an index has in its order ends with its page; no other is sure to."""
    assert is_dear(parse_list_query(query.encode()).query) is dear


async def test_stats_of_nothing(alice: Client) -> None:
    """A new user's statistics are zeros."""
    stats: dict[str, Any] = (await alice.get("/api/tasks/stats")).json()
    assert (stats["total"], stats["by_tag"]) == (0, {})
    assert stats["by_priority"] == {"low": 0, "medium": 0, "high": 0}
