"""Agents and the real Better Auth: the official client finds out where to sign in, and does so as a user."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import httpx2
import pytest
import pytest_asyncio
from jose import jwt
from mcp.client import Client as Agent
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.better_auth.conftest import PASSWORD, Pair, Person, bearer, together
from tests.better_auth.harness import TIMEOUT
from tests.conftest import Databases
from tests.postgres import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLBACK = "http://127.0.0.1:9/callback"


class Kept:
    """What an agent keeps: its registration and its tokens."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def consent(pair: Pair, person: Person, url: str) -> str:
    """Be the user's browser: sign in, agree, and return the address that the agent is called back at."""
    headers = {"Origin": pair.auth.issuer}
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, headers=headers) as browser:
        seen = []
        while not url.startswith(CALLBACK):
            page = urlsplit(url)
            seen.append(page.path)
            if page.path == "/login":
                body = {"email": person.email, "password": PASSWORD, "oauth_query": page.query}
                answer = await browser.post(f"{pair.auth.url}/api/auth/sign-in/email", json=body)
            elif page.path == "/consent":
                agreed = {"accept": True, "oauth_query": page.query}
                answer = await browser.post(f"{pair.auth.url}/api/auth/oauth2/consent", json=agreed)
            else:
                answer = await browser.get(url)
            assert answer.status_code in (200, 302), answer.text
            location = answer.headers.get("location") or answer.json()["url"]
            url = urljoin(pair.auth.url, location)
        assert "/login" in seen
        assert "/consent" in seen
        return url


@asynccontextmanager
async def signed_in(pair: Pair, person: Person, kept: Kept, mode: Any = "auto") -> AsyncIterator[Agent]:
    """An agent that knows nothing but the address of /mcp, and a user who lets it in."""
    called_back: list[str] = []

    async def open_browser(url: str) -> None:
        called_back.append(await consent(pair, person, url))

    async def wait_for_callback() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(called_back.pop()).query)
        return AuthorizationCodeResult(**{name: values[0] for name, values in query.items()})

    metadata = OAuthClientMetadata(
        client_name="An agent",
        redirect_uris=[AnyUrl(CALLBACK)],
        token_endpoint_auth_method="none",
    )
    resource = pair.environment["MCP_URL"]
    auth = OAuthClientProvider(resource, metadata, kept, open_browser, wait_for_callback)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=TIMEOUT) as http,
        Agent(streamable_http_client(resource, http_client=http), mode=mode) as agent,
    ):
        yield agent


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def agents(databases: Databases) -> AsyncIterator[Pair]:
    """Better Auth with its mcp plugin, and our service with /mcp."""
    port = free_port()
    resource = f"http://127.0.0.1:{port}/mcp"
    settings = {"PORT": str(port), "MCP_ENABLED": "true", "MCP_URL": resource}
    async with together(databases, settings, mcp_resource=resource) as pair:
        yield pair


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_whole_way(agents: Pair, mode: str) -> None:
    """Discovery, registration, PKCE, login, consent, token, list, call; the history names the client."""
    person, kept = await agents.sign_up(), Kept()
    own = await person.new_task("mine")
    async with signed_in(agents, person, kept, mode) as agent:
        assert "add_task" in {tool.name for tool in (await agent.list_tools()).tools}
        found = await agent.call_tool("list_tasks", {})
        assert [task["id"] for task in found.structured_content["tasks"]] == [own["id"]]
        added = await agent.call_tool("add_task", {"tasks": [{"title": "by an agent"}]})
        change = added.structured_content["change"]
        assert await person.titles() == ["by an agent", "mine"]
        event = (await person.get("/api/tasks/history")).json()[0]
        assert kept.client is not None
        assert (event["change"], event["by"].split(" ")[0]) == (change, f"mcp:{kept.client.client_id}")
    assert kept.tokens is not None
    token = kept.tokens.access_token
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    said = jwt.get_unverified_claims(token)
    assert said["iss"] == f"{agents.auth.issuer}/api/auth"
    assert (said["sub"], said["client_id"]) == (person.user_id, kept.client.client_id)


async def test_the_tokens_are_not_one_anothers(agents: Pair) -> None:
    """What the agent was given is refused by the API, and the user's own token at /mcp; both by a 401."""
    person, kept = await agents.sign_up(), Kept()
    async with signed_in(agents, person, kept):
        pass
    assert kept.tokens is not None
    token = kept.tokens.access_token
    refused = await person.get("/api/tasks", headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert (await person.post("/mcp", json=body, headers=bearer(token))).status_code == 200
    refused = await person.post("/mcp", json=body)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    assert "resource_metadata=" in refused.headers["WWW-Authenticate"]


async def test_the_user_grants_no_more_than_was_asked(agents: Pair) -> None:
    """A token for reading lists reading tools, and a change is refused with the scope that it would take."""
    person, kept = await agents.sign_up(), Kept()
    async with signed_in(agents, person, kept):
        pass
    assert kept.tokens is not None
    assert kept.client is not None
    # The client asks for all that the 401 offers; less it can have with its refresh token.
    refreshed = await _refresh(agents, kept, "tasks:read")
    token = refreshed["access_token"]
    assert jwt.get_unverified_claims(token)["scope"] == "tasks:read"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    tools = (await person.post("/mcp", json=body, headers=bearer(token))).json()["result"]["tools"]
    assert {tool["name"] for tool in tools} == {"list_tasks", "preview_recurrence"}
    body |= {"method": "tools/call", "params": {"name": "delete_task", "arguments": {"ids": [1]}}}
    refused = await person.post("/mcp", json=body, headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")


async def _refresh(pair: Pair, kept: Kept, scope: str) -> dict[str, Any]:
    assert kept.tokens is not None
    assert kept.client is not None
    form = {
        "grant_type": "refresh_token",
        "refresh_token": kept.tokens.refresh_token,
        "client_id": kept.client.client_id,
        "scope": scope,
        "resource": pair.environment["MCP_URL"],
    }
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as client:
        answer = await client.post(f"{pair.auth.url}/api/auth/oauth2/token", data=form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
