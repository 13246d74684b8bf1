"""The keys that a JWKS may bring, and what they verify."""

from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jose import jwk
from jose.exceptions import JWKError

from backend.auth.keys import ALGORITHMS, read_jwk
from tests.issuer import KeyPair, b64, number

KEYS = {algorithm: KeyPair(algorithm, "1") for algorithm in ALGORITHMS}

# The field and a base of the group of order 8, computed rather than copied: 8 times the order of the large
# subgroup takes every point to the neutral one.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
L = 2**252 + 27742317777372353535851937790883648493
NEUTRAL = (0, 1)


def decode(value: str) -> bytes:
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def add(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of edwards25519 (RFC 8032 §5.1.4)."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def multiply(times: int, point: tuple[int, int]) -> tuple[int, int]:
    result = NEUTRAL
    for bit in f"{times:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def point_at(y: int) -> tuple[int, int] | None:
    """A point with this y, if the curve has one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    for x in (root, root * pow(2, (P - 1) // 4, P) % P):
        if x * x % P == square:
            return x, y
    return None


def small_order() -> set[tuple[int, int]]:
    """The eight points whose order divides 8."""
    found: set[tuple[int, int]] = set()
    for y in range(2, 100):
        if point := point_at(y):
            torsion = multiply(L, point)
            found |= {multiply(times, torsion) for times in range(8)}
        if len(found) == 8:
            return found
    raise AssertionError("no point of order 8 found")


def ed25519(encoded: int) -> dict[str, Any]:
    """The JWK of an encoded point."""
    x = b64(encoded.to_bytes(32, "little"))
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": x}


@pytest.mark.parametrize("pair", [pytest.param(pair, id=name) for name, pair in KEYS.items()])
def test_each_algorithm_verifies_its_own_signatures_only(pair: KeyPair) -> None:
    """A key takes what its pair signed, and no other message, signature or size of one."""
    bound = read_jwk(pair.jwk())
    assert bound is not None
    assert (bound.kid, bound.algorithm) == ("1", pair.algorithm)
    signature = pair.sign(b"message")
    assert bound.key.verify(b"message", signature) is True
    altered = bytes([signature[0] ^ 1]) + signature[1:]
    for message, wrong in (
        (b"massage", signature),
        (b"message", altered),
        (b"message", signature[:-1]),
        (b"message", signature + b"\0"),
        (b"message", b"\0" * len(signature)),
        (b"message", b""),
    ):
        assert bound.key.verify(message, wrong) is False


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_leading_zeros_belong_to_an_rsa_signature(algorithm: str) -> None:
    """A signature has the size of its key: without its zeros, or with more of them, it is another."""
    pair = KeyPair(algorithm, "1", bits=1024)  # small, for speed: one signature in 256 begins with a zero
    key = jwk.construct(pair.jwk(), algorithm)
    for attempt in range(10_000):
        message = str(attempt).encode()
        signature = pair.sign(message)
        if signature[0] == 0:
            break
    assert key.verify(message, signature) is True
    assert key.verify(message, signature[1:]) is False
    assert key.verify(message, b"\0" + signature) is False


def test_rfc_8037_appendix_a() -> None:
    """EdDSA as the RFC's example has it."""
    private = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert b64(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()) == x
    bound = read_jwk({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "1"})
    assert bound is not None
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    assert bound.key.verify(message, decode(signature))
    assert not bound.key.verify(message + b".", decode(signature))


PAYLOAD = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"


def test_rfc_7515_appendix_a2() -> None:
    """RS256 as the RFC's example has it."""
    n = (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT"
        "-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQ"
        "OS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj"
        "8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    )
    signature = (
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJ"
        "dbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN"
        "9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXL"
        "IhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    )
    bound = read_jwk({"kty": "RSA", "n": n, "e": "AQAB", "kid": "1"})
    assert bound is not None
    assert bound.key.verify(b"eyJhbGciOiJSUzI1NiJ9." + PAYLOAD, decode(signature))


def test_rfc_7515_appendix_a3() -> None:
    """ES256 as the RFC's example has it."""
    point = {
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    bound = read_jwk({"kty": "EC", "crv": "P-256", "kid": "1"} | point)
    assert bound is not None
    assert bound.key.verify(b"eyJhbGciOiJFUzI1NiJ9." + PAYLOAD, decode(signature))


def test_keys_of_small_order_are_refused() -> None:
    """No spelling of the eight points for which anybody can sign is a key."""
    points = small_order()
    assert len(points) == 8
    assert all(multiply(8, point) == NEUTRAL for point in points)
    encodings = {y + more for _, y in points for more in (0, P) if y + more < 2**255}
    assert len(encodings) == 7  # 5 values of y, two of which can be written with P more
    for value in encodings | {y | 1 << 255 for y in encodings}:
        assert read_jwk(ed25519(value)) is None, hex(value)


def test_small_order_would_be_a_forgery() -> None:
    """The refusal is needed: for such a key one signature fits every message, and the library takes it."""
    neutral = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"any message")


def test_points_that_are_not_canonical_are_refused() -> None:
    """Every y from the field's size on is refused, with either sign: no key has two spellings."""
    for y in range(P, 2**255):
        assert read_jwk(ed25519(y)) is None
        assert read_jwk(ed25519(y | 1 << 255)) is None


def test_ordinary_points_are_keys() -> None:
    """The refusals hit no key that somebody may have."""
    base = 4 * pow(5, -1, P) % P
    large = [y for y in range(2, 30) if (point := point_at(y)) and multiply(8, point) != NEUTRAL]
    assert len(large) > 5
    for y in (base, *large):
        assert read_jwk(ed25519(y)) is not None
        assert read_jwk(ed25519(y | 1 << 255)) is not None
    for _ in range(50):
        assert read_jwk(KeyPair("EdDSA", "1").jwk()) is not None


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "PS256"])
@pytest.mark.parametrize("absent", [{"alg": None}, {"alg": ""}], ids=["absent", "empty"])
def test_an_absent_algorithm_is_inferred(algorithm: str, absent: dict[str, Any]) -> None:
    """A key that names none is for the one that its type and curve suit; for RSA that is RS256."""
    bound = read_jwk(KEYS[algorithm].jwk(**absent))
    assert bound is not None
    assert bound.algorithm == algorithm


def test_members_that_do_not_matter_are_ignored() -> None:
    """`use` and `key_ops` for signatures, and whatever else a set brings, do no harm."""
    assert read_jwk(KEYS["RS256"].jwk(use="sig", key_ops=["verify"], x5t="x", exp=1, other=[{}]))


ED, EC, RSA = KEYS["EdDSA"], KEYS["ES256"], KEYS["RS256"]
P384 = KeyPair("ES384", "1")
SHORT = KeyPair("RS256", "1", bits=1024)
REFUSED: list[tuple[str, Any]] = [
    ("RSA of 1024 bits", SHORT.jwk()),
    ("RSA of 1024 bits for PS256", SHORT.jwk(alg="PS256")),
    ("RSA with the exponent 1", RSA.jwk(e="AQ")),
    ("RSA with an even exponent", RSA.jwk(e="AQAA")),
    ("RSA without an exponent", RSA.jwk(e=None)),
    ("RSA without a modulus", RSA.jwk(n=None)),
    # The library takes a number for a size: here for more memory than any machine has.
    ("RSA with a modulus that is a number", RSA.jwk(n=2**62)),
    ("RSA with an exponent that is a number", RSA.jwk(e=65537)),
    ("RSA with a modulus that is a list", RSA.jwk(n=[1])),
    ("a private Ed25519 key", ED.jwk(d=b64(ED.private.private_bytes_raw()))),
    ("a private EC key", EC.jwk(d=number(EC.private.private_numbers().private_value))),
    ("a private RSA key", RSA.jwk(d=number(RSA.private.private_numbers().d))),
    ("a symmetric key", {"kty": "oct", "alg": "HS256", "kid": "1", "k": "AAAA"}),
    ("a symmetric key that says EdDSA", ED.jwk(kty="oct", k="AAAA")),
    ("a symmetric part in a public key", ED.jwk(k="AAAA")),
    ("a key for encryption", ED.jwk(use="enc")),
    ("a key for nothing", ED.jwk(use="")),
    ("a use that is a list", ED.jwk(use=["sig"])),
    ("operations without verify", ED.jwk(key_ops=["sign"])),
    ("operations that are a text", ED.jwk(key_ops="verify")),
    ("operations that are a number", ED.jwk(key_ops=5)),
    ("operations that are true", ED.jwk(key_ops=True)),
    ("EdDSA with an EC key", EC.jwk(alg="EdDSA")),
    ("EdDSA with an RSA key", RSA.jwk(alg="EdDSA")),
    ("ES256 with an Ed25519 key", ED.jwk(alg="ES256")),
    ("ES256 with P-521", KEYS["ES512"].jwk(alg="ES256")),
    ("ES512 with P-256", EC.jwk(alg="ES512")),
    ("ES256 with an RSA key", RSA.jwk(alg="ES256")),
    ("RS256 with an EC key", EC.jwk(alg="RS256")),
    ("RS256 with an Ed25519 key", ED.jwk(alg="RS256")),
    ("RSA with a curve", RSA.jwk(crv="P-256")),
    ("HS256 with a public key", RSA.jwk(alg="HS256")),
    ("no algorithm", RSA.jwk(alg="none")),
    ("an algorithm that Better Auth does not have", RSA.jwk(alg="RS512")),
    ("a curve that Better Auth does not have", P384.jwk()),
    ("that curve without an algorithm", P384.jwk(alg=None)),
    ("an encryption algorithm", RSA.jwk(alg="RSA-OAEP")),
    ("an algorithm that is a list", ED.jwk(alg=["EdDSA"])),
    ("a curve that is a list", ED.jwk(crv=["Ed25519"])),
    ("X25519", ED.jwk(crv="X25519")),
    ("Ed448", ED.jwk(crv="Ed448")),
    ("another case", ED.jwk(kty="okp")),
    ("no type", ED.jwk(kty=None)),
    ("a type that is an object", ED.jwk(kty={})),
    ("no id", ED.jwk(kid=None)),
    ("an id that is a number", ED.jwk(kid=1)),
    ("an Ed25519 key of 31 bytes", ED.jwk(x=b64(bytes(range(31))))),
    ("an Ed25519 key of 33 bytes", ED.jwk(x=b64(bytes(range(33))))),
    ("an empty Ed25519 key", ED.jwk(x="")),
    ("no Ed25519 key", ED.jwk(x=None)),
    ("an Ed25519 key that is a number", ED.jwk(x=2**62)),
    ("an Ed25519 key beyond ASCII", ED.jwk(x="é" * 43)),
    ("an Ed25519 key with half a surrogate pair", ED.jwk(x="\ud800" * 43)),
    ("a point off the curve", EC.jwk(y=number(EC.public.public_numbers().y ^ 1, 32))),
    ("the point at infinity", EC.jwk(x=b64(bytes(32)), y=b64(bytes(32)))),
    ("half a point", EC.jwk(y=None)),
    ("a coordinate that is a list", EC.jwk(x=[1, 2])),
    ("nothing", {}),
    ("null", None),
    ("a text", "EdDSA"),
    ("a list", [ED.jwk()]),
]


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in REFUSED])
def test_what_is_no_key_for_us_is_refused(value: Any) -> None:
    """Each is passed over in silence: a set may hold keys for others, and a hostile one does no harm."""
    assert read_jwk(value) is None


def test_eddsa_is_for_verification_only() -> None:
    """The registered class makes no signature, not even of what a private key could."""
    key = jwk.construct(ED.jwk(), "EdDSA")
    with pytest.raises(NotImplementedError):
        key.sign(b"message")
    with pytest.raises(JWKError):
        jwk.construct(ed25519(1), "EdDSA")
