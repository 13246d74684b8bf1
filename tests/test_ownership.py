"""The watch on the suite's statements sees what it is there to see."""

from typing import Any

import pytest
from sqlalchemy import case, func, make_url, update

from backend.columns import utc_now
from backend.engine.prepared import PreparedStatement
from backend.models import tasks
from tests.ownership import objection

COUNTERS = (
    "SELECT change_counters.user_id, change_counters.seq FROM change_counters WHERE change_counters.user_id"
)

GOOD: list[tuple[str, Any]] = [
    ('SELECT id FROM "user" WHERE id = $1', ("a",)),
    ("SELECT id FROM tasks WHERE tasks.user_id = $1", ("a",)),
    ("INSERT INTO tasks (user_id, completed_at) VALUES ($1, now()), ($2, now())", ("a", "a")),
    ("UPDATE tasks SET updated_at = CASE WHEN true THEN (SELECT now()) END WHERE tasks.user_id = $1", ("a",)),
    ("UPDATE tasks SET title = $1 WHERE tasks.user_id = $2", [("t", "a"), ("u", "b")]),
    (f"{COUNTERS} = ANY($1::TEXT[])", (["a", "b"],)),
]
BAD: list[tuple[str, Any]] = [
    ("SELECT id FROM tasks WHERE id = $1", (1,)),
    ("DELETE FROM idempotency_keys WHERE created_at < $1", (1,)),
    ("INSERT INTO tasks (title) VALUES ($1)", ("t",)),
    ("SELECT id FROM tasks WHERE tasks.user_id = $1 OR tasks.user_id = $2", ("a", "b")),
    ("INSERT INTO tasks (user_id, title) VALUES ($1, $2), ($3, $4)", ("a", "t", "b", "t")),
    ("UPDATE tasks SET updated_at = CASE WHEN true THEN now() END WHERE tasks.user_id = $1", ("a",)),
    ("UPDATE tasks SET title = coalesce(title, random()::text) WHERE tasks.user_id = $1", ("a",)),
    (f"{COUNTERS} = ANY($1::TEXT[]) OR true", (["a", "b"],)),
    ("SELECT tasks.user_id, tasks.id FROM tasks WHERE tasks.user_id = ANY($1::TEXT[])", (["a", "b"],)),
    ("UPDATE tasks SET updated_at = CURRENT_TIMESTAMP WHERE tasks.user_id = $1", ("a",)),
]


@pytest.mark.parametrize("sent", GOOD, ids=lambda sent: sent[0])
def test_good_statements_pass(sent: tuple[str, Any]) -> None:
    """Statements with one owner, and clocks where any machine takes them."""
    assert objection(*sent) is None


@pytest.mark.parametrize("sent", BAD, ids=lambda sent: sent[0])
def test_bad_statements_are_seen(sent: tuple[str, Any]) -> None:
    """Without an owner, with two, or with a clock in the midst of an UPDATE."""
    assert objection(*sent) is not None


def test_the_clock_of_an_update_is_a_subquery() -> None:
    """utc_now() is, and the database's own function is not."""
    postgresql = make_url("postgresql+asyncpg://").get_dialect()()
    for clock, good in ((utc_now(), True), (func.now(), False)):
        changed = case((tasks.c.completed, clock))
        statement = update(tasks).where(tasks.c.user_id == "a").values(updated_at=changed)
        sent = PreparedStatement(statement, postgresql)
        assert (objection(sent.sql, sent.arguments({})) is None) is good
