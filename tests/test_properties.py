"""What holds for any input whatever, looked for among many. The examples are the same in each run."""

import hashlib
import hmac
import json
import string
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.errors import InvalidCursor
from backend.models import ID_MAX
from backend.tasks.filters import TaskListQuery
from backend.tasks.schemas import TaskCompletion, TaskCreate, TaskId, TaskUpdate
from backend.web.cursor import CursorCodec, Position
from tests.conftest import SECRET, Client, Sent, on_sqlite
from tests.examples import examples

pytestmark = pytest.mark.slow  # a thousand examples


# All that JSON can carry into Python, halves of surrogate pairs, NUL, NaN and long numbers included.
TEXT = st.text(st.characters(exclude_categories=())) | st.text(
    st.sampled_from("aé\u0416\u200b \t\n\x00\x1c\x85\ud800\udfff\U0001f600'\"\\%;"), max_size=12
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# The neighbourhood of every limit, and what looks like something else.
LONG = st.integers(195, 1005).map("x".__mul__) | st.integers(197, 203).map("é".__mul__)
TEMPTING = VALUES | LONG | st.sampled_from(["true", "1", "all", "asc", 0, 1, 2**63, "", " ", "1e3"])
STORABLE = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["\x1c", "\u200b", "a\x7f", "'; --", "%s", ":x", "\\", "{}", "$1", "\ufffe", "\u202e", "e\u0301"]
)


def objects(**good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON objects with some of these keys: now and then with good values only, often with others too."""
    mixed = {name: values | TEMPTING for name, values in good.items()}
    return st.fixed_dictionaries({}, optional=good) | st.fixed_dictionaries(
        {}, optional=mixed | {"id": TEMPTING, "user_id": TEMPTING}
    )


TIMEZONES = [
    "UTC",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/St_Johns",
    "Asia/Kathmandu",
]
DAYS = st.dates().map(str) | st.sampled_from(["0001-01-01", "9999-12-31", "2024-02-29"])
INSTANTS = st.builds(
    "{}{}".format,
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["Z", "+00:00", "+14:00", "-12:00", "+05:45", "-03:30"]),
)
DUE_DATES = DAYS | INSTANTS
PATTERNS = st.sampled_from(
    [
        "daily",
        "Monthly",
        "YEARLY",
        "FREQ=WEEKLY;BYDAY=MO,WE",
        "rrule:freq=monthly;bymonthday=-1;interval=2",
        "FREQ=DAILY;COUNT=1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20301231",
    ]
)
FIELDS = objects(
    title=STORABLE | LONG,
    description=st.none() | STORABLE | LONG,
    completed=st.booleans(),
    priority=st.none() | st.sampled_from(["low", "medium", "HIGH", "High", ""]),
    tags=st.none() | st.lists(STORABLE | st.sampled_from(["a", " a ", "x" * 50]), max_size=6),
    due_date=st.none() | st.just("") | DUE_DATES,
    timezone=st.none() | st.just("") | st.sampled_from(TIMEZONES),
    recurring=st.booleans(),
    recurring_pattern=st.none() | st.just("") | PATTERNS,
)
# Series, and what becomes of them.
SERIES = st.fixed_dictionaries(
    {"recurring_pattern": PATTERNS, "due_date": DUE_DATES},
    optional={
        "timezone": st.sampled_from(TIMEZONES),
        "tags": st.lists(STORABLE, max_size=3),
        "priority": st.sampled_from(["low", "high"]),
        "recurring": st.booleans(),
    },
)
COMPLETED = st.fixed_dictionaries(
    {"completed": st.just(True)},
    optional={
        "due_date": DUE_DATES,
        "timezone": st.sampled_from(TIMEZONES),
        "recurring": st.booleans(),
        "recurring_pattern": st.none() | PATTERNS,
    },
)
QUERY = objects(
    priority=st.sampled_from([["high"], ["low", "medium"], ["high", "high"], "low"]),
    tag=st.sampled_from([["a"], ["a", "b"], "b", [" a "]]) | STORABLE,
    tag_match=st.sampled_from(["any", "all"]),
    due_before=DUE_DATES,
    due_after=DUE_DATES,
    overdue=st.sampled_from(["true", "false"]),
    has_due_date=st.sampled_from(["true", "false"]),
    created_after=DUE_DATES,
    updated_after=DUE_DATES,
    search=STORABLE | st.sampled_from(["a", "a b", "%", "_", "\\"]),
    status=st.sampled_from(["all", "pending"]),
    status_filter=st.sampled_from(["all", "completed"]),
    completed=st.sampled_from(["true", "0", "False"]),
    sort=st.sampled_from(["created", "updated_at", "title", "due_date", "priority", "relevance"]),
    sort_by=st.sampled_from(["created_at", "title"]),
    order=st.sampled_from(["asc", "desc"]),
    sort_order=st.sampled_from(["asc", "desc"]),
    limit=st.sampled_from([1, "7", 1000, " 3 "]),
)


@given(value=FIELDS | QUERY | VALUES)
@examples(300)
def test_models_take_a_value_or_refuse_it(value: Any) -> None:
    """Whatever JSON comes in, it is a model or a ValidationError, and what a model holds it takes again."""
    models: tuple[type[BaseModel], ...] = (TaskCreate, TaskUpdate, TaskCompletion, TaskListQuery)
    for model in models:
        try:
            accepted = model.model_validate(value)
        except ValidationError:
            continue
        assert model.model_validate(accepted.model_dump(mode="json")) == accepted


ODD_NUMBERS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", " ", "\t", "\u00a0"]),
    st.sampled_from(["", "+", "-", "--", "0", "00"]),
    st.one_of(
        st.integers(0, 2**70).map(str),
        st.integers(2**63 - 2, 2**63 + 2).map(str),
        st.integers(0, 2**70).map("{:_}".format),
        st.integers(0, 2**66).map(lambda number: "".join(chr(0x660 + int(digit)) for digit in str(number))),
    ),
    st.sampled_from(["", ".", ".0", ".5", "e0", "_"]),
    st.sampled_from(["", " ", "\n"]),
)


@given(value=ODD_NUMBERS | TEXT | st.integers())
@example(value="+9223372036854775808")
@examples(500)
def test_an_id_fits_its_column_or_is_refused(value: Any) -> None:
    """However a number is spelled in a path, the id that comes of it is one to ask the database for."""
    try:
        task_id = TypeAdapter(TaskId).validate_python(value)
    except ValidationError:
        return
    assert -ID_MAX - 1 <= task_id <= ID_MAX


async def _send(alice: Client, method: str, path: str, value: Any) -> Any:
    # json.dumps keeps to ASCII: halves of surrogate pairs travel as \udXXX, as a browser would send them.
    return await alice.request(
        method, path, content=json.dumps(value), headers={"Content-Type": "application/json"}
    )


def _accepted(model: type[BaseModel], value: Any) -> dict[str, Any] | None:
    try:
        return model.model_validate(json.loads(json.dumps(value))).model_dump(mode="json")
    except ValidationError:
        return None


def _merged(task: dict[str, Any], change: dict[str, Any]) -> dict[str, Any] | None:
    """The task that a change should make, but for its times and its successor; None where it does not fit."""
    merged = task | change
    if change.get("recurring", merged["recurring_pattern"] is not None) is False:
        return merged | {"recurring": False, "recurring_pattern": None}
    if merged["recurring_pattern"] is None or merged["due_date"] is None:
        return None
    return merged | {"recurring": True}


# What follows from the rest of a task.
DERIVED = ("updated_at", "completed_at", "next_task_id", "version")


@given(task=(FIELDS | SERIES).map({"title": "a"}.__or__), changes=FIELDS | COMPLETED)
@example(task={"title": "\x1c", "description": ""}, changes={"title": "\u200b", "description": "\x7f"})
@example(task={"title": "x" * 200, "description": "é" * 1000}, changes={"description": ""})
@example(task={"title": " e\u0301\u2003", "description": " \r\n"}, changes={"description": None})
@examples(120)
async def test_what_is_accepted_comes_back_unchanged(alice: Client, task: Any, changes: Any) -> None:
    """A body that the model takes is stored and read back as it was; any other is a 422."""
    response = await _send(alice, "POST", "/api/tasks", task)
    expected = _accepted(TaskCreate, task)
    assert response.status_code == (422 if expected is None else 201), response.text
    if expected is None:
        return
    created = response.json()
    path = f"/api/tasks/{created['id']}"
    expected["recurring"] = expected["recurring_pattern"] is not None
    assert {name: created[name] for name in expected} == expected
    assert created["completed_at"] == (created["created_at"] if created["completed"] else None)
    assert (created["version"], created["next_task_id"]) == (1, None)
    assert (await alice.get(path)).json() == created
    response = await _send(alice, "PATCH", path, changes)
    change = _accepted(TaskUpdate, changes)
    merged = None if change is None else _merged(created, change)
    assert response.status_code == (422 if merged is None else 200), response.text
    updated = (await alice.get(path)).json()
    if merged is None:
        assert updated == created
        return
    assert response.json() == updated
    derived = {name: updated[name] for name in DERIVED}
    assert updated == merged | derived
    assert updated["version"] == (1 if updated == created else 2)
    assert (updated["completed_at"] is not None) is updated["completed"]
    newest = (await alice.get("/api/tasks?limit=2")).json()
    assert updated in newest
    if updated["next_task_id"] is None:
        return
    [successor] = [task for task in newest if task["id"] == updated["next_task_id"]]
    assert (created["completed"], updated["completed"], successor["completed"]) == (False, True, False)
    if all(created[name] == updated[name] for name in ("due_date", "timezone")):  # else its place is another
        assert datetime.fromisoformat(successor["due_date"]) > datetime.fromisoformat(updated["due_date"])
    kept = ("title", "description", "priority", "tags", "timezone", "recurring_pattern")
    assert {name: successor[name] for name in kept} == {name: updated[name] for name in kept}


@pytest.fixture
async def planned(alice: Client) -> Client:
    """Alice, with some tasks to find."""
    await alice.new_task("a b", tags=["a"], due_date="2026-11-21", priority="high")
    await alice.new_task("b", description="A_%", tags=["a", "b"], due_date="2020-01-01T00:00:00Z")
    await alice.new_task("c", completed=True, due_date="9999-12-31", timezone="Pacific/Apia")
    await alice.new_task("d", priority="low")
    return alice


@given(query=QUERY)
@examples(70)
async def test_any_query_is_a_list_or_a_422(planned: Client, query: dict[str, Any]) -> None:
    """Whatever stands in the query, the answer is the list or says what is wrong with it; counts agree."""
    alice = planned
    parameters: list[tuple[str, str | int | float | bool | None]] = [
        (name, str(value).encode("utf-8", "surrogatepass").decode("latin-1"))
        for name, values in query.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    response = await alice.get("/api/tasks", params=parameters)
    assert response.status_code in (200, 422), response.text
    count = await alice.get("/api/tasks/count", params=parameters)
    assert count.status_code in (200, 422), count.text
    if response.is_success:  # what is wrong with a sort, a limit or a cursor is all one to the count
        assert count.is_success, count.text
        assert len(response.json()) == min(count.json()["count"], _limit(parameters))


def _limit(parameters: Sequence[tuple[str, object]]) -> int:
    return int(next((str(value) for name, value in reversed(parameters) if name == "limit"), "1000"))


POSITIONS = st.builds(
    Position,
    st.one_of(
        st.datetimes(timezones=st.just(UTC)),
        st.text(st.characters(codec="utf-8"), max_size=200),
        st.none(),
        st.integers(0, 10),
    ),
    st.integers(1, ID_MAX),
)
CONTEXTS = st.tuples(
    st.text(min_size=1), st.none() | st.booleans(), st.sampled_from(["created", "title"]), st.text()
)


@given(position=POSITIONS, context=CONTEXTS, other=CONTEXTS)
@examples(200)
def test_cursors_come_back_in_their_own_list_alone(position: Position, context: Any, other: Any) -> None:
    """A cursor is read back as it was written, and in no other list."""
    codec = CursorCodec(SECRET)
    cursor = codec.encode(position, *context)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")
    assert codec.decode(cursor, *context) == position
    if other != context:
        with pytest.raises(InvalidCursor):
            codec.decode(cursor, *other)
    with pytest.raises(InvalidCursor):
        CursorCodec(SECRET + "x").decode(cursor, *context)


def _is_read(codec: CursorCodec, text: str) -> bool:
    try:
        codec.decode(text, "alice")
    except InvalidCursor:
        return False
    return True


# Of every length modulo 3: the last character of Base64 holds a different number of spare bits in each.
@pytest.mark.parametrize("title", ["a", "ab", "abc"])
def test_no_altered_cursor_is_read(title: str) -> None:
    """Whichever character is changed, taken out, put in or added, the cursor is worth nothing any more."""
    codec = CursorCodec(SECRET)
    cursor = codec.encode(Position(title, 7), "alice")
    characters = string.printable + "\x00\xff\u0661\ud800"
    altered = set()
    for place in range(len(cursor) + 1):
        before, after = cursor[:place], cursor[place:]
        altered |= {before + after[1:]}
        altered |= {before + new + rest for new in characters for rest in (after, after[1:])}
    accepted = {text for text in altered - {cursor} if _is_read(codec, text)}
    assert not accepted, f"{len(accepted)} other spellings of {cursor}"


@given(text=st.text(st.characters(exclude_categories=())) | st.text(string.ascii_letters + "-_="))
@examples(300)
def test_no_made_up_cursor_is_read(text: str) -> None:
    """Any text that this service has not written is an InvalidCursor."""
    with pytest.raises(InvalidCursor):
        CursorCodec(SECRET).decode(text, "alice")


def _segment(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


TIMES = st.sampled_from([0, 1, 1.5, 2**31, 2**31 + 0.5, 10**400, -1])
PLAUSIBLE = st.fixed_dictionaries(
    {"sub": st.sampled_from(["alice", "nobody", "\u0436", "a" * 255]), "exp": TIMES},
    optional={"iat": TIMES, "nbf": TIMES},
)
CLAIMS = st.builds(
    dict[str, Any].__or__,
    PLAUSIBLE,
    st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "iss", "aud"]), VALUES, max_size=2),
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.just("HS256") | st.sampled_from(["none", "HS512", "EdDSA", "RS256"]) | VALUES},
    optional={"kid": VALUES, "crit": VALUES, "typ": st.just("JWT") | VALUES, "jku": VALUES},
)


def _signed(header: Any, claims: Any) -> str:
    """A token whose signature is good whatever is in it."""
    encoded = ".".join(_segment(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.digest(SECRET.encode(), encoded.encode(), hashlib.sha256)
    return f"{encoded}.{_segment(signature)}"


TOKENS = st.one_of(
    st.builds(_signed, st.just({"alg": "HS256"}), PLAUSIBLE),
    st.builds(_signed, st.just({"alg": "HS256"}), CLAIMS),
    st.builds(_signed, st.just({"alg": "HS256"}), VALUES),
    st.builds(_signed, HEADERS | VALUES, CLAIMS),
    st.lists(st.binary(max_size=30).map(_segment), min_size=1, max_size=5).map(".".join),
    st.builds("{}.{}.{}".format, *[VALUES.map(json.dumps).map(str.encode).map(_segment)] * 3),
).map(str.encode)
AUTHORIZATIONS = st.one_of(
    TOKENS.map(b"Bearer ".__add__),
    TOKENS,
    st.binary(),
    st.binary().map(b"Bearer ".__add__),
    st.sampled_from([b"Bearer", b"bearer ", b"Bearer\x00", b"Bearer  x", b"Bearer " + b"a" * 9000]),
)


@on_sqlite
@given(authorization=AUTHORIZATIONS)
@examples(250)
async def test_any_authorization_is_a_user_or_a_401(
    app: FastAPI, alice: Client, statements: Sent, authorization: bytes
) -> None:
    """Whatever the header holds, it stands for a user or is a 401, and nothing else happens."""
    statements.clear()
    response = await alice.get("/api/tasks", headers=[(b"Authorization", authorization)])
    if response.status_code == 401:
        assert response.headers["www-authenticate"] == "Bearer"
        assert statements == []
    else:
        assert response.status_code == 200, f"{authorization!r}: {response.text}"
        assert response.json() == []
