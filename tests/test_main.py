"""What an application shares with its process."""

import gc
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute

from backend.main import GC_THRESHOLD, create_app, spared_garbage_collection
from tests.conftest import settings_for

PYTHONS_OWN = 700


@pytest.fixture
def untouched_collector() -> Iterator[None]:
    """The collector as Python starts with it, and not as the tests have it."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(PYTHONS_OWN)
    yield
    gc.set_threshold(*before)
    gc.freeze()


@pytest.mark.usefixtures("untouched_collector")
async def test_the_collector_is_spared_while_it_runs() -> None:
    """What lives as long as the service is out of the collector's rounds, which are fewer, until it ends."""
    app = create_app(settings_for("sqlite://"))
    async with app.router.lifespan_context(app):
        assert gc.get_threshold()[0] == GC_THRESHOLD
        assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == PYTHONS_OWN
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("untouched_collector")
def test_a_second_application_leaves_the_collector_to_the_first() -> None:
    """It does not collect again as it starts, and does not undo it as it ends."""
    with spared_garbage_collection():
        frozen = gc.get_freeze_count()
        with spared_garbage_collection():
            assert gc.get_freeze_count() == frozen
        assert gc.get_freeze_count() == frozen
        assert gc.get_threshold()[0] == GC_THRESHOLD
    assert gc.get_threshold()[0] == PYTHONS_OWN


def test_routes_are_built_once() -> None:
    """Applications of a process share what is dear to build of a route; each heeds its own overrides."""
    one, other = create_app(settings_for("sqlite://")), create_app(settings_for("sqlite://"))
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(one.routes, other.routes, strict=True)
        if isinstance(mine, APIRoute) and isinstance(theirs, APIRoute) and mine.response_fields
    ]
    assert len(pairs) >= 30
    for mine, theirs in pairs:
        assert mine.response_fields is theirs.response_fields
        assert mine.app is not theirs.app
        assert mine.dependency_overrides_provider is one
        assert theirs.dependency_overrides_provider is other
