"""How many tasks a user may have: TASKS_MAX.

Nothing is counted where there is no such limit. Where there is one, up to so many entries of an index are
counted with each new task, in the same statement. Requests of one user that run side by side do not see each
other's tasks: together they can go over the limit by what all but one of them make.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, literal, select

from backend.engine.statements import Transaction
from backend.models import tasks
from backend.tasks.errors import TaskLimitReached


def counted(owner: ColumnElement[Any]) -> ColumnElement[int]:
    """How many tasks the owner has, at most the parameter `most`."""
    some = select(literal(1).label("one")).where(tasks.c.user_id == owner).limit(bindparam("most"))
    return select(func.count()).select_from(some.correlate(None).subquery()).scalar_subquery()


_COUNT = select(counted(bindparam("owner", type_=tasks.c.user_id.type)))


async def require_room(transaction: Transaction, user_id: str, most: int | None, more: int) -> None:
    """See that the user may have so many more tasks.

    Raises:
        TaskLimitReached: that would be more than `most`.
    """
    if most is not None and more > await room(transaction, user_id, most):
        raise TaskLimitReached(most)


async def room(transaction: Transaction, user_id: str, most: int) -> int:
    """Return how many more tasks the user may have."""
    [[count]] = await transaction.plain(_COUNT, {"owner": user_id, "most": most})
    return most - int(count)
