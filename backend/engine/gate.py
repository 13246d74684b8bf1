"""Who may use the database now: a line in front of the connection pool."""

import asyncio
from collections import deque
from collections.abc import Callable

from backend.errors import Overloaded


class Gate:
    """Lets `size` in at once; who comes later waits in line, in the order of arrival.

    The line holds `queue_size`, and nobody stands in it for longer than `wait` seconds, unless `is_patient`
    says at that moment that the line as a whole must wait on. Waiting here is far cheaper than in
    SQLAlchemy's pool, and fair.
    """

    def __init__(self, size: int, wait: float, queue_size: int, is_patient: Callable[[], bool]) -> None:
        self._free = size
        self._wait = wait
        self._queue_size = queue_size
        self._is_patient = is_patient
        self._line: deque[asyncio.Future[None]] = deque()
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether who comes now is turned away."""
        return self._free == 0 and self._waiting >= self._queue_size

    async def enter(self) -> None:
        """Return at one's turn. Whoever has entered must leave().

        Raises:
            Overloaded: the line is full, or the turn did not come in time.
        """
        if self._free:
            self._free -= 1
            return
        if self._waiting >= self._queue_size:
            raise Overloaded
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._waiting += 1
        timer = turn.get_loop().call_later(self._wait, self._expire, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the turn came in the same moment
            raise
        finally:
            self._waiting -= 1
            timer.cancel()

    def leave(self) -> None:
        """Make room for the next in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():  # who gave up waiting has left the line here
                turn.set_result(None)
                return
        self._free += 1

    def _expire(self, turn: "asyncio.Future[None]") -> None:
        if turn.done():
            return
        if self._is_patient():
            turn.get_loop().call_later(self._wait, self._expire, turn)
        else:
            turn.set_exception(Overloaded())
