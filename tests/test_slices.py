"""Long work in slices: others have the event loop in between."""

import asyncio

import pytest

from backend import slices
from backend.slices import sliced


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is for slices, to be moved on."""
    now = [0.0]
    monkeypatch.setattr("backend.slices.time.perf_counter", lambda: now[0])
    return now


async def work(name: str, done: list[str], clock: list[float], items: int, each: float) -> None:
    """Work on some items, and write down each."""
    async for _ in sliced(range(items)):
        clock[0] += each
        done.append(name)


async def turns(done: list[str]) -> None:
    """Write down every turn of the loop."""
    while True:
        done.append("-")
        await asyncio.sleep(0)


async def watched(*work: asyncio.Task[None], done: list[str]) -> str:
    """Run tasks beside one that only takes its turns; return who did what, in order."""
    other = asyncio.create_task(turns(done))
    await asyncio.gather(*work)
    other.cancel()
    return "".join(done)


async def test_others_have_their_turn_after_a_slice(clock: list[float]) -> None:
    """Work that takes half a slice an item lets go of the loop after the third, which is beyond it."""
    done: list[str] = []
    task = asyncio.create_task(work("a", done, clock, 7, slices.SLICE / 2))
    assert (await watched(task, done=done)).rstrip("-") == "aaa-aaa-a"


async def test_short_work_is_done_at_once(clock: list[float]) -> None:
    """What fits into a slice costs no turn of the loop."""
    done: list[str] = []
    task = asyncio.create_task(work("a", done, clock, 100, 0))
    assert (await watched(task, done=done)).startswith("a" * 100)


async def test_those_who_work_take_turns(clock: list[float]) -> None:
    """However many they are, everybody else waits for about one slice, not for one of each."""
    done: list[str] = []
    tasks = [asyncio.create_task(work(name, done, clock, 6, slices.SLICE * 2)) for name in "abcd"]
    seen = await watched(*tasks, done=done)
    later = seen[8 : seen.rindex("-")]  # once all have begun
    assert all(sum(letter in turn for letter in "abcd") <= 2 for turn in later.split("-")[1:-2])


@pytest.mark.parametrize("how", ["ends", "fails", "stops"])
async def test_who_is_done_is_no_longer_counted(how: str) -> None:
    """Whether work ends, fails or is given up: others do not wait for it."""
    items = sliced(range(3))
    if how == "ends":
        assert [item async for item in items] == [0, 1, 2]
    else:
        assert await anext(items) == 0
        assert slices._working == 1
        if how == "stops":
            await items.aclose()  # type: ignore[attr-defined] # every generator has it
        else:
            with pytest.raises(ZeroDivisionError):
                await items.athrow(ZeroDivisionError)  # type: ignore[attr-defined] # as above
    assert slices._working == 0
