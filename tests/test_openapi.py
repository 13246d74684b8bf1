"""The OpenAPI document, which frontends generate their clients from."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI

from tests.conftest import Client, on_sqlite

# The document is the same on every database.
pytestmark = on_sqlite

# The operations that need no token.
SYSTEM = {"root", "health", "ready"}
# Nor do those whose address is the secret that lets one in.
BY_SECRET = {"get_calendar"}

JSON = {"application/json"}
FILES = {"application/x-ndjson", "text/csv"}
STREAM = {"text/event-stream"}
MEDIA_TYPES = {
    "export_tasks": FILES,
    "watch_changes": STREAM,
    "stream_chat": STREAM,
    "resume_chat": STREAM,
    "get_calendar": {"text/calendar"},
}
UPLOADS = FILES | {"text/tab-separated-values", "application/vnd.ms-excel", "multipart/form-data"}
UPLOADS |= {"application/json"}

# The errors that carry more than a sentence, of all operations or of one.
SHAPES = {
    "412": {"VersionProblem"},
    "422": {"ValidationProblem"},
    "run_batch 409": {"BatchProblem", "Problem"},
    "undo_change 409": {"ChangedSinceProblem", "Problem"},
    "chat 502": {"TurnProblem"},
    "chat 503": {"TurnProblem", "Problem"},
}

# What each operation answers when it succeeds, if that is not a 200 with a task.
SUCCESSES = {
    "create_task": "201",
    "delete_task": "204",
}
REPLIES = {
    "run_batch": "BatchReply",
    "complete_all": "CompletedCount",
    "delete_all": "DeletedCount",
    "import_tasks": "ImportReply",
    "count_tasks": "TaskCount",
    "get_stats": "TaskStats",
    "get_changes": "Changes",
    "empty_trash": "ErasedCount",
    "undo_change": "Undone",
}
# The operations on a task that are about no version of it.
LOOKING_BACK = {"get_task_history", "restore_task"}
# Those that answer nothing but a 304 to whoever has their answer.
CONDITIONAL = {"get_task", "list_tasks", "count_tasks", "get_stats"}

LISTS = {
    "list_tasks": "TaskPublic",
    "get_history": "Event",
    "get_task_history": "Event",
    "get_trash": "TrashedTask",
}


class Operation(NamedTuple):
    """One operation of the document."""

    id: str
    method: str
    path: str
    spec: dict[str, Any]

    @property
    def parameters(self) -> set[str]:
        """The names of the parameters in its path."""
        return set(re.findall(r"{(\w+)}", self.path))

    @property
    def headers(self) -> set[str]:
        """The names of the headers that it reads."""
        return {part["name"] for part in self.spec.get("parameters", ()) if part["in"] == "header"}

    @property
    def name(self) -> str:
        """What it is called under both prefixes."""
        return self.id.removesuffix("_of_user")


def operations(app: FastAPI) -> list[Operation]:
    """Every operation that the application documents."""
    return [
        Operation(spec["operationId"], method.upper(), path, spec)
        for path, methods in app.openapi()["paths"].items()
        for method, spec in methods.items()
    ]


def test_operation_ids_are_unique_and_stable(app: FastAPI) -> None:
    """Generated clients call their functions by these names: each stands for one operation, and stays."""
    assert [(operation.id, operation.method, operation.path) for operation in operations(app)] == [
        ("list_tasks", "GET", "/api/tasks"),
        ("create_task", "POST", "/api/tasks"),
        ("delete_all", "DELETE", "/api/tasks"),
        ("get_task", "GET", "/api/tasks/{task_id}"),
        ("update_task", "PATCH", "/api/tasks/{task_id}"),
        ("put_task", "PUT", "/api/tasks/{task_id}"),
        ("delete_task", "DELETE", "/api/tasks/{task_id}"),
        ("complete_task", "PATCH", "/api/tasks/{task_id}/complete"),
        ("count_tasks", "GET", "/api/tasks/count"),
        ("get_stats", "GET", "/api/tasks/stats"),
        ("preview_recurrence", "GET", "/api/tasks/recurrence"),
        ("run_batch", "POST", "/api/tasks/batch"),
        ("complete_all", "POST", "/api/tasks/complete-all"),
        ("export_tasks", "GET", "/api/tasks/export"),
        ("import_tasks", "POST", "/api/tasks/import"),
        ("get_changes", "GET", "/api/tasks/changes"),
        ("watch_changes", "GET", "/api/tasks/events"),
        ("get_history", "GET", "/api/tasks/history"),
        ("get_task_history", "GET", "/api/tasks/{task_id}/history"),
        ("get_trash", "GET", "/api/tasks/trash"),
        ("empty_trash", "DELETE", "/api/tasks/trash"),
        ("restore_task", "POST", "/api/tasks/{task_id}/restore"),
        ("undo_task", "POST", "/api/tasks/{task_id}/undo"),
        ("undo_change", "POST", "/api/tasks/undo/{change}"),
        ("create_calendar", "POST", "/api/calendar"),
        ("list_calendars", "GET", "/api/calendar"),
        ("delete_calendar", "DELETE", "/api/calendar/{calendar_id}"),
        ("list_conversations", "GET", "/api/conversations"),
        ("get_conversation", "GET", "/api/conversations/{conversation_id}"),
        ("update_conversation", "PATCH", "/api/conversations/{conversation_id}"),
        ("delete_conversation", "DELETE", "/api/conversations/{conversation_id}"),
        ("list_messages", "GET", "/api/conversations/{conversation_id}/messages"),
        ("chat", "POST", "/api/chat"),
        ("stream_chat", "POST", "/api/chat/stream"),
        ("resume_chat", "GET", "/api/chat/stream/{chat_id}/stream"),
        ("stop_conversation", "POST", "/api/conversations/{conversation_id}/stop"),
        ("list_tasks_of_user", "GET", "/api/{user_id}/tasks"),
        ("create_task_of_user", "POST", "/api/{user_id}/tasks"),
        ("delete_all_of_user", "DELETE", "/api/{user_id}/tasks"),
        ("get_task_of_user", "GET", "/api/{user_id}/tasks/{task_id}"),
        ("update_task_of_user", "PATCH", "/api/{user_id}/tasks/{task_id}"),
        ("put_task_of_user", "PUT", "/api/{user_id}/tasks/{task_id}"),
        ("delete_task_of_user", "DELETE", "/api/{user_id}/tasks/{task_id}"),
        ("complete_task_of_user", "PATCH", "/api/{user_id}/tasks/{task_id}/complete"),
        ("count_tasks_of_user", "GET", "/api/{user_id}/tasks/count"),
        ("get_stats_of_user", "GET", "/api/{user_id}/tasks/stats"),
        ("preview_recurrence_of_user", "GET", "/api/{user_id}/tasks/recurrence"),
        ("run_batch_of_user", "POST", "/api/{user_id}/tasks/batch"),
        ("complete_all_of_user", "POST", "/api/{user_id}/tasks/complete-all"),
        ("export_tasks_of_user", "GET", "/api/{user_id}/tasks/export"),
        ("import_tasks_of_user", "POST", "/api/{user_id}/tasks/import"),
        ("get_changes_of_user", "GET", "/api/{user_id}/tasks/changes"),
        ("watch_changes_of_user", "GET", "/api/{user_id}/tasks/events"),
        ("get_history_of_user", "GET", "/api/{user_id}/tasks/history"),
        ("get_task_history_of_user", "GET", "/api/{user_id}/tasks/{task_id}/history"),
        ("get_trash_of_user", "GET", "/api/{user_id}/tasks/trash"),
        ("empty_trash_of_user", "DELETE", "/api/{user_id}/tasks/trash"),
        ("restore_task_of_user", "POST", "/api/{user_id}/tasks/{task_id}/restore"),
        ("undo_task_of_user", "POST", "/api/{user_id}/tasks/{task_id}/undo"),
        ("undo_change_of_user", "POST", "/api/{user_id}/tasks/undo/{change}"),
        ("create_calendar_of_user", "POST", "/api/{user_id}/calendar"),
        ("list_calendars_of_user", "GET", "/api/{user_id}/calendar"),
        ("delete_calendar_of_user", "DELETE", "/api/{user_id}/calendar/{calendar_id}"),
        ("list_conversations_of_user", "GET", "/api/{user_id}/conversations"),
        ("get_conversation_of_user", "GET", "/api/{user_id}/conversations/{conversation_id}"),
        ("update_conversation_of_user", "PATCH", "/api/{user_id}/conversations/{conversation_id}"),
        ("delete_conversation_of_user", "DELETE", "/api/{user_id}/conversations/{conversation_id}"),
        ("list_messages_of_user", "GET", "/api/{user_id}/conversations/{conversation_id}/messages"),
        ("chat_of_user", "POST", "/api/{user_id}/chat"),
        ("stream_chat_of_user", "POST", "/api/{user_id}/chat/stream"),
        ("resume_chat_of_user", "GET", "/api/{user_id}/chat/stream/{chat_id}/stream"),
        ("stop_conversation_of_user", "POST", "/api/{user_id}/conversations/{conversation_id}/stop"),
        ("get_calendar", "GET", "/api/calendar/{secret}.ics"),
        ("root", "GET", "/"),
        ("health", "GET", "/health"),
        ("ready", "GET", "/ready"),
    ]
    ids = [operation.id for operation in operations(app)]
    assert len(ids) == len(set(ids))


def test_every_operation_says_what_it_does(app: FastAPI) -> None:
    """Each has a short summary, a sentence and the noun it belongs to."""
    for operation in operations(app):
        summary = operation.spec.get("summary", "")
        made_of_name = operation.name.replace("_", " ").title()
        assert 3 <= len(summary) <= 40, f"{operation.id}: give the route a summary="
        assert summary != made_of_name, f"{operation.id}: give the route a summary= of your own"
        assert operation.spec.get("description"), f"{operation.id}: give the endpoint a docstring"
        assert len(operation.spec.get("tags", ())) == 1, f"{operation.id}: its router needs one tag"


def is_of_tasks(operation: Operation) -> bool:
    """Whether it is one of the tasks', of which more is promised than of any noun."""
    return operation.id not in SYSTEM and "/tasks" in operation.path


def test_every_operation_documents_its_answers(app: FastAPI) -> None:
    """What can be answered is in the document: the success and each error, in the shape that it has."""
    for operation in operations(app):
        responses = operation.spec["responses"]
        errors = {status for status in responses if status[0] in "45"}
        # A 403 is another user's path, and on all of them another site's request with a session cookie.
        expected = {"401", "403", "413", "422", "429", "503"}
        expected |= {"404"} if operation.parameters & {"task_id", "change"} else set()
        expected |= {"412"} if "if-match" in operation.headers else set()
        expected |= {"409"} if "idempotency-key" in operation.headers else set()
        expected |= {"410"} if operation.name == "get_changes" else set()
        expected |= {"415"} if "requestBody" in operation.spec else set()
        if operation.id in SYSTEM:
            expected = {"503"} if operation.id == "ready" else set()
        if operation.id in BY_SECRET:
            expected -= {"401", "403"}
            expected |= {"404"}
        if not is_of_tasks(operation):  # another noun has errors of its own besides
            errors &= expected
        assert errors == expected, f"{operation.id}: name its errors in responses=documented(…)"
        for status, response in responses.items():
            assert response["description"], f"{operation.id}: {status} has no description"
            content = response.get("content", {})
            if status in ("204", "304"):
                assert content == {}, f"{operation.id}: a {status} has no body"
                continue
            media_types = MEDIA_TYPES.get(operation.name, JSON) if status == "200" else JSON
            assert content.keys() == media_types, f"{operation.id}: {status}"
            if status in errors:
                schema = content["application/json"]["schema"]
                shapes = {part["$ref"].rpartition("/")[2] for part in schema.get("anyOf", [schema])}
                known = SHAPES.get(f"{operation.name} {status}", SHAPES.get(status, {"Problem"}))
                assert shapes == known, f"{operation.id}: {status}"


def test_successes_are_documented_as_they_are(app: FastAPI) -> None:
    """A list is an array of tasks, a new task is a 201, a deleted one a 204, all else a task or as named."""
    task = {"$ref": "#/components/schemas/TaskPublic"}
    moments = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}
    for operation in filter(is_of_tasks, operations(app)):
        successes = {status for status in operation.spec["responses"] if status[0] == "2"}
        name = operation.name
        status = SUCCESSES.get(name, "200")
        assert successes == {status} | ({"204"} if name == "undo_task" else set()), operation.id
        not_modified = {status for status in operation.spec["responses"] if status[0] == "3"}
        assert not_modified == ({"304"} if name in CONDITIONAL else set()), operation.id
        if status == "204":
            continue
        content = operation.spec["responses"][status]["content"]
        if name in MEDIA_TYPES:
            of_whole = {"schema": {"type": "string"}}
            for kind in MEDIA_TYPES[name]:
                assert content[kind] == of_whole or content[kind]["itemSchema"]["required"], operation.id
            continue
        schema = content["application/json"]["schema"]
        if name in REPLIES:
            assert schema == {"$ref": f"#/components/schemas/{REPLIES[name]}"}, operation.id
        elif name == "preview_recurrence":
            assert (schema["type"], schema["items"]) == ("array", moments), operation.id
        elif name in LISTS:
            assert schema["items"] == {"$ref": f"#/components/schemas/{LISTS[name]}"}, operation.id
        else:
            assert schema == task, operation.id


def test_requests_are_documented_as_they_are(app: FastAPI) -> None:
    """What goes in: a file in its media types, all else JSON; conditions and retry keys in the headers."""
    for operation in filter(is_of_tasks, operations(app)):
        body = operation.spec.get("requestBody", {}).get("content", {})
        expected = UPLOADS if operation.name == "import_tasks" else JSON if body else set()
        assert body.keys() == expected, operation.id
        changes = operation.method != "GET"
        said = {"idempotency-key"} if changes else set()
        said |= {"last-event-id"} if operation.name == "watch_changes" else set()
        if operation.name in CONDITIONAL:
            said |= {"if-none-match"}
        elif "task_id" in operation.parameters and operation.name not in LOOKING_BACK:
            said |= {"if-match"}
        assert operation.headers == said, operation.id


def test_the_document_says_that_a_title_is_not_blank(app: FastAPI) -> None:
    """What fits the document is accepted: a title of blanks is refused, so its schema refuses it too."""
    for name in ("TaskCreate", "TaskUpdate"):
        title = app.openapi()["components"]["schemas"][name]["properties"]["title"]
        pattern = title.get("pattern", "")
        assert re.search(pattern, "Buy milk"), name
        assert not re.search(pattern, " \t\n\u200b"), (
            f"{name}: give Title the pattern VISIBLE in its JSON schema"
        )


def test_bearer_tokens_are_declared(app: FastAPI) -> None:
    """All but the system's and a secret's ask for the one bearer scheme: clients and Swagger send it."""
    schemes = app.openapi()["components"]["securitySchemes"]
    [(name, scheme)] = schemes.items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for operation in operations(app):
        security = operation.spec.get("security")
        assert security == (None if operation.id in SYSTEM | BY_SECRET else [{name: []}]), (
            f"{operation.id}: depend on CallerDep"
        )


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (ref for ref in (value.get("$ref"),) if isinstance(ref, str))
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _references(part)


async def test_the_document_is_served_and_sound(app: FastAPI, client: Client) -> None:
    """/openapi.json is OpenAPI 3.1: every reference leads somewhere, every parameter is declared."""
    response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document == app.openapi()
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    for reference in _references(document):
        root, *parts = reference.split("/")
        target: Any = document if root == "#" else {}
        for part in parts:
            target = target.get(part)
        assert target, f"{reference} leads nowhere"
    for operation in operations(app):
        declared = {
            parameter["name"]
            for parameter in operation.spec.get("parameters", ())
            if parameter["in"] == "path" and parameter["required"]
        }
        assert declared == operation.parameters, operation.id
