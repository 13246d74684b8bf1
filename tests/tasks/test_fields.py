"""Every column of a task has its place wherever tasks are written, read, changed and carried away."""

from typing import Any

import pytest
from pydantic import MISSING

from backend.models import tasks
from backend.tasks.batch.schemas import CreateOperation, UpdateOperation
from backend.tasks.conditions import asked
from backend.tasks.fields import CHANGING, FOLDED, INHERITED, INSERTED, KEEPING, KEPT, OWN, PLANNED, READ
from backend.tasks.files.schemas import FIELDS, ImportedTask
from backend.tasks.filters import TaskFilter
from backend.tasks.schemas import TaskCreate, TaskPublic, TaskUpdate

COLUMNS = {column.name for column in tasks.c}
# What clients see of a due date and of a series, and the columns in which it lies.
LIES_IN = {"due_date": {"due_at", "due_day"}, "recurring": {"recurring_pattern"}}
INTERNAL = {"series_start", "series_due", "import_key"} | FOLDED  # no client reads them
# What a client can say of a new task beside the columns' own names.
WRITABLE = COLUMNS - KEPT - KEEPING - INTERNAL - {"due_at", "due_day"}


def test_the_lists_name_columns() -> None:
    """What fields.py says, it says of columns that there are, and of each once."""
    assert KEPT | KEEPING | OWN | FOLDED <= COLUMNS
    assert not KEPT & KEEPING
    assert not OWN & (KEPT | KEEPING)


@pytest.mark.parametrize("column", sorted(COLUMNS - KEPT - KEEPING))
def test_each_column_is_written_changed_and_handed_on(column: str) -> None:
    """A new task has it, a locked change writes it, a successor inherits it unless it is OWN."""
    assert column in INSERTED
    assert column in CHANGING
    assert (column in INHERITED) is (column not in OWN)


@pytest.mark.parametrize("column", sorted(WRITABLE))
@pytest.mark.parametrize("model", [TaskCreate, TaskUpdate, CreateOperation, UpdateOperation, ImportedTask])
def test_each_column_can_be_said_by_clients(model: Any, column: str) -> None:
    """Whoever creates, updates, batches or imports can name it; an update without it leaves it alone."""
    field = model.model_fields[column]
    if issubclass(model, TaskUpdate):
        assert field.default is MISSING


@pytest.mark.parametrize("column", sorted(COLUMNS - INTERNAL - {"due_at", "due_day"}))
def test_each_column_is_read_by_clients(column: str) -> None:
    """It is in the answer, in its order, and what the answer is made of is selected."""
    assert column in TaskPublic.model_fields
    assert tasks.c[column] in READ


def test_what_is_read_comes_first_in_the_order_of_the_answer() -> None:
    """The row that is read begins like the answer; what `due_date` is made of follows."""
    names = [column.name for column in READ]
    assert names == [name for name in TaskPublic.model_fields if name not in LIES_IN] + ["due_at", "due_day"]
    assert list(TaskPublic.model_fields)[-2:] == list(LIES_IN)


@pytest.mark.parametrize("field", sorted(set(TaskPublic.model_fields) - {"user_id", "version", "recurring"}))
def test_each_field_is_exported_and_read_back(field: str) -> None:
    """A file has it; what the service makes anew at each import is all that is not read back."""
    assert field in FIELDS
    if field != "updated_at":
        assert field in ImportedTask.model_fields


@pytest.mark.parametrize("column", sorted(COLUMNS - FOLDED))
def test_what_decides_later_behaviour_survives_a_file(column: str) -> None:
    """A column is in a file under its own name, is made of what is there, or begins anew."""
    made = {"user_id", "version", "import_key", "due_at", "due_day"}
    assert (column in FIELDS) is (column not in made)


def test_planned_fields_are_fields() -> None:
    """Whatever planning.py works out can be said by clients."""
    assert TaskUpdate.model_fields.keys() >= PLANNED


# A value other than the default for each parameter of a filter.
ASKED: dict[str, Any] = {
    "status": "completed",
    "completed": True,
    "priority": ["high"],
    "tag": ["a"],
    "tag_match": "any",
    "due_before": "2026-11-21",
    "due_after": "2026-11-21T09:00:00Z",
    "overdue": True,
    "has_due_date": False,
    "recur_from": "completion",
    "created_after": "2026-11-21",
    "updated_after": "2026-11-21T09:00:00Z",
    "search": "word",
    "timezone": "Europe/Berlin",
}


@pytest.mark.parametrize("parameter", sorted(TaskFilter.model_fields))
def test_each_parameter_of_a_filter_narrows_the_list(parameter: str) -> None:
    """A parameter that is read and then forgotten would select too much."""
    value = ASKED.get(parameter, True)
    others: dict[str, Any] = {"tag_match": {"tag": ["a", "b"]}, "timezone": {"due_before": "2026-11-21"}}
    beside = others.get(parameter, {})
    names, parameters = asked(TaskFilter.model_validate({parameter: value, **beside}))
    assert (names, parameters) != asked(TaskFilter.model_validate(beside))
