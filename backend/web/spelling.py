"""Bodies whose names are in camelCase, as JavaScript writes them: `dueDate` is `due_date`. Pure."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.alias_generators import to_camel


def camel_names(model: type[BaseModel]) -> dict[str, str]:
    """The names of a model's fields, by their other spelling where they have one."""
    return {to_camel(name): name for name in model.model_fields if "_" in name}


def in_snake_case(names: dict[str, str]) -> Callable[[Any], Any]:
    """Return what puts an object's `names`, those of camel_names(), into the spelling of its model.

    It raises ValueError for an object with both spellings of one name.
    """

    def renamed(value: Any) -> Any:
        if not isinstance(value, dict) or names.keys().isdisjoint(value):
            return value
        for camel, snake in names.items():
            if camel in value and snake in value:
                raise ValueError(f"{snake} and {camel} are one field; send one of them")
        return {names.get(name, name): content for name, content in value.items()}

    return renamed


def spelt(model: type[BaseModel]) -> BeforeValidator:
    """Return what lets a route take a model in either spelling: put it beside the model in Annotated[].

    Not in the model itself, which then would no more be validated from JSON, but from Python's objects, in
    twice the time: HotRoutes leaves a body with such names to FastAPI.
    """
    return BeforeValidator(in_snake_case(camel_names(model)))
