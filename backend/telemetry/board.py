"""What several processes have counted, where each of them can read it: memory that the workers share."""

import os
import struct
import tempfile
import time
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

import msgspec

SIZE = 256 * 1024  # bytes of a place: two halves, of which one is being written
_HALF = SIZE // 2 - 8
_HEADER = struct.Struct("=II")  # which half is whole, and how long it is
STALE_SECONDS = 5.0  # after which what a process said of this moment is no longer true: it has ended

# By name and label values; one number, or a histogram's.
Numbers = dict[str, dict[tuple[str, ...], list[float]]]


class Said(NamedTuple):
    """What one process says."""

    at: float
    counters: Numbers
    gauges: Numbers


_decode = msgspec.msgpack.Decoder(Said).decode


def make(places: int) -> int:
    """Return a descriptor of memory for so many processes, for them to inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("metrics")
    else:  # not on Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, places * SIZE)
    return descriptor


class Board:
    """The board as the process sees it that has one place."""

    def __init__(self, descriptor: int, place: int) -> None:
        self._memory = mmap(descriptor, 0)
        self._place = place
        self._half = 0
        before = self._read(place)
        # Another process had this place, and has ended: what it has counted stays counted.
        self.inherited: Numbers = before.counters if before else {}

    def write(self, counters: Numbers, gauges: Numbers) -> None:
        """Say what was counted so far, the inherited included, and what is the case at this moment."""
        content = msgspec.msgpack.encode(Said(time.monotonic(), counters, gauges))
        if len(content) > _HALF:
            return  # what was said before stands
        self._half = 1 - self._half
        start = self._place * SIZE + 8 + self._half * _HALF
        self._memory[start : start + len(content)] = content
        self._memory[self._place * SIZE : self._place * SIZE + 8] = _HEADER.pack(self._half, len(content))

    def others(self) -> Iterator[Said]:
        """What the others said last; of those that have ended their counters alone."""
        for place in range(len(self._memory) // SIZE):
            if place != self._place and (said := self._read(place)) is not None:
                is_stale = time.monotonic() - said.at > STALE_SECONDS
                yield said._replace(gauges={}) if is_stale else said

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _read(self, place: int) -> Said | None:
        half, length = _HEADER.unpack(self._memory[place * SIZE : place * SIZE + 8])
        start = place * SIZE + 8 + half * _HALF
        if not 0 < length <= _HALF:
            return None
        return _decode(self._memory[start : start + length])
