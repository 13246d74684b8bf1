"""Whether a secret can be guessed: judged by what it is, since nobody can see how it was made."""

import re
from itertools import pairwise

# RFC 7518 §3.2: a key of HS256 has at least the size of its hash; Better Auth asks for the same.
SECRET_MIN = 32  # bytes
CHARACTERS_MIN = 8  # different ones; 32 random hexadecimal digits have fewer once in some 30 million
PAIRS_MIN = 20  # different ones of neighbours: a short text repeated has as many as it is long
STEPS_MAX = 2 / 3  # the share of neighbours that are equal or follow each other, as in 0123 or zyx

# Secrets that are printed somewhere, without what is no letter or digit: Better Auth's own default begins
# like the fourth, FastAPI's tutorial has the one of digits, RFC 7515 the last.
_PUBLISHED = re.compile(
    r"change(this|it|me|your|to)|changein(prod|dep)|placeholder|"
    r"(re|)place(me|with|this|your|by)|insert(your|here|a)|(put|enter|use|add|set|generate|fill)(a|an|in|my|your)[a-z]*secret|"
    r"betterauthsecret|your[a-z0-9]{0,24}(secret|key|password|token)|(secret|key|value)(goes)?here|"
    r"(my|super|top|very|long|dev|development|local|test|testing|default|dummy|sample|example|demo|fake|insecure|"
    r"unsafe|random|dont|donot|production|prod|session|cookie|jwt|auth|app|nextauth|api)secret(key|value|string|$|[0-9])|"
    r"mysecret|supersecret|secretkey|notasecret|notsecure|notsafe|insecure|(dont|donot|never)usein|atleast[0-9]{2}|"
    r"[0-9]{2}(chars|characters|charslong|characterslong)|onlyfor(dev|test|local)|(dev|test|testing)only|"
    r"qwertyuiop|asdfghjkl|correcthorsebattery|deadbeefdeadbeef|password|letmein|loremipsum|"
    r"09d25e094faa6ca2556c818166b7a956|aym1sysppbydfgzld3umj1qzkobwvmkoq"
)


def weakness(secret: str) -> str | None:
    """Return what makes a secret easy to guess, as the end of a sentence about it; None for a good one."""
    if _PUBLISHED.search(re.sub(r"[\W_]", "", secret.casefold())):
        return "is a placeholder or a published example"
    if len(secret.encode()) < SECRET_MIN:
        return f"is shorter than {SECRET_MIN} bytes"
    neighbours = list(pairwise(secret))
    steps = sum(abs(ord(one) - ord(other)) <= 1 for one, other in neighbours)
    if len(set(secret)) < CHARACTERS_MIN or len(set(neighbours)) < PAIRS_MIN:
        return "repeats too few characters"
    if steps > STEPS_MAX * len(neighbours):
        return "is a sequence of characters in their order"
    return None
