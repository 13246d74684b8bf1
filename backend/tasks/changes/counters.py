"""How far the logs of many users have come: the one statement that is of several owners.

It tells numbers alone, and each of them to its owner alone. See docs/decisions/event-streams.md.
"""

from sqlalchemy import bindparam, select

from backend.columns import UserIdList
from backend.engine.statements import Statements
from backend.models import change_counters
from backend.tasks.sql import among

COUNTERS = select(change_counters.c.user_id, change_counters.c.seq).where(
    among(change_counters.c.user_id, bindparam("users", type_=UserIdList()))
)


async def get_counters(statements: Statements, user_ids: list[str]) -> dict[str, int]:
    """Return the number of each user's last change. Who is missing has changed nothing, or is gone."""
    rows = await statements.plain(COUNTERS, {"users": user_ids})
    return {user_id: seq for user_id, seq in rows}  # noqa: C416 - a row is no tuple to mypy
