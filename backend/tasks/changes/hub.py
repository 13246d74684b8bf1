"""Who waits for changes, and who tells them: after an own write at once, of other processes' in a second.

See docs/decisions/event-streams.md.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from backend.config import Settings
from backend.db import Database
from backend.engine.gate import NOBODY, asking
from backend.errors import ApiError
from backend.tasks.changes.counters import get_counters
from backend.tasks.changes.crud import Reach, get_reach
from backend.tasks.changes.cursors import to_cursor
from backend.tasks.errors import StreamsUsedUp, TooManyStreams
from backend.web.cursor import CursorCodec

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between two looks at all who wait, while somebody uses the database
SILENCE = 30  # the part of the time that nobody has used it for after which the next look comes
ASLEEP_SECONDS = 300.0  # of that time, after which there is no look any more: the database may sleep
PAUSE = 0.05  # seconds between two looks: what is written meanwhile is one event
RETRY_SECONDS = 10.0  # between two looks that fail, at most
CHUNK = 1000  # users in one statement
AT_ONCE = 100  # streams that are written to before others have their turn


class Waiter(Protocol):
    """Whoever is told of a user's changes. Its methods wait for nothing, and keep nothing for later."""

    def tell(self) -> None:
        """Something has changed."""

    def ping(self) -> None:
        """Nothing was sent for a while."""

    def end(self) -> None:
        """It is over."""


class _Watched:
    """A user who has streams open."""

    __slots__ = ("asked", "event", "seq", "waiters")

    def __init__(self) -> None:
        self.waiters: set[Waiter] = set()
        self.seq: int | None = None  # the last change that is known of
        # Which question that was the answer to: a late answer to an earlier one counts no more.
        self.asked = -1
        self.event = b""  # what its streams are sent


class Hub:
    """All streams of this process. It has no task, and asks for nothing, while there is none."""

    def __init__(self, database: Database, cursors: CursorCodec, settings: Settings, places: int) -> None:
        """`places`: how many connections clients may have, of which a quarter is left for other requests."""
        self._database = database
        self._cursors = cursors
        self._per_user = settings.streams_per_user
        self._most = min(settings.streams_max, places * 3 // 4)
        self._keepalive = settings.stream_keepalive
        self.seconds = settings.stream_seconds
        self._watched: dict[str, _Watched] = {}
        self._silent: dict[Waiter, float] = {}  # all, and since when nothing was sent; the longest first
        self._written: set[str] = set()  # who may have changed something since the last look
        self._wake = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._pinger: asyncio.Handle | None = None
        self._questions = itertools.count()
        self._used_at = self._looked_at = 0.0
        self._due = 0.0  # when the next look is, as long as nothing happens
        self._stopped = False

    @property
    def open(self) -> int:
        """How many streams there are."""
        return len(self._silent)

    @contextmanager
    def place(self, user_id: str, waiter: Waiter, *, returning: bool) -> Iterator[None]:
        """Let somebody be told of a user's changes for that time.

        Whoever is `returning` had a stream until now, and says nothing of somebody's being there.

        Raises:
            TooManyStreams: the user has as many as there may be.
            StreamsUsedUp: all have.
        """
        watched = self._watched.get(user_id)
        if watched is not None and len(watched.waiters) >= self._per_user:
            raise TooManyStreams
        if len(self._silent) >= self._most:
            raise StreamsUsedUp
        now = asyncio.get_running_loop().time()
        if not returning:
            self._used_at = now
        if watched is None:
            watched = self._watched[user_id] = _Watched()
        watched.waiters.add(waiter)
        self._silent[waiter] = now
        if len(self._silent) == 1:
            self._start(now)
        if self._stopped:
            waiter.end()
        try:
            yield
        finally:
            del self._silent[waiter]
            watched.waiters.remove(waiter)
            if not watched.waiters:
                del self._watched[user_id]
            if not self._silent:
                self._cease()

    async def reach(self, user_id: str) -> Reach:
        """Return how far the log of somebody who has a place() goes.

        Raises what Database.turn() does.
        """
        question = next(self._questions)
        reach = await get_reach(self._database.quiet_statements, user_id)
        self._note(user_id, reach.seq, question)
        seq = self._watched[user_id].seq
        assert seq is not None
        return reach._replace(seq=seq)

    def event(self, user_id: str) -> bytes:
        """What tells of the last change of somebody who has a place()."""
        watched = self._watched[user_id]
        if not watched.event:
            watched.event = self.message("change", user_id)
        return watched.event

    def message(self, name: str, user_id: str, **more: bool) -> bytes:
        """An event whose id is the cursor of all that somebody's log has; `more` is in its data too."""
        seq = self._watched[user_id].seq or 0
        cursor = to_cursor(self._cursors, Reach(seq, 0).end, user_id)
        members = "".join(f',"{key}":{str(value).lower()}' for key, value in more.items())
        return f'id: {cursor}\nevent: {name}\ndata: {{"cursor":"{cursor}"{members}}}\n\n'.encode()

    def sent(self, waiter: Waiter) -> None:
        """Note that something is sent."""
        if waiter in self._silent:
            del self._silent[waiter]
            self._silent[waiter] = asyncio.get_running_loop().time()

    def stop(self) -> None:
        """End all streams, and each that comes."""
        if not self._stopped:
            self._stopped = True
            for waiter in self._silent:
                waiter.end()

    async def close(self) -> None:
        """End all, and return once nothing is asked for any more."""
        self.stop()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))

    def _start(self, now: float) -> None:
        self._looked_at = now
        self._database.listener = self._hear
        self._keep_alive()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())

    def _cease(self) -> None:
        self._database.listener = None
        if self._pinger is not None:
            self._pinger.cancel()
        self._wake.set()  # it ends by itself: a statement that is cancelled would cost its connection

    def _hear(self, user_id: str, reads: bool) -> None:
        """The database was used, by a request: what it wrote is committed by now."""
        self._used_at = now = asyncio.get_running_loop().time()
        if not reads and user_id in self._watched:
            self._written.add(user_id)
            self._wake.set()
        elif self._due > now + POLL_SECONDS:
            self._wake.set()

    async def _watch(self) -> None:
        """Look what has changed, over and over."""
        asking.set(NOBODY)
        failures = 0
        while self._silent:
            await self._until_due()
            users = self._whom()
            try:
                for start in range(0, len(users), CHUNK):
                    await self._look(users[start : start + CHUNK])
                failures = 0
            except (ApiError, SQLAlchemyError):  # whoever asks for something is told, and the log
                failures += 1
            except Exception:
                log.exception("looking for changes failed")
                failures += 1
            if failures:
                self._written.update(users)
            await asyncio.sleep(PAUSE)
            if failures:
                await self._woken(min(2.0**failures, RETRY_SECONDS))

    async def _until_due(self) -> None:
        now = asyncio.get_running_loop().time
        while self._silent and not self._written:
            self._due = self._looked_at + self._interval(now())
            if now() >= self._due:
                return
            await self._woken(None if self._due == inf else self._due - now())

    async def _woken(self, seconds: float | None) -> None:
        """Wait until something happens, or for so many seconds."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _interval(self, now: float) -> float:
        """How much time there is between two looks at all, the longer the less happens."""
        silence = now - self._used_at
        return inf if silence > ASLEEP_SECONDS else max(POLL_SECONDS, silence / SILENCE)

    def _whom(self) -> list[str]:
        """Whose changes are looked for now: all's where it is time, else those of who has written."""
        now = asyncio.get_running_loop().time()
        users = [user_id for user_id in self._written if user_id in self._watched]
        if now >= self._looked_at + self._interval(now):
            self._looked_at = now
            users = list(self._watched)
        self._written.clear()
        return users

    async def _look(self, users: list[str]) -> None:
        question = next(self._questions)
        counters = await get_counters(self._database.quiet_statements, users)
        told = 0
        for user_id, seq in counters.items():
            told += self._note(user_id, seq, question)
            if told >= AT_ONCE:
                told = 0
                await asyncio.sleep(0)

    def _note(self, user_id: str, seq: int, question: int) -> int:
        """Tell a user's streams if their log has come farther; return how many they are."""
        watched = self._watched.get(user_id)
        if watched is None or question < watched.asked:
            return 0
        watched.asked = question
        if seq == watched.seq:
            return 0
        if watched.seq is not None:
            self._used_at = asyncio.get_running_loop().time()
        watched.seq, watched.event = seq, b""
        for waiter in watched.waiters:
            waiter.tell()
        return len(watched.waiters)

    def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time() - self._keepalive
        late = [
            waiter for waiter, since in itertools.islice(self._silent.items(), AT_ONCE) if since <= before
        ]
        for waiter in late:
            self.sent(waiter)
            waiter.ping()
        pause = PAUSE if len(late) == AT_ONCE else min(1.0, self._keepalive / 4)
        self._pinger = loop.call_later(pause, self._keep_alive)
