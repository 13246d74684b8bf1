"""Cursors: what is handed out comes in again, and nothing else does."""

import re
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backend.errors import InvalidCursor
from backend.tasks.filters import TaskListQuery
from backend.web.cursor import CursorCodec, Position

CODEC = CursorCodec("a-secret")
LIST = ("alice", None, "created", "desc")

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)
POSITIONS = [
    Position(NOON, 1),
    Position(NOON.replace(microsecond=0), 2**63 - 1),
    Position(NOON.astimezone(timezone(timedelta(hours=-3, minutes=-30))), 2),
    Position("Buy milk", 3),
    Position("", 4),
    Position('"\\\n\0\u2028é漢🧀', 5),
    Position("2026-11-21T12:00:00+00:00", 6),
    Position("x" * 200, 7),
    Position(None, 8),  # no due date
    Position(3, 9),  # a priority, a relevance
    Position(0, 10),
]


def is_refused(codec: CursorCodec, cursor: str, *context: object) -> bool:
    """Whether it says so; any other error is a failure."""
    try:
        codec.decode(cursor, *context)
    except InvalidCursor:
        return True
    return False


@pytest.mark.parametrize("position", POSITIONS)
def test_a_cursor_stands_for_its_position(position: Position) -> None:
    """What was encoded is decoded: the same value of the same type to the microsecond, and the same id."""
    decoded = CODEC.decode(CODEC.encode(position, *LIST), *LIST)
    assert decoded == position
    assert type(decoded.value) is type(position.value)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_cursor_needs_no_quoting(position: Position) -> None:
    """It stands in a URL as it is."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+", CODEC.encode(position, *LIST))


@pytest.mark.parametrize(
    "other",
    [
        ("bob", None, "created", "desc"),
        ("alice", True, "created", "desc"),
        ("alice", False, "created", "desc"),
        ("alice", None, "updated", "desc"),
        ("alice", None, "created", "asc"),
        ("alice", "null", "created", "desc"),
        ("alice", None, "created", "desc", None),
        ("alice", None, "created"),
        ("alicenull", "created", "desc"),
        ("alice", None, "due_date", "desc"),
        ("alice", None, "priority", "desc"),
        (),
    ],
)
def test_a_cursor_belongs_to_its_list(other: tuple[object, ...]) -> None:
    """It is worth nothing to another user, filter, sort or order."""
    assert is_refused(CODEC, CODEC.encode(POSITIONS[0], *LIST), *other)


# Each differs from a list without parameters in one of them.
FILTERS: list[dict[str, Any]] = [
    {"completed": "true"},
    {"status": "pending"},
    {"priority": ["high"]},
    {"priority": ["high", "low"]},
    {"tag": ["a"]},
    {"tag": ["a", "b"]},
    {"tag": ["a"], "tag_match": "any"},
    {"due_before": "2026-11-21"},
    {"due_before": "2026-11-21T00:00:00Z"},
    {"due_after": "2026-11-21"},
    {"due_after": "2026-11-21", "timezone": "Europe/Berlin"},
    {"overdue": "true"},
    {"overdue": "false"},
    {"has_due_date": "true"},
    {"recur_from": "completion"},
    {"created_after": "2026-11-21"},
    {"updated_after": "2026-11-21"},
    {"search": "a"},
    {"search": "b"},
    {"sort": "updated"},
    {"sort": "title"},
    {"sort": "due_date"},
    {"sort": "priority"},
    {"search": "a", "sort": "relevance"},
    {"order": "asc"},
]


def test_each_list_has_its_own_cursors() -> None:
    """Whichever parameter differs, but for `limit` and the cursor itself, it is another list."""
    lists = [TaskListQuery.model_validate(values).identity for values in ({}, *FILTERS)]
    cursors = {CODEC.encode(POSITIONS[0], "alice", *parts) for parts in lists}
    assert len(cursors) == len(lists)
    for same in ({"limit": "7"}, {"cursor": "x"}, {"order": "desc"}, {"sort_by": "created_at"}):
        assert TaskListQuery.model_validate(same).identity == lists[0], same
    named = {name for values in FILTERS for name in values}
    assert named == TaskListQuery.model_fields.keys() - {"limit", "cursor"}, "a parameter is missing above"


def test_the_parts_of_a_list_do_not_run_into_each_other() -> None:
    """Two lists whose parts are the same text end to end are two lists, and text is no position."""
    cursor = CODEC.encode(POSITIONS[0], "ab", "c")
    assert is_refused(CODEC, cursor, "a", "bc")
    assert is_refused(CODEC, cursor, '["ab", "c"]')


def test_a_cursor_belongs_to_its_secret() -> None:
    """Services with another secret do not take it, and those with the same do."""
    cursor = CODEC.encode(POSITIONS[0], *LIST)
    assert is_refused(CursorCodec("another-secret"), cursor, *LIST)
    assert CursorCodec("a-secret").decode(cursor, *LIST) == POSITIONS[0]


# Three lengths: the last character of base64 carries six, four or two bits.
@pytest.mark.parametrize("title", ["a", "ab", "abc"])
def test_an_altered_cursor_is_refused(title: str) -> None:
    """Each character counts: replaced, inserted or left out, the cursor is not the one handed out."""
    cursor = CODEC.encode(Position(title, 1), *LIST)
    altered = {cursor[:place] + cursor[place + 1 :] for place in range(len(cursor))}
    for character in string.printable:
        altered |= {cursor[:place] + character + cursor[place:] for place in range(len(cursor) + 1)}
        altered |= {cursor[:place] + character + cursor[place + 1 :] for place in range(len(cursor))}
    altered -= {cursor}
    assert [text for text in sorted(altered) if not is_refused(CODEC, text, *LIST)][:3] == []


@pytest.mark.parametrize(
    "cursor", ["", "=", "A", "AAAA", "A" * 22, "A" * 5000, "é", "\ud800", "\0", " ", "null", "%41", "a.b.c"]
)
def test_anything_else_is_refused(cursor: str) -> None:
    """What was never handed out is an InvalidCursor and no other error, whatever it is."""
    assert is_refused(CODEC, cursor, *LIST)
