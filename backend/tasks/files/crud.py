"""The statements that take tasks out page by page, and in by the thousand."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Insert, bindparam, case, func, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from backend.columns import TextList, utc_now
from backend.engine.statements import AT_ONCE, Statements, Transaction, one_transaction
from backend.models import ID_MAX, tasks
from backend.slices import sliced
from backend.tasks.crud import OWNED, insert_values
from backend.tasks.fields import FOLDED, INSERTED, READ, bound, parameter
from backend.tasks.files.schemas import ExportedTask, ImportedTask, Line, LineResult, exported
from backend.tasks.log import change_number
from backend.tasks.quota import require_room
from backend.tasks.sql import IdList, among
from backend.tasks.wire import read

PAGE = 500

_PAGE = (
    select(*READ, tasks.c.series_start)
    .where(OWNED, tasks.c.id > bindparam("after", type_=tasks.c.id.type))
    .order_by(tasks.c.id)
    .limit(PAGE)
)
_KNOWN = select(tasks).where(
    OWNED,
    or_(
        among(tasks.c.id, bindparam("ids", type_=IdList())),
        among(tasks.c.import_key, bindparam("import_keys", type_=TextList())),
    ),
)


async def get_page(statements: Statements, user_id: str, after: int) -> list[ExportedTask]:
    """Return up to PAGE of the user's tasks, in the order of their ids, from the one after `after` on."""
    rows = await statements.all(_PAGE, {"owner": user_id, "after": after})
    return [exported(read(row), row.series_start) async for row in sliced(rows)]


@one_transaction
async def import_tasks(
    statements: Statements, user_id: str, lines: Sequence[Line], most: int | None = None
) -> tuple[list[LineResult], int | None]:
    """Create what the lines say and the user has not got; say of each line what became of it; and the change.

    A line whose id is still a task of the user's with the same content is that task, and so is one that was
    imported before. No task is changed. All is written or nothing, AT_ONCE lines with a statement.

    Raises:
        UnknownUser: the user has no row.
        TaskLimitReached: the user would have more than `most` tasks.
    """
    results = {
        line.number: LineResult(line=line.number, status="invalid", detail=line.problem) for line in lines
    }
    good = [(line.number, line.task) for line in lines if line.task is not None]
    seen: Counter[str] = Counter()
    change = None
    if good:
        async with statements.transaction() as transaction:
            left = iter(good)
            while some := [(number, task, _key(task, seen)) for number, task in islice(left, AT_ONCE)]:
                await _import(transaction, user_id, some, results, most)
            change = await change_number(transaction, user_id, "import")
    return list(results.values()), change


async def _import(
    transaction: Transaction,
    user_id: str,
    good: Sequence[tuple[int, ImportedTask, str]],
    results: dict[int, LineResult],
    most: int | None,
) -> None:
    ids = [task.id for _, task, _ in good if task.id is not None]
    by_id, by_key = await _known(transaction, user_id, ids, [key for _, _, key in good])
    new: dict[str, dict[str, Any]] = {}
    async for number, task, key in sliced(good):
        values = _columns(user_id, task)
        old = by_id.get(task.id)
        if old is not None and _is_same(old, values, task):
            results[number] = LineResult(line=number, status="unchanged", id=old["id"])
        elif key not in by_key:
            new.setdefault(key, values | {"import_key": key})
    created: dict[str, int] = {}
    if new:
        await require_room(transaction, user_id, most, len(new))
        statement = _insert_statement(transaction.dialect)
        rows = await transaction.all_of(statement, (_parameters(values) for values in new.values()))
        created = {row.import_key: row.id for row in rows}
    if len(created) < len(new):  # another request has imported them since
        _, by_key_now = await _known(transaction, user_id, [], [key for key in new if key not in created])
        by_key |= by_key_now
    for number, _, key in good:
        if results[number].status == "invalid":
            # A second line with the same id is the same task.
            status = "created" if key in created else "unchanged"
            task_id = created.pop(key, None) or by_key.get(key)
            results[number] = LineResult(line=number, status=status, id=task_id)
            by_key[key] = task_id


async def _known(
    transaction: Transaction, user_id: str, ids: Sequence[int], keys: Sequence[str]
) -> tuple[dict[int | None, Any], dict[str, int | None]]:
    """The user's rows with these ids, and the ids of those with these keys."""
    possible = [task_id for task_id in ids if 0 < task_id <= ID_MAX]
    parameters = {"owner": user_id, "ids": possible, "import_keys": list(keys)}
    rows = await transaction.all(_KNOWN, parameters)
    return {row.id: row._asdict() for row in rows}, {row.import_key: row.id for row in rows}


def _key(task: ImportedTask, seen: Counter[str]) -> str:
    """What a line is known by when its file comes again; identical lines without an id are counted."""
    # Without defaults: a field that is added to tasks later leaves the keys of older files as they are.
    line = task.model_dump_json(exclude_defaults=True, exclude={"recurring"})
    if task.id is None:
        seen[line] += 1
        line = f"{line}#{seen[line]}"
    return hashlib.sha256(line.encode()).hexdigest()


def _columns(user_id: str, task: ImportedTask) -> dict[str, Any]:
    values = insert_values(user_id, task) | {"completed_at": task.completed_at, "created_at": task.created_at}
    if task.series_start is not None:
        values["series_start"] = task.series_start.isoformat()
    return values


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in values.items() if name not in ("completed_at", "created_at")}
    return rest | {
        "done": values["completed"],
        "done_at": values["completed_at"],
        "made_at": values["created_at"],
    }


def _is_same(row: Any, values: dict[str, Any], task: ImportedTask) -> bool:
    """Whether a row has what its line says. What a line does not say of its times is not asked."""
    unsaid = {name for name in ("completed_at", "series_start", "created_at") if getattr(task, name) is None}
    return all(row[name] == value for name, value in values.items() if name not in unsaid | FOLDED)


@lru_cache(maxsize=2)
def _insert_statement(dialect: str) -> Insert:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # Each parameter stands here once: SQLAlchemy miscounts others in an INSERT of many rows.
    done = parameter("completed", "done")
    completed_at = parameter("completed_at", "done_at")
    created_at = parameter("created_at", "made_at")
    values: dict[str, Any] = bound(*INSERTED, "import_key")
    values |= {
        "completed_at": case((done, func.coalesce(completed_at, utc_now()))),
        "created_at": func.coalesce(created_at, utc_now()),
    }
    statement: Insert = (
        insert(tasks)
        .values(**values)
        .on_conflict_do_nothing(
            index_elements=["user_id", "import_key"], index_where=text("import_key IS NOT NULL")
        )
        .returning(tasks.c.id, tasks.c.import_key)
    )
    return statement
