"""The wire of conversations."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from backend.conversations.parts import ToolCall
from backend.tasks.schemas import Title
from backend.web.pages import PageQuery

PAGE_MAX = 200

Status = Literal["complete", "approval_required", "running", "stopped", "interrupted", "limited", "failed"]


class ConversationsQuery(PageQuery):
    """Which conversations."""

    limit: int = Field(default=50, ge=1, le=PAGE_MAX)


Page = Annotated[ConversationsQuery, Query()]


class MessagesQuery(PageQuery):
    """Which messages, and in which shape."""

    limit: int = Field(default=PAGE_MAX, ge=1, le=PAGE_MAX)
    format: Literal["json", "ui"] = Field(
        default="json", description="`ui`: UIMessages, the `messages` that `useChat` begins with"
    )


class ConversationPublic(BaseModel):
    """A conversation as its owner reads it."""

    id: int
    title: str = Field(description="The beginning of its first message, until it is renamed")
    client_id: str | None = Field(description="The id that `useChat` made up")
    running: bool = Field(description="Whether an answer is being made")
    created_at: datetime
    updated_at: datetime


class ConversationUpdate(BaseModel):
    """What can be changed of a conversation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Groceries"}]})

    title: Title


class MessagePublic(BaseModel):
    """A message."""

    id: int
    role: Literal["user", "assistant"]
    content: str
    status: Status = Field(
        description="`approval_required`: calls wait; `stopped`: by the user; `interrupted`: the service "
        "ended; `limited`: it took more than one turn may; `failed`: the model did"
    )
    tool_calls: list[ToolCall]
    client_id: str | None = Field(description="The id that the client gave it")
    created_at: datetime


class UIMessage(BaseModel):
    """A message as `useChat` keeps it (packages `ai` 6 and 7)."""

    id: str
    role: Literal["user", "assistant"]
    parts: list[dict[str, Any]]
    metadata: dict[str, Any]
