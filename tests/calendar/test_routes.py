"""Calendars over HTTP: made, listed, revoked, and read by whoever has the address."""

import io
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from backend.calendar import crud
from backend.calendar.crud import CALENDARS_MAX
from backend.calendar.secrets import new_seed, read, write
from backend.config import Settings
from backend.models import calendars, idempotency_keys
from backend.web.limits import FEED_QUOTA
from backend.web.logs import without_secrets
from tests.conftest import Client, MakeClient, Sent, on_sqlite, settings_for
from tests.pauses import allowed, watched
from tests.test_isolation import comparable


async def subscribe(alice: Client, **calendar: Any) -> str:
    """Make a calendar; return its address."""
    response = await alice.post("/api/calendar", json=calendar)
    assert response.status_code == 201, response.text
    url: str = response.json()["url"]
    return url


def secret_of(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".ics")


def titles(calendar: str) -> list[str]:
    return re.findall(r"SUMMARY:(.*)\r\n", calendar)


@pytest.mark.parametrize("prefix", ["/api", "/api/alice"])
async def test_a_calendar_is_made_listed_and_revoked(alice: Client, client: Client, prefix: str) -> None:
    """Its address is shown once, needs no token, and is a 404 from the moment it is deleted."""
    await alice.new_task("mine", due_date="2026-12-01")
    said = {"name": " Work ", "component": "VTODO", "alarm": 5, "filter": {"tag": "a", "search": ""}}
    created = await alice.post(f"{prefix}/calendar", json=said)
    made = created.json()
    url = made.pop("url")
    assert created.status_code == 201
    assert made | {"id": 0, "created_at": ""} == {
        "id": 0,
        "name": "Work",
        "component": "todo",
        "alarm": 5,
        "filter": {"tag": ["a"]},
        "created_at": "",
    }
    assert re.fullmatch(r"http://test/api/calendar/[A-Za-z0-9_-]{43,}\.ics", url)
    assert (await alice.get(f"{prefix}/calendar")).json() == [made]
    other = await subscribe(alice)
    assert titles((await client.get(other)).text) == ["mine"]
    assert (await client.get(url)).status_code == 200
    gone = await alice.delete(f"{prefix}/calendar/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await client.get(url)).status_code == 404
    assert (await alice.delete(f"{prefix}/calendar/{made['id']}")).status_code == 404
    assert (await client.get(other)).status_code == 200


async def test_every_address_that_opens_nothing_is_the_same(
    alice: Client, client: Client, app: FastAPI
) -> None:
    """Revoked, altered, made up, of nobody or no secret at all: byte for byte one 404."""
    url = await subscribe(alice)
    secret = secret_of(url)
    [made] = (await alice.get("/api/calendar")).json()
    await alice.delete(f"/api/calendar/{made['id']}")
    key = app.state.settings.cursor_secret
    tried = [
        secret,
        write(new_seed(), key, "alice"),
        write(new_seed(), key, "nobody"),
        secret.swapcase(),
        secret[:-1],
        f"{secret}=",
        f"{secret}A",
        "A" * 43,
        "A" * 5000,
        "x",
        "%00",
        "%FF%FE",
        "%F0%9F%98%80",
        write(new_seed(), key, "a\x00b"),
        write(new_seed(), key, "a" * 300),
    ]
    answers = {comparable(await client.get(f"/api/calendar/{text}.ics")) for text in tried}
    assert len(answers) == 1
    [(status, _, body)] = answers
    assert status == 404
    assert json.loads(body)["code"] == "calendar_not_found"
    # Nor is a token, or a cookie, any help.
    assert comparable(await alice.get(url)) in answers


async def test_the_secret_is_kept_nowhere(alice: Client, app: FastAPI) -> None:
    """The database has a hash alone; with an Idempotency-Key the same address is answered, and not kept."""
    headers = {"Idempotency-Key": "k"}
    first = await alice.post("/api/calendar", json={}, headers=headers)
    again = await alice.post("/api/calendar", json={}, headers=headers)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len((await alice.get("/api/calendar")).json()) == 1
    secret = secret_of(first.json()["url"])
    found = read(secret, "text")
    assert found is not None
    async with app.state.database.engine.execution_options(unobserved=True).connect() as connection:
        rows = [dict(row) for row in (await connection.execute(select(calendars))).mappings()]
        kept = [dict(row) for row in (await connection.execute(select(idempotency_keys))).mappings()]
    assert rows[0]["secret_hash"] == found.hash
    assert secret not in repr(rows) + repr(kept)
    assert "url" not in json.loads(kept[0]["body"])


async def test_what_is_shown_is_what_was_asked_for(alice: Client, client: Client) -> None:
    """The filters of a list; without a status the pending, and nothing without a due date."""
    await alice.new_task("a", due_date="2026-12-01", tags=["x"], priority="high")
    await alice.new_task("b", due_date="2026-12-02T09:00:00Z", tags=["y"])
    await alice.new_task("c", due_date="2026-12-03", completed=True, tags=["x"])
    await alice.new_task("d", tags=["x"])
    for asked, shown in (
        ({}, ["a", "b"]),
        ({"status": "all"}, ["a", "b", "c"]),
        ({"completed": True}, ["c"]),
        ({"tag": "x"}, ["a"]),
        ({"tag": ["X", "y"], "tagMatch": "any", "status": "ALL"}, ["a", "b", "c"]),
        ({"priority": ["high", "low"]}, ["a"]),
        ({"due_after": "2026-12-01", "timezone": "Europe/Berlin"}, ["b"]),
        ({"search": "b"}, ["b"]),
        ({"has_due_date": False}, []),
    ):
        url = await subscribe(alice, component="todo", filter=asked)
        assert titles((await client.get(url)).text) == shown, asked


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"tags": ["x"]}},
        {"filter": {"user_id": "bob"}},
        {"filter": {"limit": 5}},
        {"filter": {"status": "pending", "completed": True}},
        {"filter": {"due_after": "soon"}},
        {"filter": ["x"]},
        {"filter": "status=all"},
        {"component": "journal"},
        {"alarm": -1},
        {"alarm": 40321},
        {"alarm": False},
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        [],
    ],
)
@on_sqlite
async def test_what_cannot_be_is_refused(alice: Client, body: Any) -> None:
    """A filter that is not understood would show too much: it is a 422, and nothing is made."""
    response = await alice.post("/api/calendar", json=body)
    assert response.status_code == 422, response.text
    assert (await alice.get("/api/calendar")).json() == []


async def test_a_user_has_a_few_of_them(alice: Client, bob: Client) -> None:
    """One more is a 409, until one is deleted; it is nobody else's concern."""
    made = [await alice.post("/api/calendar", json={}) for _ in range(CALENDARS_MAX)]
    assert {response.status_code for response in made} == {201}
    refused = await alice.post("/api/calendar", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "calendar_limit_reached")
    await subscribe(bob)
    await alice.delete(f"/api/calendar/{made[0].json()['id']}")
    await subscribe(alice)


async def test_what_has_not_changed_is_not_read_again(
    alice: Client, client: Client, statements: Sent
) -> None:
    """One statement, which reads no task; any change of a task makes it new."""
    task = await alice.new_task(due_date="2026-12-01")
    url = await subscribe(alice)
    first = await client.get(url)
    etag = first.headers["etag"]
    assert first.headers["content-type"] == "text/calendar; charset=utf-8"
    for known in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        statements.clear()
        answer = await client.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert len(statements) == 1
        assert not re.search(r"\btasks\b", statements[0])
    await alice.patch(f"/api/tasks/{task['id']}", json={"title": "new"})
    answer = await client.get(url, headers={"If-None-Match": etag})
    assert (answer.status_code, titles(answer.text)) == (200, ["new"])
    assert (await client.get(url)).headers["etag"] == answer.headers["etag"] != etag
    assert (await client.get(await subscribe(alice))).headers["etag"] != answer.headers["etag"]


@on_sqlite
async def test_time_alone_makes_it_new(
    alice: Client, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a day, and often where it shows what is overdue, or what today is somewhere."""
    filters = {"all": {}, "overdue": {"overdue": True}, "today": {"due_before": "today"}}
    urls = {name: await subscribe(alice, filter=said) for name, said in filters.items()}
    etags: dict[str, list[str]] = {name: [] for name in filters}
    for hour in range(48):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime(2026, 11, 26, 0, 30, tzinfo=UTC) + timedelta(hours=hour)  # noqa: B023 - used at once

        monkeypatch.setattr("backend.calendar.routes.datetime", Clock)
        monkeypatch.setattr("backend.web.limits.FEED_QUOTA", 1000)
        if hour in (0, 1, 23, 24, 25, 47):
            for kind, url in urls.items():
                etags[kind].append((await client.get(url)).headers["etag"])
    assert {name: len(set(found)) for name, found in etags.items()} == {"all": 2, "overdue": 6, "today": 6}


async def test_a_head_is_answered_without_the_tasks(alice: Client, client: Client, statements: Sent) -> None:
    """It has the headers, and reads nothing."""
    await alice.new_task(due_date="2026-12-01")
    url = await subscribe(alice)
    got = await client.get(url)
    statements.clear()
    head = await client.head(url)
    assert (head.status_code, head.content, len(statements)) == (200, b"", 1)
    for name in ("etag", "content-type", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert "content-length" not in head.headers


async def test_an_address_opens_nothing_else(alice: Client, client: Client) -> None:
    """It is no token, whichever way it is sent, and changes nothing whichever way it is asked."""
    url = await subscribe(alice)
    secret = secret_of(url)
    for headers in ({"Authorization": f"Bearer {secret}"}, {"Cookie": f"better-auth.session_token={secret}"}):
        for path in ("/api/tasks", "/api/calendar", "/api/alice/tasks"):
            assert (await client.get(path, headers=headers)).status_code == 401, path
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await client.request(method, url)).status_code == 405, method
    assert (await client.get(f"/api/alice/calendar/{secret}.ics")).status_code == 404
    assert (await client.get(url.removesuffix(".ics"))).status_code in (404, 405)
    assert (await client.get(url)).status_code == 200


@on_sqlite
async def test_who_is_called_calendar_has_tasks(client_for: MakeClient) -> None:
    """The path of a user of that name is still theirs."""
    user = await client_for("calendar")
    task = await user.new_task()
    assert (await user.get("/api/calendar/tasks")).json() == [task]
    assert (await user.get("/api/calendar/calendar")).json() == []
    assert (await user.delete(f"/api/calendar/tasks/{task['id']}")).status_code == 204


@on_sqlite
async def test_the_secret_is_in_no_line_of_the_log(
    alice: Client, client: Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where it is good, revoked, mistyped or fails, nor in what an answer tells others."""
    url = await subscribe(alice)
    secret = secret_of(url)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.root.handlers[0].formatter)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    spelt = "".join(f"%{ord(mark):02X}" for mark in secret)
    for path in (
        *(url, url.removesuffix(".ics"), f"{url}/", f"{url}?x=1", url.replace("/api", "//api")),
        *(f"/v1/api/calendar/{secret}.ics", f"/api/alice/calendar/{secret}", f"/API/Calendar/{secret}.ics"),
        *(f"/api/calendar/{spelt}.ics", f"/api/tasks/{secret}", f"/{secret}"),
    ):
        response = await client.get(path)
        assert response.headers["referrer-policy"] == "no-referrer"
        assert secret not in response.text

    async def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(crud, "get_entries", fail)
    assert (await client.get(url)).status_code == 500
    written = stream.getvalue()
    assert written.count("request") >= 12
    assert "a bug" in written
    assert secret not in written
    assert spelt not in written
    assert secret[:43] not in written


def test_only_what_may_be_a_secret_is_left_out_of_the_log() -> None:
    """Paths of tasks, and of users with the ids that there are, stay as they were sent."""
    for path in (
        b"/api/tasks/123/complete",
        b"/api/tasks/complete-all",
        b"/api/3f2504e0-4f89-41d3-9a0c-0305e82c3301/tasks/9223372036854775807/complete",
        b"/api/" + b"a" * 32 + b"/tasks/changes",
    ):
        assert without_secrets(path) == path


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """The usual ones; a test's own parameters add to them."""
    return settings_for(database_url, **getattr(request, "param", {}))


def hold_still(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the limits' clocks, so that nothing is given back on a slow machine."""
    counted = app.state.limits
    for limit in (counted._users, counted._addresses, counted._feeds):
        if limit is not None:
            now = limit._clock()
            monkeypatch.setattr(limit, "_clock", lambda now=now: now)


@on_sqlite
@pytest.mark.parametrize("settings", [{"rate_limit_anonymous": 3, "rate_limit": 50}], indirect=True)
async def test_a_calendar_has_a_share(
    alice: Client,
    bob: Client,
    client: Client,
    app: FastAPI,
    statements: Sent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of its own, neither its owner's nor its address's; beyond it the database is not asked."""
    hold_still(app, monkeypatch)
    url, other = await subscribe(alice), await subscribe(bob)
    answers = [await client.get(url) for _ in range(FEED_QUOTA)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].headers["ratelimit"] == f'"calendar";r={FEED_QUOTA - 1};t=60'
    statements.clear()
    refused = await client.get(url)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert statements == []
    assert (await client.get(other)).status_code == 200
    assert (await alice.get("/api/calendar")).headers["ratelimit"] == '"user";r=48;t=60'


@on_sqlite
@pytest.mark.parametrize("settings", [{"rate_limit_anonymous": 3}], indirect=True)
async def test_who_guesses_is_stopped(
    alice: Client, client: Client, app: FastAPI, statements: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their address, before the database; a calendar that was read from anywhere lately still is."""
    hold_still(app, monkeypatch)
    url = await subscribe(alice)
    assert (await client.get(url)).status_code == 200
    key = app.state.settings.cursor_secret
    guesses = [f"/api/calendar/{write(new_seed(), key, 'alice')}.ics" for _ in range(4)]
    statements.clear()
    assert [(await client.get(guess)).status_code for guess in guesses] == [404, 404, 404, 429]
    assert len(statements) == 3
    assert (await client.get("/api/calendar/x.ics")).status_code == 429
    assert (await client.get(guesses[0], headers={"Authorization": "Bearer x"})).status_code == 429
    assert (await client.get(url)).status_code == 200
    # One that is revoked is a guess like others.
    [made] = (await alice.get("/api/calendar")).json()
    await alice.delete(f"/api/calendar/{made['id']}")
    statements.clear()
    assert [(await client.get(url)).status_code for _ in range(2)] == [429, 429]
    assert len(statements) == 1


ADDRESSES = [
    ({}, {}, "http://test"),
    ({"public_url": "https://api.example.com/v1"}, {"Host": "internal:8000"}, "https://api.example.com/v1"),
    ({}, {"Host": "tasks.example.com:8443"}, "http://tasks.example.com:8443"),
    ({}, {"Host": "[::1]:80"}, "http://[::1]:80"),
    ({}, {"Host": 'evil"><script>'}, "http://test"),
    ({}, {"Host": "user@evil.example.com/"}, "http://test"),
    ({"trust_forwarded_prefix": True}, {"X-Forwarded-Prefix": "/v1"}, "http://test/v1"),
]


@on_sqlite
@pytest.mark.parametrize(("settings", "headers", "base"), ADDRESSES, indirect=["settings"])
async def test_the_address_is_where_clients_reach_the_service(
    alice: Client, headers: dict[str, str], base: str
) -> None:
    """PUBLIC_URL, or what the request was sent to, and never what can be no host."""
    created = await alice.post("/api/calendar", json={}, headers=headers)
    assert created.json()["url"].startswith(f"{base}/api/calendar/")


@pytest.mark.parametrize("kind", ["text", "uuid", "integer"])
def test_a_secret_names_its_owner_in_one_spelling(kind: Any) -> None:
    """Whatever users' ids are: what no column could hold is no secret."""
    owners = {"text": "\u00fc \U0001f600", "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "integer": "42"}
    found = read(write(new_seed(), "key", owners[kind]), kind)
    assert found is not None
    assert found.owner == owners[kind]
    for bad in (
        "",
        "a\x00",
        "a" * 300,
        *(["x", "-1", "0x1", "3F2504E0-4F89-41D3-9A0C-0305E82C3301"][: 4 * (kind != "text")]),
    ):
        assert read(write(new_seed(), "key", bad), kind) is None, bad


async def test_a_huge_account_is_a_bounded_calendar(
    alice: Client, client: Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due nearest to now is shown, before and after it, and nobody else waits for long."""
    monkeypatch.setattr(crud, "ENTRIES_MAX", 6)
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(-9, 9, 2):
        await alice.new_task(f"{days}", due_date=(now + timedelta(days=days)).isoformat())
    url = await subscribe(alice)
    assert titles((await client.get(url)).text) == ["-5", "-3", "-1", "1", "3", "5"]


@on_sqlite
@pytest.mark.slow
async def test_no_calendar_holds_the_loop(alice: Client, client: Client) -> None:
    """Neither two thousand tasks, with the longest texts, nor their zones, nor loading what writes them."""
    zones = ["Europe/Berlin", "America/New_York", "Africa/Casablanca", "Asia/Gaza", "America/Sao_Paulo"]
    pattern = "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=500"
    long = {
        "description": "\u00e9," * 500,
        "tags": [f"{number:02}" + "\U0001f600" * 48 for number in range(20)],
    }
    for start in range(0, 2000, 1000):
        lines = [
            {"title": f"{n}", "due_date": f"1971-01-{n % 28 + 1:02}T09:00"}
            | ({"timezone": zones[n // 5 % 5], "recurring_pattern": pattern} if n % 5 == 0 else {})
            | (long if n % 40 == 0 else {})
            for n in range(start, start + 1000)
        ]
        sent = "\n".join(map(json.dumps, lines)).encode()
        answer = await alice.post(
            "/api/tasks/import", content=sent, headers={"Content-Type": "application/x-ndjson"}
        )
        assert answer.json()["created"] == 1000
    url = await subscribe(alice, component="todo", alarm=5)
    async with watched() as pauses:
        response = await client.get(url)
    assert response.text.count("BEGIN:VTODO") >= 2000
    assert response.text.count("BEGIN:VTIMEZONE") == 5
    assert pauses.longest < allowed()
