"""The examples of the OpenAPI document, which /docs fills its forms with."""

from typing import Any

from fastapi import FastAPI

from tests.conftest import Client, on_sqlite

pytestmark = on_sqlite

# A form takes a file from the disk of whoever looks at it.
WITHOUT = {("import_tasks", "multipart/form-data")}


def example(document: dict[str, Any], said: dict[str, Any]) -> Any:
    """What Swagger UI shows for a body, a parameter or a schema: its own example or its schema's first."""
    if "example" in said:
        return said["example"]
    schema = said.get("schema", said)
    if "anyOf" in schema and "examples" not in schema:
        schema = schema["anyOf"][0]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert "examples" in schema, "it would be made up of the types: give it one"
    return schema["examples"][0]


async def test_every_example_works_as_it_stands(app: FastAPI, alice: Client) -> None:
    """Sent to a service with one task and one conversation, each is answered with the documented success."""
    document = app.openapi()
    task = await alice.new_task()
    conversation = (await alice.post("/api/chat", json={"message": "list"})).json()["conversation_id"]
    ids = {"user_id": "alice", "task_id": task["id"], "conversation_id": conversation}
    sent = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = operation["operationId"].removesuffix("_of_user")
            query = {
                part["name"]: example(document, part)
                for part in operation.get("parameters", ())
                if part["in"] == "query" and part["required"]
            }
            bodies = operation.get("requestBody", {}).get("content", {})
            for kind, body in bodies.items() if bodies else [("", {})] if query else []:
                if (name, kind) in WITHOUT:
                    continue
                content = example(document, body) if kind else None
                given: dict[str, Any] = {"headers": {"Content-Type": kind} if kind else {}, "params": query}
                given |= (
                    {"content": content} if isinstance(content, str) else {"json": content} if kind else {}
                )
                response = await alice.request(method.upper(), path.format_map(ids), **given)
                successes = {status for status in operation["responses"] if status[0] == "2"}
                assert str(response.status_code) in successes, f"{name} {kind}: {response.text}"
                sent += 1
    assert sent >= 30
