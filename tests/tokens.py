"""Tokens that are somebody and tokens that are nobody, to an issuer and a secret of the tests' own."""

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conftest import SECRET
from tests.issuer import JWKS_URL, URL, Issuer, KeyPair, Sign, b64, compact, hs256, segment, sign_segments

NOW = 1_800_000_000  # every clock here stands
OLD_SECRETS = ("the-secret-before-that-one-of-enough-bytes", "the-first-secret-there-ever-was-of-32-bytes")

ED, ES256, ES512 = KeyPair("EdDSA", "ed"), KeyPair("ES256", "es256"), KeyPair("ES512", "es512")
RS256, PS256 = KeyPair("RS256", "rs256"), KeyPair("PS256", "ps256")
PAIRS = (ED, ES256, ES512, RS256, PS256)
UNNAMED = KeyPair("EdDSA", "1")  # published without its algorithm, under the first id of a `serial` table

# What is signed by somebody else: under an id of their own, and under ours.
STRANGER = KeyPair("EdDSA", "stranger")
IMPOSTORS = [KeyPair(pair.algorithm, pair.kid) for pair in PAIRS]

CLAIMS = {"sub": "alice", "iss": URL, "aud": URL, "iat": NOW - 10, "exp": NOW + 900}
OWN = {"sub": "alice", "iat": NOW - 10, "exp": NOW + 900}
# The payload of Better Auth's `session_data` cookie.
CACHED: dict[str, Any] = {
    "session": {
        "expiresAt": "2027-02-01T20:51:42.642Z",
        "token": "Zs0cVd8mQwXy3rTbN5uHjK1pLgF7aEo2",
        "createdAt": "2027-01-10T20:51:42.642Z",
        "updatedAt": "2027-01-10T20:51:42.642Z",
        "ipAddress": "",
        "userAgent": "node",
        "userId": "alice",
        "id": "95yYJDnqiknwCPH5LLTCLghPcSYRHrsr",
    },
    "user": {"name": "Alice", "email": "alice@example.com", "emailVerified": False, "id": "alice"},
    "updatedAt": 1799999990000,
    "version": "1",
    "iat": NOW - 10,
    "exp": NOW + 290,
}
# The payload of its links for verifying an address, signed with the same secret.
LINK = {"email": "alice@example.com", "userId": "alice", "iat": NOW - 10, "exp": NOW + 3590}

HS: Sign = hs256(SECRET)


def own(claims: object = OWN, header: object = None, sign: Sign = HS) -> str:
    """A token signed with the secret."""
    return compact({"alg": "HS256", "typ": "JWT"} if header is None else header, claims, sign)


def without(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}


def session(**changes: Any) -> dict[str, Any]:
    """The cached session's payload with another session."""
    return CACHED | {"session": CACHED["session"] | changes}


def padded_to(size: int) -> str:
    """A good token of that many characters; Better Auth puts the user's name into it."""
    rest = size - len(own(OWN | {"name": ""}, {"alg": "HS256", "x": ""}))
    for fill in range(8):  # not every length is one of Base64
        for name in range(rest * 3 // 4 - 8, rest * 3 // 4 + 1):
            token = own(OWN | {"name": "n" * name}, {"alg": "HS256", "x": "x" * fill})
            if len(token) == size:
                return token
    raise AssertionError("no such size")


GOOD: dict[str, str] = {
    **{f"{pair.algorithm}": pair.token(CLAIMS) for pair in PAIRS},
    "HS256": own(),
    "a published key that names no algorithm": UNNAMED.token(CLAIMS),
    "the secret before": own(sign=hs256(OLD_SECRETS[0])),
    "the first secret": own(sign=hs256(OLD_SECRETS[1])),
    "a cached session": own(CACHED, {"alg": "HS256"}),
    "a cached session of the secret before": own(CACHED, {"alg": "HS256"}, hs256(OLD_SECRETS[0])),
    "a sub beside another's session": own(session(userId="bob") | {"sub": "alice"}),
    "without typ": own(header={"alg": "HS256"}),
    "typ in small letters": own(header={"alg": "HS256", "typ": "jwt"}),
    "typ in full": own(header={"alg": "HS256", "typ": "application/JWT"}),
    "a published key and a typ": ED.token(CLAIMS, typ="JWT"),
    "a header that means nothing": ED.token(CLAIMS, foo={"bar": 1}),
    "ours among the audiences": ED.token(CLAIMS | {"aud": ["https://other.example", URL]}),
    "ours as the only audience of a list": ED.token(CLAIMS | {"aud": [URL]}),
    "expires in 10,000 years": own(OWN | {"exp": NOW + 315_360_000_000}),
    "expires in a second": own(OWN | {"exp": NOW + 1}),
    "expires within a second": own(OWN | {"exp": NOW + 0.001}),
    "issued 59 s ahead": ED.token(CLAIMS | {"iat": NOW + 59}),
    "issued 60 s ahead": own(OWN | {"iat": NOW + 60}),
    "valid from 60 s ahead": own(OWN | {"nbf": NOW + 60}),
    "issued at no time": own(without(OWN, "iat")),
    "issued with a fraction": own(OWN | {"iat": NOW - 0.5}),
    "everything about the user": ED.token(
        CLAIMS | {"name": "Ünïcödé 🦄 \u202e \x00", "email": "a@b", "image": None, "id": "alice"}
    ),
    "a name of 3,700 characters": ED.token(CLAIMS | {"name": "n" * 3700}),
    "8 KiB": padded_to(8192),
}


# Every way in which a public key is written down, each of which somebody has taken for a secret.
def encodings(pair: KeyPair) -> Iterator[tuple[str, bytes]]:
    public = pair.public
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = pair.jwk()
    yield "PEM", pem
    yield "PEM without its last newline", pem.strip()
    yield "PEM of Windows", pem.replace(b"\n", b"\r\n")
    yield "the middle of a PEM", b"".join(pem.splitlines()[1:-1])
    yield "DER", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    yield "OpenSSH", ssh
    yield "OpenSSH with a comment", ssh + b" alice@example.com\n"
    yield "JWK", json.dumps(jwk).encode()
    yield "JWK without blanks", json.dumps(jwk, separators=(",", ":")).encode()
    yield "JWKS", json.dumps({"keys": [jwk]}, separators=(",", ":")).encode()
    if pair.algorithm == "EdDSA":
        yield "raw", public.public_bytes_raw()
        yield "hex", public.public_bytes_raw().hex().encode()
    elif pair.algorithm == "RS256":
        yield "PKCS1 PEM", public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        yield "PKCS1 DER", public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        size = (public.key_size + 7) // 8
        yield "modulus", public.public_numbers().n.to_bytes(size, "big")
        yield "n", jwk["n"].encode()
    else:
        yield "point", public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        yield "compressed point", public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    if "x" in jwk:
        yield "x", jwk["x"].encode()


def confused() -> Iterator[tuple[str, str]]:
    """HS256 with a public key for a secret, and each algorithm with another's key."""
    for pair in (ED, ES256, RS256):
        for name, key in encodings(pair):
            yield f"HS256 with the {pair.algorithm} key's {name}", own(CLAIMS, sign=hs256(key))
            header = {"alg": "HS256", "typ": "JWT", "kid": pair.kid}
            yield f"the same with its id: {pair.algorithm} {name}", own(CLAIMS, header, hs256(key))
    for signer in PAIRS:
        for named in PAIRS:
            if signer is not named:
                yield f"{signer.algorithm} with the id of {named.kid}", signer.token(CLAIMS, kid=named.kid)
                yield f"{named.algorithm} signed by {signer.kid}", signer.token(CLAIMS, alg=named.algorithm)
    yield (
        "RS256 with the key that is for PS256",
        compact({"alg": "RS256", "kid": "ps256"}, CLAIMS, _as("RS256", PS256)),
    )
    yield (
        "PS256 with the key that is for RS256",
        compact({"alg": "PS256", "kid": "rs256"}, CLAIMS, _as("PS256", RS256)),
    )
    yield "HS256 that names a published key", own(CLAIMS, {"alg": "HS256", "kid": "ed"}, ED.sign)
    yield "EdDSA signed with the secret", compact({"alg": "EdDSA", "kid": "ed"}, CLAIMS, HS)
    yield "RS256 signed with the secret", compact({"alg": "RS256", "kid": "rs256"}, CLAIMS, HS)


def _as(algorithm: str, pair: KeyPair) -> Sign:
    """Signs as for another algorithm."""
    other = KeyPair.__new__(KeyPair)
    other.algorithm, other.kid, other.private, other.public = algorithm, pair.kid, pair.private, pair.public
    return other.sign


def algorithms() -> Iterator[tuple[str, str]]:
    """Algorithms that are none, each unsigned, signed with the secret and signed with a published key."""
    strange: list[Any] = [
        "none",
        "None",
        "nOnE",
        "NONE",
        "",
        [],
        ["HS256"],
        {},
        {"HS256": 1},
        None,
        0,
        1,
        True,
    ]
    strange += [
        "hs256",
        "HS256 ",
        "HS384",
        "HS512",
        "RS384",
        "ES384",
        "EdDSA\x00",
        "eddsa",
        "Ed448",
        "dir",
        "HS2567",
    ]
    for alg in strange:
        header = {"alg": alg, "kid": "ed"}
        yield f"alg {alg!r} without a signature", f"{segment(header)}.{segment(CLAIMS)}."
        yield f"alg {alg!r} with a made-up signature", compact(header, CLAIMS, lambda _: b"\0" * 32)
        yield f"alg {alg!r} signed with the secret", own(OWN, header)
        yield f"alg {alg!r} signed with a published key", compact(header, CLAIMS, ED.sign)
    yield "no alg, signed with the secret", own(header={"typ": "JWT"})
    yield "no alg, signed with a published key", compact({"kid": "ed"}, CLAIMS, ED.sign)
    yield "no header to speak of", own(header={})


def keys() -> Iterator[tuple[str, str]]:
    """Key ids and key locations that are somebody else's choice."""
    strange: list[Any] = [
        "../../../../dev/null",
        "' OR '1'='1",
        "https://evil.example/jwks.json",
        0,
        1,
        True,
        None,
    ]
    strange += [
        [],
        ["ed"],
        {},
        "",
        "ED",
        "ed ",
        "ed\x00",
        "\ud800",
        "e" * 256,
        "e" * 5000,
        "__proto__",
        "keys",
        "2",
    ]
    for kid in strange:
        yield f"{type(kid).__name__} kid {str(kid)[:40]!a} of {len(str(kid))}", ED.token(CLAIMS, kid=kid)
    yield "the right kid as a number", UNNAMED.token(CLAIMS, kid=1)
    yield "no kid", compact({"alg": "EdDSA"}, CLAIMS, ED.sign)
    yield "a stranger's key", STRANGER.token(CLAIMS)
    for impostor in IMPOSTORS:
        yield f"another {impostor.algorithm} key under the same id", impostor.token(CLAIMS)
    evil = "https://evil.example/jwks.json"
    certificate = b64encode(STRANGER.public.public_bytes_raw()).decode()
    for name, value in (
        ("jku", evil),
        ("x5u", evil),
        ("x5c", [certificate]),
        ("jwk", STRANGER.jwk()),
        ("x5t#S256", certificate),
    ):
        yield f"{name} of a stranger", STRANGER.token(CLAIMS, **{name: value})
        yield f"{name} of a stranger and our kid", STRANGER.token(CLAIMS, **{name: value, "kid": "ed"})
        yield (
            f"{name} of a stranger without a kid",
            compact({"alg": "EdDSA", name: value}, CLAIMS, STRANGER.sign),
        )
    secret = {"kty": "oct", "k": b64(b"secret"), "alg": "HS256"}
    yield "a secret in the header", own(header={"alg": "HS256", "jwk": secret}, sign=hs256(b"secret"))
    for name, guess in (
        ("no secret", b""),
        ("a NUL", b"\0"),
        ("a NUL after it", SECRET.encode() + b"\0x"),
        ("a newline after it", f"{SECRET}\n"),
        ("its Base64", b64encode(SECRET.encode())),
        ("its hex", SECRET.encode().hex()),
        ("its half", SECRET[:20]),
        ("two of them", ",".join((SECRET, OLD_SECRETS[0]))),
        ("its version", f"2:{OLD_SECRETS[0]}"),
        ("the address of the keys", JWKS_URL),
        ("the issuer", URL),
        ("undefined", "undefined"),
    ):
        yield f"HS256 with {name}", own(sign=hs256(guess))
    neutral = (1).to_bytes(32, "little")
    for kid in ("small", "small-negative", "small-not-canonical"):
        yield (
            f"a published key of small order, {kid}",
            compact({"alg": "EdDSA", "kid": kid}, CLAIMS, lambda _: neutral + bytes(32)),
        )
    yield "a published key for encryption", ENCRYPTION.token(CLAIMS)
    yield "a published secret", own(header={"alg": "HS256", "kid": "oct"}, sign=hs256(b"published"))
    yield "a published RSA key of 1024 bits", SHORT.token(CLAIMS)


ENCRYPTION = KeyPair("EdDSA", "enc")
SHORT = KeyPair("RS256", "short", bits=1024)


def signatures() -> Iterator[tuple[str, str]]:
    """Signatures that are not the one."""
    for pair, good in [(pair, pair.token(CLAIMS)) for pair in PAIRS] + [(None, own())]:
        name = pair.algorithm if pair else "HS256"
        body, _, signature = good.rpartition(".")
        raw = _decode(signature)
        header, claims = body.split(".")
        for what, changed in (
            ("empty", b""),
            ("a byte short", raw[:-1]),
            ("without its first byte", raw[1:]),
            ("a byte long", raw + b"\0"),
            ("a byte long in front", b"\0" + raw),
            ("of zeros", bytes(len(raw))),
            ("of ones", b"\xff" * len(raw)),
            ("twice", raw + raw),
            ("turned round", raw[::-1]),
            ("with another bit", bytes([raw[0] ^ 1]) + raw[1:]),
            ("with another last bit", raw[:-1] + bytes([raw[-1] ^ 1])),
        ):
            yield f"{name} signature {what}", f"{body}.{b64(changed)}"
        yield f"{name} signature a character short", good[:-1]
        yield f"{name} without its dot", f"{header}.{claims}{signature}"
        other = pair.token(CLAIMS | {"sub": "bob"}) if pair else own(OWN | {"sub": "bob"})
        yield f"{name} signature of another token", f"{body}.{other.rpartition('.')[2]}"
        yield f"{name} claims of another token", f"{header}.{other.split('.')[1]}.{signature}"

    order = 2**252 + 27742317777372353535851937790883648493
    body, _, signature = ED.token(CLAIMS).rpartition(".")
    point, scalar = _decode(signature)[:32], int.from_bytes(_decode(signature)[32:], "little")
    for times in (1, 2, 8):
        more = (scalar + times * order).to_bytes(32, "little")
        yield f"EdDSA with S and {times} times the order", f"{body}.{b64(point + more)}"
    for name, encoded in (
        ("neutral", 1),
        ("neutral, written with the field's size", 2**255 - 18),
        ("of order 2", 2**255 - 20),
        ("of order 4", 0),
        ("zero with a sign", 1 << 255),
        ("beyond the field", 2**255 - 1),
    ):
        for what, value in (("zero", 0), ("the right one", scalar), ("the order", order)):
            forged = encoded.to_bytes(32, "little") + value.to_bytes(32, "little")
            yield f"EdDSA with R {name} and S {what}", f"{body}.{b64(forged)}"

    body, _, signature = ES256.token(CLAIMS).rpartition(".")
    r, s = (int.from_bytes(part, "big") for part in (_decode(signature)[:32], _decode(signature)[32:]))
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for name, one, other_number in (
        ("r = s = 0", 0, 0),
        ("r = 0", 0, s),
        ("s = 0", r, 0),
        ("r = s = n", n, n),
        ("r = n", n, s),
        ("s = n", r, n),
        ("r = s = 1", 1, 1),
        ("r and s exchanged", s, r),
    ):
        forged = one.to_bytes(32, "big") + other_number.to_bytes(32, "big")
        yield f"ES256 with {name}", f"{body}.{b64(forged)}"
    yield "ES256 in DER", f"{body}.{b64(encode_dss_signature(r, s))}"
    yield "ES256 in DER of zeros", f"{body}.{b64(encode_dss_signature(0, 0))}"
    wide = r.to_bytes(66, "big") + s.to_bytes(66, "big")
    yield "ES256 in the size of ES512", f"{body}.{b64(wide)}"


def _decode(value: str) -> bytes:
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _other_spelling(part: str) -> str:
    """The same bytes with other bits after their end."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(part) % 4, "a part without bits after its end"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def spellings() -> Iterator[tuple[str, str]]:
    """Second spellings of good tokens, and parts that are no Base64 or no JSON, all signed as they stand."""
    header, claims = segment({"alg": "HS256", "typ": "JWT", "a": "?>~"}), segment(OWN | {"a": "ÿÿ?>~~"})
    good = sign_segments(header, claims, HS)
    signature = good.rpartition(".")[2]
    h, c = segment({"alg": "HS256"}), segment(OWN | {"a": 1})
    h, c = (part if len(part) % 4 else segment(_spaced(part)) for part in (h, c))

    def each(name: str, change: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        yield f"{name} in the header", sign_segments(change(header), claims, HS)
        yield f"{name} in the claims", sign_segments(header, change(claims), HS)
        yield f"{name} in the signature", f"{header}.{claims}.{change(signature)}"

    yield from each("padding", lambda part: part + "=" * (-len(part) % 4 or 4))
    yield from each("a lone =", lambda part: part + "=")
    yield from each("a blank", lambda part: part + "%20")
    yield from each("a tab", lambda part: part[:4] + "\t" + part[4:])
    yield from each("a newline", lambda part: part[:4] + "\n" + part[4:])
    yield from each("a carriage return at the end", lambda part: part + "\r\n")
    yield from each("a NUL", lambda part: part[:4] + "\0" + part[4:])
    yield from each("a !", lambda part: part[:4] + "!" + part[4:])
    yield from each("a lone character", lambda part: part + "A" * ((1 - len(part)) % 4 or 4))
    standard = str.maketrans("-_", "+/")
    std_header = segment({"alg": "HS256", "typ": "JWT", "a": "???>>>~~~"})
    std_claims = segment(json.dumps(OWN | {"a": "???>>>~~~ÿÿÿ"}, ensure_ascii=False).encode())
    assert {*"-_"} & {*std_header} or {*"-_"} & {*std_claims}
    yield "the standard alphabet in the claims", sign_segments(header, std_claims.translate(standard), HS)
    while not {*"-_"} & {*signature}:
        claims = segment(OWN | {"a": len(claims)})
        signature = sign_segments(header, claims, HS).rpartition(".")[2]
    yield "the standard alphabet in the signature", f"{header}.{claims}.{signature.translate(standard)}"
    yield "other last bits in the header", sign_segments(_other_spelling(h), c, HS)
    yield "other last bits in the claims", sign_segments(h, _other_spelling(c), HS)
    for name, token in [("HS256", sign_segments(h, c, HS)), *((p.algorithm, p.token(CLAIMS)) for p in PAIRS)]:
        body, _, last = token.rpartition(".")
        if len(last) % 4:  # ES512's has no bits after its end
            yield f"other last bits in a signature of {name}", f"{body}.{_other_spelling(last)}"

    for name, part in (
        ("nothing", b""),
        ("null", b"null"),
        ("a list", b"[]"),
        ("a list of pairs", b'[["alg","HS256"],["sub","alice"],["exp",1900000000]]'),
        ("a text", b'"alice"'),
        ("a number", b"1"),
        ("broken JSON", b'{"alg":"HS256","sub":"alice","exp":1900000000'),
        ("two objects", b'{"alg":"HS256","sub":"alice","exp":1900000000}{}'),
        ("single quotes", b"{'alg':'HS256','sub':'alice','exp':1900000000}"),
        ("a last comma", b'{"alg":"HS256","sub":"alice","exp":1900000000,}'),
        ("a comment", b'{"alg":"HS256","sub":"alice","exp":1900000000}//'),
        ("a number too long", b'{"alg":"HS256","sub":"alice","exp":1900000000,"a":' + b"1" * 5000 + b"}"),
        ("Latin-1", '{"alg":"HS256","sub":"alice","exp":1900000000,"a":"é"}'.encode("latin-1")),
        ("a surrogate in UTF-8", b'{"alg":"HS256","sub":"alice","exp":1900000000,"a":"\xed\xa0\x80"}'),
        ("an overlong character", b'{"alg":"HS256","sub":"alice","exp":1900000000,"a":"\xc0\xaf"}'),
        ("UTF-16", '{"alg":"HS256","sub":"alice","exp":1900000000}'.encode("utf-16")),
        ("UTF-16 without a mark", '{"alg":"HS256","sub":"alice","exp":1900000000}'.encode("utf-16-le")),
        ("UTF-32", '{"alg":"HS256","sub":"alice","exp":1900000000}'.encode("utf-32")),
        ("a byte order mark", b'\xef\xbb\xbf{"alg":"HS256","sub":"alice","exp":1900000000}'),
        ("4,000 lists deep", b'{"alg":"HS256","sub":"alice","exp":1900000000,"a":' + b"[" * 4000),
        ("2,500 closed lists deep", _nested(b"[", b"]", 2500)),
    ):
        yield f"a header that is {name}", own(header=part)
        yield f"claims that are {name}", own(part)
    yield "100,000 lists deep in the header", own(header=_nested(b"[", b"]", 100_000))
    yield "100,000 lists deep in the claims", own(_nested(b"[", b"]", 100_000))
    # The names that are read, and one that is not: two readers may each take another.
    for name, part in (
        ("alg", b'{"alg":"none","alg":"HS256"}'),
        ("alg, the other way", b'{"alg":"HS256","alg":"none"}'),
        ("alg, twice the same", b'{"alg":"HS256","alg":"HS256"}'),
        ("alg, once escaped", b'{"alg":"HS256","\\u0061lg":"none"}'),
        ("typ", b'{"alg":"HS256","typ":"x","typ":"JWT"}'),
    ):
        yield f"a doubled {name}", own(header=part)
    yield "a doubled kid", compact(b'{"alg":"EdDSA","kid":"1","kid":"ed"}', CLAIMS, ED.sign)
    start = json.dumps(OWN)[:-1].encode()
    for name, part in (
        ("sub", b',"sub":"bob"}'),
        ("sub, twice the same", b',"sub":"alice"}'),
        ("exp", b',"exp":1900000000}'),
        ("iat", b',"iat":1}'),
        ("name", b',"name":"a","name":"b"}'),
        ("name further in", b',"a":{"b":[{"c":1,"c":2}]}}'),
    ):
        yield f"a doubled {name}", own(start + part)
    cached = json.dumps(CACHED)[:-1].encode()
    yield "a doubled session", own(cached + b',"session":{"userId":"bob"}}', {"alg": "HS256"})


def _spaced(part: str) -> bytes:
    """The same JSON with a blank more."""
    return _decode(part) + b" "


def _nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return b'{"alg":"HS256","sub":"alice","exp":1900000000,"a":' + opening * depth + closing * depth + b"}"


def shapes() -> Iterator[tuple[str, str]]:
    """What is not three parts of that kind."""
    good = own()
    header, claims, signature = good.split(".")
    yield from (
        ("one part", header),
        ("two parts", f"{header}.{claims}"),
        ("four parts", f"{good}.{signature}"),
        ("five parts", f"{good}.{header}.{claims}"),
        ("dots", ".."),
        ("many dots", "." * 8000),
        ("an empty header", f".{claims}.{signature}"),
        ("empty claims", f"{header}..{signature}"),
        ("detached claims", sign_segments(header, "", HS)),
        ("a dot in front", f".{good}"),
        ("a dot behind", f"{good}."),
        ("a comma", f"{good},{good}"),
        ("a semicolon", f"{good};"),
        ("a quoted token", f'"{good}"'),
        ("percent signs", good.replace(".", "%2E")),
        (
            "JSON",
            json.dumps(
                {"protected": header, "payload": claims, "signature": signature}, separators=(",", ":")
            ),
        ),
        ("a NUL behind", f"{good}\0"),
        ("a newline behind", f"{good}\n"),
        ("another token in the claims", own(good.encode())),
        (
            "another token as JSON",
            own(json.dumps(good).encode(), {"alg": "HS256", "typ": "JWT", "cty": "JWT"}),
        ),
        ("a character beyond ASCII", good[:-1] + "é"),
        ("full-width letters", "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in good)),
        ("a dot of another kind", good.replace(".", "。", 1)),
        ("a character more than 8 KiB", own(OWN | {"name": "n" * 6015})),
        ("9 KiB", own(OWN | {"name": "n" * 6800})),
        ("60 KiB", own(OWN | {"name": "n" * 45_000})),
        ("9 KiB of nothing", "a" * 3000 + "." + "b" * 3000 + "." + "c" * 3200),
        ("undefined", "undefined"),
        ("null", "null"),
        ("[object Object]", "[object%20Object]"),
        (
            "a compact session cookie",
            b64(json.dumps({"session": CACHED, "expiresAt": 1900000000000}).encode()),
        ),
    )
    jwe = {"alg": "dir", "enc": "A256CBC-HS512", "kid": "x"}
    yield "an encrypted token", f"{segment(jwe)}..{b64(bytes(16))}.{b64(bytes(64))}.{b64(bytes(32))}"
    yield "an encrypted token of ours", f"{segment(jwe)}.{claims}.{b64(bytes(16))}.{claims}.{signature}"


MOMENTS: list[tuple[str, Any]] = [
    ("a text", str(NOW + 900)),
    ("true", True),
    ("null", None),
    ("a list", [NOW + 900]),
    ("an empty list", []),
    ("an object", {}),
    ("NaN", float("nan")),
    ("Infinity", float("inf")),
    ("-Infinity", float("-inf")),
]


def moments() -> Iterator[tuple[str, str]]:
    """Times that have passed, are yet to come or are none."""
    ways: tuple[tuple[str, dict[str, Any], Callable[..., str]], ...] = (
        ("HS256", OWN, own),
        ("EdDSA", CLAIMS, ED.token),
        ("a cached session", CACHED, lambda claims: own(claims, {"alg": "HS256"})),
    )
    for way, good, token in ways:
        for name, value in [*MOMENTS, ("negative", -1), ("zero", 0), ("now", NOW), ("a second ago", NOW - 1)]:
            yield f"{way}: exp {name}", token(good | {"exp": value})
        yield f"{way}: exp a moment ago", token(good | {"exp": NOW - 0.001})
        yield f"{way}: no exp", token(without(good, "exp"))
        yield (
            f"{way}: exp in another case",
            token(without(good, "exp") | {"EXP": NOW + 900, "Exp": NOW + 900}),
        )
        for claim in ("iat", "nbf"):
            for name, value in [*MOMENTS, ("in 61 s", NOW + 61), ("in an hour", NOW + 3600)]:
                if name != "-Infinity":
                    yield f"{way}: {claim} {name}", token(good | {claim: value})
    for literal in (
        b"1e999",
        b"-1e999",
        b"-NaN",
        b"0x77777777",
        b"1_900_000_000",
        b"01900000000",
        b"+1900000000",
    ):
        part = json.dumps(without(OWN, "exp"))[:-1].encode() + b',"exp":' + literal + b"}"
        yield f"exp {literal.decode()}", own(part)


def subjects() -> Iterator[tuple[str, str]]:
    """Users that are none, whoever says so."""
    for name, value in (
        ("a number", 5),
        ("true", True),
        ("null", None),
        ("empty", ""),
        ("a NUL", "\0"),
        ("a NUL in it", "alice\0"),
        ("a newline in it", "alice\nINFO forged log line"),
        ("half a surrogate pair", "\ud800"),
        ("256 characters", "a" * 256),
        ("1,000 characters", "a" * 1000),
        ("a list", ["alice"]),
        ("an object", {"id": "alice"}),
        ("a line separator", "alice\u2028"),
        ("a direction mark", "alice\u202e"),
    ):
        yield f"sub {name}", own(OWN | {"sub": value})
        yield f"sub {name}, by the issuer", ED.token(CLAIMS | {"sub": value})
        yield f"session.userId {name}", own(session(userId=value), {"alg": "HS256"})
    yield "no sub", own(without(OWN, "sub") | {"id": "alice", "userId": "alice", "user_id": "alice"})
    yield "no sub, by the issuer", ED.token(without(CLAIMS, "sub") | {"id": "alice", "user": {"id": "alice"}})


def parties() -> Iterator[tuple[str, str]]:
    """Tokens of another issuer, or for another audience."""
    for name, value in (
        ("another's", "https://evil.example"),
        ("longer", f"{URL}.evil.example"),
        ("shorter", URL[:-1]),
        ("with a slash", f"{URL}/"),
        ("with a path", f"{URL}/api/auth"),
        ("in capitals", URL.upper()),
        ("empty", ""),
        ("null", None),
        ("an object", {URL: 1}),
        ("a number", 1),
    ):
        yield f"iss {name}", ED.token(CLAIMS | {"iss": value})
        yield f"aud {name}", ED.token(CLAIMS | {"aud": value})
        yield f"aud a list, {name}", ED.token(CLAIMS | {"aud": [value]})
    yield "iss a list", ED.token(CLAIMS | {"iss": [URL]})
    yield "aud an empty list", ED.token(CLAIMS | {"aud": []})
    yield "aud a list in a list", ED.token(CLAIMS | {"aud": [[URL]]})
    yield "no iss", ED.token(without(CLAIMS, "iss"))
    yield "no aud", ED.token(without(CLAIMS, "aud"))
    yield "neither", ED.token(OWN)


def headers() -> Iterator[tuple[str, str]]:
    """Headers that say the token is for something else, or to be read in another way."""
    for name, changes in (
        ("crit", {"crit": ["exp"]}),
        ("an unknown crit", {"crit": ["zzz"], "zzz": 1}),
        ("an empty crit", {"crit": []}),
        ("a crit that is null", {"crit": None}),
        ("b64 and crit", {"b64": False, "crit": ["b64"]}),
        ("b64", {"b64": False}),
        ("b64 that is true", {"b64": True}),
        ("zip", {"zip": "DEF"}),
        ("the type of the session cookie", {"typ": "better-auth.session-cache+jwt"}),
        ("the type of an access token", {"typ": "at+jwt"}),
        ("the type of a logout", {"typ": "logout+jwt"}),
        ("the type of an encryption", {"typ": "JWE"}),
        ("a typ that is empty", {"typ": ""}),
        ("a typ that is null", {"typ": None}),
        ("a typ that is a list", {"typ": ["JWT"]}),
        ("a typ that is a number", {"typ": 1}),
    ):
        yield f"header with {name}", own(header={"alg": "HS256", "typ": "JWT"} | changes)
        yield f"header with {name}, by the issuer", ED.token(CLAIMS, **changes)


def sessions() -> Iterator[tuple[str, str]]:
    """What else Better Auth signs, and cached sessions that are not."""
    cached = "better-auth:session-cache"
    by_issuer = CACHED | {"sub": "alice", "iss": URL}
    kind = {"typ": "better-auth.session-cache+jwt"}
    yield "a session cookie of the issuer", ED.token(by_issuer | {"aud": cached}, **kind)
    yield "the same with our audience", ED.token(by_issuer | {"aud": URL}, **kind)
    yield "the same without its type", ED.token(by_issuer | {"aud": cached})
    yield "a cached session by the issuer", ED.token(CACHED)
    yield "a cached session by the issuer, without sub", ED.token(CACHED | {"iss": URL, "aud": URL})
    yield "a link to verify an address", own(LINK, {"alg": "HS256"})
    yield "a link to change an address", own(LINK | {"updateTo": "b@example.com"}, {"alg": "HS256"})
    yield "a link with a user", own(LINK | {"user": {"id": "alice"}, "id": "alice"}, {"alg": "HS256"})
    other: Any
    for name, other in (
        ("null", None),
        ("a text", "alice"),
        ("a list", [{"userId": "alice"}]),
        ("empty", {}),
        ("without a user", without(CACHED["session"], "userId")),
        ("in a session", {"session": {"userId": "alice"}}),
        ("with a user that has an id", {"user": {"id": "alice"}, "id": "alice", "sub": "alice"}),
    ):
        yield f"a session that is {name}", own(CACHED | {"session": other}, {"alg": "HS256"})
    yield "an empty session beside a user", own(LINK | {"session": {}}, {"alg": "HS256"})
    yield "no session, but its user", own(without(CACHED, "session") | {"userId": "alice"}, {"alg": "HS256"})
    for name, value in (
        ("over", "2026-11-21T20:51:42.642Z"),
        ("over now", "2027-01-15T08:00:00.000Z"),
        ("at no time", "soon"),
        ("at null", None),
        ("at a number", NOW * 1000 + 900_000),
    ):
        yield f"a cached session that is {name}", own(session(expiresAt=value), {"alg": "HS256"})


def published() -> Issuer:
    """What a careless issuer publishes: our keys, and some that nobody may use."""
    issuer = Issuer(*PAIRS)
    small = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA"}
    one, field = 1, 2**255 - 19
    issuer.keys += [
        UNNAMED.jwk(alg=None),
        ENCRYPTION.jwk(use="enc"),
        SHORT.jwk(),
        small | {"kid": "small", "x": b64(one.to_bytes(32, "little"))},
        small | {"kid": "small-negative", "x": b64((one | 1 << 255).to_bytes(32, "little"))},
        small | {"kid": "small-not-canonical", "x": b64((one + field).to_bytes(32, "little"))},
        {"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64(b"published")},
        {"kid": "keys"},
        None,
    ]
    return issuer


KINDS = (
    algorithms,
    confused,
    keys,
    signatures,
    spellings,
    shapes,
    moments,
    subjects,
    parties,
    headers,
    sessions,
)
HOSTILE: dict[str, dict[str, str]] = {}
for kind in KINDS:
    cases = HOSTILE[kind.__name__] = {}
    for case, hostile in kind():
        assert case not in cases, case
        cases[case] = hostile
