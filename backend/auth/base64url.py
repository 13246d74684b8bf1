"""base64url without padding (RFC 7515 §2), in the one spelling that each value has."""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(value: bytes) -> str:
    """Return the text for some bytes."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of a text.

    Raises:
        ValueError: it is not what `encode` writes. Python's own decoder skips characters that do not belong
            and takes several texts for the same bytes.
    """
    value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(value) != text:
        raise ValueError("not canonical base64url")
    return value
