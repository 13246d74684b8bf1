"""A version as an ETag, and the conditions that clients make with it (RFC 9110 §13). Pure."""

import re
from typing import Protocol

from starlette.datastructures import Headers

_ETAG = re.compile(r'(W/)?"([^"]*)"')
_DIGITS = re.compile(r"[0-9]{1,9}")


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


def is_unchanged(if_none_match: str | None, row: Versioned) -> bool:
    """Whether the client has this version already."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return any(value == str(row.version) for _, value in _ETAG.findall(if_none_match))
