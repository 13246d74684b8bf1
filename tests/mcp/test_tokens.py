"""Who is let in at /mcp: the bearer of an access token for it. And how often, and with how much."""

import time
from typing import Any

import pytest
from fastapi import FastAPI

from backend.config import Settings
from tests.conftest import ORIGIN, Client, settings_for, token_for
from tests.issuer import URL, KeyPair
from tests.mcp.conftest import KEY, RESOURCE, access_token, bearer, call, claims, post

METADATA = "https://api.example.com/.well-known/oauth-protected-resource/mcp"


@pytest.fixture
def database_url() -> str:
    """One kind of database: what is asked here hangs on none."""
    return "sqlite://"


REFUSED: dict[str, Any] = {
    "for another audience": {"aud": "https://other.example.com/mcp"},
    "for the address with a slash": {"aud": f"{RESOURCE}/"},
    "for no audience": {"aud": None},
    "of another issuer": {"iss": "https://evil.example.com/api/auth"},
    "of the issuer's origin, as the API's are": {"iss": URL},
    "of the type of the API's": {"typ": "JWT"},
    "of an identity token's type": {"typ": "id_token+jwt"},
    "of another key": {"key": KeyPair("EdDSA", "k1")},
    "of a key that is not published": {"key": KeyPair("EdDSA", "k2")},
    "of no user": {"sub": None},
    "of the client itself": {"sub": "client-1"},
    "of no client": {"client_id": None},
    "of a client that breaks lines": {"client_id": "a\nb"},
    "bound to a key": {"cnf": {"jkt": "x"}},
    "from the future": {"iat": int(time.time()) + 3600},
    "with a list for a scope": {"scope": ["tasks:read"]},
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_token_that_is_not_for_this_is_refused(alice: Client, what: str) -> None:
    """Whatever else is right with it: a 401 that says where a better one is to be had."""
    changes = dict(REFUSED[what])
    token = access_token(changes.pop("sub", "alice"), **changes)
    response = await post(alice, token, "tools/list")
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    said = response.headers["WWW-Authenticate"]
    assert said.startswith("Bearer ")
    assert f'resource_metadata="{METADATA}"' in said
    assert 'error="invalid_token"' in said


async def test_an_expired_token_is_told_so(alice: Client) -> None:
    """A token whose time is over is a 401 of its own, and the client knows to renew it."""
    response = await post(alice, access_token(exp=int(time.time()) - 1), "tools/list")
    assert (response.status_code, response.json()["code"]) == (401, "token_expired")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


async def test_an_unsigned_token_and_one_of_the_secret_are_refused(alice: Client) -> None:
    """Access tokens are signed with a published key: the secret that signs the API's signs none of these."""
    tokens = [token_for("alice", **claims()), alice.headers["Authorization"].removeprefix("Bearer ")]
    for token in tokens:
        assert (await post(alice, token, "tools/list")).status_code == 401


async def test_tokens_of_the_api_and_of_agents_are_not_one_anothers(alice: Client) -> None:
    """The API's token, of the same key, is refused at /mcp; an agent's is refused by the API."""
    now = int(time.time())
    own = KEY.token({"sub": "alice", "iss": URL, "aud": URL, "iat": now, "exp": now + 900})
    assert (await alice.get("/api/tasks", headers=bearer(own))).status_code == 200
    assert (await post(alice, own, "tools/list")).status_code == 401
    for token in (access_token(), access_token(iss=URL, aud=[URL, RESOURCE])):
        refused = await alice.get("/api/tasks", headers=bearer(token))
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


async def test_nothing_but_a_bearer_token_counts(client: Client) -> None:
    """Without one a 401 that names no error, as clients expect which then sign in. A cookie is none."""
    for headers in ({}, {"Cookie": "better-auth.session_token=a.b"}, {"Authorization": "Basic YTpi"}):
        response = await client.post("/mcp", json={}, headers=headers)
        assert response.status_code == 401
        assert "error=" not in response.headers["WWW-Authenticate"]
        assert f'resource_metadata="{METADATA}"' in response.headers["WWW-Authenticate"]


async def test_where_to_sign_in_is_public(client: Client) -> None:
    """The document that the 401 names says what this is, which scopes there are and who issues tokens."""
    for path in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"):
        document = (await client.get(path)).json()
        assert document["resource"] == RESOURCE
        assert document["authorization_servers"] == [f"{URL}/api/auth"]
        assert document["scopes_supported"] == ["tasks:read", "tasks:write"]


async def test_a_token_reaches_as_far_as_its_scopes(alice: Client) -> None:
    """Reading tools for one, writing for the other; beyond it a 403 names the scope, and nothing is done."""
    reading, writing = access_token(scope="tasks:read"), access_token(scope="openid tasks:write")
    listed = {
        token: {tool["name"] for tool in (await post(alice, token, "tools/list")).json()["result"]["tools"]}
        for token in (reading, writing)
    }
    assert listed[reading] == {"list_tasks", "preview_recurrence"}
    assert listed[writing] == {"add_task", "update_task", "complete_task", "delete_task", "undo_change"}
    for tool in listed[writing]:
        refused = await post(alice, reading, "tools/call", name=tool, arguments={})
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        said = refused.headers["WWW-Authenticate"]
        assert 'error="insufficient_scope"' in said
        assert 'scope="tasks:write"' in said
    assert (await post(alice, writing, "tools/call", name="list_tasks")).status_code == 403
    for scope in ("openid", "", None, "tasks:reader", "TASKS:READ"):
        assert (await post(alice, access_token(scope=scope), "tools/list")).status_code == 403
    assert (await alice.get("/api/tasks")).json() == []


async def test_pages_of_other_origins_are_refused(alice: Client) -> None:
    """A site that has found its way here, under whatever name, may not speak; an allowed page may."""
    for origin in ("https://evil.example", "null", "http://test"):
        response = await alice.post("/mcp", json={}, headers=bearer(access_token()) | {"Origin": origin})
        assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    names = "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name"
    preflight = await alice.options("/mcp", headers=asked | {"Access-Control-Request-Headers": names})
    assert preflight.status_code == 200
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await alice.post("/mcp", json=body, headers=bearer(access_token()) | {"Origin": ORIGIN})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


BODIES = {
    "a batch": (b"[]", "application/json", 422),
    "no JSON": (b"{", "application/json", 422),
    "nested deep": (b'{"a":' * 100_000, "application/json", 422),
    "NaN": (b'{"jsonrpc":"2.0","id":NaN,"method":"tools/list"}', "application/json", 422),
    "half a pair": (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', "application/json", 422),
    "a long number": (b'{"id":' + b"9" * 5000 + b"}", "application/json", 422),
    "large": (b" " * (2**20 + 1), "application/json", 413),
    "a form": (b"a=1", "application/x-www-form-urlencoded", 415),
    "an envelope of nothing": (b"{}", "application/json", 422),
    "a response": (b'{"jsonrpc":"2.0","id":1,"result":{}}', "application/json", 422),
    "an id of another kind": (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', "application/json", 422),
    "parameters in a list": (
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}',
        "application/json",
        422,
    ),
    "a stream": (b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}', "application/json", 200),
    "wrong parameters": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}',
        "application/json",
        200,
    ),
    "an unknown method": (b'{"jsonrpc":"2.0","id":1,"method":"x"}', "application/json", 200),
}


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28", "1999-01-01", None])
@pytest.mark.parametrize("what", BODIES)
async def test_a_body_that_cannot_be_read_is_refused(alice: Client, what: str, version: str | None) -> None:
    """Whatever comes, it is never a 500, and costs no more than it is worth."""
    body, kind, expected = BODIES[what]
    headers = bearer(access_token()) | {"Content-Type": kind}
    if version:
        headers["MCP-Protocol-Version"] = version
    began = time.process_time()
    response = await alice.post("/mcp", content=body, headers=headers)
    assert time.process_time() - began < 0.2
    assert response.status_code in ({expected} if expected > 400 else {200, 400, 404, 202}), response.text
    assert len(response.content) < 2000


async def test_only_post_is_answered(alice: Client) -> None:
    """No stream is held open and no session kept: everything else is a 405."""
    for method in ("GET", "DELETE", "PUT"):
        response = await alice.request(method, "/mcp", headers=bearer(access_token()))
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST, OPTIONS"
    response = await post(alice, access_token(), "tools/list")
    assert "mcp-session-id" not in response.headers
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("settings", [{"rate_limit": 3, "rate_limit_anonymous": 2}], indirect=True)
async def test_an_agent_has_its_users_share(alice: Client, bob: Client) -> None:
    """What it sends counts with what its user sends; who has no good token has their address's."""
    token = access_token()
    assert (await alice.get("/api/tasks")).status_code == 200
    assert [(await post(alice, token, "ping")).status_code for _ in range(3)] == [200, 200, 429]
    refused = await post(alice, token, "tools/call", name="list_tasks")
    assert refused.json()["code"] == "too_many_requests"
    assert int(refused.headers["Retry-After"]) > 0
    assert (await post(bob, access_token("bob"), "ping")).status_code == 200
    bad = [(await post(bob, access_token(aud="x"), "ping")).status_code for _ in range(3)]
    assert bad == [401, 401, 429]


PASTED = {"mcp_accept_api_tokens": True, "host": "127.0.0.1", "mcp_url": "http://localhost:8000/mcp"}


@pytest.mark.parametrize("settings", [PASTED], indirect=True)
async def test_a_pasted_token_works_where_a_setting_says_so(app: FastAPI, alice: Client, bob: Client) -> None:
    """In development the API's own token opens /mcp, for its user; a bad one does not."""
    token = alice.headers["Authorization"].removeprefix("Bearer ")
    added = await call(alice, token, "add_task", tasks=[{"title": "a"}])
    assert added["isError"] is False
    assert (await alice.get("/api/tasks/history")).json()[0]["by"] == "mcp:"
    assert (await bob.get("/api/tasks")).json() == []
    assert (await post(alice, token[:-4] + "AAAA", "ping")).status_code == 401


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mcp_accept_api_tokens": True, "host": "0.0.0.0"}, "MCP_ACCEPT_API_TOKENS is for development"),
        ({"mcp_accept_api_tokens": True, "host": "127.0.0.1"}, "MCP_ACCEPT_API_TOKENS is for development"),
        ({"mcp_url": "http://localhost:8000/mcp"}, "HOST is not"),
        ({"better_auth_url": None}, "set BETTER_AUTH_URL"),
        ({"mcp_url": "https://api.example.com"}, "MCP_URL is the whole public address"),
        ({"mcp_url": "https://api.example.com/?/mcp"}, "MCP_URL is the whole public address"),
    ],
)
def test_what_would_be_unsafe_or_useless_is_refused_at_start(change: dict[str, Any], said: str) -> None:
    """Pasted tokens for this machine alone; an address that agents can use; an issuer of tokens."""
    own = {"mcp_enabled": True, "mcp_url": RESOURCE, "host": "0.0.0.0", "better_auth_url": URL}
    assert isinstance(settings_for("sqlite://", **own), Settings)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        settings_for("sqlite://", **own | change)
