"""The issuer's published keys: fetched when first needed, refreshed behind requests, kept in an outage."""

import asyncio
import json
import logging
import time
from typing import Any

import httpx

from backend.errors import KeysUnavailable
from backend.keys import BoundKey, read_jwk

log = logging.getLogger(__name__)

REFRESH_AFTER = 300.0  # seconds; then the next use fetches anew, in the background
COOLDOWN = 2.0  # seconds between two fetches, whatever tokens come in
TIMEOUT = 5.0  # seconds for one fetch
SIZE_MAX = 256 * 1024  # bytes
KEYS_MAX = 256
REDIRECTS_MAX = 3


class JwksError(Exception):
    """The issuer's answer cannot be used; the message says why."""


class Jwks:
    """The keys at one URL.

    One fetch is in flight at most, however many requests wait for it, and fetches keep `cooldown` seconds
    apart, so made-up key ids cannot hammer the issuer. The last good set serves while the issuer is down.
    """

    def __init__(
        self, url: str, *, transport: httpx.AsyncBaseTransport | None = None, cooldown: float = COOLDOWN
    ) -> None:
        self._url = url
        self._transport = transport
        self._cooldown = cooldown
        self._keys: dict[str, BoundKey] = {}
        self._fetched = float("-inf")  # when the last good set came
        self._tried = float("-inf")  # when the last fetch ended, well or not
        self._fetch: asyncio.Task[None] | None = None

    def find(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a known key, at once; where the set has grown old, have it fetched in the background."""
        if time.monotonic() - self._fetched > REFRESH_AFTER and self._keys and not self._cooling():
            self._start()
        key = self._keys.get(kid)
        return key if key is not None and key.algorithm == algorithm else None

    async def get(self, kid: str, algorithm: str) -> BoundKey | None:
        """Return a key, fetching the set again for one that is not known; None when the issuer has none such.

        During a cool-down an unknown key is waited for: it may be a new one, and its token good.

        Raises:
            KeysUnavailable: the key is not known and the issuer does not answer.
        """
        key = self.find(kid, algorithm)
        if key is None and self._fetch is not None:
            await asyncio.shield(self._fetch)  # under way already, and perhaps too early to bring the key
            key = self.find(kid, algorithm)
        if key is None:
            await self._refresh()
            key = self.find(kid, algorithm)
        return key

    async def replacement(self, kid: str, old: BoundKey) -> BoundKey | None:
        """Return the key that has taken the id of `old`, if the issuer has one: ids repeat after a reset.

        Nothing is waited for: during a cool-down, or with the issuer down, the answer is None.
        """
        if self._fetch is None and self._cooling():
            return None
        await asyncio.shield(self._start())
        key = self.find(kid, old.algorithm)
        return key if key is not None and key.source != old.source else None

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    async def _refresh(self) -> None:
        asked = time.monotonic()
        while self._cooling():
            if self._failing():
                raise KeysUnavailable
            await asyncio.sleep(self._tried + self._cooldown - time.monotonic())
            if self._tried > asked:  # another that waited has fetched
                break
        else:
            # Shielded: a client that goes away must not take the others' fetch along.
            await asyncio.shield(self._start())
        if self._failing():
            raise KeysUnavailable

    def _cooling(self) -> bool:
        return time.monotonic() - self._tried < self._cooldown

    def _failing(self) -> bool:
        return self._tried > self._fetched

    def _start(self) -> asyncio.Task[None]:
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._load())
        return self._fetch

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                self._keys = _read(await self._download())
            self._fetched = self._tried = time.monotonic()
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            TimeoutError,
            ValueError,
            RecursionError,
            JwksError,
        ) as error:
            self._tried = time.monotonic()
            reason = str(error) or type(error).__name__
            log.warning("keys not fetched", extra={"fields": {"url": self._url, "reason": reason}})
        finally:
            self._fetch = None

    async def _download(self) -> Any:
        url = httpx.URL(self._url)
        async with httpx.AsyncClient(transport=self._transport, timeout=TIMEOUT) as client:
            for _ in range(1 + REDIRECTS_MAX):
                async with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
                    if response.next_request is not None:
                        target = response.next_request.url
                        if (target.scheme, target.netloc) != (url.scheme, url.netloc):
                            raise JwksError(f"redirected to another host, {target.host}")
                        url = target
                        continue
                    if response.status_code != httpx.codes.OK:
                        raise JwksError(f"status {response.status_code}")
                    content = b""
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > SIZE_MAX:
                            raise JwksError(f"more than {SIZE_MAX} bytes")
                    return json.loads(content)
            raise JwksError("too many redirects")


def _read(document: Any) -> dict[str, BoundKey]:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise JwksError("not a JWKS")
    keys: dict[str, BoundKey] = {}
    for value in listed:
        if isinstance(value, dict) and isinstance(value.get("kid"), str) and (key := read_jwk(value)):
            keys[value["kid"]] = key
    return keys
