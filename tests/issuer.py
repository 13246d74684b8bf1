"""A made-up issuer for the tests: key pairs, tokens signed with them, and the keys it publishes."""

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512

URL = "https://auth.example.com"
JWKS_URL = f"{URL}/api/auth/jwks"

Sign = Callable[[bytes], bytes]


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """A number as JWKs have it."""
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def segment(value: object) -> str:
    """A part of a token; bytes are taken as they are."""
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def sign_segments(header: str, claims: str, sign: Sign) -> str:
    """A token of parts that are encoded already."""
    return f"{header}.{claims}.{b64(sign(f'{header}.{claims}'.encode()))}"


def compact(header: object, claims: object, sign: Sign) -> str:
    """A token."""
    return sign_segments(segment(header), segment(claims), sign)


def hs256(secret: bytes | str) -> Sign:
    """Signs with a secret."""
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda message: hmac.digest(key, message, hashlib.sha256)


class KeyPair:
    """A key pair for one algorithm, with the id that it is published under."""

    def __init__(self, algorithm: str, kid: str, *, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private: Any
        if algorithm == "EdDSA":
            self.private = Ed25519PrivateKey.generate()
        elif algorithm[:2] == "ES":
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            self.private = ec.generate_private_key(curves[algorithm])
        else:
            self.private = rsa.generate_private_key(65537, bits)
        self.public = self.private.public_key()

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as Better Auth publishes it; a change to None leaves the member out."""
        jwk: dict[str, Any]
        if self.algorithm == "EdDSA":
            jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(self.public.public_bytes_raw())}
        elif self.algorithm[:2] == "ES":
            point, size = self.public.public_numbers(), (self.public.key_size + 7) // 8
            curve = {256: "P-256", 384: "P-384", 521: "P-521"}[self.public.key_size]
            jwk = {"crv": curve, "kty": "EC", "x": number(point.x, size), "y": number(point.y, size)}
        else:
            numbers = self.public.public_numbers()
            jwk = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        jwk = {"alg": self.algorithm, **jwk, "kid": self.kid} | changes
        return {name: value for name, value in jwk.items() if value is not None}

    def sign(self, message: bytes) -> bytes:
        """A JWS signature (RFC 7518 §3, RFC 8037)."""
        signature: bytes
        if self.algorithm == "EdDSA":
            signature = self.private.sign(message)
        elif self.algorithm[:2] == "ES":
            size = (self.public.key_size + 7) // 8
            hashed = SHA512() if self.algorithm == "ES512" else SHA256()
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashed)))
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        elif self.algorithm == "PS256":
            signature = self.private.sign(message, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        else:
            signature = self.private.sign(message, padding.PKCS1v15(), SHA256())
        return signature

    def token(self, claims: object, **header: Any) -> str:
        """A token, its header as Better Auth writes it: without `typ`."""
        return compact({"alg": self.algorithm, "kid": self.kid} | header, claims, self.sign)


class Issuer:
    """What is published at JWKS_URL, now; `transport` leads there and counts the fetches."""

    def __init__(self, *keys: KeyPair) -> None:
        self.keys: list[Any] = [key.jwk() for key in keys]
        self.down = False
        self.fetches = 0
        self.in_flight = self.most_in_flight = 0
        self.urls: set[str] = set()
        self.asked = asyncio.Event()  # set when a fetch arrives
        self.answers = asyncio.Event()  # cleared, it keeps fetches waiting
        self.answers.set()
        self.transport = httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        self.urls.add(str(request.url))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.asked.set()
        try:
            await self.answers.wait()
        finally:
            self.in_flight -= 1
        if self.down:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(200, json={"keys": self.keys})
