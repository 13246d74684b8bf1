"""The issuer's published keys: fetched when first needed, refreshed behind requests, kept in an outage."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpx

from backend.auth.keys import BoundKey, read_jwk
from backend.errors import KeysUnavailable

log = logging.getLogger(__name__)

REFRESH_AFTER = 300.0  # seconds; then the next use fetches anew, in the background
COOLDOWN = 2.0  # seconds between two fetches, whatever tokens come in
TIMEOUT = 5.0  # seconds for one fetch
SIZE_MAX = 256 * 1024  # bytes
KEYS_MAX = 256
REDIRECTS_MAX = 3
WAITING_MAX = 1000  # requests at once; each holds some 35 KB, and anybody can make up key ids

Keys = dict[tuple[str, str], BoundKey]  # by key id and algorithm


class JwksError(Exception):
    """The issuer's answer cannot be used; the message says why."""


class Jwks:
    """The keys at one URL.

    One fetch is in flight at most, however many requests wait for it, and fetches keep `cooldown` seconds
    apart, so made-up key ids cannot hammer the issuer. The last good set serves while the issuer is down.
    A request waits for a cool-down and two fetches at the very most, beside at most `WAITING_MAX` others.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        cooldown: float = COOLDOWN,
        clock: Callable[[], float] = time.monotonic,
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

    def find(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a known key, at once; where the set has grown old, have it fetched in the background.

        As long as the issuer publishes the same key it is the same object.
        """
        if self._keys and self._clock() - self._fetched > REFRESH_AFTER and not self._cooling():
            self._start()
        return self._keys.get((kid, algorithm))

    async def get(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a key, fetching the set again for one that is not known; None when the issuer has none such.

        During a cool-down an unknown key is waited for: it may be a new one, and its token good.

        Raises:
            KeysUnavailable: the key is not known, and the issuer does not answer or too many wait for it.
        """
        if key := self.find(kid, algorithm):
            return key
        with self._place_in_line():
            if self._fetch is not None:
                await asyncio.shield(self._fetch)  # under way already, and perhaps too early to bring the key
            if not self.find(kid, algorithm):
                await self._refresh()
        return self.find(kid, algorithm)

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
            raise KeysUnavailable
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _refresh(self) -> None:
        asked = self._clock()
        while self._cooling():
            if self._failing:
                raise KeysUnavailable
            await asyncio.sleep(self._tried + self._cooldown - self._clock())
            if self._tried > asked:  # another that waited has fetched
                break
        else:
            # Shielded: a client that goes away must not take the others' fetch along.
            await asyncio.shield(self._start())
        if self._failing:
            raise KeysUnavailable

    def _cooling(self) -> bool:
        return self._clock() - self._tried < self._cooldown

    def _start(self) -> asyncio.Task[None]:
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._load())
        return self._fetch

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                document = await self._download()
            self._keys = _read(document, self._keys)
            self._fetched, self._failing = self._clock(), False
        except Exception as error:  # whatever the issuer sends, what is known must go on serving
            self._failing = True
            reason = str(error) or type(error).__name__
            log.warning("keys not fetched", extra={"fields": {"url": self._url, "reason": reason}})
        finally:
            self._tried = self._clock()
            self._fetch = None

    async def _download(self) -> Any:
        url = httpx.URL(self._url)
        # Compressed, a few bytes on the wire could become any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with httpx.AsyncClient(transport=self._transport, verify=self._tls, timeout=TIMEOUT) as client:
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
