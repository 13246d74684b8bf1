"""How long the event loop is held: by whom nobody else is served meanwhile."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

PAUSE_MAX = 0.05  # seconds, promised of every request within the documented limits, on an idle machine


def allowed() -> float:
    """What a test lets pass: CPU time is twice as long on a busy machine, and again with coverage."""
    return PAUSE_MAX * (2 if sys.gettrace() is None else 4)


class Pauses(list[float]):
    """The seconds of CPU that each callback has held the loop for."""

    @property
    def longest(self) -> float:
        """The longest of them."""
        return max(self, default=0.0)


@asynccontextmanager
async def watched() -> AsyncIterator[Pauses]:
    """Watch the loop of this thread. CPU time is counted, so that a busy machine does not matter."""
    pauses, run = Pauses(), asyncio.Handle._run

    def timed(handle: Any) -> None:
        began = time.thread_time()
        run(handle)
        pauses.append(time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[assignment, method-assign] # the only place that all callbacks pass
    await asyncio.sleep(0)  # what runs until here, and after it, is a callback that is not timed to its end
    try:
        yield pauses
        await asyncio.sleep(0)
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign] # as above
