"""The service against its own OpenAPI document: generated requests, Schemathesis' checks on every answer."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi import from_asgi
from schemathesis.python.asgi import shutdown_lifespans

from backend.assistant.turns import Turns
from backend.assistant.work import Work
from backend.config import Settings
from backend.main import create_app
from tests.conftest import THOROUGH, add_user, settings_for, token_for

# What the document names and JSON Schema cannot describe. Without these hardly a generated task would be one.
schemathesis.openapi.format("time-zone", st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]))
schemathesis.openapi.format("rrule", st.sampled_from(["daily", "yearly", "FREQ=WEEKLY;BYDAY=MO,WE"]))

# Files that it does not know for text.
schemathesis.serializer.alias(["application/x-ndjson", "application/vnd.ms-excel"], "text/plain")

# Every check that Schemathesis has is on, but for the one that has its reasons here: what fits the document
# can still be refused by a rule that JSON Schema cannot state.
UNSTATED = {
    "list_tasks": "a cursor is good for its own list, `status` may contradict `completed`, words are few",
    "count_tasks": "as above",
    "complete_all": "as above",
    "delete_all": "as above, and there must be a condition",
    "create_task": "a pattern falls on some day, a time zone is known, a series has a due date",
    "update_task": "as above",
    "put_task": "as above",
    "preview_recurrence": "as above",
    "run_batch": "as above, within each operation",
    "import_tasks": "a file is lines of JSON, or CSV with a header row",
    "create_calendar": "a filter has the filters of a list, one value or several of each",
    "chat": "there is something to say or to decide, of a bounded length",
    "stream_chat": "the last message is one of useChat's",
}
# What has to be given by the service, or to be new.
MADE_UP = {"cursor", "since", "last-event-id", "idempotency-key"}
# The thorough run makes up more requests, and goes to the tasks' other address too, for the same functions.
CONFIG: dict[str, Any] = {
    "seed": 1,
    "continue-on-failure": True,
    "parameters": {"path.user_id": "alice"},
    "generation": {
        "deterministic": True,
        "max-examples": 20 if THOROUGH else 5,
        "allow-x00": False,  # refused, as it must be, but not by a rule that JSON Schema could state
    },
    # Most of what there is to delete was created in the sequence before.
    "phases": {"stateful": {"generation": {"max-examples": 80 if THOROUGH else 40}}},
    "operations": [
        {
            "include-operation-id": [name + prefix for name in UNSTATED for prefix in ("", "_of_user")],
            "checks": {"positive_data_acceptance": {"enabled": False}},
        },
        {
            # A blank text is none, as forms send it, and a line of a file may be anything.
            "include-operation-id": [
                name + prefix
                for name in ("create_task", "update_task", "put_task", "import_tasks")
                for prefix in ("", "_of_user")
            ],
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"enabled": False},
            },
        },
        {
            # An If-Match that the task does not meet is a good request.
            "include-operation-id": ["complete_task", "complete_task_of_user"],
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "412"]}
            },
        },
        {
            # One that no task meets, so that this answer is among those that are looked at.
            "include-operation-id": ["undo_task", "undo_task_of_user"],
            "checks": {"positive_data_acceptance": {"expected-statuses": ["401", "403", "404", "412"]}},
            "parameters": {"path.user_id": "alice", "header.if-match": '"999"'},
        },
        {
            # A deleted task has a history, and comes back.
            "include-operation-id": [
                name + prefix for name in ("get_task_history", "restore_task") for prefix in ("", "_of_user")
            ],
            "checks": {
                "use_after_free": {"enabled": False},
                "negative_data_rejection": {"enabled": False},  # as below
            },
        },
        {
            # With `atomic=false` what is wrong with one operation is among the results.
            "include-operation-id": ["run_batch", "run_batch_of_user"],
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"enabled": False},
            },
        },
        {
            "include-operation-id": [
                name + prefix
                for name in (
                    "export_tasks",
                    "get_changes",
                    "watch_changes",
                    "get_history",
                    "get_trash",
                    "undo_change",
                    "list_conversations",
                    "list_messages",
                )
                for prefix in ("", "_of_user")
            ],
            "checks": {"negative_data_rejection": {"enabled": False}},  # as below
        },
        {
            # A blank parameter, as forms send it, is none.
            "include-operation-id": [
                name + prefix
                for name in ("list_tasks", "count_tasks", "complete_all", "delete_all", "preview_recurrence")
                for prefix in ("", "_of_user")
            ],
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"enabled": False},
            },
        },
        {
            # One that is made up meets no task: nothing would ever be deleted. And what a repeated POST says
            # that it created may have been deleted since the first one.
            "include-operation-id": ["delete_task", "delete_task_of_user"],
            "checks": {"ensure_resource_availability": {"enabled": False}},
            "parameters": {"path.user_id": "alice", "header.if-match": "*"},
        },
    ],
}


class _Echo:
    """An assistant without a model."""

    async def answer(self, work: Work) -> None:
        work.record.step()
        work.record.say("ok")

    async def close(self) -> None:
        pass


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
    app.state.turns = Turns(app.state.database, settings, _Echo())
    document = from_asgi("/openapi.json", app, config=config)  # starts the app as well
    for operations in document.raw_schema["paths"].values():
        # A made-up cursor is refused, and so is a key that comes again with another request: they would hide
        # what the other parameters do; see test_properties.py and test_idempotency.py.
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            parameters[:] = [part for part in parameters if part["name"] not in MADE_UP]
    yield document
    shutdown_lifespans()


# One address of the tasks at a time: what is deleted under the other one is not "just created" any more.
@pytest.mark.slow
@pytest.mark.parametrize(
    "others",
    [pytest.param(r"\{user_id\}", id="own")]
    + [pytest.param(r"^/(?!api/\{user_id\})", id="by-user")] * THOROUGH,
)
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
    expected = dict.fromkeys(("examples", "coverage", "fuzzing", "stateful"), Status.SUCCESS)
    assert {name: phases[name] for name in expected} == expected
    # Good requests were among them, and bad ones.
    assert all(statuses[status] >= 10 for status in (200, 201, 401, 404, 422)), statuses
    assert all(statuses[status] for status in (204, 409)), statuses
    assert statuses[412] or others.startswith("^"), statuses  # by chance: under the first address is enough
