"""A service that agents may use, an issuer of their tokens, and the SDK's own client."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from mcp.client import Client as Agent
from mcp.client.streamable_http import streamable_http_client

from backend import main
from backend.auth.jwks import Jwks
from backend.config import Settings
from tests.conftest import Client, settings_for
from tests.issuer import URL, Issuer, KeyPair

RESOURCE = "https://api.example.com/mcp"
KEY = KeyPair("EdDSA", "k1")


def claims(user_id: str = "alice", **changes: Any) -> dict[str, Any]:
    """What Better Auth says in an access token; a change to None leaves the member out."""
    now = int(time.time())
    own = {
        "sub": user_id,
        "iss": f"{URL}/api/auth",
        "aud": [RESOURCE, f"{URL}/api/auth/oauth2/userinfo"],
        "iat": now,
        "exp": now + 3600,
        "client_id": "client-1",
        "azp": "client-1",
        "scope": "openid tasks:read tasks:write",
        "jti": "j",
        "sid": "s",
    } | changes
    return {name: value for name, value in own.items() if value is not None}


def access_token(user_id: str = "alice", key: KeyPair = KEY, typ: str = "at+jwt", **changes: Any) -> str:
    """An access token as Better Auth issues it."""
    return key.token(claims(user_id, **changes), typ=typ)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Agents are let in with tokens of a made-up issuer; a test's own parameters add to that."""
    issuer = Issuer(KEY)
    monkeypatch.setattr(main, "_published_keys", lambda url: Jwks(url, transport=issuer.transport))
    own = {"mcp_enabled": True, "mcp_url": RESOURCE, "host": "0.0.0.0", "better_auth_url": URL}
    return settings_for(database_url, **own | getattr(request, "param", {}))


Connect = Callable[..., Any]


@pytest.fixture
def connect(app: FastAPI) -> Connect:
    """Opens a session of the SDK's client, which speaks the newest protocol or the one before."""

    @asynccontextmanager
    async def opened(token: str, mode: Any = "auto") -> AsyncIterator[Agent]:
        transport = httpx2.ASGITransport(app)
        async with (
            httpx2.AsyncClient(transport=transport, headers=bearer(token)) as http,
            Agent(streamable_http_client(RESOURCE, http_client=http), mode=mode) as agent,
        ):
            yield agent

    return opened


async def post(client: Client, token: str, method: str, **params: Any) -> httpx.Response:
    """A request as curl would send it."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return await client.post("/mcp", json=body, headers=bearer(token))


async def call(client: Client, token: str, tool: str, **arguments: Any) -> Any:
    """A call's result, as a client of the protocol's older kind gets it."""
    response = await post(client, token, "tools/call", name=tool, arguments=arguments)
    assert response.status_code == 200, response.text
    return response.json()["result"]
