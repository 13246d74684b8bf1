"""Finding tasks: filters, sorts, search, pages, counts and statistics, on both databases."""

from typing import Any

import pytest

from tests.conftest import Client, Sent
from tests.tasks.test_routes import next_link


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


@pytest.mark.parametrize(
    "query",
    [
        "tag=" + "x" * 51,
        "tag=%00",
        "tag_match=some",
        "due_before=tomorrow",
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


async def test_stats_of_nothing(alice: Client) -> None:
    """A new user's statistics are zeros."""
    stats: dict[str, Any] = (await alice.get("/api/tasks/stats")).json()
    assert (stats["total"], stats["by_tag"]) == (0, {})
    assert stats["by_priority"] == {"low": 0, "medium": 0, "high": 0}
