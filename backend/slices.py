"""Work that is long by nature, in slices: others have the event loop in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

SLICE = 0.005  # seconds

T = TypeVar("T")

_working = 0  # how many go through items now


async def sliced(items: Iterable[T]) -> AsyncIterator[T]:
    """Go through items, and let others have their turn after every SLICE seconds of work on them.

    The work on one item, its making included, is not divided: it is to be short. Those who work so take turns
    with each other, so that however many they are, everybody else waits for one slice.
    """
    global _working
    _working += 1
    try:
        until = time.perf_counter() + SLICE
        for item in items:
            yield item
            if time.perf_counter() > until:
                for _ in range(_working):
                    await asyncio.sleep(0)
                until = time.perf_counter() + SLICE
    finally:
        _working -= 1
