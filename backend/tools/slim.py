"""Schemas as models are told of them: each model's context pays for every byte, in every conversation."""

from typing import Any

from pydantic import BaseModel


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema without what says nothing more.

    That is titles, examples, the description (a tool has it beside), and null where it is as good as absent.
    What is defined for one place is put there.
    """
    schema = model.model_json_schema()
    del schema["description"]
    slim: dict[str, Any] = _slim(schema, schema.pop("$defs", {}))
    return slim


def _slim(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_slim(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _slim(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    if "anyOf" in schema:
        [kind] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        schema = kind | {name: value for name, value in schema.items() if name != "anyOf"}
    slim = {}
    for name, value in schema.items():
        if name == "properties":
            slim[name] = {each: _slim(inner, definitions) for each, inner in value.items()}
        elif name not in ("title", "examples") and not (name == "default" and value is None):
            slim[name] = _slim(value, definitions)
    return slim
