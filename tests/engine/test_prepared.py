"""A statement compiled once: what reaches the driver, and what comes back."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from backend.engine.prepared import PreparedStatement
from backend.models import Task, tasks
from backend.tasks.fields import INSERTED, bound

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
DIALECTS: list[Any] = [cls() for cls in (postgresql.asyncpg.dialect, sqlite.aiosqlite.dialect)]


@pytest.fixture(params=DIALECTS, ids=["postgresql", "sqlite"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    dialect: Dialect = request.param
    dialect.user_id_type = "text"  # type: ignore[attr-defined] # ours, as db.py sets it
    return dialect


def test_parameters_stand_in_the_order_of_the_sql(dialect: Dialect) -> None:
    """By name in, by place out; what the statement itself holds is among them."""
    statement = select(tasks.c.id).where(
        tasks.c.title == bindparam("b"), tasks.c.id == bindparam("a"), tasks.c.version == literal(7)
    )
    assert PreparedStatement(statement, dialect).arguments({"a": 1, "b": "x"}) == ("x", 1, 7)


def test_a_missing_parameter_is_an_error(dialect: Dialect) -> None:
    """Nothing is taken for NULL because nobody gave it."""
    statement = select(tasks.c.id).where(tasks.c.user_id == bindparam("owner"))
    with pytest.raises(KeyError, match="owner"):
        PreparedStatement(statement, dialect).arguments({})


def test_an_unknown_parameter_is_an_error(dialect: Dialect) -> None:
    """Nothing is lost because the statement does not ask for it."""
    statement = select(tasks.c.id).where(tasks.c.user_id == bindparam("owner"))
    with pytest.raises(TypeError, match="no parameter pinned"):
        PreparedStatement(statement, dialect).arguments({"owner": "alice", "pinned": True})


def test_values_are_converted_both_ways(dialect: Dialect) -> None:
    """A priority, a list of texts and a time are to the driver what the types make of them, and back."""
    named = {"level": tasks.c.priority, "tags": tasks.c.tags, "due": tasks.c.due_at}
    statement = select(*named.values()).where(
        *(column == bindparam(name, type_=column.type) for name, column in named.items())
    )
    prepared = PreparedStatement(statement, dialect)
    level, tags, due = prepared.arguments({"level": "high", "tags": ["a", "b"], "due": NOW})
    assert level == 3
    assert tags == (["a", "b"] if dialect.name == "postgresql" else '["a", "b"]')
    row = prepared.named([(level, tags, due)])[0]
    assert (row.priority, row.tags, row.due_at) == ("high", ["a", "b"], NOW)


def test_the_rows_of_a_text_can_be_read() -> None:
    """A text names no columns, but its rows have them."""
    prepared = PreparedStatement(text("SELECT 1, 2"), DIALECTS[0])
    assert [tuple(row) for row in prepared.named([(1, 2)])] == [(1, 2)]
    assert prepared.named([]) == []


@pytest.mark.parametrize(
    "statement",
    [
        select(tasks.c.id).where(tasks.c.id.in_(bindparam("ids", expanding=True))),
        insert(tasks).values(user_id=bindparam("owner"), title=bindparam("title")),
        select(Task),
        insert(Task).values(user_id=bindparam("owner"), **bound(*INSERTED[1:])),
    ],
    ids=[
        "a list in the SQL",
        "a default of SQLAlchemy's",
        "an entity",
        "into entities",
    ],
)
def test_what_cannot_be_prepared_is_refused(statement: object, dialect: Dialect) -> None:
    """SQL that depends on its parameters, defaults of SQLAlchemy's and ORM entities are caught at once."""
    with pytest.raises(TypeError):
        PreparedStatement(statement, dialect)  # type: ignore[arg-type] # both are statements
