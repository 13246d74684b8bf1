"""Where a page of a list ended: the opaque `cursor` parameter. Pure."""

import hashlib
import hmac
import json
from datetime import datetime
from typing import NamedTuple

from backend.auth import base64url
from backend.errors import InvalidCursor

_MAC_SIZE = 16


class Position(NamedTuple):
    """The sort value and the id of the last task of a page."""

    value: datetime | str | int | None
    id: int


class CursorCodec:
    """Writes positions down and reads them back, signed, so that only what was handed out comes in again.

    `context` is all that a cursor belongs to: the user, the filter and the order of its list.
    """

    def __init__(self, secret: str) -> None:
        # A key of its own: what is signed here is worth nothing as a token.
        self._key = hmac.digest(secret.encode(), b"cursor", hashlib.sha256)
        self._fingerprint = hashlib.blake2b(digest_size=_MAC_SIZE, key=self._key, person=b"fingerprint")

    def encode(self, position: Position, *context: object) -> str:
        """Return the cursor that stands for `position` in the list of `context`."""
        value, last_id = position
        content = ["t", value.isoformat(), last_id] if isinstance(value, datetime) else ["", value, last_id]
        payload = json.dumps(content).encode()
        return base64url.encode(self._mac(payload, context) + payload)

    def decode(self, cursor: str, *context: object) -> Position:
        """Return the position that `cursor` stands for.

        Raises:
            InvalidCursor: it was altered, or belongs to another user or another list.
        """
        try:
            signed = base64url.decode(cursor)
        except ValueError:
            raise InvalidCursor from None
        mac, payload = signed[:_MAC_SIZE], signed[_MAC_SIZE:]
        if not hmac.compare_digest(mac, self._mac(payload, context)):
            raise InvalidCursor
        kind, value, last_id = json.loads(payload)
        return Position(datetime.fromisoformat(value) if kind == "t" else value, last_id)

    def fingerprint(self, content: bytes) -> str:
        """Return what tells `content` from all else, in 32 hexadecimal digits."""
        digest = self._fingerprint.copy()
        digest.update(content)
        return digest.hexdigest()

    def _mac(self, payload: bytes, context: tuple[object, ...]) -> bytes:
        # BLAKE2 has a keyed mode of its own; OpenSSL's HMAC takes twenty times as long to begin.
        signed = json.dumps(context).encode() + b"\0" + payload
        return hashlib.blake2b(signed, digest_size=_MAC_SIZE, key=self._key).digest()
