"""From what a request presents to the user it stands for. No tables."""

import hashlib
import hmac
import json
import math
import re
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import unquote
from uuid import UUID

from jose import jwk, jws
from jose.backends.base import Key
from jose.exceptions import JOSEError

from backend.auth import base64url
from backend.auth.keys import ALGORITHMS, BoundKey
from backend.config import Settings, UserIdType
from backend.errors import (
    ExpiredToken,
    InvalidScheme,
    InvalidToken,
    MissingSubject,
    MissingToken,
)

if TYPE_CHECKING:
    from backend.auth.jwks import Jwks

TOKEN_MAX = 8192  # characters; Better Auth's are about 600
CLOCK_LEEWAY = 60  # seconds that an issuer's clock may be ahead of ours
USER_ID_MAX = 255
KID_MAX = 255
INTEGER_MAX = 2**31 - 1
COOKIE_VALUE_MAX = 1024  # characters; Better Auth's are 77 to 90
CACHE_MAX = 4096  # tokens; at Better Auth's length about 5 MB

# What a log may repeat of a claim that was signed: an origin, which is nobody's secret.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]{1,80}/?")
# Others have another purpose: Better Auth's session cookie signed with a published key, OAuth access tokens.
_TOKEN_TYPES = ("JWT", "application/jwt")
# Headers that change what the other parts of the token mean.
_UNSUPPORTED = {"crit", "b64", "zip"}


class CurrentUser(NamedTuple):
    """Who is asking. `id` is Better Auth's `user.id`, as text whatever its column is.

    `expires` is when what they showed is no longer good, as time.time() counts.
    """

    id: str
    expires: float


def bearer_token(authorization: str | None) -> str:
    """Return the token of an Authorization header (RFC 6750 §2.1).

    Raises:
        MissingToken: there is no header, or it is empty.
        InvalidScheme: it is not the word Bearer, one space and a token.
    """
    if not authorization:
        raise MissingToken
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise InvalidScheme
    return token


def is_jwt(token: str) -> bool:
    """Whether a bearer token can only be a JWT: Better Auth's session tokens have one dot at most."""
    return token.count(".") > 1


class Verified(NamedTuple):
    """What a token was found to say."""

    user: CurrentUser
    key: BoundKey | None  # None: a secret


class TokenVerifier:
    """Says whose token it is, and checks each token's signature once.

    Each algorithm has one source of keys, so that no token chooses what it is checked with: HS256 the
    secrets, the others the issuer's published keys, and there the one that `kid` names.

    python-jose verifies signatures. The claims are checked here: its own checks let pass a token without
    `exp` or `aud`, one that expires now, a future `iat` and `crit`, and raise errors that are not its own.
    """

    # What a claim is expected to be by.
    _settings_of: ClassVar = {"iss": "AUTH_ISSUER", "aud": "AUTH_AUDIENCE"}

    def __init__(
        self, settings: Settings, jwks: "Jwks | None" = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._secrets = [jwk.construct(secret, "HS256") for secret in settings.secrets]
        self._jwks = jwks
        self._settings = settings
        self._clock = clock
        self._verified: dict[str, Verified] = {}
        self.signature_checks = 0

    def known(self, token: str) -> CurrentUser | None:
        """Return the user of a token that was verified before and whose key is still published; else None.

        Raises:
            ExpiredToken: it was good once.
        """
        entry = self._verified.get(token)
        if entry is None:
            return None
        user, key = entry
        if (now := self._clock()) >= user.expires:
            del self._verified[token]
            raise ExpiredToken(reason=f"its exp is {now - user.expires:.0f} s ago")
        if key is not None and self._jwks and self._jwks.find(key.kid, key.algorithm) is not key:
            del self._verified[token]
            return None
        return user

    async def verify(self, token: str) -> CurrentUser:
        """Return the user of a token.

        Raises:
            ExpiredToken: `exp` is now or past.
            InvalidToken: anything else is wrong with it.
            KeysUnavailable: its key is not known, and the issuer cannot be asked.
        """
        if user := self.known(token):
            return user
        found = await self.check(token)
        if len(self._verified) >= CACHE_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = found
        return found.user

    async def check(self, token: str) -> Verified:
        """What verify() does for a token that was not seen before."""
        header, claims = read_token(token)
        algorithm, key = header.get("alg"), None
        if algorithm == "HS256":
            if not self._secrets:
                raise InvalidToken(reason="signed with HS256, but BETTER_AUTH_SECRET is not set")
            if not any(self._signed(token, secret, "HS256") for secret in self._secrets):
                raise InvalidToken(reason="not signed with BETTER_AUTH_SECRET or one of BETTER_AUTH_SECRETS")
            user = self._user_of_secret(claims)
        elif isinstance(algorithm, str) and algorithm in ALGORITHMS and self._jwks is not None:
            key = await self._signing_key(token, algorithm, header.get("kid"), self._jwks)
            user = self._user_of_issuer(claims)
        elif isinstance(algorithm, str) and algorithm in ALGORITHMS:
            raise InvalidToken(
                reason=f"signed with {algorithm}, but neither BETTER_AUTH_URL nor AUTH_JWKS_URL is set"
            )
        else:
            raise InvalidToken(reason="its algorithm is none that is accepted")
        return Verified(user, key)

    async def _signing_key(self, token: str, algorithm: str, kid: object, jwks: "Jwks") -> BoundKey:
        """Return the published key that the token is signed with."""
        if not isinstance(kid, str) or not 0 < len(kid) <= KID_MAX:
            raise InvalidToken(reason="its header has no usable kid")
        key = await jwks.get(kid, algorithm)
        if key is None:
            raise InvalidToken(reason=f"the issuer publishes no {algorithm} key of its kid")
        if self._signed_with(token, key):
            return key
        key = await jwks.replacement(key)
        if key and self._signed_with(token, key):
            return key
        raise InvalidToken(reason="not signed with the published key that it names")

    def _signed_with(self, token: str, key: BoundKey) -> bool:
        # While the key was waited for, another request may have brought the same token.
        entry = self._verified.get(token)
        return (entry is not None and entry.key is key) or self._signed(token, key.key, key.algorithm)

    def _signed(self, token: str, key: Key, algorithm: str) -> bool:
        self.signature_checks += 1
        try:
            jws.verify(token, key, algorithms=[algorithm])
        except (JOSEError, ValueError, TypeError, RecursionError):
            return False
        return True

    def _user_of_secret(self, claims: dict[str, Any]) -> CurrentUser:
        """A token signed with the secret: one that the frontend made, or Better Auth's cached session.

        The cached session (the `session_data` cookie of `strategy: "jwt"`) names no subject, issuer or
        audience: its user is `session.userId`. Links in Better Auth's e-mails are signed with the same secret
        and carry a `userId` and an `email` on their top level, which is why neither counts.
        """
        session = claims.get("session")
        if "sub" not in claims and isinstance(session, dict):
            user = self._user(claims, session.get("userId"), None, None)
            ends = _session_end(session)
            if self._clock() >= ends:
                raise ExpiredToken(reason="its session has expired")
            return CurrentUser(user.id, min(user.expires, ends))
        return self._user(claims, claims.get("sub"), self._settings.auth_issuer, self._settings.auth_audience)

    def _user_of_issuer(self, claims: dict[str, Any]) -> CurrentUser:
        issuer, audience = self._settings.jwks_issuer, self._settings.jwks_audience
        return self._user(claims, claims.get("sub"), issuer, audience)

    def _user(
        self, claims: dict[str, Any], subject: object, issuer: str | None, audience: str | None
    ) -> CurrentUser:
        now = self._clock()
        if issuer is not None and claims.get("iss") != issuer:
            raise InvalidToken(reason=self._differs("iss", [claims.get("iss")], issuer))
        audiences = claims["aud"] if isinstance(claims.get("aud"), list) else [claims.get("aud")]
        if audience is not None and audience not in audiences:
            raise InvalidToken(reason=self._differs("aud", audiences, audience))
        for name in ("iat", "nbf"):
            if name in claims and _seconds(name, claims[name]) > now + CLOCK_LEEWAY:
                raise InvalidToken(reason=f"its {name} is more than {CLOCK_LEEWAY} s ahead of this clock")
        expires = _seconds("exp", claims.get("exp"))
        if now >= expires:
            raise ExpiredToken(reason=f"its exp is {min(now - expires, 1e9):.0f} s ago")
        if subject is None:
            raise MissingSubject(reason="it names no user: no sub claim")
        return CurrentUser(user_id(subject, self._settings.auth_user_id_type), expires)

    def _differs(self, claim: str, found: list[Any], expected: str) -> str:
        """Why a claim is not the expected one, repeating of it no more than an origin."""
        setting = self._settings_of[claim]
        told = next((text for text in found if isinstance(text, str) and _ORIGIN.fullmatch(text)), None)
        if told is None:
            return f"its {claim} is missing or another than {expected} (see {setting})"
        hint = "; they differ by a slash at the end" if told.rstrip("/") == expected.rstrip("/") else ""
        return f"its {claim} is {told}, expected is {expected} (see {setting}){hint}"


def user_id(value: object, kind: UserIdType) -> str:
    """Return a user's id if a column of that kind can hold it.

    Raises:
        InvalidToken: it cannot.
    """
    # isprintable() is False for control characters and halves of surrogate pairs; no database takes them.
    if not isinstance(value, str) or not 0 < len(value) <= USER_ID_MAX or not value.isprintable():
        raise InvalidToken(reason=f"its user id is no printable text of 1 to {USER_ID_MAX} characters")
    if kind == "text":
        return value
    try:
        number = int(value) if kind == "integer" else 0
        canonical = str(number) if kind == "integer" else str(UUID(value))
    except ValueError:
        canonical, number = "", 0
    # int() and UUID() read more than one spelling: signs, blanks, underscores, other scripts' digits.
    if canonical != value.lower() or not 0 <= number <= INTEGER_MAX:
        raise InvalidToken(reason=f"its user id is none of AUTH_USER_ID_TYPE={kind}")
    return canonical


def session_token(value: str, secrets: list[str]) -> str | None:
    """Return the session token of a cookie's value, `<token>.<signature>`, if the signature is right.

    Better Auth signs with HMAC-SHA256 under its secret, writes that in Base64, and percent-encodes the whole.
    """
    if len(value) > COOKIE_VALUE_MAX:
        return None
    token, _, signature = unquote(value).rpartition(".")
    for secret in secrets:
        expected = b64encode(hmac.digest(secret.encode(), token.encode(), hashlib.sha256))
        if hmac.compare_digest(expected, signature.encode()):
            return token
    return None


def _seconds(name: str, value: Any) -> float:
    """A NumericDate of RFC 7519 §2: a finite number, and nothing that merely looks like one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise InvalidToken(reason=f"its {name} is missing or no time")
    return value


def _session_end(session: dict[str, Any]) -> float:
    """When a cached session ends, which may be before its token does; Better Auth looks at both."""
    if "expiresAt" not in session:
        return math.inf
    try:
        return datetime.fromisoformat(session["expiresAt"]).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise InvalidToken(reason="its session's expiresAt is no time") from None


def read_token(token: str, types: tuple[str, ...] = _TOKEN_TYPES) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a token's header and claims, unverified.

    Raises:
        InvalidToken: it is not one that Better Auth could have made.
    """
    if len(token) > TOKEN_MAX:
        raise InvalidToken(reason=f"longer than {TOKEN_MAX} characters")
    try:
        encoded_header, encoded_claims, signature = token.split(".")
        header, claims = _json_object(encoded_header), _json_object(encoded_claims)
        base64url.decode(signature)
    except (ValueError, RecursionError):
        raise InvalidToken(reason="not a JWT: three parts of base64url, the first two JSON objects") from None
    if unsupported := header.keys() & _UNSUPPORTED:
        raise InvalidToken(reason=f"its header has {min(unsupported)}, which is not supported")
    if str(header.get("typ", "JWT")).lower() not in map(str.lower, types):
        raise InvalidToken(reason=f"its typ is not {types[0]}: it is for another purpose")
    return header, claims


def _json_object(encoded: str) -> dict[str, Any]:
    value = json.loads(base64url.decode(encoded).decode(), object_pairs_hook=_unique)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of a doubled key may each believe another value (RFC 7515 §4)."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value
