# ruff: noqa: RUF001 - the letters that look alike are what is tested
"""What spellings have in common, what there is to see of a text, and the order in which people read."""

import time
from collections.abc import Mapping
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import words
from backend.words import KEY_MAX, fold, fold_tag, is_visible, sort_key, trim, word_columns

# Every character that is cased, composed or both, and what is like it in another form.
CHARACTERS = [chr(code) for code in range(0x20, 0x1F000) if not 0xD800 <= code <= 0xDFFF]
CHANGING = [each for each in CHARACTERS if each.upper() != each.lower() or normalize("NFKD", each) != each]


def test_folding_is_by_no_spelling() -> None:
    """Whichever way a character is written, in either case and any normal form, it is folded to the same."""
    for each in CHANGING:
        others = {each.upper(), each.lower(), each.title(), each.casefold()}
        others |= {normalize(form, each) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        assert {fold(other) for other in others} == {fold(each)}, f"U+{ord(each):04X}"


@given(st.text(st.sampled_from("iIİı\u0307\u0323\u0301\u00adeΣςσßẞſK\u1100\u1161\u11a8\u200dДйA ﬃＡ½")))
def test_folding_again_changes_nothing(text: str) -> None:
    """A folded text is folded, however its characters follow each other."""
    assert fold(fold(text)) == fold(text)
    assert fold(normalize("NFD", text)) == fold(text) == fold(normalize("NFC", text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Äpfel", "äPFEL"),
        ("Äpfel", "a\u0308pfel"),
        ("Straße", "STRASSE"),
        ("STRAẞE", "strasse"),
        ("İSTANBUL", "istanbul"),
        ("ısparta", "ISPARTA"),
        ("ΟΔΟΣ", "οδος"),
        ("Привет", "ПРИВЕТ"),
        ("ＡＢＣ１２", "abc12"),
        ("ｶﾞ", "ガ"),
        ("\ufb01le", "FILE"),
        ("Donau\u00addampfer", "donaudampfer"),
        ("❤\ufe0f", "❤"),
        ("한", normalize("NFD", "한")),
    ],
)
def test_one_word_in_two_spellings(one: str, other: str) -> None:
    """These are the same to whoever reads them."""
    assert fold(one) == fold(other)
    assert fold_tag(f"{one}  {other}") == fold_tag(f"{other}\u00a0{one}")


def test_accents_are_letters() -> None:
    """Other words stay other words."""
    assert len({fold(word) for word in ("resume", "résumé", "は", "ば", "ぱ", "и", "й", "o", "ø")}) == 9


IN_ORDER = [
    "(in brackets)", "2 eggs", "Äpfel", "äpfel essen", "Apfelmus", "apple", "banana", "Éclair", "eclairs",
    "Łódź", "lodz 2",
    "Œuvre", "Ökonom", "Øre", "Zoo", "Άλφα", "αλφαβητο", "Ёлка", "елки", "ива", "Йога", "какао",
]  # fmt: skip


def test_people_read_in_this_order() -> None:
    """By letters in no case, accents near their letters; `й` is a letter."""
    assert [*map(sort_key, IN_ORDER)] == sorted(map(sort_key, IN_ORDER))


UNSEEN = [
    "\u200b", "\u2060", "\ufeff", "\u00ad", "\u115f", "\u1160", "\u3164", "\uffa0", "\u2800", "\u180e",
    "\u034f",
    "\u200d", "\ufe0f", "\U000e0100", "\u202e", "\u2066\u2069", "\u061c", "\U000e0041", "\u0301", "\u20e3",
    "\x01", "\x7f", "\x85", "\u00a0", "\u3000", "\u2029", "\ufff9", "\U0001d159", "\U0001d173", "\U00013430",
    "\U00016fe4", "\ufffe", "\U0010ffff", "\u17b4", " \u200b\t\u200d ",
]  # fmt: skip


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_nobody_sees_these(text: str) -> None:
    """Alone or together they show nothing."""
    assert not is_visible(text)
    assert not is_visible(text + "".join(UNSEEN))
    assert is_visible(f"{text}x{text}")


def test_everything_of_these_categories_is_unseen() -> None:
    """Formats, controls and separators of Unicode show nothing, but for the signs that enclose numbers."""
    shown = [
        code
        for code in (*range(0x20000), *range(0xE0000, 0xE1000))
        if category(chr(code)) in ("Cf", "Cc", "Zs", "Zl", "Zp") and is_visible(chr(code))
    ]
    enclosing = [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD]
    assert shown == enclosing


@pytest.mark.parametrize(
    "text",
    [
        "👩‍💻", "❤️", "1️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "👨‍👩‍👧‍👦", "🇩🇪",
        "می‌خواهم", "क्‍", "\u2067שלום\u2069", "é", "e\u0301", "\U0001faea", "ᄀ", "\ue000", ".",
    ],
)  # fmt: skip
def test_what_is_seen_stays(text: str) -> None:
    """Emoji of several characters, joiners, directions, new and private characters are not touched."""
    assert is_visible(text)
    assert trim(text) == text
    assert trim(f" \u200b\ufeff\u3164{text}\u2800\u00ad\u3000\n") == text


def test_what_is_trimmed_is_unseen() -> None:
    """Trimming takes what shows nothing, and leaves NUL to be refused."""
    for each in map(chr, range(0x10000)):
        if each.isspace():
            assert not trim(each), ascii(each)
        assert trim(each) == each or not is_visible(each), ascii(each)
    assert trim("\0") == "\0"


def test_plain_texts_need_no_columns() -> None:
    """ASCII, and whatever has but one spelling, takes no room beside itself."""
    plain = {"title": "Buy Milk 買う", "description": None, "tags": ["Home", "WORK", "家"]}
    assert set(word_columns(plain).values()) == {None}
    assert word_columns({"completed": True}) == {}
    columns = word_columns({"title": "Äpfel", "description": "Über", "tags": ["home", "BÜRO"]})
    assert columns == {
        "title_folded": "äpfel",
        "title_key": "apfel\x01äpfel",
        "description_folded": "über",
        "tags_folded": ["home", "büro"],
    }


def test_the_short_way_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any two letters beside each other are folded and ordered as they are where there is no short way."""
    letters = [*map(chr, range(0x80)), *map(chr, range(0xC0, 0x100))]
    pairs = "".join(one + other for one in letters for other in letters)
    monkeypatch.setattr(words, "KEY_MAX", len(pairs) * 4)
    short = fold(pairs), sort_key(pairs)
    monkeypatch.setattr(words, "_is_western", lambda text: None)
    assert (fold(pairs), sort_key(pairs)) == short


def test_no_text_grows_beyond_its_bound() -> None:
    """U+FDFA is eighteen letters; a task of such characters is kept within a few times its length."""
    columns = word_columns(
        {"title": "\ufdfa" * 200, "description": "\ufdfa" * 1000, "tags": ["\ufdfa" * 50] * 20}
    )
    assert len(columns["title_folded"]) == len(columns["description_folded"]) == 2000
    assert len(columns["title_key"]) == KEY_MAX
    assert {len(tag) for tag in columns["tags_folded"]} == {KEY_MAX}


@pytest.mark.parametrize("text", ["\ufdfa", "e" + "\u0301" * 3, "İ", "\u00ad", "한", "й"])
def test_folding_costs_by_the_length(text: str) -> None:
    """The longest texts of a task take a few thousandths of a second, whatever they are made of."""
    values = {
        "title": (text * 200)[:200],
        "description": (text * 1000)[:1000],
        "tags": [(text * 50)[:50]] * 20,
    }
    best = min(_cpu(values) for _ in range(3))
    assert best < 0.02


def _cpu(values: Mapping[str, object]) -> float:
    began = time.process_time()
    word_columns(values)
    return time.process_time() - began
