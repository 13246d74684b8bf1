"""The line in front of the pool. What it does for sessions is in test_db.py."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest

from backend.engine.gate import DEAR_MAX, NOBODY, Gate
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


class Visitors:
    """Works with a gate: who is inside or waits, and in which order they were let in."""

    def __init__(self, size: int, queue_size: int = 100) -> None:
        self.gate = Gate(size, 60, queue_size, lambda: False)
        self.inside: list[tuple[str, bool]] = []
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *users: str, dear: bool = False) -> list["asyncio.Task[None]"]:
        """Let each of them come, one after the other."""
        came = []
        for user in users:
            came.append(asyncio.create_task(self._enter(user, dear)))
            await settle()
        self.tasks += came
        return came

    async def _enter(self, user: str, dear: bool) -> None:
        await self.gate.enter(user, dear=dear)
        self.order.append(user)
        self.inside.append((user, dear))

    async def go(self, *users: str, dear: bool = False) -> None:
        """Let each of them leave, one after the other."""
        for user in users:
            self.inside.remove((user, dear))
            self.gate.leave(user, dear=dear)
            await settle()

    async def all_leave(self) -> None:
        """Until nobody is there, and the gate knows of nobody."""
        while self.inside:
            user, dear = self.inside[0]
            await self.go(user, dear=dear)
        assert all(task.done() for task in self.tasks)
        kept = (self.gate._held, self.gate._held_dear, self.gate._lines, self.gate._by_held._users)
        assert not any(kept)
        assert self.gate._waiting == 0


async def test_users_are_served_in_turn() -> None:
    """Behind one who came with ten, another waits for one of them and not for all."""
    line = Visitors(1)
    await line.come(*["ann"] * 10, "ben", "cleo", "ben")
    await line.all_leave()
    assert line.order == ["ann", "ben", "cleo", "ann", "ben", *["ann"] * 8]


async def test_a_place_goes_to_who_holds_the_fewest() -> None:
    """Whoever holds many places gets the next one only when nobody with fewer waits."""
    line = Visitors(4)
    await line.come(*["ann"] * 6, "ben")
    assert Counter(line.inside) == {("ann", False): 3, ("ben", False): 1}
    await line.come("ben", "cleo", "cleo")
    await line.go("ann")
    assert line.order[4:] == ["cleo"]
    await line.go("ann")
    assert line.order[4:] == ["cleo", "ben"]  # who came to hold one before cleo did
    await line.all_leave()


@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 2), (3, 3), (4, 3), (10, 8), (100, 75)])
async def test_no_user_has_all_places(size: int, most: int) -> None:
    """Of four places and more some are left for others, who then wait for nobody; nobody's work has all."""
    line = Visitors(size)
    await line.come(*["ann"] * (size + 5))
    assert len(line.inside) == most
    await line.come(*[NOBODY] * (size - most))
    assert len(line.inside) == size
    await line.all_leave()
    await line.come(*[NOBODY] * size)
    assert len(line.inside) == size
    await line.all_leave()


async def test_little_dear_work_is_done_at_once() -> None:
    """One user's dear work takes DEAR_MAX places also where more are free, and holds up nothing else."""
    line = Visitors(10)
    await line.come(*["ann"] * 5, dear=True)
    assert len(line.inside) == DEAR_MAX
    await line.come("ann", "ben")
    await line.come("ben", dear=True)
    assert len(line.inside) == DEAR_MAX + 3
    await line.go("ann", dear=True)
    assert Counter(line.inside)["ann", True] == DEAR_MAX
    await line.all_leave()
    assert Counter(line.order) == {"ann": 6, "ben": 2}


async def test_a_flood_is_turned_away_and_nobody_else() -> None:
    """Once all lines together are full, the longest gives its last place to who comes with a shorter one."""
    line = Visitors(1, queue_size=4)
    await line.come("ann", *["ann"] * 3, "ben")
    assert line.gate.refuses("ann")
    assert not line.gate.refuses("ben")
    await line.come("ann")  # is refused
    await line.come("cleo")  # instead of the third of ann's
    await line.come("ben")  # is refused: then there would be two of each
    refused = [index for index, task in enumerate(line.tasks) if task.done() and task.exception()]
    assert refused == [3, 5, 7]
    assert all(isinstance(line.tasks[index].exception(), Overloaded) for index in refused)
    await line.all_leave()
    assert line.order == ["ann", "ben", "cleo", "ann", "ann"]


async def test_many_with_one_each_are_turned_away_in_order() -> None:
    """Where nobody stands in for two, who comes last is told so."""
    line = Visitors(1, queue_size=3)
    await line.come("ann", "ben", "cleo", "dan")
    [late] = await line.come("eve")
    assert isinstance(late.exception(), Overloaded)
    await line.all_leave()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_place_is_lost(seed: int) -> None:
    """Who comes, goes and gives up in any order: never too many inside, nobody forgotten, nothing kept."""
    chance = random.Random(seed)
    size = chance.choice([1, 2, 4, 7])
    line = Visitors(size, queue_size=8)
    for _ in range(300):
        match chance.choice(["come", "come", "go", "cancel"]):
            case "come":
                user = chance.choice([NOBODY, "ann", "ann", "ann", "ben", "cleo"])
                line.tasks.append(asyncio.create_task(line._enter(user, chance.random() < 0.4)))
            case "go" if line.inside:
                user, dear = line.inside.pop(chance.randrange(len(line.inside)))
                line.gate.leave(user, dear=dear)
            case _ if line.tasks:
                chance.choice(line.tasks).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        assert len(line.inside) <= size
        assert line.gate._waiting <= 8
    await settle()
    await line.all_leave()
    for task in line.tasks:
        with suppress(Overloaded, asyncio.CancelledError):
            await task
