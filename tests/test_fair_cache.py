"""A bounded memory in which no user pushes out what others use."""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice
from typing import Any

import pytest

from backend.fair_cache import FairCache
from backend.tasks import lists
from backend.tasks.batch import crud as batch
from backend.tasks.conditions import _CONDITIONS


def used(cache: FairCache[int, str], user: str, *keys: int) -> int:
    """Use keys as a user; return how many had to be made."""
    missing = [key for key in keys if cache.get(key, user) is None]
    for key in missing:
        cache.put(key, user, f"{key}")
    return len(missing)


@pytest.mark.parametrize("times", [1, 2, 10])
def test_a_flood_of_one_user_leaves_what_others_use(times: int) -> None:
    """However often each of a thousand new things is asked for."""
    cache: FairCache[int, str] = FairCache(40)
    for user in ("alice", "bob"):
        used(cache, user, *range(30))
    used(cache, "bob", 50, 51, 52)
    for key in range(1000, 2000):
        for _ in range(times):
            used(cache, "mallory", key)
    assert used(cache, "alice", *range(30)) == 0
    assert used(cache, "bob", 50, 51, 52) == 0
    assert len(cache) <= 40


def test_users_who_have_much_make_room_for_who_has_little() -> None:
    """The places for what one user alone uses are shared among those who want them."""
    cache: FairCache[int, str] = FairCache(10)
    used(cache, "mallory", *range(10))
    assert used(cache, "mallory", *range(10)) == 0
    used(cache, "bob", *range(20, 25))
    assert used(cache, "bob", *range(20, 25)) == 0
    assert used(cache, "mallory", *range(5, 10)) == 0


def test_what_was_used_least_lately_goes_first() -> None:
    """Among what several use, and among a user's own."""
    cache: FairCache[int, str] = FairCache(8)
    for user in ("alice", "bob"):
        used(cache, user, *range(6))
    used(cache, "alice", 0)
    used(cache, "alice", 10, 11, 10, 12)
    used(cache, "bob", 10)
    assert [key for key in range(20) if cache.get(key, "alice")] == [0, 2, 3, 4, 5, 10, 12]


def test_what_nobody_owns_is_everybodys() -> None:
    """What the service asks for itself is no user's to push out."""
    cache: FairCache[int, str] = FairCache(8)
    cache.put(1, None, "its own")
    used(cache, "mallory", *range(10, 1000))
    assert cache.get(1, None) == "its own"


def shapes(names: Iterable[str], *others: Any) -> Iterator[tuple[Any, ...]]:
    """Every choice of some of these names."""
    named = [*names]
    chosen = (some for count in range(len(named)) for some in combinations(named, count))
    return ((some, *others) for some in chosen)


@pytest.mark.parametrize(
    ("statement", "size", "names", "others"),
    [
        (lists._list_statement, 512, _CONDITIONS, (1, "title", "asc", None)),
        (lists._count_statement, 512, _CONDITIONS, (1,)),
        (batch._complete_statement, 128, _CONDITIONS, (1,)),
        (batch._delete_statement, 128, _CONDITIONS, (1,)),
    ],
)
def test_statements_by_shape_are_kept_fairly(
    statement: Callable[..., object], size: int, names: Iterable[str], others: tuple[Any, ...]
) -> None:
    """A user meets the same statement again, whatever shapes another has asked for meanwhile."""
    usual, *attack = islice(shapes(names, *others), 1, size + 20)
    before = statement("bob", *usual)
    for shape in attack:
        statement("mallory", *shape)
    assert statement("bob", *usual) is before
