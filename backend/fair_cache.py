"""A bounded memory that all users share, and in which none can push out what others use."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar, TypeVarTuple

K = TypeVar("K")
V = TypeVar("V")
Ts = TypeVarTuple("Ts")


class FairCache(Generic[K, V]):
    """Up to `size` values by key.

    What one user alone has asked for makes room only for its like, and first what is of the user who has most
    of it. So whoever asks for ever new things pushes out their own. What several users use may fill three
    quarters of the places, and takes them from nothing but what one user alone uses. What was used least
    lately goes first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._common_max = size - size // 4
        self._common: OrderedDict[K, V] = OrderedDict()
        self._own: OrderedDict[K, tuple[V, object]] = OrderedDict()  # with the user

    def __len__(self) -> int:
        return len(self._common) + len(self._own)

    def get(self, key: K, user: object) -> V | None:
        """Return the value of a key, which the user uses by that; None where there is none."""
        value = self._common.get(key)
        if value is not None:
            self._common.move_to_end(key)
            return value
        found = self._own.get(key)
        if found is None:
            return None
        value, owner = found
        if owner == user:
            self._own.move_to_end(key)
        else:
            del self._own[key]
            self._share(key, value)
        return value

    def put(self, key: K, user: object, value: V) -> None:
        """Keep a value that the user asked for; None is the service itself, which asks for all."""
        if user is None:
            self._share(key, value)
            return
        if len(self) >= self._size:
            self._drop_own()
        self._own[key] = value, user

    def _share(self, key: K, value: V) -> None:
        if len(self._common) >= self._common_max:
            self._common.popitem(last=False)
        elif len(self) >= self._size:
            self._drop_own()
        self._common[key] = value

    def _drop_own(self) -> None:
        [(most, _)] = Counter(owner for _, owner in self._own.values()).most_common(1)
        del self._own[next(key for key, (_, owner) in self._own.items() if owner == most)]


def fairly_cached(size: int) -> Callable[[Callable[[*Ts], V]], Callable[[object, *Ts], V]]:
    """Keep up to `size` of what a function makes: a decorator. Whoever calls it names the user first."""

    def decorate(make: Callable[[*Ts], V]) -> Callable[[object, *Ts], V]:
        cache: FairCache[tuple[*Ts], V] = FairCache(size)

        def cached(user: object, *arguments: *Ts) -> V:
            value = cache.get(arguments, user)
            if value is None:
                value = make(*arguments)
                cache.put(arguments, user, value)
            return value

        return cached

    return decorate
