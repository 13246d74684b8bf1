"""How the issuer's keys are fetched: when, how often, and what happens when they cannot be."""

import asyncio
import gc
import gzip
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from backend.auth import jwks as module
from backend.auth.jwks import AGE_MAX, GRACE, KEYS_MAX, REFRESH_AFTER, SIZE_MAX, Jwks
from backend.auth.tokens import TokenVerifier
from backend.config import Settings
from backend.errors import InvalidToken, KeysUnavailable
from tests.conftest import Client, MakeClient, settings_for
from tests.issuer import JWKS_URL, URL, Issuer, KeyPair

COOLDOWN = 0.05

ONE, TWO = KeyPair("EdDSA", "one"), KeyPair("ES256", "two")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(ONE)


MakeJwks = Callable[..., Jwks]


@pytest.fixture
async def make() -> AsyncIterator[MakeJwks]:
    """Makes what is closed after the test."""
    made = []

    def one(issuer: Issuer, cooldown: float = COOLDOWN, **options: Any) -> Jwks:
        made.append(Jwks(JWKS_URL, transport=issuer.transport, cooldown=cooldown, **options))
        return made[-1]

    yield one
    for jwks in made:
        await jwks.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until what was set off has happened."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def test_keys_are_fetched_at_first_need_and_once(issuer: Issuer, make: MakeJwks) -> None:
    """Nothing is fetched before a key is asked for, and a key that is known asks nobody."""
    jwks = make(issuer)
    await asyncio.sleep(0)
    assert jwks.find("one", "EdDSA") is None
    assert issuer.fetches == 0
    for _ in range(100):
        key = await jwks.get("one", "EdDSA")
        assert key is not None
        assert key.source == ONE.jwk()
    assert issuer.fetches == 1
    assert issuer.urls == {JWKS_URL}


async def test_one_fetch_serves_all_who_wait(issuer: Issuer, make: MakeJwks) -> None:
    """However many requests come before the first answer, the issuer is asked once."""
    jwks = make(issuer)
    issuer.answers.clear()
    waiting = [asyncio.create_task(jwks.get("one", "EdDSA")) for _ in range(200)]
    await issuer.asked.wait()
    issuer.answers.set()
    assert all(await asyncio.gather(*waiting))
    assert issuer.fetches == 1


async def test_an_unknown_key_is_fetched_once_a_cooldown(issuer: Issuer, make: MakeJwks) -> None:
    """Many unknown keys during a cool-down wait for its end, and then for one fetch together."""
    cooldown = 0.3  # long enough for all to come before it ends
    jwks = make(issuer, cooldown)
    await jwks.get("one", "EdDSA")
    started = time.monotonic()
    found = await asyncio.gather(*(jwks.get(uuid4().hex, "EdDSA") for _ in range(200)))
    assert found == [None] * 200
    assert time.monotonic() - started >= cooldown * 0.9
    assert issuer.fetches == 2


async def test_a_new_key_is_found_at_once_after_the_cooldown(issuer: Issuer, make: MakeJwks) -> None:
    """A rotated key works at its first use, without waiting."""
    clock = Clock()
    jwks = make(issuer, cooldown=2.0, clock=clock)
    await jwks.get("one", "EdDSA")
    issuer.keys.append(TWO.jwk())
    clock.now += 2.0
    assert await jwks.get("two", "ES256")
    assert issuer.fetches == 2


async def test_a_new_key_is_waited_for_during_a_cooldown(issuer: Issuer, make: MakeJwks) -> None:
    """A key that is published right after a fetch is not refused for having come too early."""
    jwks = make(issuer)
    await jwks.get("one", "EdDSA")
    issuer.keys.append(TWO.jwk())
    assert await jwks.get("two", "ES256")
    assert issuer.fetches == 2


async def test_a_fetch_that_began_too_early_is_not_trusted(issuer: Issuer, make: MakeJwks) -> None:
    """A key that the fetch under way does not bring is fetched once more before it counts as unknown."""
    jwks = make(issuer)
    issuer.answers.clear()
    first = asyncio.create_task(jwks.get("one", "EdDSA"))
    await issuer.asked.wait()
    second = asyncio.create_task(jwks.get("two", "ES256"))
    await asyncio.sleep(0)
    issuer.answers.set()
    assert await first
    issuer.keys.append(TWO.jwk())
    assert await second
    assert issuer.fetches == 2


async def test_a_fetch_by_another_ends_the_wait(issuer: Issuer, make: MakeJwks) -> None:
    """Who waits out a cool-down is content with a fetch that another began since: nobody waits twice."""
    clock = Clock()
    jwks = make(issuer, cooldown=0.1, clock=clock)
    key = await jwks.get("one", "EdDSA")
    assert key is not None
    clock.now += 0.05
    waiting = asyncio.create_task(jwks.get("two", "ES256"))
    await asyncio.sleep(0)
    issuer.keys.append(TWO.jwk())
    clock.now += 0.1
    assert await jwks.replacement(key) is None
    assert await asyncio.wait_for(waiting, 2)
    assert issuer.fetches == 2


async def test_made_up_keys_do_not_hammer_the_issuer(issuer: Issuer, make: MakeJwks) -> None:
    """500 made-up ids cost a fetch a cool-down, never two at once; a new key during that is found."""
    jwks = make(issuer)
    started = time.monotonic()

    async def attack() -> None:
        for _ in range(10):
            found = await asyncio.gather(*(jwks.get(uuid4().hex, "EdDSA") for _ in range(50)))
            assert found == [None] * 50

    attacking = asyncio.create_task(attack())
    await issuer.asked.wait()
    issuer.keys.append(TWO.jwk())
    assert await jwks.get("two", "ES256")
    assert await jwks.get("one", "EdDSA")
    assert not attacking.done()
    await attacking
    assert issuer.most_in_flight == 1
    assert 2 <= issuer.fetches <= math.ceil((time.monotonic() - started) / COOLDOWN) + 1


async def test_a_key_is_bound_to_its_algorithm(issuer: Issuer, make: MakeJwks) -> None:
    """An id with another algorithm is another key; two keys may share an id if their algorithms differ."""
    jwks = make(issuer)
    assert await jwks.get("one", "ES256") is None
    issuer.keys.append(KeyPair("ES256", "one").jwk())
    assert await jwks.get("one", "ES256")
    assert jwks.find("one", "EdDSA")


async def test_an_old_set_is_refreshed_behind_requests(issuer: Issuer, make: MakeJwks) -> None:
    """Past its age the set still answers at once, and one fetch in the background renews it."""
    clock = Clock()
    jwks = make(issuer, clock=clock)
    old = await jwks.get("one", "EdDSA")
    clock.now += REFRESH_AFTER
    assert jwks.find("one", "EdDSA") is old
    await asyncio.sleep(0)
    assert issuer.fetches == 1
    clock.now += 1
    issuer.answers.clear()
    issuer.keys = [ONE.jwk(), TWO.jwk()]
    for _ in range(50):
        assert jwks.find("one", "EdDSA") is old
    await until(lambda: issuer.fetches == 2)
    assert jwks.find("two", "ES256") is None
    issuer.answers.set()
    await until(lambda: jwks.find("two", "ES256") is not None)
    assert jwks.find("one", "EdDSA") is old
    assert issuer.fetches == 2


async def test_a_withdrawn_key_is_forgotten_with_the_next_fetch(issuer: Issuer, make: MakeJwks) -> None:
    """What the issuer no longer publishes verifies nothing, not even when it publishes no key at all."""
    clock = Clock()
    jwks = make(issuer, clock=clock)
    await jwks.get("one", "EdDSA")
    issuer.keys = []
    clock.now += REFRESH_AFTER + 1
    assert jwks.find("one", "EdDSA")
    await until(lambda: jwks.find("one", "EdDSA") is None)
    clock.now += 1
    assert await jwks.get("one", "EdDSA") is None


async def test_the_last_good_set_serves_during_an_outage(issuer: Issuer, make: MakeJwks) -> None:
    """Known keys go on for an hour; unknown ones are a 503; a try a cool-down; then all is well again."""
    clock = Clock()
    jwks = make(issuer, cooldown=2.0, clock=clock)
    key = await jwks.get("one", "EdDSA")
    issuer.down = True
    for part in range(1, 4):
        clock.now += GRACE / 3
        for _ in range(10):
            assert await jwks.get("one", "EdDSA") is key
        with pytest.raises(KeysUnavailable):
            await jwks.get("two", "ES256")
        for _ in range(10):
            assert jwks.find("one", "EdDSA") is key
            await asyncio.sleep(0)
        assert issuer.fetches == 1 + part
    clock.now += 1
    assert jwks.find("one", "EdDSA") is None
    with pytest.raises(KeysUnavailable):
        await jwks.get("one", "EdDSA")
    issuer.down = False
    issuer.keys.append(TWO.jwk())
    clock.now += 2.0
    assert await jwks.get("two", "ES256")
    assert jwks.find("one", "EdDSA") is key
    assert issuer.fetches == 5


async def test_a_key_past_its_age_is_waited_for(issuer: Issuer, make: MakeJwks) -> None:
    """After any idle time the issuer is asked before anything is verified: once, for all who come."""
    clock = Clock()
    jwks = make(issuer, clock=clock)
    key = await jwks.get("one", "EdDSA")
    for idle in (AGE_MAX + 0.1, GRACE + 1, 10 * 365 * 86400):
        clock.now += idle
        fetches = issuer.fetches
        assert jwks.find("one", "EdDSA") is None
        assert await asyncio.gather(*(jwks.get("one", "EdDSA") for _ in range(50))) == [key] * 50
        assert issuer.fetches == fetches + 1
    issuer.keys = [TWO.jwk()]
    clock.now += AGE_MAX + 0.1
    assert await asyncio.gather(*(jwks.get("one", "EdDSA") for _ in range(50))) == [None] * 50
    assert issuer.fetches == fetches + 2, "a key that was known and is gone is not asked for twice"


async def test_an_outage_before_an_idle_time_says_nothing(issuer: Issuer, make: MakeJwks) -> None:
    """The grace is for an issuer that does not answer now, not for one that once did not."""
    clock = Clock()
    jwks = make(issuer, cooldown=2.0, clock=clock)
    key = await jwks.get("one", "EdDSA")
    issuer.down = True
    clock.now += REFRESH_AFTER + 1
    assert jwks.find("one", "EdDSA") is key
    await until(lambda: issuer.in_flight == 0 and issuer.fetches == 2)
    issuer.down, issuer.keys = False, [TWO.jwk()]
    clock.now += AGE_MAX
    assert jwks.find("one", "EdDSA") is None
    assert await jwks.get("one", "EdDSA") is None


async def test_an_outage_is_waited_for_once(issuer: Issuer, make: MakeJwks) -> None:
    """Who meets a silent issuer first waits for one fetch; after it nobody does, while more are tried."""
    clock = Clock()
    jwks = make(issuer, cooldown=2.0, clock=clock)
    key = await jwks.get("one", "EdDSA")
    issuer.answers.clear()
    issuer.down = True
    clock.now += AGE_MAX + 1
    waiting = [asyncio.create_task(jwks.get("one", "EdDSA")) for _ in range(50)]
    await until(lambda: issuer.fetches == 2)
    assert not any(task.done() for task in waiting)
    issuer.answers.set()
    assert await asyncio.gather(*waiting) == [key] * 50
    issuer.answers.clear()
    clock.now += 2.0
    for _ in range(50):
        assert jwks.find("one", "EdDSA") is key
    await until(lambda: issuer.fetches == 3)
    clock.now += 4.0  # while that one is still under way
    assert jwks.find("one", "EdDSA") is key
    issuer.answers.set()


async def test_an_unknown_key_finds_out_about_the_outage(issuer: Issuer, make: MakeJwks) -> None:
    """An unknown key whose own fetch fails is not called unknown: the issuer could not be asked."""
    clock = Clock()
    jwks = make(issuer, clock=clock)
    await jwks.get("one", "EdDSA")
    clock.now += 1
    issuer.down = True
    with pytest.raises(KeysUnavailable):
        await jwks.get("two", "ES256")
    assert jwks.find("one", "EdDSA")


async def test_nobody_waits_while_the_issuer_is_known_to_be_down(issuer: Issuer, make: MakeJwks) -> None:
    """With nothing cached all who wait fail with one fetch, and during its cool-down others fail at once."""
    clock = Clock()
    jwks = make(issuer, cooldown=2.0, clock=clock)
    issuer.down = True
    failed = await asyncio.gather(*(jwks.get("one", "EdDSA") for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in failed} == {KeysUnavailable}
    for _ in range(50):
        with pytest.raises(KeysUnavailable):
            await asyncio.wait_for(jwks.get("one", "EdDSA"), 0.5)
    assert issuer.fetches == 1
    issuer.down = False
    clock.now += 2.0
    assert await jwks.get("one", "EdDSA")
    assert issuer.fetches == 2


async def test_keys_of_one_id_are_told_apart_by_content(issuer: Issuer, make: MakeJwks) -> None:
    """The same key stays the same object through any fetch; another key under its id is its replacement."""
    clock = Clock()
    jwks = make(issuer, clock=clock)
    old = await jwks.get("one", "EdDSA")
    assert old is not None
    assert await jwks.replacement(old) is None
    assert issuer.fetches == 1, "a cool-down holds for replacements too"
    clock.now += 1
    assert await jwks.replacement(old) is None
    assert issuer.fetches == 2
    other = KeyPair("EdDSA", "one")
    issuer.keys = [other.jwk()]
    clock.now += 1
    new = await jwks.replacement(old)
    assert new is not None
    assert new.source == other.jwk()
    assert jwks.find("one", "EdDSA") is new
    clock.now += 1
    issuer.down = True
    assert await jwks.replacement(new) is None


async def test_a_request_that_is_cancelled_takes_no_other_along(issuer: Issuer, make: MakeJwks) -> None:
    """When the client goes away whose request began the fetch, or one that joined it, the fetch goes on."""
    jwks = make(issuer)
    issuer.answers.clear()
    first, second, *others = [asyncio.create_task(jwks.get("one", "EdDSA")) for _ in range(10)]
    await issuer.asked.wait()
    for gone in (first, second):
        gone.cancel()
        await asyncio.wait([gone])
        assert gone.cancelled()
    issuer.answers.set()
    assert all(await asyncio.gather(*others))
    assert issuer.fetches == 1


async def test_the_line_is_bounded(issuer: Issuer, make: MakeJwks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of waiting requests one more is a 503 at once; a place is given back in any case."""
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    jwks = make(issuer)
    for _ in range(2):
        issuer.answers.clear()
        issuer.asked.clear()
        waiting = [asyncio.create_task(jwks.get(uuid4().hex, "EdDSA")) for _ in range(3)]
        await issuer.asked.wait()
        with pytest.raises(KeysUnavailable):
            await asyncio.wait_for(jwks.get("unknown", "EdDSA"), 0.5)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        waiting.append(asyncio.create_task(jwks.get(uuid4().hex, "EdDSA")))
        issuer.answers.set()
        assert await asyncio.gather(*waiting[1:]) == [None] * 3
    key = jwks.find("one", "EdDSA")
    assert key is not None, "a key that is known needs no place"


async def test_closing_ends_a_fetch(issuer: Issuer, make: MakeJwks, caplog: pytest.LogCaptureFixture) -> None:
    """Closing in the middle of a fetch leaves no task and no complaint, and may be done twice."""
    before = asyncio.all_tasks()
    jwks = make(issuer)
    issuer.answers.clear()
    waiting = asyncio.create_task(jwks.get("one", "EdDSA"))
    await issuer.asked.wait()
    await jwks.close()
    await jwks.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert issuer.in_flight == 0
    assert asyncio.all_tasks() == before
    del waiting
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


class Server:
    """A real HTTP server, which answers each path with the bytes it was told, or keeps silent."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.drips: set[str] = set()  # paths whose answer never ends
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.url = ""

    def answer(self, path: str, body: bytes, status: str = "200 OK", *headers: str) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
        self.answers[path] = f"{head}\r\nConnection: close\r\n\r\n".encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.asked.append(path)
            self.heads.append(head)
            writer.write(self.answers.get(path, b""))
            while path in self.drips:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
            if path in self.answers:
                await writer.drain()
            else:
                await reader.read()  # until the client gives up
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        server.answer("/good", DOCUMENT)
        yield server


DOCUMENT = json.dumps({"keys": [ONE.jwk()]}).encode()


async def fetched(url: str) -> bool:
    """Whether the key is found there."""
    jwks = Jwks(url)
    try:
        return await jwks.get("one", "EdDSA") is not None
    except KeysUnavailable:
        return False
    finally:
        await jwks.close()


async def test_keys_come_over_http(server: Server) -> None:
    """A real server is asked as it expects, and its keys are read; none there at all is an outage."""
    assert await fetched(f"{server.url}/good")
    assert server.asked == ["/good"]
    assert b"accept-encoding: identity" in server.heads[0].lower()
    assert not await fetched("http://127.0.0.1:9/good")


BIG = DOCUMENT[:-1] + b', "more": "' + b"x" * 1024 * 1024 + b'"}'
BOMB = gzip.compress(DOCUMENT[:-1] + b" " * 10_000_000 + b"}")
BAD_ANSWERS: list[tuple[str, bytes, str, list[str]]] = [
    ("an error", DOCUMENT, "500 Internal Server Error", []),
    ("not found", DOCUMENT, "404 Not Found", []),
    ("no content", b"", "204 No Content", []),
    ("a web page", b"<!doctype html>", "200 OK", []),
    ("nothing", b"", "200 OK", []),
    ("no set", b"[]", "200 OK", []),
    ("a set that is null", b"null", "200 OK", []),
    ("a set without keys", b"{}", "200 OK", []),
    ("keys that are no list", b'{"keys": {"one": 1}}', "200 OK", []),
    ("more keys than anybody has", json.dumps({"keys": [ONE.jwk()] * (KEYS_MAX + 1)}).encode(), "200 OK", []),
    ("deep nesting", b'{"keys":' + b"[" * 100_000, "200 OK", []),
    ("a number too long", b'{"keys":[' + b"1" * 5000 + b"]}", "200 OK", []),
    ("not UTF-8", b'{"keys":["\xff"]}', "200 OK", []),
    ("1 MB", BIG, "200 OK", []),
    ("compressed without being asked to", gzip.compress(DOCUMENT), "200 OK", ["Content-Encoding: gzip"]),
    ("10 MB in few bytes", BOMB, "200 OK", ["Content-Encoding: gzip"]),
    ("a length that is a lie", DOCUMENT, "200 OK", ["Content-Length: 5"]),
    ("a redirect without an address", b"", "302 Found", []),
    ("a redirect to nonsense", b"", "302 Found", ["Location: http://[::1"]),
    ("a redirect to a file", b"", "302 Found", ["Location: file:///etc/passwd"]),
]


@pytest.mark.parametrize(
    ("body", "status", "headers"), [pytest.param(*rest, id=name) for name, *rest in BAD_ANSWERS]
)
async def test_bad_answers_are_an_outage(
    server: Server, body: bytes, status: str, headers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the issuer answers, the request is a 503, the log says why, and the last good set goes on."""
    assert len(BOMB) < SIZE_MAX
    server.answer("/bad", body, status, *headers)
    assert not await fetched(f"{server.url}/bad")
    assert caplog.messages == ["keys not fetched"]
    assert caplog.records[0].levelno == logging.WARNING
    clock = Clock()
    jwks = Jwks(f"{server.url}/good", clock=clock)
    key = await jwks.get("one", "EdDSA")
    server.answers["/good"] = server.answers["/bad"]
    clock.now += REFRESH_AFTER + 1
    assert jwks.find("one", "EdDSA") is key
    await until(lambda: len(caplog.messages) == 2)
    assert server.asked == ["/bad", "/good", "/good"]
    assert jwks.find("one", "EdDSA") is key


@pytest.mark.parametrize(
    "member",
    [None, 1, "key", [], {}, ONE.jwk(key_ops=5), ONE.jwk(n=2**62), ONE.jwk(kid=None), ONE.jwk(alg=[1])],
)
async def test_bad_members_do_not_spoil_a_set(server: Server, member: Any) -> None:
    """A key that cannot be used is passed over; the others are read."""
    server.answer("/mixed", json.dumps({"keys": [member, ONE.jwk(), member]}).encode())
    assert await fetched(f"{server.url}/mixed")


async def test_redirects_stay_on_their_host(server: Server) -> None:
    """Another path of the same host is followed, a few times; another host is never contacted."""
    server.answer("/moved", b"", "308 Permanent Redirect", "Location: /good")
    server.answer("/again", b"", "302 Found", f"Location: {server.url}/moved")
    assert await fetched(f"{server.url}/again")
    assert server.asked == ["/again", "/moved", "/good"]

    server.asked.clear()
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    for number, target in enumerate(
        (elsewhere, elsewhere.replace("http:", ""), "http://127.0.0.1:9", "https:/")
    ):
        server.answer(f"/{number}", b"", "302 Found", f"Location: {target}/good")
        assert not await fetched(f"{server.url}/{number}")
    assert server.asked == ["/0", "/1", "/2", "/3"]

    server.asked.clear()
    server.answer("/loop", b"", "302 Found", "Location: /loop")
    assert not await fetched(f"{server.url}/loop")
    assert len(server.asked) == 1 + module.REDIRECTS_MAX


async def test_redirects_stay_encrypted() -> None:
    """From https nothing leads to http, though the host be the same."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.scheme == "http":
            return httpx.Response(200, content=DOCUMENT)
        return httpx.Response(302, headers={"Location": f"http://{request.url.host}/jwks"})

    jwks = Jwks(JWKS_URL, transport=httpx.MockTransport(answer))
    with pytest.raises(KeysUnavailable):
        await jwks.get("one", "EdDSA")
    assert asked == [JWKS_URL]


@pytest.mark.parametrize("path", ["/silent", "/drips"])
async def test_a_slow_issuer_is_given_up(server: Server, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that says nothing, or a byte now and then, holds nobody longer than the limit."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.drips.add("/drips")
    server.answers["/drips"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    started = time.monotonic()
    assert not await fetched(f"{server.url}{path}")
    assert 0.15 < time.monotonic() - started < 2
    assert server.asked == [path]


async def test_a_revoked_key_is_never_accepted_after_an_idle_time(server: Server) -> None:
    """Over HTTP: a token that was good, its key withdrawn while nobody asked, is refused the first time."""
    clock = Clock()
    jwks = Jwks(f"{server.url}/good", clock=clock)
    settings = settings_for(
        "sqlite://", auth_jwks_url=f"{server.url}/good", auth_issuer=URL, auth_audience=URL
    )
    verifier = TokenVerifier(settings, jwks)
    bearer = token(ONE)
    assert (await verifier.verify(bearer)).id == "alice"
    server.answer("/good", json.dumps({"keys": [TWO.jwk()]}).encode())
    clock.now += AGE_MAX + 1
    assert verifier.known(bearer) is None
    with pytest.raises(InvalidToken):
        await verifier.verify(bearer)
    assert server.asked == ["/good", "/good"]


PROXIED = "http://alice:hunter2@127.0.0.1:{port}"


async def test_this_machine_is_asked_without_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its like are for addresses elsewhere: no proxy knows what localhost is here."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await fetched(f"{server.url}/good")
    assert await fetched(f"{server.url}/good".replace("127.0.0.1", "localhost"))


async def test_a_proxy_is_named_in_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Elsewhere the environment's proxy is asked; where that fails the log names it, without a password."""
    port = httpx.URL(server.url).port
    monkeypatch.setenv("HTTPS_PROXY", PROXIED.format(port=port))
    server.answers["auth.example.com:443"] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    assert not await fetched(JWKS_URL)
    assert server.asked == ["auth.example.com:443"]
    [record] = caplog.records
    fields = vars(record)["fields"]
    assert (fields["url"], fields["proxy"]) == (JWKS_URL, server.url)
    assert "hunter2" not in str(fields)
    monkeypatch.setenv("NO_PROXY", ".example.com")
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.asked.clear()
    assert not await fetched("https://127.0.0.2.example.com:9/jwks")
    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example.com/jwks",
        "http://localhost.example.com/jwks",
        "http://localhost@auth.example.com/jwks",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1/jwks",
        "ftp://auth.example.com/jwks",
        "file:///etc/passwd",
        "auth.example.com/jwks",
        "//auth.example.com/jwks",
        "https://",
    ],
)
@pytest.mark.parametrize("name", ["auth_jwks_url", "better_auth_url"])
def test_keys_are_not_fetched_in_the_clear(name: str, url: str) -> None:
    """An address that somebody on the way could answer for is refused at start."""
    with pytest.raises(ValidationError):
        settings_for("sqlite://", **{name: url})


@pytest.mark.parametrize(
    "url",
    ["https://auth.example.com/jwks", "http://localhost:3000/jwks", "http://127.0.0.1/j", "http://[::1]/j"],
)
def test_https_and_this_machine_are_fine(url: str) -> None:
    """What is encrypted or never leaves the machine is accepted."""
    assert settings_for("sqlite://", auth_jwks_url=url).jwks_url == url


# Over HTTP, from here on: the whole service with an issuer.


@pytest.fixture
def settings() -> Settings:
    """The database does not matter here."""
    return settings_for("sqlite://", better_auth_url=URL)


@pytest.fixture
async def api(app: FastAPI, issuer: Issuer, make: MakeJwks, client_for: MakeClient) -> Client:
    """A client of the service, whose issuer is the made-up one."""
    app.state.jwks = make(issuer)
    app.state.verifier = TokenVerifier(app.state.settings, app.state.jwks)
    client: Client = await client_for()
    return client


def token(pair: KeyPair, user_id: str = "alice") -> str:
    now = int(time.time())
    return pair.token({"sub": user_id, "iss": URL, "aud": URL, "iat": now, "exp": now + 900})


async def get(api: Client, bearer: str) -> httpx.Response:
    return await api.get("/api/tasks", headers={"Authorization": f"Bearer {bearer}"})


async def test_without_keys_a_token_is_a_503(
    app: FastAPI, api: Client, issuer: Issuer, make: MakeJwks
) -> None:
    """With the issuer down and nothing cached: 503 that says when to come back; then all is well."""
    clock = Clock()
    app.state.verifier = TokenVerifier(app.state.settings, make(issuer, clock=clock))
    issuer.down = True
    response = await get(api, token(ONE))
    assert response.status_code == 503
    assert response.json()["code"] == "keys_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    issuer.down = False
    clock.now += int(response.headers["Retry-After"])
    assert (await get(api, token(ONE))).status_code == 200


async def test_an_outage_stops_no_known_key(app: FastAPI, api: Client, issuer: Issuer) -> None:
    """With the issuer down tokens of known keys are served, seen before or not; a new key is a 503."""
    seen = token(ONE)
    assert (await get(api, seen)).status_code == 200
    issuer.down = True
    assert (await get(api, seen)).status_code == 200
    assert (await get(api, token(ONE, "bob"))).status_code == 200
    assert (await get(api, token(TWO))).status_code == 503
    assert (await get(api, token(ONE, "carol"))).status_code == 200


async def test_a_repeated_id_is_another_key(api: Client, issuer: Issuer) -> None:
    """After a reset of the issuer's database, where ids begin anew, new tokens work without a restart."""
    old, new = KeyPair("EdDSA", "1"), KeyPair("EdDSA", "1")
    issuer.keys = [old.jwk()]
    before = token(old)
    assert (await get(api, before)).status_code == 200
    issuer.keys = [new.jwk()]
    await asyncio.sleep(COOLDOWN)
    answers = await asyncio.gather(*(get(api, token(new)) for _ in range(20)))
    assert {response.status_code for response in answers} == {200}
    assert issuer.fetches == 2
    assert (await get(api, before)).status_code == 401, "the old key's tokens ended with it, cached or not"


async def test_a_withdrawn_key_ends_its_tokens(
    app: FastAPI, api: Client, issuer: Issuer, make: MakeJwks
) -> None:
    """A token that is served from the cache is refused once the issuer has withdrawn its key."""
    clock = Clock()
    app.state.verifier = TokenVerifier(app.state.settings, make(issuer, clock=clock))
    bearer = token(ONE)
    assert (await get(api, bearer)).status_code == 200
    issuer.keys = [TWO.jwk()]
    clock.now += REFRESH_AFTER + 1
    assert (await get(api, bearer)).status_code == 200, "nobody waits for the refresh"
    assert issuer.fetches == 2
    clock.now += 1
    assert (await get(api, bearer)).status_code == 401


async def test_forged_tokens_of_a_known_key_do_not_hammer_the_issuer(api: Client, issuer: Issuer) -> None:
    """A wrong signature may mean that an id was used again, which is looked up once a cool-down at most."""
    assert (await get(api, token(ONE))).status_code == 200
    started = time.monotonic()
    forger = KeyPair("EdDSA", "one")
    for _ in range(5):
        answers = await asyncio.gather(*(get(api, token(forger)) for _ in range(20)))
        assert {response.status_code for response in answers} == {401}
    assert issuer.most_in_flight == 1
    assert issuer.fetches <= math.ceil((time.monotonic() - started) / COOLDOWN) + 1


async def test_a_flood_of_made_up_keys_locks_nobody_out(api: Client, issuer: Issuer) -> None:
    """While 200 tokens with made-up key ids come in, known users are served and a new key is found."""
    assert (await get(api, token(ONE))).status_code == 200
    started = time.monotonic()

    async def attack() -> None:
        for _ in range(10):
            made_up = [KeyPair("EdDSA", uuid4().hex) for _ in range(20)]
            answers = await asyncio.gather(*(get(api, token(pair)) for pair in made_up))
            assert {response.status_code for response in answers} == {401}

    attacking = asyncio.create_task(attack())
    await asyncio.sleep(0)
    issuer.keys.append(TWO.jwk())
    assert (await get(api, token(TWO))).status_code == 200
    assert (await get(api, token(ONE, "bob"))).status_code == 200
    assert not attacking.done()
    await attacking
    assert issuer.fetches <= math.ceil((time.monotonic() - started) / COOLDOWN) + 1
