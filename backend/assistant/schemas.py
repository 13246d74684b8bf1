"""The wire of the chat: ours, and that of `useChat` (UI message stream v1, packages `ai` 6 and 7)."""

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.conversations.parts import ToolCall
from backend.conversations.schemas import Status
from backend.errors import InvalidBody
from backend.tasks.schemas import TaskId, TimeZone, storable

CLIENT_ID_MAX = 200
DECISIONS_MAX = 50

ClientId = Annotated[str, StringConstraints(min_length=1, max_length=CLIENT_ID_MAX), AfterValidator(storable)]
Decisions = Annotated[list[ClientId], Field(max_length=DECISIONS_MAX)]


class Ask(NamedTuple):
    """What a turn is asked to do, whichever way it came."""

    message: str | None
    message_id: str | None = None
    """The client's id of the message, or its Idempotency-Key: the same one again is the same turn."""
    conversation_id: int | None = None
    chat_id: str | None = None
    """The client's own id of the conversation."""
    approve: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    regenerate: bool = False
    timezone: str = "UTC"


class ChatRequest(BaseModel):
    """Something to say, or decisions on what the assistant asked to do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "add milk and eggs"}]})

    conversation_id: TaskId | None = Field(default=None, description="Absent: a new conversation")
    message: Annotated[str, AfterValidator(storable)] | None = Field(
        default=None, description="At most ASSISTANT_MESSAGE_MAX characters"
    )
    message_id: ClientId | None = Field(
        default=None, description="An id of yours: the same message sent again with it is not done again"
    )
    approve: Decisions = Field(default=[], description="The ids of waiting `tool_calls` to be done")
    deny: Decisions = Field(default=[], description="And of those that shall not be")
    timezone: TimeZone = Field(default="UTC", description="Where the user is: what `tomorrow` means")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not (self.message or "").strip() and not self.approve and not self.deny:
            raise ValueError("send a message, or decide with approve and deny")
        if set(self.approve) & set(self.deny):
            raise ValueError("approve and deny name the same call")
        return self


class ChatReply(BaseModel):
    """The answer, and what was done for it: read from what ran, not from what was said."""

    conversation_id: int
    response: str
    tool_calls: list[ToolCall]
    status: Status = Field(
        description="`approval_required`: decide on the calls that wait; `limited`: it took more steps, "
        "calls or seconds than an answer may; `stopped`, `interrupted`: it is cut short"
    )
    message_id: int = Field(description="The id of the answer")


class StreamRequest(BaseModel):
    """What `useChat` sends. Of `messages` the last one counts: the history is ours."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"messages": [{"role": "user", "parts": [{"type": "text", "text": "add milk and eggs"}]}]}
            ]
        }
    )

    id: ClientId | None = Field(default=None, description="The chat's id, which the client made up")
    conversation_id: TaskId | None = Field(
        default=None, description="Or ours, from a `body` of its transport"
    )
    messages: list[Any] = Field(min_length=1)
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    timezone: TimeZone = "UTC"


def read_ui(request: StreamRequest) -> Ask:
    """Return what `useChat` asks for: its last message, or the decisions in it.

    Raises:
        InvalidBody: the last message is none that can be answered.
    """
    last = request.messages[-1]
    if not isinstance(last, dict):
        raise InvalidBody("messages", "the last of them is not a message of useChat")
    parts = [part for part in _list(last.get("parts")) if isinstance(part, dict)]
    ask = Ask(
        None,
        conversation_id=request.conversation_id,
        chat_id=request.id,
        timezone=request.timezone,
        regenerate=request.trigger == "regenerate-message",
    )
    if last.get("role") == "assistant":
        approvals = [part.get("approval") for part in parts if part.get("state") == "approval-responded"]
        decided = [each for each in approvals if isinstance(each, dict) and isinstance(each.get("id"), str)]
        approve = frozenset(each["id"] for each in decided if each.get("approved") is True)
        deny = frozenset(each["id"] for each in decided) - approve
        if not decided or len(decided) > DECISIONS_MAX:
            raise InvalidBody("messages", "the last of them is the assistant's, and decides nothing")
        return ask._replace(approve=approve, deny=deny, regenerate=False)
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    message_id = last.get("id")
    if last.get("role") != "user" or not all(isinstance(text, str) for text in texts):
        raise InvalidBody("messages", "the last of them must be the user's, with text in its parts")
    if len(texts) < len(parts):
        raise InvalidBody("messages", "only text can be sent: no files")
    if message_id is not None and not (isinstance(message_id, str) and 0 < len(message_id) <= CLIENT_ID_MAX):
        raise InvalidBody("messages", f"the id of the last must be text of up to {CLIENT_ID_MAX} characters")
    message = "\n\n".join(str(text) for text in texts)
    for text in (message, message_id or ""):
        if "\x00" in text or (not text.isprintable() and text != text.encode("utf-8", "ignore").decode()):
            raise InvalidBody("messages", "the text must not contain NUL characters or half surrogate pairs")
    if not message.strip():
        raise InvalidBody("messages", "the last of them is empty")
    return ask._replace(message=message, message_id=message_id)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
