"""Where a copy is, as its client keeps it: the cursor of the changes and of the events alike. Pure."""

from backend.errors import InvalidCursor
from backend.tasks.changes.crud import Place
from backend.tasks.errors import CursorExpired
from backend.web.cursor import CursorCodec, Position

# What a cursor of either part of the way is signed for.
_PARTS = {True: "changes", False: "copy"}


def to_cursor(cursors: CursorCodec, place: Place, user_id: str) -> str:
    """Return the cursor that stands for a place in a user's log."""
    return cursors.encode(Position(place.seq, place.task_id), user_id, _PARTS[place.in_log])


def to_place(cursors: CursorCodec, cursor: str, user_id: str) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        CursorExpired: it was altered, or is another user's.
    """
    for in_log, part in _PARTS.items():
        try:
            seq, task_id = cursors.decode(cursor, user_id, part)
        except InvalidCursor:
            continue
        assert isinstance(seq, int)
        return Place(seq, task_id, in_log)
    raise CursorExpired
