"""The ordinary session: SQLModel as its documentation shows it, one transaction a request."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import selectinload
from sqlmodel import col, func, select, text
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.config import Settings
from backend.db import Database, get_session
from backend.deps import CallerDep, SessionDep, authenticated
from backend.errors import Overloaded
from backend.migrate import prepare
from backend.models import Task, User
from backend.tasks import crud
from backend.tasks.schemas import TaskCreate
from backend.web.registration import add_routes, routes_under
from tests.auth.test_sessions import TOKEN, create_session_table, open_session
from tests.conftest import Client, MakeClient, MakeTables, settings_for, token_for


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """The settings of the app under test, with those that a test asks for by parameter."""
    return settings_for(database_url, **getattr(request, "param", {}))


@pytest.fixture
async def database(settings: Settings, make_tables: MakeTables) -> AsyncIterator[Database]:
    """A database with the tables and a user `alice`. Nobody watches it for statements without an owner."""
    database = Database(settings)
    await make_tables(database, settings)
    async with database.session() as session:
        session.add(User(id="alice", name="Alice", email="a@example.com", email_verified=True))
    yield database
    await database.close()


async def titles(database: Database) -> list[str]:
    """What is committed."""
    rows = await database.statements.all(
        text("SELECT title FROM tasks WHERE tasks.user_id = 'alice' ORDER BY id"), {}
    )
    return [row[0] for row in rows]


async def test_entities_come_and_go_as_sqlmodel_shows(database: Database) -> None:
    """add, get, exec(select) and delete work with Task and User, and each row is one object."""
    async with database.session() as session:
        user = await session.get(User, "alice")
        assert user is not None
        assert (user.id, user.name, user.email_verified) == ("alice", "Alice", True)
        assert user.created_at is not None
        assert user.created_at.tzinfo is not None
        task = Task(user_id="alice", title="by hand", tags=["a"])
        session.add(task)
        await session.flush()
        found = (await session.exec(select(Task).where(col(Task.user_id) == "alice"))).all()
        assert found == [task]
        assert found[0] is task
        assert (task.id, task.priority, task.version, task.completed) == (1, "medium", 1, False)
        assert task.created_at is not None
    async with database.session() as session:
        task = (await session.exec(select(Task).where(col(Task.user_id) == "alice"))).one()
        await session.delete(task)
    assert await titles(database) == []


async def test_relationships_are_asked_for(database: Database) -> None:
    """Task.user and User.tasks are there when loaded on purpose, and refuse to load by surprise."""
    async with database.session() as session:
        session.add_all([Task(user_id="alice", title="one"), Task(user_id="alice", title="two")])
    async with database.session() as session:
        statement = select(User).options(selectinload(User.tasks)).where(col(User.id) == "alice")  # type: ignore[arg-type] # SQLModel types a relationship as its value
        user = (await session.exec(statement)).one()
        assert {task.title for task in user.tasks} == {"one", "two"}
    async with database.session() as session:
        task = (await session.exec(select(Task).where(col(Task.user_id) == "alice"))).first()
        assert task is not None
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            _ = task.user


async def fail(database: Database) -> None:
    """Write something, and do not get to the end."""
    async with database.session() as session:
        session.add(Task(user_id="alice", title="lost"))
        await session.flush()
        raise ZeroDivisionError


async def test_a_rollback_takes_back_what_was_flushed(database: Database) -> None:
    """rollback(), and an error that leaves the block, undo all of it; what follows is a new transaction."""
    async with database.session() as session:
        session.add(Task(user_id="alice", title="taken back"))
        await session.flush()
        await session.rollback()
        session.add(Task(user_id="alice", title="kept"))
    with pytest.raises(ZeroDivisionError):
        await fail(database)
    assert await titles(database) == ["kept"]


async def test_it_runs_what_a_session_runs(database: Database) -> None:
    """Core statements, several sets of parameters, rowcount, savepoints and execution options."""
    async with database.session() as session:
        connection = await session.connection()
        insert = text("INSERT INTO tasks (user_id, title) VALUES ('alice', :title)")
        await connection.execute(insert, [{"title": "a"}, {"title": "b"}])
        async with session.begin_nested() as savepoint:
            session.add(Task(user_id="alice", title="c"))
            await session.flush()
            await savepoint.rollback()
        updated = await connection.execute(text("UPDATE tasks SET title = title WHERE user_id = 'alice'"))
        assert updated.rowcount == 2
        options = {"yield_per": 1}
        count = select(func.count()).select_from(Task).where(col(Task.user_id) == "alice")
        assert (await session.exec(count, execution_options=options)).one() == 2
    assert await titles(database) == ["a", "b"]


async def test_it_holds_a_place_as_long_as_a_connection(tmp_path: Any) -> None:
    """Whoever uses it, and however, stands in the line: there are never more connections than places."""
    settings = settings_for(f"sqlite:///{tmp_path}/f.db", database_pool_size=1, database_pool_wait=0.01)
    database = Database(settings)
    await prepare(database, settings)
    try:
        release = asyncio.Event()

        async def hold() -> None:
            async with database.session() as session:
                await session.exec(select(1))
                await release.wait()

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await database.statements.all(select(1), {})
        release.set()
        await holding
        assert len(await database.statements.all(select(1), {})) == 1
    finally:
        await database.close()


async def test_statements_within_a_session_see_what_it_did(database: Database) -> None:
    """The fast way can join an ordinary session: one connection, one outcome, also where both write."""
    async with database.session() as session:
        session.add(Task(user_id="alice", title="by the session"))
        await session.flush()
        within = await database.within(session)
        created = await crud.create_task(within, "alice", TaskCreate(title="by the statements"))
        async with within.transaction() as same:
            assert same is within
        assert await session.get(Task, created.id) is not None
        await session.rollback()
    assert await titles(database) == []


async def test_nobody_waits_for_itself(database: Database) -> None:
    """Who has a session is told at once to run statements within it: a second place might never come."""
    async with database.session() as session:
        for asking in (database.statements.all(select(1), {}), database.statements.first(select(1), {})):
            with pytest.raises(RuntimeError, match=r"database\.within\(session\)"):
                await asking
        within = await database.within(session)
        assert len(await within.all(select(1), {})) == 1
    assert len(await database.statements.all(select(1), {})) == 1


async def test_what_outlives_a_session_is_free(database: Database) -> None:
    """A task that was started beside a session may ask for a place of its own once that is over."""
    over = asyncio.Event()

    async def later() -> int:
        await over.wait()
        return len(await database.statements.all(select(1), {}))

    async with database.session():
        started = asyncio.create_task(later())
    over.set()
    assert await started == 1


async def test_a_session_ends_with_its_block(database: Database) -> None:
    """Used later, by a background task or a streaming answer, it raises, and takes no connection."""
    async with database.session() as session:
        pass
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        await session.exec(select(1))


@pytest.mark.parametrize("error", [TimeoutError("own"), OSError("own"), FileNotFoundError("own")])
async def test_an_error_of_ones_own_stays_what_it_is(database: Database, error: Exception) -> None:
    """What the caller raises is no trouble of the database's, whatever its type."""
    with pytest.raises(type(error), match="own"):
        await raise_within(database, error)
    assert await titles(database) == []


async def raise_within(database: Database, error: Exception) -> None:
    """Write something, and raise."""
    async with database.session() as session:
        session.add(Task(user_id="alice", title="lost"))
        await session.flush()
        raise error


# ---- Through HTTP: routes of the tests' own on the real application.


@pytest.fixture
async def noun(app: FastAPI, client_for: MakeClient) -> Client:
    """A client of alice's to an application with one more noun, written as CONTRIBUTING.md says."""

    @app.post("/api/notes")
    async def create(caller: CallerDep, session: SessionDep, title: str) -> int:
        session.add(Task(user_id=caller.id, title=title))
        await session.flush()
        if title == "refused":
            raise HTTPException(403, "no")
        if title == "broken":
            raise RuntimeError
        if title == "of nobody":
            session.add(Task(user_id="nobody", title=title))
        return len((await session.exec(select(Task).where(col(Task.user_id) == caller.id))).all())

    return await client_for("alice")  # type: ignore[no-any-return] # the callable's type says no more


async def test_the_commit_comes_before_the_answer(noun: Client, app: FastAPI) -> None:
    """By the time a client reads that it is done, it is done."""
    committed_at_start: list[list[str]] = []

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                committed_at_start.append(await titles(app.state.database))
            await send(message)

        await app(scope, receive, look)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(spy), base_url="http://test") as client:
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        response = await client.post("/api/notes", params={"title": "kept"}, headers=headers)
    assert response.json() == 1
    assert committed_at_start == [["kept"]]


@pytest.mark.parametrize(
    ("title", "status"), [("refused", 403), ("broken", 500), ("of nobody", 401)], ids=lambda v: str(v)
)
async def test_a_request_that_fails_leaves_nothing(
    noun: Client, app: FastAPI, title: str, status: int
) -> None:
    """Refused by the route, broken in it, or failed at the commit: the answer is an error, nothing stays."""
    response = await noun.post("/api/notes", params={"title": title})
    assert response.status_code == status
    assert response.json()["request_id"]
    assert await titles(app.state.database) == []


async def test_a_test_can_put_its_own_session_in_its_place(noun: Client, app: FastAPI) -> None:
    """app.dependency_overrides[get_session] is heeded, as FastAPI's documentation shows."""
    seen: list[AsyncSession] = []

    async def own() -> AsyncIterator[AsyncSession]:
        async with app.state.database.session() as session:
            seen.append(session)
            yield session
            await session.rollback()

    app.dependency_overrides[get_session] = own
    assert (await noun.post("/api/notes", params={"title": "mine"})).json() == 1
    assert len(seen) == 1
    assert await titles(app.state.database) == []


async def test_many_at_once_share_few_connections(tmp_path: Any) -> None:
    """Fifty requests of two connections are all served, each in a transaction of its own."""
    settings: Settings = settings_for(f"sqlite:///{tmp_path}/f.db", database_pool_size=2)
    database = Database(settings)
    await prepare(database, settings)

    async def add(number: int) -> None:
        async with database.session() as session:
            await (await session.connection()).execute(text("INSERT INTO n VALUES (:n)"), {"n": number})

    try:
        await database.statements.all(text("CREATE TABLE n (n int)"), {})
        await asyncio.gather(*(add(number) for number in range(50)))
        [row] = await database.statements.all(text("SELECT count(*), count(DISTINCT n) FROM n"), {})
        assert tuple(row) == (50, 50)
    finally:
        await database.close()


@pytest.mark.parametrize("settings", [{"database_pool_size": 1, "auth_accept_sessions": True}], indirect=True)
async def test_the_order_of_dependencies_does_not_matter(app: FastAPI, client_for: MakeClient) -> None:
    """A noun's route may name its session before its caller, with one connection and a session cookie."""
    router = APIRouter()

    @router.get("/things")
    async def things(session: SessionDep, caller: CallerDep) -> list[str]:
        return [caller.id, *(await session.exec(select(Task.title).where(col(Task.user_id) == caller.id)))]

    add_routes(app, routes_under("/api", router, {}, Depends(authenticated)))
    await create_session_table(app)
    await client_for("alice")
    await open_session(app)
    client = await client_for()
    answer = await client.get("/api/things", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()) == (200, ["alice"])
