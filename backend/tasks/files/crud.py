"""The statements that take tasks out page by page, and in by the thousand."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import Insert, bindparam, case, func, or_, select, text, update

from backend.columns import TextList, utc_now
from backend.engine.statements import AT_ONCE, Statements, Transaction, insert_into, one_transaction
from backend.errors import InvalidBody
from backend.models import ID_MAX, tasks
from backend.slices import sliced
from backend.tasks import planning
from backend.tasks.batch.crud import Plan, write
from backend.tasks.crud import OWNED, insert_values, lock_series
from backend.tasks.fields import INSERTED, READ, bound, parameter
from backend.tasks.files.schemas import (
    ExportedTask,
    ImportedTask,
    Line,
    LineResult,
    OnConflict,
    Status,
    exported,
)
from backend.tasks.log import change_number
from backend.tasks.quota import require_room
from backend.tasks.rules import change
from backend.tasks.schemas import TaskUpdate
from backend.tasks.sql import IdList, among
from backend.tasks.wire import read

PAGE = 500
_PAGE = (
    select(*READ, tasks.c.series_start, tasks.c.series_due)
    .where(OWNED, tasks.c.id > bindparam("after", type_=tasks.c.id.type))
    .order_by(tasks.c.id)
    .limit(PAGE)
)
_IS_KNOWN = or_(
    among(tasks.c.id, bindparam("ids", type_=IdList())),
    among(tasks.c.import_key, bindparam("import_keys", type_=TextList())),
)
_KNOWN = select(tasks).where(OWNED, _IS_KNOWN)
_LOCK = select(tasks.c.id).where(OWNED, _IS_KNOWN).order_by(tasks.c.id).with_for_update()
_STARTS = select(tasks.c.id, tasks.c.series_start, tasks.c.series_due, tasks.c.timezone).where(
    OWNED, among(tasks.c.id, bindparam("ids", type_=IdList())), tasks.c.series_start.is_not(None)
)
_LINK = (
    update(tasks)
    .where(OWNED, tasks.c.id == bindparam("task_id"))
    .values(next_task_id=bindparam("link", type_=tasks.c.next_task_id.type))
)


async def get_page(statements: Statements, user_id: str, after: int) -> list[ExportedTask]:
    """Return up to PAGE of the user's tasks, in the order of their ids, from the one after `after` on."""
    rows = await statements.all(_PAGE, {"owner": user_id, "after": after})
    return [exported(read(row), row.series_start, row.series_due) async for row in sliced(rows)]


@dataclass(slots=True)
class _Entry:
    """A line with a task, and what became of it."""

    line: int
    task: ImportedTask
    key: str
    status: Status = "created"
    id: int | None = None
    detail: str | None = None


@one_transaction
async def import_tasks(
    statements: Statements,
    user_id: str,
    lines: Sequence[Line],
    on_conflict: OnConflict = "skip",
    most: int | None = None,
) -> tuple[list[LineResult], int | None]:
    """Create what the lines say and the user has not got; say of each line what became of it; and the change.

    A line that was imported before is that task. So is one whose id is a task of the user's, and one whose id
    an earlier line has. Where such a task has other content than its line says, `on_conflict` decides. All is
    written or nothing, AT_ONCE lines with a statement.

    Raises:
        UnknownUser: the user has no row.
        TaskLimitReached: the user would have more than `most` tasks.
    """
    entries: dict[int, _Entry] = {}
    seen: Counter[str] = Counter()
    change = None
    firsts: dict[object, _Entry] = {}
    repeats: list[_Entry] = []
    async for number, task, _, _ in sliced(lines):
        if task is not None:
            entry = entries[number] = _Entry(number, task, _key(task, seen))
            if firsts.setdefault(task.id or entry.key, entry) is not entry:
                repeats.append(entry)
    if entries:
        async with statements.transaction() as transaction:
            taken: set[int] = set()
            if on_conflict == "update":  # what may be overwritten is locked before anything is written
                await transaction.all(_LOCK, _known_by(user_id, firsts.values()))
            async for some in _parts(firsts.values()):
                await _place(transaction, user_id, some, taken, most)
            ids = {entry.task.id: entry.id for entry in firsts.values()}
            links = _Links(user_id, ids, {e.id for e in firsts.values() if e.status == "created"})
            async for some in _parts(e for e in firsts.values() if e.status == "created"):
                await links.write(transaction, some)
            _repeat(firsts, repeats, on_conflict)
            if on_conflict == "update":
                async for some in _parts(e for e in entries.values() if e.status == "changed"):
                    await _overwrite(transaction, user_id, some, links, most)
            change = await change_number(transaction, user_id, "import")
    results = [
        LineResult(line=number, status="invalid", detail=problem)
        if (found := entries.get(number)) is None
        else LineResult(line=number, status=found.status, id=found.id, detail=found.detail)
        async for number, _, problem, _ in sliced(lines)
    ]
    return results, change


async def _parts(entries: Iterable[_Entry]) -> AsyncIterator[list[_Entry]]:
    left = iter(entries)
    while some := [*islice(left, AT_ONCE)]:
        yield some


async def _place(
    transaction: Transaction, user_id: str, some: Sequence[_Entry], taken: set[int], most: int | None
) -> None:
    """Find the tasks of entries, or create them. A task that is `taken` is that of another line."""
    by_id, by_key = await _known(transaction, _known_by(user_id, some))
    taken.update(row["id"] for row in by_key.values())
    new: dict[str, dict[str, Any]] = {}
    async for entry in sliced(some):
        old = by_key.get(entry.key) or _own(by_id, entry.task, taken)
        if old is None:
            new[entry.key] = _columns(user_id, entry.task) | {"import_key": entry.key}
            continue
        entry.id = old["id"]
        taken.add(old["id"])
        try:
            entry.status = "changed" if _differs(old, entry.task) else "unchanged"
        except InvalidBody as error:
            entry.status, entry.detail = "invalid", str(error)
    if not new:
        return
    await require_room(transaction, user_id, most, len(new))
    statement = _insert_statement(transaction.dialect)
    rows = await transaction.all_of(statement, (_parameters(values) for values in new.values()))
    created = {row.import_key: row.id for row in rows}
    by_key_now: dict[str, dict[str, Any]] = {}
    if len(created) < len(new):  # another request has imported them since
        missing = [key for key in new if key not in created]
        known_by = {"owner": user_id, "ids": [], "import_keys": missing}
        _, by_key_now = await _known(transaction, known_by)
    taken.update(created.values())
    for entry in some:
        if entry.key in created:
            entry.id = created[entry.key]
        elif entry.key in new:
            entry.status, entry.id = "unchanged", by_key_now[entry.key]["id"]


def _own(
    by_id: Mapping[int, dict[str, Any]], task: ImportedTask, taken: Collection[int]
) -> dict[str, Any] | None:
    """The row that has the line's id and is its task: another database gives the same ids to other tasks."""
    row = by_id.get(task.id or 0)
    if row is None or row["id"] in taken or task.created_at not in (None, row["created_at"]):
        return None
    return row


def _repeat(firsts: Mapping[object, _Entry], repeats: Iterable[_Entry], on_conflict: OnConflict) -> None:
    """Settle the lines whose id an earlier one has. With `update` each is held against the one before it."""
    latest = dict(firsts)
    for entry in repeats:
        before = latest[entry.task.id or entry.key]
        entry.id = before.id
        entry.status = "unchanged" if entry.key == before.key else "changed"
        if on_conflict == "update":
            latest[entry.task.id or entry.key] = entry


class _Links:
    """What `next_task_id` means: in a file it names a line, or a task of its owner's."""

    def __init__(
        self, user_id: str, ids: Mapping[int | None, int | None], made: Collection[int | None]
    ) -> None:
        self._user_id = user_id
        self._ids = ids  # of the file's lines: what their tasks have
        self._made = made  # in this import: a file cannot have meant these

    async def find(self, transaction: Transaction, some: Iterable[_Entry]) -> dict[int, int]:
        """Return the ids of the tasks that follow those of entries."""
        wanted = [(e, e.task.next_task_id) for e in some if e.task.next_task_id is not None]
        links = {entry.id: self._ids[link] for entry, link in wanted if link in self._ids}
        elsewhere = [link for _, link in wanted if link not in self._ids and 0 < link <= ID_MAX]
        if elsewhere:
            rows = await transaction.all(_STARTS, {"owner": self._user_id, "ids": elsewhere})
            starts = {
                row.id: planning.restated(row._asdict())["series_start"]
                for row in rows
                if row.id not in self._made
            }
            links |= {
                entry.id: link for entry, link in wanted if starts.get(link) == _start(entry.task) is not None
            }
        return {one: other for one, other in links.items() if one and other and one != other}

    async def write(self, transaction: Transaction, created: Sequence[_Entry]) -> None:
        """Link new tasks with those that follow them."""
        found = await self.find(transaction, created)
        if found:
            owner = {"owner": self._user_id}
            rows = [owner | {"task_id": one, "link": other} for one, other in found.items()]
            await transaction.all_of(_LINK, rows)


async def _overwrite(
    transaction: Transaction, user_id: str, some: Sequence[_Entry], links: _Links, most: int | None
) -> None:
    """Let tasks become what their lines say, by the rule that every change goes by."""
    followers = await links.find(transaction, some)
    ids = {e.id for e in some if e.id is not None}
    plan = Plan(user_id, await lock_series(transaction, user_id, ids | set(followers.values())), ids)
    async for entry in sliced(some):
        row = plan.rows.get(entry.id or 0)
        if row is None:
            continue  # it was deleted meanwhile
        task, version = entry.task, row["version"]
        if task.completed and row["next_task_id"] not in plan.rows:
            row["next_task_id"] = followers.get(row["id"], row["next_task_id"])
        try:
            for changes, exact in (_content(task), _completion(task)):
                plan.change(row, changes | exact)
                if row["version"] != version:
                    row |= exact | {"version": version + 1}
        except (
            InvalidBody
        ) as error:  # of two lines with one id, the second does not fit what the first has left
            entry.status, entry.detail = "invalid", str(error)
    await require_room(transaction, user_id, most, len(plan.new))
    await write(transaction, user_id, plan)


def _differs(row: Mapping[str, Any], task: ImportedTask) -> bool:
    """Whether a task would be changed by what its line says. What it does not say is not asked."""
    content, start = _content(task)
    completion, at = _completion(task)
    if completion.get("completed", row["completed"]) != row["completed"]:
        return True
    return bool(change(dict(row) | planning.restated(row), content | start | at, row["updated_at"]).columns)


Said = tuple[dict[str, Any], dict[str, Any]]


def _content(task: ImportedTask) -> Said:
    """What a line says of a task, but for its completion; and what the rule would make anew, as it was."""
    said = (task.model_fields_set & TaskUpdate.model_fields.keys()) - {"completed", "series"}
    return {name: getattr(task, name) for name in said}, _series(task)


def _completion(task: ImportedTask) -> Said:
    said = {"completed": task.completed} if "completed" in task.model_fields_set else {}
    return said, {} if task.completed_at is None else {"completed_at": task.completed_at}


def _start(task: ImportedTask) -> str | None:
    return None if task.series_start is None else planning.place(task.series_start, task.timezone)


def _series(task: ImportedTask) -> dict[str, str | None]:
    due = None if task.series_due is None else planning.place(task.series_due, task.timezone)
    return {} if task.series_start is None else {"series_start": _start(task), "series_due": due}


def _known_by(user_id: str, entries: Collection[_Entry]) -> dict[str, Any]:
    """What the tasks of entries are found by, where they are there already: their ids and their keys."""
    ids = [entry.task.id for entry in entries if 0 < (entry.task.id or 0) <= ID_MAX]
    return {"owner": user_id, "ids": ids, "import_keys": [entry.key for entry in entries]}


async def _known(
    transaction: Transaction, known_by: Mapping[str, Any]
) -> tuple[dict[int, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The rows that are known by their ids, and those by their keys."""
    rows = [row._asdict() for row in await transaction.all(_KNOWN, known_by)]
    asked = set(known_by["import_keys"])
    by_key = {row["import_key"]: row for row in rows if row["import_key"] in asked}
    return {row["id"]: row for row in rows}, by_key


def _key(task: ImportedTask, seen: Counter[str]) -> str:
    """What a line is known by when its file comes again; identical lines without an id are counted."""
    # Without defaults: a field that is added to tasks later leaves the keys of older files as they are.
    line = task.model_dump_json(exclude_defaults=True, exclude={"recurring", "next_task_id"})
    if task.id is None:
        seen[line] += 1
        line = f"{line}#{seen[line]}"
    return hashlib.sha256(line.encode()).hexdigest()


def _columns(user_id: str, task: ImportedTask) -> dict[str, Any]:
    values = insert_values(user_id, task) | {"completed_at": task.completed_at, "created_at": task.created_at}
    return values | _series(task)


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in values.items() if name not in ("completed_at", "created_at")}
    return rest | {
        "done": values["completed"],
        "done_at": values["completed_at"],
        "made_at": values["created_at"],
    }


@lru_cache(maxsize=2)
def _insert_statement(dialect: str) -> Insert:
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
        insert_into(tasks, dialect)
        .values(**values)
        .on_conflict_do_nothing(
            index_elements=["user_id", "import_key"], index_where=text("import_key IS NOT NULL")
        )
        .returning(tasks.c.id, tasks.c.import_key)
    )
    return statement
