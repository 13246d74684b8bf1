"""The service against its own OpenAPI document: generated requests, Schemathesis' checks on every answer."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi import from_asgi
from schemathesis.python.asgi import shutdown_lifespans

from backend.config import Settings
from backend.main import create_app
from tests.conftest import add_user, settings_for, token_for

# Every check that Schemathesis has is on, but for the one that has its reason here.
CONFIG: dict[str, Any] = {
    "seed": 1,
    "continue-on-failure": True,
    "parameters": {"path.user_id": "alice"},
    "generation": {
        "deterministic": True,
        "max-examples": 20,
        "allow-x00": False,  # refused, as it must be, but not by a rule that JSON Schema could state
    },
    "operations": [
        {
            "include-operation-id": ["list_tasks", "list_tasks_of_user"],
            # What fits the document can still be refused: `status` may contradict `completed`.
            "checks": {"positive_data_acceptance": {"enabled": False}},
        }
    ],
}


async def _sign_up(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await add_user(app, "alice")


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[schemathesis.BaseSchema]:
    """The document of a started service; each request carries the token of a user who exists."""
    # A file: requests come from another thread, whose event loop has the app's connections.
    settings = settings_for(f"sqlite:///{tmp_path}/tasks.db", log_level="error")
    headers = {"Authorization": f"Bearer {token_for('alice')}"}
    config = schemathesis.Config.from_dict(CONFIG | {"headers": headers})
    asyncio.run(_sign_up(settings))
    app = create_app(settings)
    document = from_asgi("/openapi.json", app, config=config)  # starts the app as well
    for operations in document.raw_schema["paths"].values():
        # A made-up cursor is refused, and would hide what the other parameters do; see test_properties.py.
        parameters = operations.get("get", {}).get("parameters", [])
        parameters[:] = [parameter for parameter in parameters if parameter["name"] != "cursor"]
    yield document
    shutdown_lifespans()


# One address of the tasks at a time: what is deleted under the other one is not "just created" any more.
@pytest.mark.parametrize("others", [r"\{user_id\}", r"^/(?!api/\{user_id\})"], ids=["own", "by-user"])
def test_every_answer_keeps_to_the_document(schema: schemathesis.BaseSchema, others: str) -> None:
    """Examples, boundaries, random requests and sequences of them meet no answer that is not documented."""
    failures: dict[tuple[str, str, str], str] = {}
    phases: dict[str, Status] = {}
    statuses: Counter[int] = Counter()
    for event in from_schema(schema.exclude(path_regex=others)).execute():
        if isinstance(event, events.NonFatalError):
            raise event.value
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.PhaseFinished):
            phases[event.phase.name.value] = event.status
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            statuses.update(i.response.status_code for i in recorder.interactions.values() if i.response)
            for case_id, checks in recorder.checks.items():
                label = recorder.cases[case_id].value.operation.label
                for check in checks:
                    if check.failure_info:
                        what = check.failure_info.failure
                        said = f"{label}: {check.name}: {what.title}. {what.message}"
                        request = check.failure_info.code_sample
                        failures.setdefault((label, check.name, what.title), f"{said}\n{request}\n")
    assert not failures, "\n" + "\n".join(failures.values())
    assert {name: phases[name] for name in ("examples", "coverage", "fuzzing", "stateful")} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), Status.SUCCESS
    )
    # Good requests were among them, and bad ones.
    assert all(statuses[status] >= 10 for status in (200, 201, 204, 401, 404, 422)), statuses
