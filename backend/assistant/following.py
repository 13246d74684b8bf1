"""Answers that can be followed, word by word or to their end: this process's, and those of others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from backend.assistant import crud
from backend.assistant.errors import FAILURES, AssistantBusy, ModelFailed
from backend.assistant.record import Record
from backend.conversations.parts import Part
from backend.conversations.schemas import Status
from backend.db import Database
from backend.errors import ApiError

LOOK_SECONDS = 1.0  # between two looks at how far another process has come


class Outcome(NamedTuple):
    """What became of a turn."""

    conversation_id: int
    message_id: int
    parts: list[Part]
    status: Status
    failure: str = ""
    """The code of what the model did, where the status is `failed`."""
    replayed: bool = False


class Answer:
    """An answer that is being made."""

    def __init__(self, conversation_id: int, answer_id: int, said: list[Part]) -> None:
        self.conversation_id = conversation_id
        self.record = Record(said, f"msg-{answer_id}", conversation_id)
        self._answer_id = answer_id
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> Outcome:
        """Wait for the end. Whoever gives up waiting changes nothing."""
        return await asyncio.shield(self._outcome)

    def lines(self, *, anew: bool = False) -> AsyncIterator[str]:
        """The stream of what is added to the answer; `anew`, of all that it is."""
        return self.record.follow(anew=anew)

    def _end(self, status: Status, failure: str, *, replayed: bool = False) -> None:
        reason = {"complete": "stop", "approval_required": "tool-calls", "limited": "length"}.get(status)
        if status == "failed":
            self.record.end("error", error=FAILURES[failure or ModelFailed.code].__doc__ or "")
        else:
            self.record.end(reason or "abort")
        said = self.record.parts
        self._outcome.set_result(
            Outcome(self.conversation_id, self._answer_id, said, status, failure, replayed)
        )


class Distant(Answer):
    """One that another process makes: it is followed by what is kept of it, its changes and then its end.

    The words come all at once, at the end. Whoever follows it holds no place at the database meanwhile.
    """

    def __init__(self, database: Database, user_id: str, kept: crud.Kept) -> None:
        super().__init__(kept.conversation_id, kept.answer_id, [])
        self._database = database
        self._user_id = user_id
        self._leaving = asyncio.Event()
        self.record.catch_up(kept.parts)
        self.task = asyncio.create_task(self._follow())

    def leave(self) -> asyncio.Task[None]:
        """Follow it no longer: this process ends, and not the turn. The task returned ends soon.

        Not by cancelling: a statement that is cancelled would cost its connection.
        """
        self._leaving.set()
        return self.task

    async def _follow(self) -> None:
        status: Status = "running"
        while status == "running":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), LOOK_SECONDS)
            if self._leaving.is_set():
                self.record.end("error", error=AssistantBusy.__doc__ or "")
                self._outcome.set_exception(AssistantBusy())
                self._outcome.exception()  # nobody may be waiting for it
                return
            status = await self._look()
        self._end(status, "")

    async def _look(self) -> Status:
        try:
            async with self._database.session() as session:
                kept = await crud.kept_answer(session, self._user_id, self.conversation_id, self._answer_id)
        except (ApiError, SQLAlchemyError):  # the database is away, the answer may go on
            return "running"
        if kept is None:  # it was deleted, or made anew
            return "stopped"
        self.record.catch_up(kept.parts)
        return kept.status
