"""The issuer's published keys: fetched when first needed, waited for when old, kept for an hour of outage."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from backend.auth.keys import BoundKey, read_jwk
from backend.errors import KeysUnavailable
from backend.urls import is_loopback

log = logging.getLogger(__name__)

REFRESH_AFTER = 240.0  # seconds; then the next use fetches anew, in the background
AGE_MAX = 300.0  # seconds; then a fetch is waited for: a key may have been withdrawn
GRACE = 3600.0  # seconds that a set serves with an issuer that is known to be down
COOLDOWN = 2.0  # seconds between two fetches, whatever tokens come in
TIMEOUT = 5.0  # seconds for one fetch
SIZE_MAX = 256 * 1024  # bytes
KEYS_MAX = 256
REDIRECTS_MAX = 3
REASON_MAX = 300  # characters of a log line
WAITING_MAX = 1000  # requests at once; each holds some 35 KB, and anybody can make up key ids

Keys = dict[tuple[str, str], BoundKey]  # by key id and algorithm

# Linux has a clock that goes on while the machine sleeps; keys grow old meanwhile.
_clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class JwksError(Exception):
    """The issuer's answer cannot be used; the message says why."""


class Jwks:
    """The keys at one URL.

    One fetch is in flight at most, however many requests wait for it, and fetches keep `cooldown` seconds
    apart, so made-up key ids cannot hammer the issuer. A request waits for a cool-down and two fetches at the
    very most, beside at most `WAITING_MAX` others.

    A set that is older than `AGE_MAX` verifies nothing before the issuer was asked again: nobody who uses the
    service steadily ever waits, since `REFRESH_AFTER` comes first. Once a fetch has failed the last good set
    serves on at once, to an age of `GRACE`, while fetches are tried behind it: an issuer that is down or slow
    holds each request for one `TIMEOUT` at most, and that as its outage begins.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        cooldown: float = COOLDOWN,
        clock: Callable[[], float] = _clock,
    ) -> None:
        self._url = url
        self._transport = transport
        self._tls = _tls()
        self._cooldown = cooldown
        self._clock = clock
        self._keys: Keys = {}
        self._fetched = float("-inf")  # when the last good set came
        self._tried = float("-inf")  # when the last fetch ended, well or not
        self._failing = False  # whether it ended badly
        self._fetch: asyncio.Task[None] | None = None
        self._waiting = 0
        self.fetches = self.failures = 0  # so far

    def find(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a key that may be used at once; None: it is not known, or so old that `get` has to wait.

        Where the set has grown old, have it fetched in the background. As long as the issuer publishes the
        same key it is the same object.
        """
        age = self._clock() - self._fetched
        if age > REFRESH_AFTER and self._keys:
            if not self._cooling():
                self._start()
            if age > AGE_MAX and not (age <= GRACE and self._known_down()):
                return None
        return self._keys.get((kid, algorithm))

    async def get(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a key, fetching the set again for one that is old or not known; None: there is none.

        During a cool-down an unknown key is waited for: it may be a new one, and its token good.

        Raises:
            KeysUnavailable: the key is not known or older than `GRACE`, and the issuer does not answer;
                or too many wait for it.
        """
        under_way, known = self._fetch, (kid, algorithm) in self._keys
        if key := self.find(kid, algorithm):
            return key
        with self._place_in_line():
            if under_way is not None:
                await asyncio.shield(under_way)  # perhaps begun too early to bring a new key
            if under_way is None or not (known or self.find(kid, algorithm)):
                await self._refresh()
        key = self.find(kid, algorithm)
        if key is None and self._failing:
            raise KeysUnavailable(reason="the issuer's keys cannot be fetched")
        return key

    async def replacement(self, old: BoundKey) -> BoundKey | None:
        """Return the key that has taken the id of `old`, if the issuer has one: ids repeat after a reset.

        During a cool-down nothing is waited for, and with the issuer down there is no other key: None.

        Raises:
            KeysUnavailable: too many wait for the issuer.
        """
        if self._fetch is not None or not self._cooling():
            with self._place_in_line():
                await asyncio.shield(self._start())
        key = self.find(old.kid, old.algorithm)
        return key if key is not old else None

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    @contextmanager
    def _place_in_line(self) -> Iterator[None]:
        if self._waiting >= WAITING_MAX:
            raise KeysUnavailable(reason=f"{WAITING_MAX} requests wait for the issuer's keys")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _refresh(self) -> None:
        """Return after a fetch that began now or later, or at once where the issuer is known to be down."""
        asked = self._clock()
        while self._cooling():
            if self._failing:
                return
            await asyncio.sleep(self._tried + self._cooldown - self._clock())
            if self._tried > asked:  # another that waited has fetched
                return
        # Shielded: a client that goes away must not take the others' fetch along.
        await asyncio.shield(self._start())

    @property
    def age(self) -> float:
        """How many seconds ago the keys were fetched; infinite while there are none."""
        return self._clock() - self._fetched

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def _cooling(self) -> bool:
        return self._clock() - self._tried < self._cooldown

    def _known_down(self) -> bool:
        """Whether the issuer did not answer just now; what it did before an idle time says nothing."""
        return self._failing and self._clock() - self._tried < self._cooldown + TIMEOUT

    def _start(self) -> asyncio.Task[None]:
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._load())
        return self._fetch

    async def _load(self) -> None:
        began, fields = self._clock(), {"url": self._url}
        self.fetches += 1
        try:
            if proxy := None if self._transport else _proxy(httpx.URL(self._url)):
                fields["proxy"] = _public(proxy)
            async with asyncio.timeout(TIMEOUT):
                document = await self._download(proxy)
            self._keys = _read(document, self._keys)
            # A key may have been withdrawn while the answer was on its way.
            self._fetched, self._failing = began, False
            log.debug("keys fetched", extra={"fields": fields})
        except Exception as error:  # whatever the issuer sends, what is known must go on serving
            self._failing = True
            self.failures += 1
            fields["reason"] = (str(error) or type(error).__name__)[:REASON_MAX]
            log.warning("keys not fetched", extra={"fields": fields})
        finally:
            self._tried = self._clock()
            self._fetch = None

    async def _download(self, proxy: str | None) -> Any:
        url = httpx.URL(self._url)
        # Compressed, a few bytes on the wire could become any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        client = httpx.AsyncClient(
            transport=self._transport, verify=self._tls, timeout=TIMEOUT, proxy=proxy, trust_env=False
        )
        async with client:
            for _ in range(1 + REDIRECTS_MAX):
                async with client.stream("GET", url, headers=headers) as response:
                    if response.next_request is not None:
                        target = response.next_request.url
                        if (target.scheme, target.netloc) != (url.scheme, url.netloc):
                            raise JwksError(f"redirected to another host, {target.host}")
                        url = target
                        continue
                    if response.status_code != httpx.codes.OK:
                        raise JwksError(f"status {response.status_code}")
                    if "Content-Encoding" in response.headers:
                        raise JwksError("compressed, though not asked to be")
                    content = b""
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > SIZE_MAX:
                            raise JwksError(f"more than {SIZE_MAX} bytes")
                    return json.loads(content)
            raise JwksError("too many redirects")


@cache
def _tls() -> ssl.SSLContext:
    """What servers are checked with. Reading it for each fetch would stop every request for some 20 ms."""
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> str | None:
    """The proxy that HTTPS_PROXY, ALL_PROXY and NO_PROXY give for an address; none for this machine."""
    if is_loopback(url.host):
        return None
    proxies = getproxies()
    if proxy_bypass(f"{url.host}:{url.port}" if url.port else url.host):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _public(proxy: str) -> str:
    """A proxy's address without the password that it may have in it."""
    return str(httpx.URL(proxy).copy_with(userinfo=b""))


def _read(document: Any, known: Keys) -> Keys:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise JwksError("not a JWKS")
    keys: Keys = {}
    for value in listed:
        if key := read_jwk(value):
            name = (key.kid, key.algorithm)
            old = known.get(name)
            keys[name] = old if old is not None and old.source == key.source else key
    return keys
