"""Addresses as settings hold them: what they have to look like, and what they may not be. Pure."""

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

PORT_MAX = 65535


def is_loopback(host: str) -> bool:
    """Whether an address or a name can only mean this machine."""
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _origin(value: str) -> str:
    if value == "*":
        raise ValueError("'*' would let every site act for a signed-in user; list the origins")
    origin = value.rstrip("/").lower()
    known = re.fullmatch(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", origin)
    if known is None or int(known[1] or 0) > PORT_MAX:
        raise ValueError(f"{value!r} is not an origin such as https://app.example.com")
    return origin


def _auth_url(value: str | None) -> str | None:
    """An address that keys may be fetched from: nobody between us and it may change them."""
    if value is None:
        return None
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise ValueError("an address of keys must not hold a user name or password")
    local = is_loopback(parts.hostname or "")
    if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not local):
        raise ValueError(f"{value!r} is not an https:// address (http:// is for localhost)")
    return value.rstrip("/")


def _public_url(value: str | None) -> str | None:
    """An address that others are given, with a path where a proxy takes one away."""
    if value is None:
        return None
    if (
        re.fullmatch(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\s?#]*)?", value)
        is None
    ):
        raise ValueError(f"{value!r} is not an address such as https://api.example.com")
    return value.rstrip("/")


def _model_url(value: str | None) -> str | None:
    """Where a model is: http:// too, for one in the same network."""
    parts = urlsplit(value or "http://none")
    if "@" in parts.netloc or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("it must be such as https://api.openai.com/v1, without a user name or password")
    return value


Origin = Annotated[str, AfterValidator(_origin)]
ModelUrl = Annotated[str | None, AfterValidator(_model_url)]
PublicUrl = Annotated[str | None, AfterValidator(_public_url)]
AuthUrl = Annotated[str | None, AfterValidator(_auth_url)]
McpUrl = Annotated[str, AfterValidator(_auth_url)]
