"""What a client can be told went wrong with an answer."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, Field

from backend.conversations.parts import ToolCall
from backend.errors import ApiError, Problem, Unavailable


class AssistantOff(Unavailable):
    """This service has no assistant: whoever runs it sets ASSISTANT_MODEL"""

    code = "assistant_off"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "3600"}


class AssistantBusy(Unavailable):
    """The assistant answers as many as it can, or is about to stop; try again shortly"""

    code = "assistant_busy"


class TurnRunning(ApiError):
    """This conversation is answering another message: wait for its end, or stop it"""

    status = 409
    code = "turn_running"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class MessageIdReused(ApiError):
    """This message's id came with another message before; use a new one for each"""

    status = 409
    code = "message_id_reused"


class NotWaiting(ApiError):
    """No call of this id waits for you in the last answer; read the conversation again"""

    status = 409
    code = "not_waiting"


class TokensUsedUp(ApiError):
    """Your tokens of today are used up; they are counted anew at midnight UTC"""

    status = 429
    code = "tokens_used_up"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "3600"}


class TooManyTurns(ApiError):
    """Too many of your conversations are being answered; wait for the end of one"""

    status = 429
    code = "too_many_turns"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class TurnProblem(Problem):
    """An answer that did not come to its end."""

    conversation_id: int
    tool_calls: list[ToolCall] = Field(description="What was done all the same")


class TurnFailed(ApiError):
    """The answer did not come to its end; send the message again"""

    model = TurnProblem

    def __init__(self, conversation_id: int = 0, tool_calls: Sequence[ToolCall] = ()) -> None:
        super().__init__()
        self.conversation_id = conversation_id
        self.tool_calls = tool_calls

    @property
    def members(self) -> Mapping[str, object]:
        calls: list[BaseModel] = list(self.tool_calls)
        return {"conversation_id": self.conversation_id, "tool_calls": calls}


class ModelUnavailable(TurnFailed, Unavailable):
    """The assistant's model cannot be reached, or has too much to do; send the message again shortly"""

    code = "model_unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class ModelFailed(TurnFailed):
    """The assistant's model gave no answer that can be used; send the message again"""

    status = 502
    code = "model_failed"


FAILURES: Mapping[str, type[ModelUnavailable | ModelFailed]] = {
    error.code: error for error in (ModelUnavailable, ModelFailed)
}
