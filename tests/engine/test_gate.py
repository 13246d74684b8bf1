"""The line in front of the pool. What it does for sessions is in test_db.py."""

import asyncio

import pytest

from backend.engine.gate import Gate
from backend.errors import Overloaded

SOON = 0.02  # seconds


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_full_means_that_nobody_may_even_wait() -> None:
    """A gate is full once its line is, and no longer when somebody is let in."""
    gate = Gate(1, 60, 1, lambda: False)
    assert not gate.is_full
    await gate.enter()
    assert not gate.is_full
    waiting = asyncio.create_task(gate.enter())
    await settle()
    assert gate.is_full
    with pytest.raises(Overloaded):
        await gate.enter()
    gate.leave()
    await waiting
    assert not gate.is_full


async def test_a_patient_line_keeps_its_order() -> None:
    """While it is patient nobody is turned away for the time, and nobody loses their place."""
    patient = True
    gate = Gate(1, SOON, 9, lambda: patient)
    order: list[str] = []

    async def arrive(name: str) -> None:
        await gate.enter()
        order.append(name)

    await gate.enter()
    first = asyncio.create_task(arrive("first"))
    await asyncio.sleep(SOON * 1.5)  # its time is over once, and begins again
    second = asyncio.create_task(arrive("second"))
    await asyncio.sleep(SOON * 1.5)
    gate.leave()
    gate.leave()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]
    patient = False
    with pytest.raises(Overloaded):
        await gate.enter()


async def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    """Who is cancelled in the very moment of being let in passes the turn on."""
    gate = Gate(1, 60, 9, lambda: False)
    await gate.enter()
    cancelled = asyncio.create_task(gate.enter())
    waiting = asyncio.create_task(gate.enter())
    await settle()
    gate.leave()
    cancelled.cancel()
    async with asyncio.timeout(5):
        await waiting
    assert cancelled.cancelled()
