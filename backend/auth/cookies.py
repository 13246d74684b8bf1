"""Which session cookies came with a request: all, not the last of a name. No signatures, no tables."""

import re
from collections.abc import Iterable
from functools import lru_cache

# Browsers take a cookie named __Host- from this very host alone and one named __Secure- over https alone;
# any neighbour on the same parent domain can add the others (RFC 6265 §8.6).
_PROTECTION = ("__Host-", "__Secure-", "")


@lru_cache(maxsize=4)
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;)[ \t]*(__Host-|__Secure-|){re.escape(prefix)}\.session_token=([^;]*)")


def session_cookies(headers: Iterable[str], prefix: str) -> list[list[str]]:
    """Return the values of the session cookies in Cookie headers, the best protected names first.

    Quotes around a value are taken off and never span cookies, as browsers have it (RFC 6265 §5.4); empty
    ones are none. Linear in the length of the headers. Better Auth's session token never comes in chunks
    (`….0`): only its cached session does.
    """
    found: dict[str, list[str]] = {name: [] for name in _PROTECTION}
    for header in headers:
        for protection, value in _pattern(prefix).findall(header):
            if bare := value.strip(" \t").strip('"'):
                found[protection].append(bare)
    return list(found.values())
