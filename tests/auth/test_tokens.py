"""Tokens: which are somebody, which are nobody, and what it costs to tell."""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from backend.auth import tokens as auth
from backend.auth.jwks import Jwks
from backend.auth.tokens import TokenVerifier, bearer_token
from backend.config import Settings
from backend.deps import CallerDep
from backend.errors import (
    ExpiredToken,
    InvalidScheme,
    InvalidToken,
    MissingSubject,
    MissingToken,
    Unauthorized,
)
from backend.main import create_app
from tests.conftest import SECRET, add_user, settings_for
from tests.issuer import JWKS_URL, URL, Issuer, hs256
from tests.tokens import (
    CACHED,
    CLAIMS,
    ED,
    GOOD,
    HOSTILE,
    IMPOSTORS,
    LINK,
    NOW,
    OLD_SECRETS,
    OWN,
    PAIRS,
    STRANGER,
    own,
    published,
    session,
    without,
)


def settings_with(**options: Any) -> Settings:
    secrets = ",".join(f"{number}:{secret}" for number, secret in enumerate(OLD_SECRETS))
    return settings_for("sqlite://", better_auth_url=URL, better_auth_secrets=secrets, **options)


@pytest.fixture
def settings() -> Settings:
    """Everything that tokens can be signed with; the database does not matter."""
    return settings_with()


@pytest.fixture(scope="module")
def never_started() -> FastAPI:
    """A service that never asks its database: who gets past its authentication gets `get`'s 403."""
    return create_app(settings_with())


def serve_keys(app: FastAPI, issuer: Issuer, settings: Settings | None = None) -> None:
    """Let the app's issuer be this one, and its clock stand."""
    app.state.jwks = Jwks(JWKS_URL, transport=issuer.transport)
    app.state.verifier = TokenVerifier(settings or app.state.settings, app.state.jwks, lambda: NOW)


async def get(app: FastAPI, token: str) -> httpx.Response:
    """The answer to a token for the path of bob, whom none of the tokens here names."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get("/api/bob/tasks", headers={b"Authorization": b"Bearer " + token.encode()})


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_tokens_are_nobody(
    never_started: FastAPI, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is a 401 in the shape of every error; nothing is asked of anybody else, and no log quotes it."""
    caplog.set_level(logging.DEBUG)
    accepted, asked, quoted, unexplained = [], [], [], []
    for name, token in HOSTILE[kind].items():
        issuer = published()
        serve_keys(never_started, issuer)
        caplog.clear()
        response = await get(never_started, token)
        code = response.json().get("code")
        if response.status_code != 401 or code not in ("invalid_token", "token_expired"):
            accepted.append(f"{name}: {response.status_code} {response.text}")
        assert response.status_code != 401 or response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json().keys() == {"detail", "code", "request_id"}
        if not issuer.urls <= {JWKS_URL} or issuer.fetches > 1:
            asked.append(f"{name}: {issuer.urls} {issuer.fetches}")
        [reason] = [said["reason"] for said in request_lines(caplog)]
        if not 10 < len(reason) <= 200:
            unexplained.append(f"{name}: {reason}")
        if token in caplog.text or "forged" in caplog.text:
            quoted.append(f"{name}: {caplog.text}")
    assert not accepted, "\n".join(accepted)
    assert not asked, "\n".join(asked)
    assert not quoted, "\n".join(quoted)
    assert not unexplained, "\n".join(unexplained)


def request_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of each request's line in the log."""
    return [vars(record)["fields"] for record in caplog.records if record.name == "backend.requests"]


# A token, settings, and what the log says of it.
REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (
        ED.token(CLAIMS),
        {"auth_issuer": f"{URL}/"},
        f"its iss is {URL}, expected is {URL}/ (see AUTH_ISSUER); they differ by a slash at the end",
    ),
    (
        ED.token(CLAIMS | {"iss": f"{URL}/"}),
        {},
        f"its iss is {URL}/, expected is {URL} (see AUTH_ISSUER); they differ by a slash at the end",
    ),
    (
        ED.token(CLAIMS | {"iss": "https://other.example.com"}),
        {},
        f"its iss is https://other.example.com, expected is {URL} (see AUTH_ISSUER)",
    ),
    (
        ED.token(CLAIMS | {"iss": "alice's own words"}),
        {},
        f"its iss is missing or another than {URL} (see AUTH_ISSUER)",
    ),
    (
        ED.token(CLAIMS | {"aud": ["a", f"{URL}/"]}),
        {},
        f"its aud is {URL}/, expected is {URL} (see AUTH_AUDIENCE); they differ by a slash at the end",
    ),
    (own(OWN | {"exp": NOW - 90}), {}, "its exp is 90 s ago"),
    (own(OWN | {"nbf": NOW + 90}), {}, "its nbf is more than 60 s ahead of this clock"),
    (own(without(OWN, "exp")), {}, "its exp is missing or no time"),
    (own(without(OWN, "sub")), {}, "it names no user: no sub claim"),
    (
        own(OWN | {"sub": "alice"}),
        {"auth_user_id_type": "uuid"},
        "its user id is none of AUTH_USER_ID_TYPE=uuid",
    ),
    (own(sign=hs256("x")), {}, "not signed with BETTER_AUTH_SECRET or one of BETTER_AUTH_SECRETS"),
    (STRANGER.token(CLAIMS), {}, "the issuer publishes no EdDSA key of its kid"),
    (IMPOSTORS[0].token(CLAIMS), {}, "not signed with the published key that it names"),
    (ED.token(CLAIMS, kid=None), {}, "its header has no usable kid"),
    (ED.token(CLAIMS, alg="ES384"), {}, "its algorithm is none that is accepted"),
    (ED.token(CLAIMS, crit=["exp"]), {}, "its header has crit, which is not supported"),
    (ED.token(CLAIMS, typ="at+jwt"), {}, "its typ is not JWT: it is for another purpose"),
    ("a" * 9000, {}, "longer than 8192 characters"),
    ("undefined", {}, "not a JWT: three parts of base64url, the first two JSON objects"),
]


@pytest.mark.parametrize(("token", "options", "reason"), REFUSALS)
async def test_the_log_says_why_a_token_was_refused(
    never_started: FastAPI,
    token: str,
    options: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request's own line has it, so that refusals add no lines; the client reads no more than before."""
    caplog.set_level(logging.INFO)
    serve_keys(never_started, published(), settings_with(**options))
    response = await get(never_started, token)
    assert response.status_code == 401
    assert reason not in response.text
    [line] = request_lines(caplog)
    assert line["reason"] == reason
    assert [record.name for record in caplog.records] == ["backend.requests"]


async def test_the_log_says_which_setting_a_token_lacks(
    never_started: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """A token of a kind for which nothing is set up names what would be: the usual mistake at first."""
    caplog.set_level(logging.INFO)
    keys_alone = Settings(_env_file=None, database_url="sqlite://", better_auth_url=URL)
    never_started.state.verifier = TokenVerifier(settings_for("sqlite://"))
    await get(never_started, ED.token(CLAIMS))
    serve_keys(never_started, published(), keys_alone)
    await get(never_started, own())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(never_started), base_url="http://test"
    ) as client:
        await client.get("/api/tasks")
    assert [line["reason"] for line in request_lines(caplog)] == [
        "signed with EdDSA, but neither BETTER_AUTH_URL nor AUTH_JWKS_URL is set",
        "signed with HS256, but BETTER_AUTH_SECRET is not set",
        "missing_token",
    ]


async def test_no_depth_breaks_the_verifier() -> None:
    """Nested JSON can be read up to some depth; on either side of it the answer is a clean one."""
    verifier = TokenVerifier(settings_with(), clock=lambda: NOW)
    outcomes = set()
    for depth in (50, *range(600, 1000), 2900):
        for nested in (b'{"a":' * depth + b"0" + b"}" * depth, b"[" * depth + b"]" * depth):
            try:
                header = b'{"alg":"HS256","a":' + nested + b"}"
                outcomes.add((await verifier.verify(own(header=header))).id)
            except InvalidToken:
                outcomes.add("")
    assert outcomes == {"alice", ""}


def test_there_are_hostile_tokens_of_every_kind() -> None:
    """The table has not lost its cases, and no good token has come into it."""
    hostile = [token for tokens in HOSTILE.values() for token in tokens.values()]
    assert len(hostile) > 700
    assert len(set(hostile)) > len(hostile) - 20  # a few ways lead to the same bytes
    assert not set(hostile) & set(GOOD.values())


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in GOOD.items()])
async def test_good_tokens_are_their_user(never_started: FastAPI, token: str) -> None:
    """Each kind is accepted: another's path is a 403, which comes after the token, and the user is alice."""
    serve_keys(never_started, published())
    response = await get(never_started, token)
    assert response.status_code == 403
    assert (await never_started.state.verifier.verify(token)).id == "alice"


async def test_good_tokens_reach_their_tasks(app: FastAPI) -> None:
    """All kinds of tokens of one user lead to the same tasks."""
    serve_keys(app, published())
    await add_user(app, "alice")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for token in GOOD.values():
            client.headers["Authorization"] = f"Bearer {token}"
            response = await client.post("/api/tasks", json={"title": "a"})
            assert (response.status_code, response.json()["user_id"]) == (201, "alice")
        assert len((await client.get("/api/tasks")).json()) == len(GOOD)


async def test_unknown_algorithms_ask_nobody() -> None:
    """A token of an algorithm that no key here has, or without a usable key id, costs the issuer no fetch."""
    issuer = published()
    verifier = verifier_of(issuer)
    headers: list[tuple[str, Any]] = [("kid", kid) for kid in (None, 1, "", "x" * 256)]
    headers += [("alg", alg) for alg in ("none", "ES384", "HS512", "eddsa", None, 1)]
    for name, value in headers:
        with pytest.raises(InvalidToken):
            await verifier.verify(ED.token(CLAIMS, **{name: value}))
    assert issuer.fetches == 0


async def test_what_a_client_is_told(never_started: FastAPI) -> None:
    """The contract's sentences: expired, without a user, and one for everything else."""
    serve_keys(never_started, published())
    expired, no_user = own(OWN | {"exp": NOW}), own(without(OWN, "sub"))
    for token, detail, code in (
        (expired, "Token has expired", "token_expired"),
        (ED.token(CLAIMS | {"exp": NOW - 1}), "Token has expired", "token_expired"),
        (no_user, "Invalid token: missing sub claim", "invalid_token"),
        (own(LINK), "Invalid token: missing sub claim", "invalid_token"),
        (own(sign=hs256("x")), "Invalid token", "invalid_token"),
        # Who cannot sign learns nothing about the claims.
        (own(OWN | {"exp": NOW}, sign=hs256("x")), "Invalid token", "invalid_token"),
        (own(without(OWN, "sub"), sign=hs256("x")), "Invalid token", "invalid_token"),
        ("x", "Invalid token", "invalid_token"),
    ):
        answer = (await get(never_started, token)).json()
        assert (answer["detail"], answer["code"]) == (detail, code)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, MissingToken),
        ("", MissingToken),
        ("Bearer", InvalidScheme),
        ("Bearer ", InvalidScheme),
        ("Bearer  token", InvalidScheme),
        ("Bearer token ", InvalidScheme),
        ("Bearer one two", InvalidScheme),
        (" Bearer token", InvalidScheme),
        ("Bearer\ttoken", InvalidScheme),
        ("Basic dXNlcjpwYXNz", InvalidScheme),
        ("BearerX token", InvalidScheme),
        ("token", InvalidScheme),
    ],
)
def test_the_authorization_header(header: str | None, error: type[Unauthorized]) -> None:
    """One word, one space, one token; what is missing and what is wrong are told apart."""
    with pytest.raises(error):
        bearer_token(header)
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        assert bearer_token(f"{scheme} token") == "token"


UUID = "0b9f7a1c-6d2e-4f3a-8b5c-1d2e3f4a5b6c"
IDS: list[tuple[str, str, str | None]] = [
    ("text", "alice", "alice"),
    ("text", "95yYJDnqiknwCPH5LLTCLghPcSYRHrsr", "95yYJDnqiknwCPH5LLTCLghPcSYRHrsr"),
    ("text", "a" * 255, "a" * 255),
    ("text", "Ünïcödé 🦄", "Ünïcödé 🦄"),
    ("text", "auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
    ("text", "a" * 256, None),
    ("text", "", None),
    ("text", "\x7f", None),
    ("uuid", UUID, UUID),
    ("uuid", UUID.upper(), UUID),
    ("uuid", UUID.replace("-", ""), None),
    ("uuid", f"{{{UUID}}}", None),
    ("uuid", f"urn:uuid:{UUID}", None),
    ("uuid", UUID[:-1], None),
    ("uuid", f" {UUID}", None),
    ("uuid", UUID.replace("0", "\u0660"), None),
    ("uuid", "alice", None),
    ("uuid", "1", None),
    ("integer", "1", "1"),
    ("integer", "0", "0"),
    ("integer", "2147483647", "2147483647"),
    ("integer", "2147483648", None),
    ("integer", "9" * 255, None),
    ("integer", "-1", None),
    ("integer", "-0", None),
    ("integer", "+1", None),
    ("integer", "01", None),
    ("integer", " 1", None),
    ("integer", "1_0", None),
    ("integer", "1.0", None),
    ("integer", "1e3", None),
    ("integer", "\u0663", None),
    ("integer", "\u00b2", None),
    ("integer", "alice", None),
    ("integer", UUID, None),
]


@pytest.mark.parametrize(
    ("kind", "sub", "user_id"),
    [pytest.param(*case, id=f"{case[0]} {case[1][:40]!a} of {len(case[1])}") for case in IDS],
)
async def test_ids_are_what_the_users_table_holds(kind: str, sub: str, user_id: str | None) -> None:
    """Whatever the column is, an id that it cannot hold is nobody, and each user has one spelling."""
    verifier = TokenVerifier(settings_with(auth_user_id_type=kind), clock=lambda: NOW)
    for token in (own(OWN | {"sub": sub}), own(session(userId=sub), {"alg": "HS256"})):
        if user_id is None:
            with pytest.raises(InvalidToken):
                await verifier.verify(token)
        else:
            assert (await verifier.verify(token)).id == user_id


async def test_issuer_and_audience_can_be_set() -> None:
    """AUTH_ISSUER and AUTH_AUDIENCE replace the origin, and then hold for the secret's tokens too."""
    issuer = published()
    settings = settings_with(auth_issuer="https://a.example/auth", auth_audience="tasks")
    verifier = TokenVerifier(settings, Jwks(JWKS_URL, transport=issuer.transport), lambda: NOW)
    ours = {"iss": "https://a.example/auth", "aud": ["tasks", "other"]}
    assert await verifier.verify(ED.token(CLAIMS | ours))
    assert await verifier.verify(own(OWN | ours))
    assert await verifier.verify(own(CACHED, {"alg": "HS256"})), "a cached session names neither"
    for token in (
        ED.token(CLAIMS),
        ED.token(CLAIMS | ours | {"iss": URL}),
        ED.token(CLAIMS | ours | {"aud": URL}),
        own(OWN),
        own(OWN | ours | {"aud": "task"}),
        own(OWN | ours | {"iss": "https://a.example/auth/"}),
    ):
        with pytest.raises(InvalidToken):
            await verifier.verify(token)


async def test_each_source_of_keys_works_alone() -> None:
    """Without an issuer no token of its algorithms is anybody's; without a secret no HS256 one."""
    alone = TokenVerifier(settings_for("sqlite://"), clock=lambda: NOW)
    assert await alone.verify(own())
    for pair in PAIRS:
        with pytest.raises(InvalidToken):
            await alone.verify(pair.token(CLAIMS))
    settings = Settings(_env_file=None, database_url="sqlite://", better_auth_url=URL)
    assert settings.secrets == []
    verifier = TokenVerifier(settings, Jwks(JWKS_URL, transport=published().transport), lambda: NOW)
    assert await verifier.verify(ED.token(CLAIMS))
    for secret in ("", SECRET, "sqlite://", URL):
        with pytest.raises(InvalidToken):
            await verifier.verify(own(CLAIMS, sign=hs256(secret)))
    assert verifier.signature_checks == 1


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def verifier_of(issuer: Issuer, clock: Callable[[], float] = lambda: NOW) -> TokenVerifier:
    return TokenVerifier(settings_with(), Jwks(JWKS_URL, transport=issuer.transport), clock)


async def test_a_token_is_remembered_until_it_expires() -> None:
    """Verified once, it is known without a check up to its last moment, and expired from then on."""
    clock = Clock()
    verifier = verifier_of(published(), clock)
    for checks, token in enumerate((own(), ED.token(CLAIMS)), 1):
        clock.now = NOW
        assert verifier.known(token) is None
        user = await verifier.verify(token)
        clock.now = NOW + 899.999
        assert verifier.known(token) == await verifier.verify(token) == user
        assert verifier.signature_checks == checks
        clock.now = NOW + 900
        with pytest.raises(ExpiredToken):
            verifier.known(token)
        assert verifier.known(token) is None
    for token in (own(), ED.token(CLAIMS)):
        with pytest.raises(ExpiredToken):
            await verifier.verify(token)


async def test_a_cached_session_is_remembered_no_longer_than_it_lasts() -> None:
    """Where the session ends before the token that caches it, that is the end."""
    clock = Clock()
    verifier = verifier_of(published(), clock)
    token = own(session(expiresAt="2027-01-15T08:01:40.000Z"), {"alg": "HS256"})
    assert await verifier.verify(token)
    clock.now = NOW + 99.9
    assert verifier.known(token)
    clock.now = NOW + 100
    with pytest.raises(ExpiredToken):
        verifier.known(token)
    with pytest.raises(ExpiredToken):
        await verifier.verify(token)


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, only the last CACHE_MAX are remembered; the others are checked again."""
    monkeypatch.setattr(auth, "CACHE_MAX", 8)
    verifier = verifier_of(published())
    tokens = [own(OWN | {"jti": number}) for number in range(20)]
    for token in tokens:
        await verifier.verify(token)
    assert [verifier.known(token) is not None for token in tokens] == [False] * 12 + [True] * 8
    assert await verifier.verify(tokens[0])
    assert verifier.signature_checks == 21


async def test_bad_tokens_are_not_remembered() -> None:
    """A flood of bad tokens drives no good one out."""
    verifier = verifier_of(published())
    good = own()
    await verifier.verify(good)
    for number in range(100):
        for bad in (own(OWN | {"jti": number}, sign=hs256("x")), own(OWN | {"jti": number, "exp": NOW})):
            with pytest.raises(Unauthorized):
                await verifier.verify(bad)
    assert verifier.known(good)
    assert len(verifier._verified) == 1


@pytest.mark.parametrize("token", [pytest.param(GOOD[name], id=name) for name in ("HS256", "EdDSA", "RS256")])
async def test_parallel_first_requests_check_once(token: str) -> None:
    """50 requests that bring a new token at the same moment cost one signature check and one fetch."""
    issuer = published()
    issuer.answers.clear()
    verifier = verifier_of(issuer)
    waiting = [asyncio.create_task(verifier.verify(token)) for _ in range(50)]
    await asyncio.sleep(0)
    issuer.answers.set()
    assert {user.id for user in await asyncio.gather(*waiting)} == {"alice"}
    assert verifier.signature_checks == 1
    assert issuer.fetches == (0 if token == GOOD["HS256"] else 1)


def test_users_differ() -> None:
    """Tokens that share nothing but a prefix are told apart: the memory is keyed by the whole token."""
    verifier = TokenVerifier(settings_with(), clock=lambda: NOW)
    tokens = [own(OWN | {"sub": f"user-{number}"}) for number in range(100)]
    for number, token in enumerate(tokens):
        assert finish(verifier.verify(token)).id == f"user-{number}"
    for number, token in enumerate(tokens):
        user = verifier.known(token)
        assert user is not None
        assert user.id == f"user-{number}"
    for one, other in pairwise(tokens):
        mixed = one.rpartition(".")[0] + "." + other.rpartition(".")[2]
        assert verifier.known(mixed) is None


def finish(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing; one that waits fails here."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


async def test_a_hot_request_waits_for_nothing(never_started: FastAPI) -> None:
    """Once a token was verified the dependency never gives up control, and checks no signature."""
    serve_keys(never_started, published())
    verifier: TokenVerifier = never_started.state.verifier
    dependency = CallerDep.__metadata__[0].dependency  # type: ignore[attr-defined] # of Annotated
    for token in (GOOD["HS256"], GOOD["EdDSA"]):
        scope = {
            "type": "http",
            "method": "GET",
            "app": never_started,
            "headers": [(b"authorization", b"Bearer " + token.encode())],
        }
        assert (await dependency(Request(scope))).id == "alice"
        checks = verifier.signature_checks
        for _ in range(1000):
            assert finish(dependency(Request(scope))).id == "alice"
        assert verifier.signature_checks == checks
    assert verifier.signature_checks == 2


async def test_a_token_costs_one_check_over_http(never_started: FastAPI) -> None:
    """200 requests with one token of each kind: one check each."""
    issuer = published()
    serve_keys(never_started, issuer)
    for _ in range(100):
        for name in ("HS256", "EdDSA"):
            assert (await get(never_started, GOOD[name])).status_code == 403
    assert never_started.state.verifier.signature_checks == 2
    assert issuer.fetches == 1


async def test_missing_subjects_are_told(never_started: FastAPI) -> None:
    """A token of nobody is told apart from a wrong one, where its signature is right."""
    verifier = TokenVerifier(settings_with(), clock=lambda: NOW)
    with pytest.raises(MissingSubject):
        await verifier.verify(own(without(OWN, "sub")))
