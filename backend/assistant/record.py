"""What a turn has come to so far: its parts, which are kept, and its stream, which any number may follow."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from backend.conversations.parts import Call, CallStatus, Part, Said, Step, error_of

KEEP_ALIVE_SECONDS = 15.0

DONE = "data: [DONE]\n\n"


def clean(value: Any) -> Any:
    """A model's words as a database can hold them: without NUL characters and half surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "ignore").decode().replace("\x00", "")
    if isinstance(value, dict):
        return {clean(name): clean(content) for name, content in value.items()}
    return [clean(content) for content in value] if isinstance(value, list) else value


class Record:
    """Parts and lines grow together. `message_id` is the answer's in `useChat`."""

    def __init__(self, parts: list[Part], message_id: str, conversation_id: int) -> None:
        self.parts = parts
        self._lines: list[str] = []
        self._begins = 1  # the first line, beside that of the start, of what is new
        self._ended = False
        self._grown = asyncio.Event()
        self._in_step = False
        self._texts = 0
        self._text_open = False
        metadata = {"conversation_id": conversation_id}
        self._emit(type="start", messageId=message_id, messageMetadata=metadata)

    async def follow(self, *, anew: bool) -> AsyncIterator[str]:
        """What comes, with signs of life; `anew`, all that the answer has before. Leaving changes nothing."""
        sent = 1 if anew else self._begins
        yield self._lines[0]
        while True:
            while sent < len(self._lines):
                # One piece for all that is there: a follower that comes late is not sent word by word.
                piece, sent = "".join(self._lines[sent:]), len(self._lines)
                yield piece
            if self._ended:
                return
            try:
                await asyncio.wait_for(self._grown.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield ": keep-alive\n\n"

    def step(self) -> None:
        """A request to the model begins."""
        self._end_step()
        self.parts.append(Step())
        self._in_step = True
        self._emit(type="start-step")

    def say(self, text: str) -> None:
        """The model says more of a text, or begins one."""
        text = clean(text)
        if not text:
            return
        last = self.parts[-1] if self.parts else None
        if self._text_open and isinstance(last, Said):
            last.text += text
        else:
            self.end_text()
            self._texts += 1
            self._text_open = True
            self.parts.append(Said(text=text))
            self._emit(type="text-start", id=str(self._texts))
        self._emit(type="text-delta", id=str(self._texts), delta=text)

    def end_text(self) -> None:
        """The text is whole."""
        if self._text_open:
            self._text_open = False
            self._emit(type="text-end", id=str(self._texts))

    def call(self, call_id: str, tool: str, args: dict[str, Any]) -> Call:
        """The model calls a tool."""
        self.end_text()
        call = Call(id=clean(call_id), tool=tool, args=clean(args))
        self.parts.append(call)
        self._emit(type="tool-input-available", toolCallId=call.id, toolName=tool, input=call.args)
        return call

    def outcome(self, call: Call, status: CallStatus, result: dict[str, Any] | None = None) -> None:
        """A call was done or refused, or waits for the user."""
        call.status, call.result = status, result
        if status == "done":
            self._emit(type="tool-output-available", toolCallId=call.id, output=result)
        elif status == "failed":
            self._emit(type="tool-output-error", toolCallId=call.id, errorText=error_of(call))
        elif status == "denied":
            self._emit(type="tool-output-denied", toolCallId=call.id)
        elif status == "approval_required":
            self._emit(type="tool-approval-request", approvalId=call.id, toolCallId=call.id)

    def end(self, reason: str, *, error: str = "") -> None:
        """The turn is over: `stop`, `tool-calls`, `length`, `error`, or `abort` where it was cut short."""
        if self._ended:
            return
        self._end_step()
        if error:
            self._emit(type="error", errorText=error)
        if reason == "abort":
            self._emit(type="abort")
        else:
            self._emit(type="finish", finishReason=reason)
        self._lines.append(DONE)
        self._ended = True
        self._grown.set()

    def replay(self, *, known: bool) -> None:
        """Put the parts that there are into the stream; they are new unless the client has them, `known`."""
        parts, self.parts = self.parts, []
        self.catch_up(parts)
        if known:
            self._end_step()
            self._begins = len(self._lines)

    def catch_up(self, parts: list[Part]) -> None:
        """Come as far as these parts, which begin with those that there are."""
        for mine, part in zip(self.parts, parts, strict=False):
            if isinstance(mine, Call) and isinstance(part, Call) and mine.status != part.status:
                self.outcome(mine, part.status, part.result)
        for part in parts[len(self.parts) :]:
            if isinstance(part, Step):
                self.step()
            elif isinstance(part, Said):
                self.say(part.text)
                self.end_text()
            else:
                self.outcome(self.call(part.id, part.tool, part.args), part.status, part.result)

    def _end_step(self) -> None:
        self.end_text()
        if self._in_step:
            self._in_step = False
            self._emit(type="finish-step")

    def _emit(self, **chunk: Any) -> None:
        self._lines.append(f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n")
        self._grown.set()
        self._grown = asyncio.Event()
