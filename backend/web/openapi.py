"""What a route that reads a parameter itself says of it, in the words of the OpenAPI document."""

from typing import Any


def parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An optional parameter of the OpenAPI document."""
    said = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": place, "required": False, "schema": schema, **said}


def header_parameter(name: str, description: str) -> dict[str, Any]:
    """The `openapi_extra=` of a route that reads a header itself, which spares FastAPI's looking for it."""
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": description, "title": name}
    return {"parameters": [parameter(name.lower(), "header", schema)]}
