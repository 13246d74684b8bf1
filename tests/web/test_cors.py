"""Preflights: what tracing SDKs send is allowed, what is refused is named, and neither costs much."""

import time
from typing import Any

import httpx
import pytest

from backend.config import Settings
from backend.main import create_app
from tests.conftest import ORIGIN, Client, settings_for


@pytest.fixture
def settings(database_url: str) -> Settings:
    """A service that was told of a header more."""
    return settings_for(database_url, cors_headers="X-Own, x-other")


@pytest.fixture
def database_url() -> str:
    """One kind of database: what is asked here hangs on none."""
    return "sqlite://"


async def preflight(
    client: Client, headers: str, origin: str = ORIGIN, method: str = "GET"
) -> httpx.Response:
    """Ask as a browser does before it asks."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return await client.options("/api/tasks", headers=asked)


@pytest.mark.parametrize(
    "headers",
    [
        "baggage,sentry-trace",
        "traceparent, tracestate, baggage",
        "authorization,content-type,x-requested-with",
        "cache-control,pragma",
        "b3",
        "x-b3-traceid,x-b3-spanid,x-b3-sampled",
        "x-datadog-trace-id,x-datadog-parent-id,x-datadog-origin,x-datadog-sampling-priority",
        "newrelic,request-id,request-context,elastic-apm-traceparent",
        "x-own,X-Other",
        "",
    ],
)
async def test_tracing_and_ones_own_headers_are_allowed(client: Client, headers: str) -> None:
    """What SDKs add by themselves does not stop the request, nor what CORS_HEADERS names."""
    for method in ("GET", "HEAD", "PATCH"):
        response = await preflight(client, headers, method=method)
        assert response.status_code == 200, response.text
        allowed = response.headers["access-control-allow-headers"].lower().split(", ")
        assert set(headers.lower().replace(" ", "").split(",")) - {""} <= set(allowed)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"headers": "authorization, x-evil"}, "'x-evil'"),
        ({"headers": "*"}, "'*'"),
        ({"headers": "", "origin": "http://evil.example"}, "'http://evil.example'"),
        ({"headers": "", "method": "TRACE"}, "'TRACE'"),
        ({"headers": "x" * 5000}, "'" + "x" * 100 + "'"),
    ],
)
async def test_a_refused_preflight_says_why(client: Client, asked: dict[str, Any], named: str) -> None:
    """It has the shape of every error, and names the origin, method or header."""
    response = await preflight(client, **asked)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "preflight_refused")
    assert named in problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert len(response.content) < 1000


@pytest.mark.parametrize("name", ["*", "X Own", "X-Own:", "é"])
def test_what_is_no_header_is_refused_at_start(name: str, database_url: str) -> None:
    """CORS_HEADERS holds names."""
    with pytest.raises(ValueError, match="name of a header"):
        settings_for(database_url, cors_headers=name)


@pytest.mark.parametrize("headers", ["b3," * 20_000, "x" * 60_000, "," * 60_000])
async def test_a_long_preflight_costs_its_length(headers: str, database_url: str) -> None:
    """As much as a server lets through is looked through in milliseconds."""
    app = create_app(settings_for(database_url))  # not started: no database is asked
    client = Client(transport=httpx.ASGITransport(app), base_url="http://test")
    began = time.process_time()
    await preflight(client, headers)
    assert time.process_time() - began < 0.2
