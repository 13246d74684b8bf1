"""A version as an ETag, and the conditions that clients make with it (RFC 9110 §13). Pure."""

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from starlette.datastructures import Headers

import backend

_ETAG = re.compile(r'(W/)?"([^"]*)"')
_DIGITS = re.compile(r"[0-9]{1,9}")
_SOURCES = sorted(Path(backend.__file__).parent.rglob("*.py"))

# What makes answers of rows: whatever is changed about it, no client takes an answer of before for the same.
CODE = hashlib.blake2b(
    b"\0".join([sys.version.encode(), *(source.read_bytes() for source in _SOURCES)]), digest_size=8
).hexdigest()


class Versioned(Protocol):
    """A row that counts its changes."""

    @property
    def version(self) -> int: ...


def joined(headers: Headers, name: bytes) -> str | None:
    """Return the value of a list header from all of its lines (RFC 9110 §5.3); None where it has none.

    `name` in lower case, as servers give it.
    """
    lines = [value for key, value in headers.raw if key == name]
    return b", ".join(lines).decode("latin-1") if lines else None


def etag(row: Versioned) -> str:
    """The ETag of a row at its version."""
    return f'"{row.version}"'


def allowed_versions(if_match: str | None) -> list[int] | None:
    """Return the versions that an If-Match header allows; None for any.

    What is no ETag of ours allows no version. A weak ETag never matches here (RFC 9110 §13.1.1).
    """
    if if_match is None or if_match.strip() == "*":
        return None
    return [int(value) for weak, value in _ETAG.findall(if_match) if not weak and _DIGITS.fullmatch(value)]


def named_etags(if_none_match: str) -> Iterator[str]:
    """The ETags that an If-None-Match header names, weak ones as if they were none; or `*`, for any."""
    if if_none_match.strip() == "*":
        yield "*"
    for found in _ETAG.finditer(if_none_match):
        yield f'"{found[2]}"'


def is_unchanged(if_none_match: str | None, row: Versioned) -> bool:
    """Whether the client has this version already."""
    return if_none_match is not None and has(if_none_match, etag(row))


def has(if_none_match: str, tag: str) -> bool:
    """Whether an If-None-Match header names an ETag, weak or not, or any."""
    return any(named in ("*", tag) for named in named_etags(if_none_match))
