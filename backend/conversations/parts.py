"""What an answer is made of, in order: steps, texts and calls. Pure; no model's library is in it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

CallStatus = Literal["running", "done", "failed", "approval_required", "denied"]


class Step(BaseModel):
    """Here a request to the model began."""

    type: Literal["step"] = "step"


class Said(BaseModel):
    """What the model said."""

    type: Literal["text"] = "text"
    text: str


class Call(BaseModel):
    """A call of a tool, and what came of it."""

    type: Literal["call"] = "call"
    id: str
    tool: str
    args: dict[str, Any]
    status: CallStatus = "running"
    result: dict[str, Any] | None = None


Part = Annotated[Step | Said | Call, Field(discriminator="type")]
_PARTS: TypeAdapter[list[Part]] = TypeAdapter(list[Part])


def read(text: str) -> list[Part]:
    """Return the parts that were written so."""
    return _PARTS.validate_json(text)


def write(parts: list[Part]) -> str:
    """Return the parts as one line of JSON."""
    return _PARTS.dump_json(parts).decode()


def text_of(parts: list[Part]) -> str:
    """Return all that was said, a paragraph for each time."""
    return "\n\n".join(part.text.strip() for part in parts if isinstance(part, Said) and part.text.strip())


def whole(parts: list[Part]) -> list[Part]:
    """Return the parts up to the last call: what was said after it may have been cut off."""
    last = max((number for number, part in enumerate(parts) if isinstance(part, Call)), default=-1)
    return parts[: last + 1]


def calls_of(parts: list[Part]) -> list[Call]:
    """Return the calls."""
    return [part for part in parts if isinstance(part, Call)]


def is_waiting(parts: list[Part]) -> bool:
    """Whether a call waits for the user."""
    return any(call.status == "approval_required" for call in calls_of(parts))


class ToolCall(BaseModel):
    """What the assistant did, or asks to do."""

    tool: str
    args: dict[str, Any]
    result: dict[str, Any] | None = Field(
        default=None, description="null while it waits; `error` where it was refused"
    )
    change: int | None = Field(
        default=None, description="POST …/tasks/undo/{change} takes all of it back; null: nothing changed"
    )
    status: CallStatus = Field(
        description="`approval_required`: send its id in `approve` or `deny`; `running`: it was cut off"
    )
    id: str


def tool_calls(parts: list[Part]) -> list[ToolCall]:
    """Return the calls as clients read them."""
    return [
        ToolCall(
            tool=call.tool,
            args=call.args,
            result=call.result,
            change=(call.result or {}).get("change"),
            status=call.status,
            id=call.id,
        )
        for call in calls_of(parts)
    ]


def ui_parts(parts: list[Part]) -> list[dict[str, Any]]:
    """Return the parts of a UIMessage, as `useChat` keeps them after it has read the stream of the answer."""
    return [_ui_part(part) for part in parts]


def _ui_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Step):
        return {"type": "step-start"}
    if isinstance(part, Said):
        return {"type": "text", "text": part.text, "state": "done"}
    ui = {"type": f"tool-{part.tool}", "toolCallId": part.id, "input": part.args}
    if part.status == "done":
        return ui | {"state": "output-available", "output": part.result}
    if part.status == "approval_required":
        return ui | {"state": "approval-requested", "approval": {"id": part.id}}
    if part.status == "denied":
        return ui | {"state": "output-denied", "approval": {"id": part.id, "approved": False}}
    return ui | {"state": "output-error", "errorText": error_of(part)}


def error_of(call: Call) -> str:
    """Say why a call came to nothing."""
    return str((call.result or {}).get("error", "It was cut off before it had an outcome"))
