"""Turns: each belongs to its conversation, and not to the request that began it."""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from backend.assistant import crud
from backend.assistant.errors import AssistantBusy, ModelFailed, ModelUnavailable, TurnRunning
from backend.assistant.following import Answer, Distant
from backend.assistant.opening import Answered, Opened, open_turn
from backend.assistant.schemas import Ask
from backend.assistant.work import Failed, Limited, Words, Work, recent
from backend.config import Settings
from backend.conversations import parts
from backend.conversations.crud import status_of
from backend.conversations.parts import Call, CallStatus, Part
from backend.conversations.schemas import Status
from backend.db import Database
from backend.errors import ApiError, InvalidBody
from backend.observation import Histogram, observing
from backend.tools.functions import Context
from backend.tools.running import BY_NAME, Tool, explain, run

log = logging.getLogger(__name__)

TURNS_MAX = 200  # at once in this process
BEAT_SECONDS = 4.0  # after which a lease is kept, and the wish to stop is seen that came to another process
GRACE_SECONDS = 2.0  # that turns have to end by themselves once the process is told to stop
CLOSE_SECONDS = 4.0  # and then to be written down

SOURCE = "assistant"


class Assistant(Protocol):
    """The model's loop: agent.py's, or one that stands in for it."""

    async def answer(self, work: Work) -> None:
        """Let the model answer. Raises Limited or Failed."""

    async def close(self) -> None:
        """Close what it has open."""


class Turns:
    """The turns of this process."""

    def __init__(self, database: Database, settings: Settings, assistant: Assistant) -> None:
        self.database = database
        self.settings = settings
        self.assistant = assistant
        self.ended: dict[Status, Histogram] = defaultdict(Histogram)
        """How long turns took, by what became of them."""
        self.tokens = 0
        self.calls: Counter[tuple[str, str]] = Counter()
        """What was called for, by tool and outcome."""
        self._running: dict[tuple[str, int], Turn] = {}
        self._distant: dict[tuple[str, int], Distant] = {}
        self._ending: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many turns there are."""
        return len(self._running)

    async def begin(self, user_id: str, ask: Ask) -> Answer:
        """Begin a turn, or return the one that answers, or has answered, the same message.

        Raises what open_turn() does, and:
            AssistantBusy: this process has TURNS_MAX, or is about to stop.
            InvalidBody: the message is longer than it may be.
        """
        longest = self.settings.assistant_message_max
        if ask.message is not None and len(ask.message) > longest:
            raise InvalidBody("message", f"the message is longer than {longest} characters")
        if self._ending is not None or len(self._running) >= TURNS_MAX:
            raise AssistantBusy
        opened = await self._open(user_id, ask)
        if isinstance(opened, Answered):
            return await self._answered(user_id, opened)
        turn = Turn(self, user_id, opened, ask.timezone)
        self._running[user_id, opened.conversation_id] = turn
        turn.start(lambda: self._running.pop((user_id, opened.conversation_id), None))
        return turn

    async def _open(self, user_id: str, ask: Ask) -> Opened | Answered:
        lease, most = secrets.token_hex(16), self.settings.assistant_tokens_per_day
        try:
            async with self.database.session() as session:
                return await open_turn(session, user_id, ask, lease, most)
        except IntegrityError:  # the same message, or the same new chat, came at the same moment
            async with self.database.session() as session:
                return await open_turn(session, user_id, ask, lease, most)

    async def _answered(self, user_id: str, answered: Answered) -> Answer:
        if answered.running:
            if running := await self.find(user_id, answered.conversation_id):
                return running
            raise TurnRunning  # it has ended meanwhile, somehow
        answer = answered.answer
        opened = Opened(answered.conversation_id, answer_id=answer.id or 0, parts=parts.read(answer.parts))
        turn = Turn(self, user_id, opened, "UTC")
        turn.repeat(status_of(answer, running=False))
        return turn

    async def find(self, user_id: str, conversation_id: int) -> Answer | None:
        """Return the answer that is being made in a conversation, whichever process makes it.

        Raises:
            AssistantBusy: another one does, and this one is about to stop.
        """
        where = user_id, conversation_id
        if found := self._running.get(where) or self._distant.get(where):
            return found
        async with self.database.session() as session:
            kept = await crud.kept_answer(session, user_id, conversation_id)
        if kept is None or kept.status != "running":
            return None
        if self._ending is not None:
            raise AssistantBusy
        if where not in self._distant:  # while we looked somebody else may have come
            distant = self._distant[where] = Distant(self.database, user_id, kept)
            distant.task.add_done_callback(lambda _: self._distant.pop(where))
        return self._distant[where]

    async def halt(self, user_id: str, conversation_id: int) -> None:
        """End the turn of a conversation, whichever process has it, and return once that is so.

        Raises:
            ConversationNotFound: the user has no such conversation.
            AssistantBusy: as find() does; it will end all the same.
        """
        async with self.database.session() as session:
            await crud.ask_to_stop(session, user_id, conversation_id)
        answer = await self.find(user_id, conversation_id)
        if isinstance(answer, Turn):
            answer.cut("stopped")
        if answer is not None:
            await answer.outcome()

    def stop(self) -> None:
        """Begin no more turns, and see to it that those that run end soon."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())

    async def close(self) -> None:
        """Return once all turns have ended, or were cut short and kept as interrupted."""
        self.stop()
        assert self._ending is not None
        await self._ending
        await self.assistant.close()

    async def _end(self) -> None:
        distant = [answer.leave() for answer in self._distant.values()]
        tasks = [turn.task for turn in self._running.values() if turn.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for turn in list(self._running.values()):
                turn.cut("interrupted")
            _, left = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            if left:
                log.warning("%d turns could not be written down in time", len(left))
        if distant:
            await asyncio.wait(distant, timeout=CLOSE_SECONDS)


class Turn(Answer):
    """One turn: what was approved is done, then the model goes on, and all of it is written down."""

    def __init__(self, turns: Turns, user_id: str, opened: Opened, timezone: str) -> None:
        super().__init__(opened.conversation_id, opened.answer_id, list(opened.parts))
        self.task: asyncio.Task[None] | None = None
        self._turns = turns
        self._user_id = user_id
        self._opened = opened
        self._timezone = timezone
        self._cut: Status = "interrupted"
        self._work: Work | None = None
        self._over = asyncio.Event()
        # From here on a call that is like another counts as a further one.
        self._since = len(opened.parts) if opened.resumed else 0

    def start(self, over: Callable[[], object]) -> None:
        """Begin; call `over` at the end."""
        self.record.replay(known=not self._opened.resumed)
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: over())

    def repeat(self, status: Status) -> None:
        """Be over already, with what the answer has."""
        self.record.replay(known=False)
        self._end(status, "", replayed=True)

    def cut(self, status: Status) -> None:
        """End it now, as `stopped` or `interrupted`; what is being done to tasks is done first."""
        if self.task is not None and not self._over.is_set():
            self._cut = status
            self.task.cancel()

    async def _run(self) -> None:
        began, beat = time.monotonic(), asyncio.create_task(self._beat())
        try:
            status, failure = await self._answer()
        except asyncio.CancelledError:
            status, failure = self._cut, ""
        except Exception:
            log.exception("a turn failed")
            status, failure = "failed", ModelFailed.code
        finally:
            self._over.set()  # what follows is not cut
        try:
            await asyncio.wait((beat,))
            await self._close(status)
        finally:
            seconds = time.monotonic() - began
            self._turns.ended[status].add(seconds)
            if (observation := observing.get()) is not None:
                observation.did("turn", seconds)
            self._end(status, failure)

    async def _answer(self) -> tuple[Status, str]:
        """Do what was approved, and let the model answer; return how it ended."""
        await self._do_approved()
        if parts.is_waiting(self.record.parts):
            return "approval_required", ""
        record = self.record
        history = recent(self._opened.history, self._turns.settings.assistant_history_bytes)
        history.append(Words(self._opened.answer_id, "assistant", "", list(record.parts)))
        work = self._work = Work(history, record, self._call, self._timezone, self._opened.tokens_left)
        seconds = self._turns.settings.assistant_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._turns.assistant.answer(work)
        except (Limited, TimeoutError):
            record.end_text()
            record.say("I stopped here: this took more than one answer may. Tell me to go on if you like.")
            record.end_text()
            return "limited", ""
        except Failed as error:
            return "failed", (ModelFailed if error.lasting else ModelUnavailable).code
        return ("approval_required" if parts.is_waiting(record.parts) else "complete"), ""

    async def _do_approved(self) -> None:
        opened = self._opened
        said = self.record.parts
        if opened.earlier is not None:
            said = next(words.parts for words in opened.history if words.id == opened.earlier)
        for call in parts.calls_of(said):
            if call.id in opened.approved:
                tool = BY_NAME[call.tool]
                await self._effect(call, tool, tool.arguments.model_validate(call.args), said)
            elif call.status == "denied" and opened.earlier is None:
                self._outcome_of(call, "denied", call.result)
        if opened.earlier is not None:
            async with self._turns.database.session() as session:
                await crud.close_earlier(session, self._user_id, opened.earlier, said)

    async def _call(self, call_id: str, name: str, args: dict[str, Any]) -> dict[str, Any] | None:
        """Do what the model calls for; None: the user has to be asked first."""
        call, tool = self.record.call(call_id, name, args), BY_NAME[name]
        try:
            arguments = tool.arguments.model_validate(call.args)
        except ValidationError as error:
            self._outcome_of(call, "failed", {"error": explain(error)})
            return call.result
        if tool.destroys and not getattr(arguments, "dry_run", False):
            self._outcome_of(call, "approval_required")
            return None
        return await self._effect(call, tool, arguments, self.record.parts)

    async def _effect(
        self, call: Call, tool: Tool, arguments: Any, said: list[Part]
    ) -> dict[str, Any] | None:
        """Run a tool to its end and note what came of it, also where the turn is cut meanwhile."""
        doing = asyncio.create_task(self._do(tool, arguments, self._key(call, said)))
        try:
            result = await asyncio.shield(doing)
        except asyncio.CancelledError:
            result = await doing
            self._outcome_of(call, "failed" if "error" in result else "done", result)
            raise
        self._outcome_of(call, "failed" if "error" in result else "done", result)
        if not tool.reads and self._opened.earlier is None:
            async with self._turns.database.session() as session:
                await crud.save_parts(session, self._user_id, self._opened.answer_id, self.record.parts)
        return result

    def _outcome_of(self, call: Call, status: CallStatus, result: dict[str, Any] | None = None) -> None:
        self._turns.calls[call.tool, status] += 1
        self.record.outcome(call, status, result)

    async def _do(self, tool: Tool, arguments: Any, key: str) -> dict[str, Any]:
        turns = self._turns
        context = Context.of(turns.database, turns.settings, self._user_id, SOURCE, self._timezone)
        try:
            result = await run(tool, context, arguments, key)
        except (ApiError, ValidationError) as error:
            return {"error": explain(error)}
        return result.model_dump(mode="json", exclude_defaults=True)

    def _key(self, call: Call, said: list[Part]) -> str:
        """What makes it the same effect: the message it is for, the call, how often that was made before.

        A turn that is taken up again begins to count anew: a call of the first try is the same call.
        """
        here = next(number for number, part in enumerate(said) if part is call)
        before = said[self._since : here]
        number = sum((each.tool, each.args) == (call.tool, call.args) for each in parts.calls_of(before))
        called = json.dumps([call.tool, call.args], sort_keys=True)
        digest = hashlib.sha256(called.encode()).hexdigest()[:40]
        return f"assistant:{self._opened.asked_id}:{number}:{digest}"

    async def _beat(self) -> None:
        """Keep the lease; stop where another process was told to, or the conversation is no more ours."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), BEAT_SECONDS)
            if self._over.is_set():
                return
            try:
                async with self._turns.database.session() as session:
                    stop = await crud.renew(session, self._user_id, self.conversation_id, self._opened.lease)
            except (ApiError, SQLAlchemyError):  # the database is away: the lease lasts for a few beats
                continue
            if stop is None or stop:
                self.cut("stopped")
                return

    async def _close(self, status: Status) -> None:
        tokens = 0 if self._work is None else self._work.tokens
        self._turns.tokens += tokens
        turn = self._user_id, self.conversation_id, self._opened.answer_id, self._opened.lease
        for pause in (0.2, 1.0, 0.0):
            try:
                async with self._turns.database.session() as session:
                    await crud.close_turn(session, *turn, self.record.parts, status, tokens)
                return
            except ApiError as error:
                log.warning("a turn is not written down yet", extra={"fields": {"reason": error.code}})
                await asyncio.sleep(pause)
