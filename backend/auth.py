"""From an Authorization header to the user it stands for. No tables, no I/O."""

import json
import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

from jose import jwk, jws
from jose.backends.base import Key
from jose.exceptions import JOSEError

from backend.config import Settings
from backend.errors import ExpiredToken, InvalidScheme, InvalidToken, MissingSubject, MissingToken

TOKEN_MAX = 8192  # characters; Better Auth's are about 600
CLOCK_LEEWAY = 60  # seconds that an issuer's clock may be ahead of ours
USER_ID_MAX = 255
CACHE_MAX = 4096  # tokens; at Better Auth's length about 5 MB

_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class CurrentUser(NamedTuple):
    """Who is asking. `id` is Better Auth's `user.id`."""

    id: str


# Each algorithm has one source of keys: a token cannot choose which key it is checked with.
KeySource = Callable[[dict[str, Any]], Key]


class TokenVerifier:
    """Says whose token it is, and checks each token's signature once.

    python-jose verifies signatures; the claims are checked here, because its own checks let pass a token
    without `exp`, one that expires now, a future `iat` and `crit`, and raise errors that are not its own.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        secret = jwk.construct(settings.better_auth_secret.get_secret_value(), "HS256")
        self._keys: dict[str, KeySource] = {"HS256": lambda header: secret}
        self._issuer = settings.auth_issuer
        self._audience = settings.auth_audience
        self._clock = clock
        self._verified: dict[str, tuple[CurrentUser, float]] = {}

    def verify(self, authorization: str | None) -> CurrentUser:
        """Return the user of an Authorization header's bearer token.

        Raises:
            MissingToken: there is no header, or it is empty.
            InvalidScheme: it is not the word Bearer, one space and a token (RFC 6750 §2.1).
            ExpiredToken: `exp` is now or past.
            InvalidToken: anything else is wrong with the token.
        """
        if not authorization:
            raise MissingToken
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or " " in token:
            raise InvalidScheme
        now = self._clock()
        cached = self._verified.get(token)
        if cached is None:
            cached = self._verify(token, now)
            if len(self._verified) >= CACHE_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[token] = cached
        user, expires = cached
        if now >= expires:
            self._verified.pop(token, None)
            raise ExpiredToken
        return user

    def _verify(self, token: str, now: float) -> tuple[CurrentUser, float]:
        if len(token) > TOKEN_MAX or not _COMPACT_JWS.fullmatch(token):
            raise InvalidToken
        try:
            encoded_header, encoded_claims, signature = token.split(".")
            _decode(signature)
            header, claims = _json_object(encoded_header), _json_object(encoded_claims)
            algorithm = header.get("alg")
            if not isinstance(algorithm, str) or algorithm not in self._keys or "crit" in header:
                raise InvalidToken
            jws.verify(token, self._keys[algorithm](header), algorithms=[algorithm])
        except (JOSEError, ValueError, TypeError, OverflowError, RecursionError):
            raise InvalidToken from None
        return self._user(claims, now), _expiry(claims, now)

    def _user(self, claims: dict[str, Any], now: float) -> CurrentUser:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise InvalidToken
        if self._audience is not None and self._audience not in audiences:
            raise InvalidToken
        for name in ("iat", "nbf"):
            if name in claims and _seconds(claims[name]) > now + CLOCK_LEEWAY:
                raise InvalidToken
        if "sub" not in claims:
            raise MissingSubject
        subject = claims["sub"]
        # isprintable() is False for control characters and halves of surrogate pairs; no database takes them.
        if not isinstance(subject, str) or not 0 < len(subject) <= USER_ID_MAX or not subject.isprintable():
            raise InvalidToken
        return CurrentUser(subject)


def _expiry(claims: dict[str, Any], now: float) -> float:
    expires = _seconds(claims.get("exp"))
    if now >= expires:
        raise ExpiredToken
    return expires


def _seconds(value: Any) -> float:
    """A NumericDate of RFC 7519 §2: a finite number, and nothing that merely looks like one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise InvalidToken
    return value


def _decode(encoded: str) -> bytes:
    """Decode base64url without padding, refusing the second spellings that decode to the same bytes."""
    decoded = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != encoded:
        raise ValueError("not canonical base64url")
    return decoded


def _json_object(encoded: str) -> dict[str, Any]:
    value = json.loads(_decode(encoded).decode(), object_pairs_hook=_unique)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of a doubled key may each believe another value (RFC 7515 §4)."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value
