"""Public keys of a JWKS as python-jose key objects, each bound to the one algorithm it may verify.

python-jose has neither EdDSA nor PS256; both are added here, for verification only, over `cryptography`.
"""

from base64 import urlsafe_b64decode
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from jose import jwk
from jose.backends.base import Key
from jose.backends.cryptography_backend import CryptographyRSAKey
from jose.exceptions import JOSEError, JWKError

RSA_BITS_MIN = 2048  # RFC 7518 §3.3

# What Better Auth can be told to sign with: algorithm → (kty, crv).
ALGORITHMS = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
}

_P = 2**255 - 19
# The y coordinates of the points of order 1, 2, 4 and 8. For such a key anybody can make a signature that
# verifies; a real key pair never has one.
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})


class Ed25519Key(Key):  # type: ignore[misc] # python-jose ships no types
    """An Ed25519 public key (RFC 8037)."""

    def __init__(self, key: dict[str, Any], algorithm: str) -> None:
        x = urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4))
        y = int.from_bytes(x, "little") & (2**255 - 1)
        if y >= _P or y in _SMALL_ORDER:
            raise JWKError("not a canonical point of large order")
        self._key = Ed25519PublicKey.from_public_bytes(x)

    def verify(self, msg: bytes, sig: bytes) -> bool:
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


class RSAPSSKey(CryptographyRSAKey):  # type: ignore[misc] # python-jose ships no types
    """An RSA public key that verifies PS256 (RFC 7518 §3.5)."""

    def __init__(self, key: dict[str, Any], algorithm: str) -> None:
        super().__init__(key, "RS256")

    def verify(self, msg: bytes, sig: bytes) -> bool:
        # OpenSSL would also take a signature whose leading zeros are left out (RFC 8017 §8.1.2 does not).
        if len(sig) != (self.prepared_key.key_size + 7) // 8:
            return False
        try:
            # The salt has the size of the hash.
            self.prepared_key.verify(
                sig, msg, padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size), SHA256()
            )
        except InvalidSignature:
            return False
        return True


jwk.register_key("EdDSA", Ed25519Key)
jwk.register_key("PS256", RSAPSSKey)


class BoundKey(NamedTuple):
    """A key, its id and the only algorithm it may be used with."""

    kid: str
    algorithm: str
    key: Key
    source: dict[str, Any]  # the JWK: what tells two keys of one id apart


def read_jwk(value: Any) -> BoundKey | None:
    """Return the key that a member of a JWKS describes, or None for one that is not for us.

    Not for us: no id, another use than signatures, a private or symmetric key, an algorithm that Better Auth
    does not have, an RSA key below 2048 bits, an Ed25519 key of small order or not canonical, nonsense.
    """
    if not isinstance(value, dict):
        return None
    kid, kind, curve = value.get("kid"), value.get("kty"), value.get("crv")
    algorithm = value.get("alg") or next(
        (a for a, shape in ALGORITHMS.items() if shape == (kind, curve)), None
    )
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    if ALGORITHMS.get(algorithm) != (kind, curve) or "d" in value or "k" in value:
        return None
    operations = value.get("key_ops", ["verify"])
    if value.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    # python-jose would take a number for a size, and ask for that much memory.
    if not all(isinstance(value.get(name, ""), str) for name in ("n", "e", "x", "y")):
        return None
    try:
        key = jwk.construct(value, algorithm)
    except (JOSEError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if kind == "RSA" and key.prepared_key.key_size < RSA_BITS_MIN:
        return None
    return BoundKey(kid, algorithm, key, value)
