"""Text as people read it: what they see of it, which spellings are the same to them, and its order. Pure.

The database has no part in this: what a locale makes of a letter differs from one database to the next.
"""

import re
from collections.abc import Mapping
from typing import Any
from unicodedata import combining, normalize

# Characters that are kept of a folded form, for U+FDFA alone is 18 letters.
FOLDED_MAX = 2000
KEY_MAX = 200  # of what orders titles, and of what tells tags apart

# Default_Ignorable_Code_Point of Unicode: what is drawn as nothing, with what is reserved for more of it.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# The rest of what nobody sees by itself: controls, blanks of Braille, music and Khitan, the controls of
# annotations and hieroglyphs, the blocks of accents, what is no character.
_UNSEEN = (
    "\\u0000-\\u001f\\u007f-\\u009f\u2800\U0001d159\U00016fe4\ufff9-\ufffb\U00013430-\U0001343f"
    "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\ufdd0-\ufdef\ufffe-\uffff"
    + "".join(f"{chr(plane + 0xFFFE)}-{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
)
# Also a regular expression of ECMAScript's, for the OpenAPI document.
VISIBLE = rf"[^\s{_IGNORABLE}{_UNSEEN}]"

_is_visible = re.compile(VISIBLE).search
_without_ignorable = re.compile(f"[{_IGNORABLE}]+").sub
_without_dots = re.compile("i\u0307+").sub
# Room at the ends of a text, which is trimmed: nothing that letters beside it could need, as the joiners,
# selectors, tags and directions do. NUL is left to be refused.
_ROOM = "".join(map(chr, (*range(0x01, 0x21), *range(0x7F, 0xA1), 0x00AD, 0x115F, 0x1160, 0x1680, 0x180E)))
_ROOM += "".join(map(chr, (*range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x2800)))
_ROOM += "\u3000\u3164\ufeff\uffa0"
# Letters that Unicode does not take apart, beside those that they are looked for at.
_NEAR = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ð": "d", "þ": "th"}
)
# Of text in these letters Python's own folding says the same, in a third of the time.
_is_western = re.compile("[\x00-\x7f\u00c0-\u00ff]*").fullmatch


def trim(text: str) -> str:
    """Return a text without the room at its ends."""
    return text.strip(_ROOM)


def is_visible(text: str) -> bool:
    """Whether there is something to see."""
    return _is_visible(text) is not None


def fold(text: str) -> str:
    """Return what the spellings of a text have in common that differ in case, form or unseen characters.

    Composed and decomposed, full and half width, `ß` and `SS`, both sigmas, and the four i's of Turkish are
    alike; accents are not left out. To fold it again changes nothing.
    """
    if text.isascii():
        return text.lower()
    if _is_western(text):
        return text.casefold()
    # The upper case first: it alone joins letters that share it, as the i with a dot and the one without do.
    apart = normalize("NFKD", normalize("NFKD", text).upper().casefold())
    return normalize("NFKC", _without_dots("i", _without_ignorable("", apart)))


def fold_tag(tag: str) -> str:
    """Return what all spellings of one tag have in common: as fold(), and one blank is as good as two."""
    return " ".join(fold(tag).split())[:KEY_MAX]


def sort_key(title: str) -> str:
    """Return the text that titles are ordered by, code point for code point.

    First by letters without their case and accents, then by their accents.
    """
    return _order(fold(title))


def _order(folded: str) -> str:
    if folded.isascii():
        return folded[:KEY_MAX]
    plain = folded.translate(_WESTERN) if _is_western(folded) else _bare(folded)
    return (plain if plain == folded else f"{plain}\x01{folded}")[:KEY_MAX]


def _bare(folded: str) -> str:
    """Folded text without its accents."""
    # `й` is a letter of its own to whoever reads it.
    apart = normalize("NFD", folded.replace("й", "и\uffff"))
    return normalize("NFC", "".join([letter for letter in apart if not combining(letter)])).translate(_NEAR)


_WESTERN = {code: _bare(chr(code)) for code in range(0xDF, 0x100)}


def word_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that tasks are found and ordered by, for those of a task's texts that `values` has.

    Each is empty where it would say no more than the text itself in ASCII's lower case.
    """
    columns: dict[str, Any] = {}
    if "title" in values:
        title = values["title"]
        folded_title = None if title.isascii() else fold(title)
        columns["title_folded"] = folded_title and _unless_plain(folded_title, title)
        columns["title_key"] = folded_title and _unless_plain(_order(folded_title), title)
    if "description" in values:
        description = values["description"] or ""
        plain = description.isascii()
        columns["description_folded"] = None if plain else _unless_plain(fold(description), description)
    if "tags" in values:
        tags = values["tags"]
        folded = [fold_tag(tag) for tag in tags]
        columns["tags_folded"] = None if folded == [_ascii_lower(tag) for tag in tags] else folded
    return columns


def _unless_plain(key: str, text: str) -> str | None:
    return None if key == _ascii_lower(text) else key[:FOLDED_MAX]


def _ascii_lower(text: str) -> str:
    """What either database makes of a text in whatever locale, if asked for no more than ASCII."""
    return text.encode().lower().decode()
