"""Limits on how many requests one user, or one address without a good token, may make."""

import re

import httpx
import pytest
from fastapi import FastAPI

from backend.config import Settings
from backend.web import limits
from backend.web.limits import RateLimit, address
from tests.conftest import ORIGIN, Client, MakeClient, Sent, settings_for


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("quota", [1, 3, 7, 60, 600, 999_983])
def test_as_many_as_there_may_be_and_no_more(quota: int) -> None:
    """The whole quota may come at once; each hit is given back after its part of the minute."""
    clock = Clock()
    limit = RateLimit("user", quota, clock)
    taken = min(quota, 1000)
    assert [int(limit.hit("ann")) for _ in range(taken)] == list(range(quota - 1, quota - 1 - taken, -1))
    if taken < quota:
        return
    assert limit.is_spent("ann")
    left = limit.hit("ann")
    assert left < 0
    assert limit.hit("ann") == left  # what is refused costs nothing more
    assert limit.hit("ben") >= 0
    clock.now += limit.retry_after(left)
    assert not limit.is_spent("ann")
    assert limit.hit("ann") >= 0
    clock.now += 60
    assert int(limit.hit("ann")) == quota - 1


def test_an_even_pace_goes_on_for_ever() -> None:
    """Who keeps to the quota is never refused, and twice the quota in a minute is the most there is."""
    clock = Clock()
    limit = RateLimit("user", 60, clock)
    for _ in range(1000):
        assert limit.hit("steady") >= 0
        clock.now += 1
    served = 0
    for _ in range(600):
        served += limit.hit("greedy") >= 0
        clock.now += 0.1
    assert served in (119, 120)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come, two generations are kept; who is there all the time is not forgotten with them."""
    monkeypatch.setattr(limits, "KEYS_MAX", 100)
    clock = Clock()
    limit = RateLimit("address", 2, clock)
    for number in range(10_000):
        limit.hit(f"a{number}")
        clock.now += 0.0001
        if number % 50 == 0:
            limit.hit("steady")
    assert len(limit._young) + len(limit._old) <= 200
    assert limit.is_spent("steady")
    clock.now += 120
    limit.hit("a")
    clock.now += 120
    limit.hit("a")
    assert len(limit._young) + len(limit._old) <= 2


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::9", "20010db800010002"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("unknown:" * 100, ("unknown:" * 100)[:64]),
        ("x" * 1000, "x" * 64),
    ],
)
def test_an_address_is_what_one_household_has(host: str, key: str) -> None:
    """Of IPv6 that is a /64; and whatever a proxy says is short."""
    assert address({"client": (host, 1)}) == key


def test_a_socket_has_no_address() -> None:
    """Where nobody can be told apart, nobody is limited for others."""
    assert address({"client": None}) is None
    assert address({}) is None


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    """Tight limits; a test's own parameters add to them."""
    own = getattr(request, "param", {})
    return settings_for("sqlite://", **{"rate_limit": 3, "rate_limit_anonymous": 2, **own})


async def test_a_user_has_a_share(alice: Client, bob: Client, statements: Sent) -> None:
    """Each answer says what is left; beyond it is a 429, before the database, and others have theirs."""
    answers = [await alice.get("/api/tasks") for _ in range(3)]
    assert [answer.headers["ratelimit"] for answer in answers] == [f'"user";r={n};t=60' for n in (2, 1, 0)]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"user";q=3;w=60'}
    statements.clear()
    for method, path in (
        ("GET", "/api/tasks"),
        ("GET", "/api/alice/tasks/stats"),
        ("POST", "/api/tasks"),
        ("PATCH", "/api/tasks/1/complete"),
    ):
        refused = await alice.request(method, path, json={"title": "a"} if method == "POST" else None)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests"), path
        seconds = int(refused.headers["retry-after"])
        assert 1 <= seconds <= 20
        assert refused.json()["detail"] == f"More than 3 requests in a minute; try again in {seconds} s"
        assert refused.headers["ratelimit"] == '"user";r=0;t=60'
    assert not statements
    assert (await bob.get("/api/tasks")).status_code == 200


async def test_a_request_counts_once(alice: Client) -> None:
    """Also one that is looked at twice: by the fast way, and then by FastAPI for what is wrong with it."""
    invalid = await alice.post("/api/tasks", json={"title": ""})
    assert (invalid.status_code, invalid.headers["ratelimit"]) == (422, '"user";r=2;t=60')
    assert (await alice.get("/api/bob/tasks")).headers["ratelimit"] == '"user";r=1;t=60'


BAD = [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Bearer x"}]


@pytest.mark.parametrize("headers", BAD)
@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/export", "/api/tasks/stats"])
async def test_an_address_without_a_good_token_has_a_share(
    client: Client, alice: Client, headers: dict[str, str], path: str
) -> None:
    """Beyond it a 401 becomes a 429. Whoever has a good token at the same address is not concerned."""
    for left in (1, 0):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["ratelimit-policy"] == '"address";q=2;w=60'
        assert answer.headers["ratelimit"] == f'"address";r={left};t=60'
    refused = await client.get(path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert (await alice.get("/api/tasks")).status_code == 200  # a token never seen before
    assert (await alice.get("/")).status_code == 200


async def test_expired_tokens_count_too(client_for: MakeClient) -> None:
    """A token that was good once is good no more."""
    late = await client_for("late", exp=1)
    answers = [(await late.get("/api/tasks")).status_code for _ in range(3)]
    assert answers == [401, 401, 429]


async def test_what_has_no_user_counts_for_the_address(client: Client) -> None:
    """The document, the root, what is not there; with a bad token too, which nobody looks at there."""
    bad = {"Authorization": "Bearer x.y.z"}
    answers = [await client.get(path, headers=bad) for path in ("/openapi.json", "/missing", "/", "/docs")]
    assert [answer.status_code for answer in answers] == [200, 404, 429, 429]


async def test_probes_and_preflights_are_free(client: Client) -> None:
    """Health, readiness and OPTIONS are neither counted nor refused."""
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    for _ in range(5):
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).status_code == 200
        assert (await client.options("/api/tasks", headers=preflight)).status_code == 200
        assert (await client.options("/api/tasks")).status_code == 204
    for _ in range(3):
        refused = await client.get("/api/tasks", headers={"Origin": ORIGIN})
    assert refused.status_code == 429
    exposed = set(re.split(", *", refused.headers["access-control-expose-headers"]))
    assert exposed >= {"RateLimit", "RateLimit-Policy", "Retry-After"}
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    assert (await client.get("/health")).status_code == 200


async def test_addresses_are_told_apart(app: FastAPI) -> None:
    """One that is refused is not refused for another."""
    statuses = []
    for host in (
        "192.0.2.1",
        "192.0.2.1",
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8::3",
    ):
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with Client(transport=transport, base_url="http://test") as client:
            statuses.append((await client.get("/api/tasks")).status_code)
    assert statuses == [401, 401, 429, 401, 401, 401, 429]


@pytest.mark.parametrize("settings", [{"rate_limit": None, "rate_limit_anonymous": 0}], indirect=True)
async def test_without_limits_nothing_is_said(alice: Client, client: Client) -> None:
    """Neither header is sent, and nobody is refused."""
    for asking in (alice, client):
        answers = [await asking.get("/api/tasks") for _ in range(5)]
        assert {answer.status_code for answer in answers} <= {200, 401}
        assert not any("ratelimit" in answer.headers for answer in answers)


def test_by_default_users_have_no_limit_and_addresses_have() -> None:
    """The settings' own word."""
    fields = Settings.model_fields
    assert (fields["rate_limit"].default, fields["rate_limit_anonymous"].default) == (None, 600)


async def add_session(app: FastAPI, user_id: str, token: str) -> None:
    """Do what Better Auth does at sign-in."""
    async with app.state.database.engine.execution_options(unobserved=True).begin() as connection:
        for statement in (
            'CREATE TABLE IF NOT EXISTS session (token text, "userId" text, "expiresAt" text)',
            f"INSERT INTO session VALUES ('{token}', '{user_id}', '2099-01-01T00:00:00Z')",
        ):
            await connection.exec_driver_sql(statement)


@pytest.mark.parametrize("settings", [{"auth_accept_sessions": True}], indirect=True)
async def test_guessed_sessions_are_refused_before_the_database(
    app: FastAPI, client: Client, alice: Client, statements: Sent
) -> None:
    """Once an address has guessed too often. A session that was good goes on, until its user is through."""
    await add_session(app, "alice", "good")
    good = {"Authorization": "Bearer good"}
    assert (await client.get("/api/tasks", headers=good)).status_code == 200
    guesses = [await client.get("/api/tasks", headers={"Authorization": f"Bearer x{n}"}) for n in range(2)]
    assert [guess.status_code for guess in guesses] == [401, 401]
    statements.clear()
    for number in range(5):
        guess = await client.get("/api/tasks", headers={"Authorization": f"Bearer y{number}"})
        assert guess.status_code == 429
    assert not statements
    assert [(await client.get("/api/tasks", headers=good)).status_code for _ in range(2)] == [200, 200]
    statements.clear()
    assert (await client.get("/api/tasks", headers=good)).status_code == 429
    assert not statements


async def test_a_limit_costs_no_round_trip(alice: Client, statements: Sent) -> None:
    """With a limit, a list is one statement as without."""
    await alice.get("/api/tasks")
    assert len(statements) == 1
