"""The secret in a calendar's address. Pure.

It is 32 bytes that nobody can guess, and behind them the owner's id, so that the database is asked about one
user's calendars as it always is. Only the hash of it all is kept: it is looked up in an index, and what that
gives away by its time is about a hash, of which whoever tries secrets cannot choose the beginning.
"""

import hashlib
import hmac
import os
from typing import NamedTuple

from backend.auth import base64url
from backend.auth.tokens import USER_ID_MAX, user_id
from backend.config import UserIdType
from backend.errors import InvalidToken

_RANDOM = 32  # bytes
_SECRET_MAX = (_RANDOM + 4 * USER_ID_MAX) * 4 // 3 + 1  # characters


class Secret(NamedTuple):
    """What a calendar is found by."""

    owner: str
    hash: str


def new_seed() -> str:
    """What a secret is made of, together with the service's own key: by itself it opens nothing."""
    return os.urandom(_RANDOM).hex()


def write(seed: str, key: str, owner: str) -> str:
    """Return the secret of a seed: the same each time, so that an answer can be given again."""
    mac = hmac.digest(key.encode(), b"calendar " + seed.encode(), hashlib.sha256)
    return base64url.encode(mac + owner.encode())


def read(secret: str, kind: UserIdType) -> Secret | None:
    """Return what a secret says; None where it cannot be one."""
    if len(secret) > _SECRET_MAX:
        return None
    try:
        content = base64url.decode(secret)
        owner = content[_RANDOM:].decode()
        if user_id(owner, kind) != owner:
            return None
    except (ValueError, InvalidToken):
        return None
    return Secret(owner, hashed(secret))


def hashed(secret: str) -> str:
    """What is kept of a secret. It has nothing that could be guessed, so it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
