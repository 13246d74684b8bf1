"""What a turn and the model's loop tell each other, in words of their own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from backend.assistant.record import Record
from backend.conversations.parts import Part


class Words(NamedTuple):
    """A message of the conversation: the user's words, or the parts of an answer."""

    id: int
    role: str
    content: str
    parts: list[Part]
    size: int = 0
    """About how much it is, in characters."""


def recent(history: Sequence[Words], most: int) -> list[Words]:
    """Return the last whole turns that come to at most so much; what is to be answered in any case."""
    size = 0
    begin = max((number for number, words in enumerate(history) if words.role == "user"), default=0)
    for number in range(len(history) - 1, -1, -1):
        size += history[number].size
        if size > most:
            break
        if history[number].role == "user":
            begin = min(begin, number)
    return list(history[begin:])


@dataclass
class Work:
    """What a turn gives the loop, and what that has cost."""

    history: Sequence[Words]
    """Ends with what is to be answered, and what the answer has so far."""
    record: Record
    call: Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any] | None]]
    """Does a call, by its id, tool and arguments, and returns what came of it; None: the user is asked."""
    timezone: str
    tokens_left: int | None
    tokens: int = 0


class Limited(Exception):
    """The turn took more steps, calls or tokens than it may."""


class Failed(Exception):
    """The model did not do its part; `lasting` where trying again soon will not help."""

    def __init__(self, *, lasting: bool) -> None:
        super().__init__()
        self.lasting = lasting
