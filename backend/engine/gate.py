"""Who may use the database now: a line in front of the connection pool, fair to each user."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar

from backend.errors import Overloaded
from backend.observation import Histogram, observing

NOBODY = ""
# Whose work this is: a user's id, set once it is known who asks. What a request starts inherits it.
asking: ContextVar[str] = ContextVar("asking", default=NOBODY)

DEAR_MAX = 2  # places that one user's dear work has at most, also while others are free


class Gate:
    """Lets `size` in at once; who comes later waits in a line of their user's own.

    A place that comes free goes to the user who holds the fewest, and among equals in turn. No user holds
    more than three quarters of the places, nor more than DEAR_MAX with dear work; nobody's work may.

    The lines hold `queue_size` together. Once they are full, who comes with a shorter line than the longest
    has the last of that turned away in their stead: whoever floods is refused, and nobody else. Nobody waits
    longer than `wait` seconds, unless `is_patient` says at that moment that all must wait on.

    Waiting here is far cheaper than in SQLAlchemy's pool. No step looks at all who wait: what is looked
    through are the lengths that lines have, and the places that users hold, mostly one or two of each.
    """

    def __init__(self, size: int, wait: float, queue_size: int, is_patient: Callable[[], bool]) -> None:
        self._free = size
        self._most = size - size // 4
        self._wait = wait
        self._queue_size = queue_size
        self._is_patient = is_patient
        self._held: dict[str, int] = {}
        self._held_dear: dict[str, int] = {}
        self._waiting = 0
        self._lines: dict[str, _Line] = {}  # of those who wait
        self.refused = 0  # that were turned away so far
        self.waits = Histogram()  # of those who had to wait, whatever came of it
        self._by_length = _Ranking()
        self._by_held = _Ranking()  # of those who wait and may have one more place

    @property
    def free(self) -> int:
        """How many could enter now."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return self._waiting

    @property
    def is_full(self) -> bool:
        """Whether who comes now is turned away, or somebody in their stead."""
        return self._free == 0 and self._waiting >= self._queue_size

    def refuses(self, user: str) -> bool:
        """Whether a full gate turns away this user's next work."""
        return self.is_full and self._is_longest(user)

    async def enter(self, user: str = NOBODY, *, dear: bool = False) -> None:
        """Return at one's turn. Whoever has entered must leave(), with the same arguments.

        Raises:
            Overloaded: the user's line is full, or the turn did not come in time.
        """
        if self._free and self._may(user, dear=dear):
            self._take(user, dear=dear)
            return
        turn = _Turn(user, dear=dear)
        began = time.perf_counter()
        self._join(turn)
        timer = turn.came.get_loop().call_later(self._wait, self._expire, turn)
        try:
            await turn.came
        except asyncio.CancelledError:
            if turn.came.cancelled():
                self._drop(turn)
            elif turn.came.exception() is None:
                self.leave(user, dear=dear)  # the turn came in the same moment
            raise
        finally:
            timer.cancel()
            waited = time.perf_counter() - began
            self.waits.add(waited)
            if (observation := observing.get()) is not None:
                observation.waited(waited)

    def leave(self, user: str = NOBODY, *, dear: bool = False) -> None:
        """Make room for the next in line."""
        self._free += 1
        _decrement(self._held, user)
        if dear:
            _decrement(self._held_dear, user)
        if self._lines:
            if user in self._lines:
                self._rank(user)
            self._admit()

    def _may(self, user: str, *, dear: bool) -> bool:
        """Whether the user may have one more place, if there is one."""
        if user == NOBODY:
            return True
        return self._held.get(user, 0) < self._most and not (
            dear and self._held_dear.get(user, 0) >= DEAR_MAX
        )

    def _is_longest(self, user: str) -> bool:
        """Whether one more would make a line no shorter than the longest."""
        line = self._lines.get(user)
        return not self._lines or (line.length if line else 0) + 1 >= self._by_length.highest

    def _take(self, user: str, *, dear: bool) -> None:
        self._free -= 1
        self._held[user] = self._held.get(user, 0) + 1
        if dear:
            self._held_dear[user] = self._held_dear.get(user, 0) + 1

    def _admit(self) -> None:
        """Give what is free to those who may have it."""
        while self._free and self._by_held:
            user = self._by_held.first()
            turn = self._lines[user].first()
            if not turn.came.done():  # else cancelled, and not yet told so
                self._take(user, dear=turn.dear)
                turn.came.set_result(None)
            self._drop(turn)

    def _join(self, turn: "_Turn") -> None:
        """Let somebody stand in line."""
        if self._waiting >= self._queue_size:
            if self._is_longest(turn.user):
                self.refused += 1
                raise Overloaded
            self._refuse(self._lines[self._by_length.last()].last())
        line = self._lines.setdefault(turn.user, _Line())
        line.of(turn)[turn] = None
        self._resized(turn.user, line, 1)

    def _drop(self, turn: "_Turn") -> None:
        """Take somebody out of the line who may still stand in it."""
        line = self._lines.get(turn.user)
        if line is not None and turn in line.of(turn):
            del line.of(turn)[turn]
            self._resized(turn.user, line, -1)

    def _resized(self, user: str, line: "_Line", by: int) -> None:
        self._waiting += by
        if not line.length:
            del self._lines[user]
        self._by_length.put(user, line.length or None)
        self._rank(user)

    def _rank(self, user: str) -> None:
        """Note how many places somebody holds who waits for one more."""
        line = self._lines.get(user)
        may = line is not None and self._may(user, dear=not line.usual)
        self._by_held.put(user, self._held.get(user, 0) if may else None)

    def _refuse(self, turn: "_Turn") -> None:
        self.refused += 1
        self._drop(turn)
        if not turn.came.done():
            turn.came.set_exception(Overloaded())

    def _expire(self, turn: "_Turn") -> None:
        if turn.came.done():
            return
        if self._is_patient():
            turn.came.get_loop().call_later(self._wait, self._expire, turn)
        else:
            self._refuse(turn)


class _Turn:
    """Somebody in line."""

    __slots__ = ("came", "dear", "user")

    def __init__(self, user: str, *, dear: bool) -> None:
        self.user = user
        self.dear = dear
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Line:
    """One user's who wait, in the order of arrival; dear work after the usual."""

    __slots__ = ("dear", "usual")

    def __init__(self) -> None:
        self.usual: OrderedDict[_Turn, None] = OrderedDict()
        self.dear: OrderedDict[_Turn, None] = OrderedDict()

    @property
    def length(self) -> int:
        return len(self.usual) + len(self.dear)

    def of(self, turn: _Turn) -> OrderedDict[_Turn, None]:
        return self.dear if turn.dear else self.usual

    def first(self) -> _Turn:
        return next(iter(self.usual or self.dear))

    def last(self) -> _Turn:
        return next(reversed(self.dear or self.usual))


class _Ranking:
    """Users by a number that each of them has; of those with the same one, first who has had it longest."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._users: dict[int, OrderedDict[str, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._numbers)

    @property
    def highest(self) -> int:
        return max(self._users)

    def first(self) -> str:
        """Of those with the lowest number."""
        return next(iter(self._users[min(self._users)]))

    def last(self) -> str:
        """Of those with the highest number."""
        return next(reversed(self._users[self.highest]))

    def put(self, user: str, number: int | None) -> None:
        """Give a user a number; None takes them out."""
        old = self._numbers.get(user)
        if old == number:
            return
        if old is not None:
            peers = self._users[old]
            del peers[user]
            if not peers:
                del self._users[old]
            del self._numbers[user]
        if number is not None:
            self._numbers[user] = number
            self._users.setdefault(number, OrderedDict())[user] = None


def _decrement(counts: dict[str, int], user: str) -> None:
    if counts[user] == 1:
        del counts[user]
    else:
        counts[user] -= 1
