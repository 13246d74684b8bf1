"""The document that clients are generated from."""

from typing import Any

from fastapi import FastAPI

from backend.web.openapi import reachable
from tests.conftest import Client, on_sqlite
from tests.openapi import FILE, for_generators, written
from tests.test_openapi import is_of_tasks, operations

# The answers of the routes that have headers of their own; what stands for all is tried below.
SAMPLES = [
    ("GET", "/api/tasks?limit=1", None),
    ("POST", "/api/tasks", {"title": "another"}),
    ("GET", "/api/tasks/{id}", None),
    ("PATCH", "/api/tasks/{id}", {"title": "changed"}),
    ("PATCH", "/api/tasks/{id}/complete", {"completed": True}),
    ("POST", "/api/tasks/{id}/undo", None),
    ("GET", "/api/tasks/history?limit=1", None),
    ("DELETE", "/api/tasks/{id}", None),
    ("POST", "/api/tasks/{id}/restore", None),
]


def test_the_committed_document_is_the_services() -> None:
    """What the client was generated from is what is served; after a change: `make openapi`."""
    assert FILE.read_text() == written(), "client/openapi.json is not what is served: run make openapi"


def test_it_has_each_thing_once() -> None:
    """No operation has a twin, no schema is left over, no model is made twice; and it says where to call."""
    document = for_generators()
    assert not [path for path in document["paths"] if "{user_id}" in path]
    assert reachable(document, document["paths"]) == document["components"]["schemas"].keys()
    assert "readOnly" not in written()
    assert "writeOnly" not in written()
    assert document["servers"]


def test_what_may_be_absent_looks_so() -> None:
    """No field of a request has a `default`, which many generators take for always there: words say it."""
    document = for_generators()
    for path, item in document["paths"].items():
        for operation in item.values():
            for name in reachable(document, operation.get("requestBody")):
                schema = document["components"]["schemas"][name]
                for field, said in schema.get("properties", {}).items():
                    assert "default" not in said, (path, name, field)
    created = document["components"]["schemas"]["TaskCreate"]
    assert created["required"] == ["title"]
    assert "by default `medium`" in created["properties"]["priority"]["description"]


@on_sqlite
async def test_examples_work(app: FastAPI, alice: Client) -> None:
    """Whoever sends the example of a body is not told that it is wrong."""
    task = await alice.new_task()
    schemas = app.openapi()["components"]["schemas"]
    tried = 0
    for operation in filter(is_of_tasks, operations(app)):
        body = operation.spec.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None or "{user_id}" in operation.path:
            continue
        parts = [part for part in body["schema"].get("anyOf", [body["schema"]]) if "$ref" in part]
        if not parts:  # a file
            continue
        [schema] = parts
        [example] = schemas[schema["$ref"].rpartition("/")[2]].get("examples") or [None]
        assert example is not None, f"{operation.id}: give the model of its body an example"
        path = operation.path.replace("{task_id}", str(task["id"]))
        response = await alice.request(operation.method, path, json=example)
        assert response.is_success, (operation.id, response.text)
        tried += 1
    assert tried >= 4


@on_sqlite
async def test_every_header_is_documented(app: FastAPI, alice: Client) -> None:
    """What an answer says in its headers is in the document, and what the document promises is said."""
    paths = app.openapi()["paths"]
    task = await alice.new_task()
    await alice.new_task()
    always = {"ETag", "Location", "X-Request-ID"}
    for number, (method, path, body) in enumerate(SAMPLES):
        headers = {"Idempotency-Key": f"key-{number}"} if method != "GET" else {}
        path = path.replace("{id}", str(task["id"]))
        for _ in range(2):  # the second time as a repetition
            response = await alice.request(method, path, json=body, headers=headers)
        template = path.replace(str(task["id"]), "{task_id}").partition("?")[0]
        documented: dict[str, Any] = paths[template][method.lower()]["responses"][str(response.status_code)]
        names = documented["headers"].keys()
        sent = {name for name in app.openapi()["components"]["headers"] if name in response.headers}
        assert sent <= names, (method, path)
        assert names & always <= sent, (method, path)
        assert ("Link" in names) == ("limit" in path), (method, path)
        assert ("Idempotency-Replayed" in names) == (method != "GET"), (method, path)
    refused = await alice.get("/api/tasks", headers={"Authorization": "Bearer x"})
    assert "WWW-Authenticate" in refused.headers
    assert "WWW-Authenticate" in paths["/api/tasks"]["get"]["responses"]["401"]["headers"]
    assert "Retry-After" in paths["/api/tasks"]["get"]["responses"]["503"]["headers"]
