"""However many tasks others have, no statement reads them: the plans of a PostgreSQL with very many."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import asyncpg
import pytest
from sqlalchemy import text

from backend.db import Database
from backend.engine.statements import Statements
from backend.tasks import crud, lists
from backend.tasks.batch import crud as batch
from backend.tasks.batch.schemas import read
from backend.tasks.changes import crud as changes
from backend.tasks.changes.crud import Place
from backend.tasks.files import crud as files
from backend.tasks.files.schemas import ImportedTask, Line
from backend.tasks.filters import LIST_MAX, Order, Sort, TaskFilter, TaskListQuery
from backend.tasks.history import crud as history
from backend.tasks.schemas import TaskCreate, TaskUpdate
from backend.tasks.undo import crud as undo
from backend.web import kept_answers
from backend.web.cursor import Position
from tests.conftest import THOROUGH, Databases, settings_for

TASKS = 500_000 if THOROUGH else 200_000  # the fewer, the more a scan of them all tempts a planner
OWN = 10_000
USERS = 10_000  # who share the rest
PAGE = 100

# The table without its indexes is filled and indexed afterwards: that is several times as fast.
LOAD = f"""
INSERT INTO "user" (id, name, email, "emailVerified")
SELECT id, id, id || '@example.com', false
FROM (SELECT 'user-' || n AS id FROM generate_series(1, {USERS}) n UNION ALL SELECT 'caller') AS users;
ALTER TABLE tasks DROP CONSTRAINT tasks_user_id_fkey;
ALTER TABLE tasks DISABLE TRIGGER USER;
INSERT INTO tasks (user_id, title, description, completed, completed_at, priority, tags, due_at, due_day,
                   created_at, updated_at)
SELECT CASE WHEN n % {TASKS // OWN} = 0 THEN 'caller' ELSE 'user-' || (1 + n % {USERS}) END,
       'task ' || n, CASE WHEN n % 5 = 0 THEN 'words of ' || md5(n::text) END,
       n % 3 = 0, CASE WHEN n % 3 = 0 THEN now() END, 1 + n / 7 % 3,
       CASE WHEN n % 1100 = 0 THEN '{{rare,home}}'::text[] WHEN n % 4 = 0 THEN '{{home}}'::text[]
            ELSE '{{}}'::text[] END,
       CASE WHEN n / 100 % 2 = 0 THEN now() + n % 1000 * interval '1 day' - interval '300 days' END,
       CASE WHEN n / 100 % 4 = 0 THEN (now() + n % 1000 * interval '1 day' - interval '300 days')::date END,
       now() - n % 100000 * interval '10 seconds', now() - n % 50000 * interval '10 seconds'
FROM generate_series(1, {TASKS}) n;
INSERT INTO change_counters (user_id, seq) SELECT user_id, count(*) FROM tasks GROUP BY user_id;
ALTER TABLE task_events DISABLE TRIGGER ALL;
INSERT INTO task_events (user_id, seq, task_id, kind)
SELECT user_id, row_number() OVER (PARTITION BY user_id ORDER BY id), id, 'created' FROM tasks;
INSERT INTO change_sources (user_id, seq, source)
SELECT user_id, seq, 'import' FROM task_events WHERE seq % 5 = 0;
ALTER TABLE task_events ENABLE TRIGGER ALL;
ALTER TABLE tasks ENABLE TRIGGER USER;
INSERT INTO idempotency_keys (user_id, key, fingerprint)
SELECT 'user-' || (1 + n % {USERS}), n::text, '' FROM generate_series(1, {USERS * 10}) n;
"""


@pytest.fixture(scope="module")
def crowd(databases: Databases) -> Iterator[str]:
    """The URL of a database with many tasks, of which `caller` has ten thousand."""
    url = asyncio.run(databases.create())
    try:
        asyncio.run(_load(url))
        yield url
    finally:
        asyncio.run(databases.drop(url))


async def _load(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        select = "FROM pg_indexes WHERE tablename = 'tasks' AND indexname <> 'tasks_pkey'"
        indexes = await connection.fetch(f"SELECT indexname, indexdef {select}")
        key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'tasks_user_id_fkey'"
        reference = await connection.fetchval(key)
        await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        await connection.execute(LOAD)
        for index in indexes:
            await connection.execute(index["indexdef"])
        await connection.execute(f"ALTER TABLE tasks ADD CONSTRAINT tasks_user_id_fkey {reference}")
        await connection.execute("ANALYZE")
        assert await connection.fetchval("SELECT count(*) FROM tasks") == TASKS
        owned = "SELECT count(*) FROM tasks WHERE user_id = 'caller'"
        assert await connection.fetchval(owned) == OWN
    finally:
        await connection.close()


class Explainer:
    """Keeps what the service sends to its database, to ask PostgreSQL how it would run just that."""

    def __init__(self, statements: Statements, connection: asyncpg.Connection) -> None:
        self.statements = statements
        self.sent: list[tuple[str, Any]] = []
        self._connection = connection

    async def plans(self) -> list[dict[str, Any]]:
        """Forget what was sent and return its plans: for its parameters, and for whatever parameters."""
        found = []
        for statement, parameters in self.sent:
            one = parameters[0] if isinstance(parameters, list) else parameters
            found.append(await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *one))
            await self._connection.execute(f"PREPARE asked AS {statement}")
            nothing = f"({', '.join(['NULL'] * len(one))})" if one else ""
            found.append(await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{nothing}"))
            await self._connection.execute("DEALLOCATE asked")
        self.sent.clear()
        return [json.loads(plan)[0]["Plan"] for plan in found]


@pytest.fixture
async def explainer(crowd: str) -> AsyncIterator[Explainer]:
    """What the caller's requests send, explained."""
    database = Database(settings_for(crowd))
    connection = await asyncpg.connect(crowd)
    # The plan that PostgreSQL keeps for a prepared statement once it has run a few times.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    try:
        explainer = Explainer(database.statements, connection)
        database.observe(lambda sql, parameters: explainer.sent.append((sql, parameters)))
        yield explainer
    finally:
        await connection.close()
        await database.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's steps."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def assert_ones_own_rows(plan: dict[str, Any], case: str) -> None:
    """The plan reads owned tables by indexes alone, and each of these for the rows of one owner."""
    for step in nodes(plan):
        if "Index Name" in step:
            assert "user_id = " in step.get("Index Cond", ""), f"{case}: {json.dumps(plan)}"
        assert step["Node Type"] != "Seq Scan", f"{case}: {json.dumps(plan)}"


async def explained(explainer: Explainer, case: str) -> list[dict[str, Any]]:
    """The plans of the one statement that was sent, which read the caller's rows only."""
    assert len(explainer.sent) == 1, case
    plans = await explainer.plans()
    for plan in plans:
        assert_ones_own_rows(plan, case)
    return plans


# One of each condition that a filter can have, and what people combine.
FILTERS: dict[str, Any] = {
    "": {},
    "pending": {"status": "pending"},
    "completed": {"completed": "true"},
    "priority": {"priority": ["high"]},
    "priorities": {"priority": ["high", "low"]},
    "a rare tag": {"tag": ["rare"]},
    "a common tag": {"tag": ["home"]},
    "both tags": {"tag": ["home", "rare"]},
    "either tag": {"tag": ["home", "rare"], "tag_match": "any"},
    "due before a day": {"due_before": "2026-11-21"},
    "due before an instant": {"due_before": "2026-11-21T00:00:00Z"},
    "due after a day": {"due_after": "2026-11-21"},
    "due before a day somewhere": {"due_before": "2026-11-21", "timezone": "Asia/Tokyo"},
    "due after a day somewhere": {"due_after": "2026-11-21", "timezone": "Asia/Tokyo"},
    "due after an instant": {"due_after": "2026-11-21T00:00:00Z"},
    "overdue": {"overdue": "true"},
    "not overdue": {"overdue": "false"},
    "due": {"has_due_date": "true"},
    "not due": {"has_due_date": "false"},
    "from the due date": {"recur_from": "due"},
    "created after": {"created_after": "2026-11-21"},
    "updated after": {"updated_after": "2026-11-21T00:00:00Z"},
    "search": {"search": "words"},
    "search for more": {"search": "words task 99"},
    "all at once": {
        "status": "pending",
        "tag": ["home"],
        "overdue": "true",
        "search": "9",
        "priority": ["low"],
    },
}


def test_each_filter_is_explained() -> None:
    """No parameter of a filter is missing above."""
    assert {name for values in FILTERS.values() for name in values} == TaskFilter.model_fields.keys()


@pytest.mark.parametrize("sort", get_args(Sort))
async def test_each_sort_reads_ones_own_rows(explainer: Explainer, sort: Sort) -> None:
    """The first page, the eleventh and the hundredth of each sort, either way, read no table."""
    for order in get_args(Order):
        query = {"sort": sort, "order": order, "search": "task" if sort == "relevance" else None}
        page = TaskListQuery.model_validate(query | {"limit": PAGE})
        for number, after in (await _positions(explainer, query)).items():
            found = await lists.list_tasks(explainer.statements, "caller", page, after)
            assert len(found.tasks) == PAGE
            assert (found.end is None) is (number * PAGE == OWN)
            await explained(explainer, f"page {number} by {sort} {order}")


async def _positions(explainer: Explainer, query: dict[str, Any]) -> dict[int, Position | None]:
    """Where some pages begin, by their numbers."""
    positions: dict[int, Position | None] = {1: None}
    after, passed = None, 0
    for limit in (LIST_MAX,) * 9 + (LIST_MAX - PAGE,):
        asked = TaskListQuery.model_validate(query | {"limit": limit})
        after = (await lists.list_tasks(explainer.statements, "caller", asked, after)).end
        assert after is not None
        passed += limit
        positions[passed // PAGE + 1] = after
    explainer.sent.clear()
    return {number: positions[number] for number in (1, 11, 100)}


# What the last change is read by, beside every list.
LAST_CHANGE = {"change_counters_pkey"}


async def test_the_newest_are_read_in_order(explainer: Explainer) -> None:
    """The lists that people ask for are read from an index until the page is full: nothing is sorted."""
    indexes: Any = (
        ({}, "tasks_newest_idx"),
        ({"status": "pending"}, "tasks_pending_idx"),
        ({"status": "completed"}, "tasks_newest_idx"),
        ({"sort": "due_date"}, "tasks_due_idx"),
        ({"tag": ["home"]}, "tasks_newest_idx"),
        ({"search": "words"}, "tasks_newest_idx"),
    )
    # Also where a page is more than most users have.
    for (values, index), limit in itertools.product(indexes, (PAGE // 2, PAGE, 3 * PAGE)):
        query = TaskListQuery.model_validate(values | {"limit": limit})
        for after in (None, (await lists.list_tasks(explainer.statements, "caller", query)).end):
            explainer.sent.clear()
            await lists.list_tasks(explainer.statements, "caller", query, after)
            for plan in await explained(explainer, index):
                steps = list(nodes(plan))
                kinds = [step["Node Type"] for step in steps]
                assert not [kind for kind in kinds if "Sort" in kind], json.dumps(plan)
                found = [step["Index Name"] for step in steps if "Index Name" in step]
                assert [name for name in found if name not in LAST_CHANGE] == [index]


async def test_the_usual_list_is_planned_once(crowd: str) -> None:
    """After a few times PostgreSQL keeps the plan: planning would be a third of what the list costs it."""
    database = Database(settings_for(crowd, database_pool_size=1))
    try:
        for _ in range(10):
            await lists.list_tasks(database.statements, "user-5", TaskListQuery(limit=50))
        counters = text(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements "
            "WHERE statement LIKE '%ORDER BY tasks.created_at%' AND statement NOT LIKE '%pg_prepared%'"
        )
        [(generic, custom)] = await database.statements.all(counters, {})
        assert (generic, custom) == (5, 5)
    finally:
        await database.close()


@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter_reads_ones_own_rows(explainer: Explainer, name: str) -> None:
    """Whatever is asked, listing and counting begin with the owner."""
    found = await lists.list_tasks(
        explainer.statements, "caller", TaskListQuery.model_validate(FILTERS[name] | {"limit": PAGE})
    )
    assert name == "all at once" or found.tasks
    await explained(explainer, name)
    asked = TaskFilter.model_validate(FILTERS[name])
    assert (await lists.count_tasks(explainer.statements, "caller", asked)).number
    await explained(explainer, f"{name}, counted")


async def test_statistics_read_ones_own_rows(explainer: Explainer) -> None:
    """The numbers of one user cost what one user's tasks cost."""
    found = await lists.get_stats(explainer.statements, "caller")
    assert found.stats.total == OWN
    await explained(explainer, "stats")


async def everything(statements: Statements, user_id: str) -> None:
    """Whatever else there is to do with tasks and answers, on each way through its code."""
    task = TaskCreate(title="made", due_date="2026-11-21", recurring_pattern="daily")
    made = [await crud.create_task(statements, user_id, task, most) for most in (None, None, None, TASKS)]
    for number, named in enumerate(({"title": "changed"}, {"completed": True}, {"due_date": "2026-11-22"})):
        for versions in (None, range(1, 9)):
            update = TaskUpdate.model_validate(named)
            await crud.update_task(statements, user_id, made[number].id, update, versions)
    await crud.set_completed(statements, user_id, made[0].id, None)
    await crud.get_task(statements, user_id, made[0].id)
    await crud.delete_task(statements, user_id, made[0].id)
    operations = [
        {"op": "create", "title": "made"},
        {"op": "update", "id": made[1].id, "title": "changed again"},
        {"op": "complete", "id": made[2].id},
        {"op": "delete", "id": made[3].id},
    ]
    given = [read(operation) for operation in operations]
    await batch.run_batch(statements, user_id, given, atomic=True, most=TASKS)
    for values in FILTERS.values():
        if values:
            await batch.complete_all(statements, user_id, TaskFilter.model_validate(values))
            await batch.delete_all(statements, user_id, TaskFilter.model_validate(values))
    lines = [Line(1, ImportedTask(id=made[1].id, title="made")), Line(2, ImportedTask(title="new"))]
    await files.import_tasks(statements, user_id, lines)
    for after in (0, TASKS // 2):
        await files.get_page(statements, user_id, after)
    place = (await changes.get_changes(statements, user_id, None, 1)).place
    for where in (place, Place(0, 0, in_log=True)):
        await changes.get_changes(statements, user_id, where, 1)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for task_id in (None, made[1].id):
        for end in (None, (9, 9)):
            await history.get_history(statements, user_id, task_id, end, 9)
    await history.get_trash(statements, user_id, since, None, 9)
    await undo.restore_task(statements, user_id, made[0].id, since)
    await undo.undo_task(statements, user_id, made[0].id)
    await undo.undo_change(statements, user_id, 1, force=True)
    await history.empty_trash(statements, user_id, since)
    async with statements.transaction() as transaction:
        await kept_answers.claim(transaction, user_id, "a key", "")
        for body in (b"", b" " * (kept_answers.SMALL + 1)):
            await kept_answers.store(
                transaction, user_id, "a key", (200, "", body), kept_answers.Limits(9, 9)
            )
        await kept_answers.get(transaction, user_id, "a key")


async def test_every_statement_reads_ones_own_rows(explainer: Explainer) -> None:
    """Whatever is read, changed, imported, exported or remembered, others' rows have no part in it."""
    await everything(explainer.statements, "user-1")
    sent = dict(explainer.sent)
    assert {statement.split()[0] for statement in sent} == {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
    explainer.sent = list(sent.items())
    for plan in await explainer.plans():
        assert_ones_own_rows(plan, plan["Node Type"])
