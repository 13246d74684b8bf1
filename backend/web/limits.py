"""How many requests a minute one user, or one address without a good token, may make of this process.

See docs/decisions/rate-limits.md.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil

from starlette.types import Scope

from backend.config import Settings
from backend.errors import TooManyRequests

WINDOW = 60  # seconds
KEYS_MAX = 50_000  # users or addresses of a generation, of which two are kept: 12 MB at most
# Sessions and calendars that are remembered, and characters of each: 5 MB at most.
SESSIONS_MAX, SESSION_MAX = 4096, 1024
FEED_QUOTA = 20  # requests of a calendar in a minute: programs come every few minutes, from several devices
NAME_MAX = 64  # characters of an address that is none

# In the scope: what the answer's headers will have beside its own; whether its address was counted.
ANSWER_HEADERS = "task_api.answer_headers"
_COUNTED = "task_api.counted"

# Probes, which come from one address that others may share.
UNLIMITED_PATHS = ("/health", "/ready")


class RateLimit:
    """`quota` hits in a minute for each key, all at once or evenly: each is given back after its part of it.

    That is the generic cell rate algorithm: of each key it is known when all of its hits will have been given
    back. A key that is idle for two minutes is forgotten; so is one that KEYS_MAX others came after.
    """

    def __init__(self, name: str, quota: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._part = WINDOW / quota
        self._clock = clock
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._ages_at = clock() + WINDOW
        self._policy = (b"ratelimit-policy", f'"{name}";q={quota};w={WINDOW}'.encode())
        self._format = f'"{name}";r=%d;t={WINDOW}'
        self.quota = quota

    def hit(self, key: str) -> float:
        """Count a hit; return how many more there may be now. Below 0: it was one too many, and uncounted."""
        now = self._clock()
        if now >= self._ages_at or len(self._young) >= KEYS_MAX:
            self._old, self._young = self._young, {}
            self._ages_at = now + WINDOW
        full = self._young.get(key) or self._old.get(key, now)
        full = max(full, now) + self._part
        left = (now + WINDOW - full) / self._part + 1e-6  # a rounding error is no hit
        self._young[key] = full if left >= 0 else full - self._part
        return left

    def is_spent(self, key: str) -> bool:
        """Whether a hit would be too many."""
        full = self._young.get(key) or self._old.get(key, 0.0)
        return full + self._part > self._clock() + WINDOW + 1e-6 * self._part

    def headers(self, left: float) -> list[tuple[bytes, bytes]]:
        """What an answer says of it."""
        return [self._policy, (b"ratelimit", (self._format % max(left, 0)).encode())]

    def retry_after(self, left: float) -> int:
        """In how many seconds there may be one more."""
        return ceil(-left * self._part)


class Limits:
    """The limits of the settings, where there are any."""

    def __init__(self, settings: Settings) -> None:
        per_user, per_address = settings.rate_limit, settings.rate_limit_anonymous
        self._users = RateLimit("user", per_user) if per_user else None
        self._addresses = RateLimit("address", per_address) if per_address else None
        self._feeds = RateLimit("calendar", FEED_QUOTA)
        self._sessions: dict[str, str] = {}

    def count_user(self, scope: Scope, user_id: str) -> None:
        """Count a request of somebody who is known.

        Raises:
            TooManyRequests: there were too many.
        """
        if self._users is not None:
            _count(scope, self._users, user_id)

    def count_address(self, scope: Scope) -> None:
        """Count a request of nobody who is known; once, however often this is called for it.

        Raises:
            TooManyRequests: there were too many from its address.
        """
        if self._addresses is None or _COUNTED in scope or (key := address(scope)) is None:
            return
        scope[_COUNTED] = True
        _count(scope, self._addresses, key)

    def before_lookup(self, scope: Scope, session: str) -> None:
        """Refuse what the database would be asked about, if it is known already that a 429 will follow.

        `session` is the header that it came in. One that was good lately stands for its user still. One that
        never was, and that nobody has signed, may be a guess: where too many were, it counts as one more. So
        the first request with a good one may be refused where others guess from the same address, if it
        comes unsigned; it is served once it was served anywhere else.

        Raises:
            TooManyRequests: so it is.
        """
        user = self._sessions.get(session)
        if user is not None:
            if self._users is not None and self._users.is_spent(user):
                self.count_user(scope, user)
        elif "." not in session and self._addresses is not None:
            key = address(scope)
            if key is not None and self._addresses.is_spent(key):
                self.count_address(scope)

    def count_feed(self, scope: Scope, feed: str) -> None:
        """Count a request for a calendar that is there, by whatever it is known by.

        Raises:
            TooManyRequests: there were too many.
        """
        _count(scope, self._feeds, feed)

    def before_feed(self, scope: Scope, feed: str) -> None:
        """Refuse what the database would be asked about, if it is known already that a 429 will follow.

        A calendar that was there lately is asked for whoever else guesses from its address.

        Raises:
            TooManyRequests: so it is.
        """
        if self._feeds.is_spent(feed):
            self.count_feed(scope, feed)
        elif feed not in self._sessions and self._addresses is not None:
            key = address(scope)
            if key is not None and self._addresses.is_spent(key):
                self.count_address(scope)

    def forget(self, session: str) -> None:
        """Note that what was remembered is no more."""
        self._sessions.pop(session, None)

    def remember(self, session: str, user_id: str) -> None:
        """Note whom a session, or a calendar, stood for when it was looked up."""
        if len(session) <= SESSION_MAX:
            if len(self._sessions) >= SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[session] = user_id


def address(scope: Scope) -> str | None:
    """Whose address a request comes from: of IPv6 the /64, which is what one household or machine has.

    It is the peer's, or what a proxy said where uvicorn was told to believe it. None on a Unix socket.
    """
    client = scope.get("client")
    if not client:
        return None
    return _network(client[0])


@lru_cache(maxsize=1024)
def _network(host: str) -> str:
    """What an address is counted as."""
    if ":" not in host:
        return host[:NAME_MAX]
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return host[:NAME_MAX]
    if not isinstance(parsed, IPv6Address):
        return host
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()


def _count(scope: Scope, limit: RateLimit, key: str) -> None:
    left = limit.hit(key)
    scope[ANSWER_HEADERS] += limit.headers(left)
    if left < 0:
        seconds = limit.retry_after(left)
        scope[ANSWER_HEADERS].append((b"retry-after", str(seconds).encode()))
        raise TooManyRequests(f"More than {limit.quota} requests in a minute; try again in {seconds} s")
