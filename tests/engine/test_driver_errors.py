"""What a driver's error means to the client."""

import sqlite3

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from backend.engine.driver_errors import comes_from_driver, translate
from backend.errors import (
    ApiError,
    DatabaseConflict,
    DatabaseReadOnly,
    DatabaseUnavailable,
    ReferenceMissing,
    UnknownUser,
    UnknownZone,
)


def broken_key(constraint: str) -> DBAPIError:
    """The error of a foreign key that leads nowhere, as PostgreSQL names it."""
    error = asyncpg.ForeignKeyViolationError("violates foreign key constraint")
    error.constraint_name = constraint
    failed = DBAPIError.instance("INSERT", None, error, Exception)
    assert isinstance(failed, DBAPIError)
    return failed


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("tasks_user_id_fkey", UnknownUser),
        ("notes_user_id_fkey", UnknownUser),
        ("notes_task_id_fkey", ReferenceMissing),
    ],
)
def test_a_missing_account_is_told_from_another_missing_row(constraint: str, said: type[ApiError]) -> None:
    """A row without its owner is a 401, one that refers to something else that is gone a 409."""
    assert type(translate(broken_key(constraint))) is said


def test_whose_error_it_is_shows_where_it_was_raised() -> None:
    """A driver's own classes are the database's; a TimeoutError raised here is ours."""
    assert comes_from_driver(broken_key("tasks_user_id_fkey"))
    assert comes_from_driver(asyncpg.InterfaceError("connection is closed"))
    with pytest.raises(TimeoutError) as caught:
        raise TimeoutError
    assert not comes_from_driver(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncpg.SerializationError("could not serialize access"), DatabaseConflict),
        (asyncpg.DeadlockDetectedError("deadlock detected"), DatabaseConflict),
        (asyncpg.TransactionRollbackError("rolled back"), DatabaseConflict),
        (asyncpg.StatementCompletionUnknownError("who knows"), DatabaseUnavailable),
        (asyncpg.InvalidParameterValueError('time zone "Mars/Base" not recognized'), UnknownZone),
        (sqlite3.OperationalError("database is locked"), DatabaseConflict),
        (sqlite3.OperationalError("database table is locked: tasks"), DatabaseConflict),
        (sqlite3.OperationalError("database or disk is full"), DatabaseUnavailable),
        (sqlite3.OperationalError("attempt to write a readonly database"), DatabaseReadOnly),
    ],
)
def test_others_in_the_way_are_told_from_a_database_that_is_away(
    error: Exception, said: type[ApiError]
) -> None:
    """What was undone for others' sake has a name of its own, but where its outcome is not known."""
    failed = DBAPIError.instance("UPDATE", None, error, Exception)
    assert isinstance(failed, DBAPIError)
    assert type(translate(failed)) is said
