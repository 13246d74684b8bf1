"""The catalogue of errors, and what is made of it."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from backend import errors
from backend.assistant.errors import TokensUsedUp, TooManyTurns, TurnFailed, TurnRunning
from backend.errors import (
    ApiError,
    ExpiredToken,
    InvalidBody,
    InvalidToken,
    Problem,
    RepeatedHeader,
    TooManyKeys,
    Unauthorized,
    Unavailable,
)
from backend.tasks.errors import (
    BatchFailed,
    ChangedSince,
    TaskLimitReached,
    TaskNotFound,
    TooManyStreams,
    VersionMismatch,
)
from backend.web.handlers import documented, problem


def subclasses(error: type[ApiError]) -> Iterator[type[ApiError]]:
    """An error and all that inherit from it, in the order of the file."""
    yield error
    for child in error.__subclasses__():
        yield from subclasses(child)


CATALOGUE = list(dict.fromkeys(subclasses(ApiError)))  # one may inherit from two
each_error = pytest.mark.parametrize("error", CATALOGUE, ids=lambda error: error.__name__)


@each_error
def test_every_error_says_what_it_is(error: type[ApiError]) -> None:
    """Each has a status that is an error's, a code for programs, and a sentence of its own for people."""
    assert HTTPStatus(error.status) >= 400
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    sentence = vars(error).get("__doc__")
    assert sentence, "the docstring is what clients read"
    assert "\n" not in sentence
    assert not sentence.endswith(".")


def test_a_code_means_one_thing() -> None:
    """Two errors share a code only where one is a kind of the other; a 422's list says which it is."""
    for error in CATALOGUE:
        for other in CATALOGUE:
            if error.code == other.code:
                assert error.status == other.status
                assert issubclass(error, other) or issubclass(other, error) or error.status == 422


def test_the_tree_at_the_top_is_the_catalogue() -> None:
    """What the module's first lines draw is what follows: each class in its place, with its status."""
    drawn = re.findall(r"^([│├└─ ]*)([A-Z]\w+)(?: \((\d+)\))?$", errors.__doc__ or "", re.MULTILINE)
    tree = [(len(lines) // 4, name) for lines, name, _ in drawn]
    own = [error for error in CATALOGUE if error.__module__ == errors.__name__]
    assert tree == [(len(error.__mro__) - len(ApiError.__mro__), error.__name__) for error in own]
    statuses = {name: int(status) for _, name, status in drawn if status}
    for error in own[1:]:
        [status] = [statuses[kind.__name__] for kind in error.__mro__ if kind.__name__ in statuses]
        assert error.status == status


# What an error has to be told, and what its answer then shows beside the rest.
TOLD: dict[type[ApiError], tuple[tuple[Any, ...], dict[str, Any]]] = {
    VersionMismatch: (([1],), {"current": [1]}),
    BatchFailed: (([1],), {"results": [1]}),
    InvalidBody: (("title", "a sentence"), {}),
    RepeatedHeader: (("x-header",), {}),
    TaskLimitReached: ((3,), {}),
    ChangedSince: (([1],), {"tasks": [1]}),
}


# What is over after a while: when is in the answer.
PASSING = (Unavailable, TooManyKeys, TooManyStreams, TurnRunning, TokensUsedUp, TooManyTurns)


@each_error
def test_every_error_becomes_an_answer(error: type[ApiError]) -> None:
    """The answer has the class's status, detail, code and headers, in the shape of every error."""
    arguments, more = TOLD.get(error, ((), {}))
    if issubclass(error, TurnFailed):
        more = {"conversation_id": 0, "tool_calls": []}
    response = problem(error(*arguments))
    body = json.loads(bytes(response.body))
    assert body.keys() == {"detail", "code", "request_id", *more}
    assert {name: body[name] for name in more} == more
    assert (response.status_code, body["code"]) == (error.status, error.code)
    told = body["detail"] if error.status != 422 else body["detail"][0]["msg"]
    assert told == (str(error(*arguments)) or error.__doc__)
    assert ("www-authenticate" in response.headers) == issubclass(error, Unauthorized)
    assert ("retry-after" in response.headers) == issubclass(error, PASSING)


def test_a_sentence_passed_in_is_the_detail() -> None:
    """An error that knows more than its class says that instead."""
    assert TaskNotFound("It was here").detail == "It was here"
    assert TaskNotFound().detail == "Task not found"


def test_errors_of_one_status_are_documented_together() -> None:
    """OpenAPI has one entry a status: it names every error that the route can answer with."""
    entries = documented(InvalidToken, TaskNotFound, ExpiredToken)
    assert entries.keys() == {401, 404}
    assert {entry["model"] for entry in entries.values()} == {Problem}
    assert "Invalid token" in entries[401]["description"]
    assert "Token has expired" in entries[401]["description"]
    assert entries[404]["description"] == "Task not found"
    assert documented() == {}
