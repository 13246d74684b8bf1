"""Without a model: the service is as before, and says that it has no assistant."""

import subprocess
import sys

import pytest

from tests.conftest import Client, on_sqlite
from tests.server import CHECKOUT, environment


@on_sqlite
async def test_without_a_model_it_is_a_503(alice: Client) -> None:
    """Each way to ask answers 503 assistant_off; conversations can be read all the same."""
    ui = {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}
    for method, path, body in (
        ("POST", "/api/chat", {"message": "x"}),
        ("POST", "/api/alice/chat", {"message": "x"}),
        ("POST", "/api/chat/stream", ui),
        ("GET", "/api/chat/stream/c/stream", None),
        ("POST", "/api/conversations/1/stop", None),
    ):
        response = await alice.request(method, path, json=body)
        assert (response.status_code, response.json()["code"]) == (503, "assistant_off"), path
    assert (await alice.get("/api/conversations")).json() == []


IMPORTED = """
import sys
from backend.config import Settings
from backend.main import create_app
settings = {"database_url": "sqlite://", "better_auth_secret": "a-secret-of-the-tests-that-is-long-enough"}
app = create_app(Settings(_env_file=None, **settings))
app.openapi()
print(*[name for name in ("pydantic_ai", "openai", "httpx2", "tiktoken", "griffe") if name in sys.modules])
"""


@pytest.mark.slow
def test_nothing_of_it_is_loaded() -> None:
    """An application without a model, its document included, imports no model's library."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout.strip(), run.returncode) == ("", 0), run.stdout + run.stderr
