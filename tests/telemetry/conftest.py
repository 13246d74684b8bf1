"""Reads metrics as a scraper does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from backend.config import Settings
from backend.telemetry.metrics import FAMILIES
from tests.conftest import settings_for

METRICS_TOKEN = "the-scrapers-own-0123-token-of-the-tests"
SCRAPER = {"Authorization": f"Bearer {METRICS_TOKEN}"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def settings(database_url: str, more_settings: dict[str, Any]) -> Settings:
    """Those of a service that is observed."""
    return settings_for(database_url, **more_settings)


@pytest.fixture
def more_settings() -> dict[str, Any]:
    """What is on."""
    return {"metrics_enabled": True, "metrics_token": METRICS_TOKEN}


@pytest.fixture
async def scraper(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that knows the token for metrics."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=SCRAPER
    ) as client:
        yield client


def read(text: str) -> Samples:
    """The samples of an answer; every metric of it is one that is described."""
    families = list(text_string_to_metric_families(text))
    described = {name.removesuffix("_total") for name in FAMILIES}
    assert {family.name for family in families} <= described
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def scrape(client: httpx.AsyncClient) -> Samples:
    """What is counted now."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return read(answer.text)


def sample(samples: Samples, name: str, **labels: str) -> float:
    """The value of one of them; 0 where it is not there."""
    return samples.get((name, frozenset(labels.items())), 0.0)
