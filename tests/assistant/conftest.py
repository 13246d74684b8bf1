"""The service with a stand-in for a model, which it speaks to over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.config import Settings
from tests.assistant.stand_in import KEY, StandIn, stand_in
from tests.conftest import settings_for


@pytest.fixture
async def model() -> AsyncIterator[StandIn]:
    """The stand-in."""
    async with stand_in() as model:
        yield model


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str, model: StandIn) -> Settings:
    """The settings of the app under test, with those that a test asks for by parameter."""
    own: dict[str, Any] = {
        "assistant_model": "stand-in",
        "assistant_base_url": model.url,
        "assistant_api_key": KEY,
    }
    return settings_for(database_url, **own | getattr(request, "param", {}))
