"""What tutorials teach: FastAPI with ORM entities, a session and a commit per request, a ping per checkout.

It answers the four operations of the mix byte for byte as the service does. The token is verified at each
request; a row is read, changed, committed and read again.
"""

import os
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from jose import JWTError, jwt
from pydantic import Field as ResponseField
from pydantic import computed_field, field_serializer
from sqlalchemy import ARRAY, BigInteger, DateTime, SmallInteger, Text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, col, select

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_pre_ping=True,
    pool_recycle=3600,
    pool_size=20,
    max_overflow=10,
)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
LEVELS = ("", "low", "medium", "high")


def _now() -> datetime:
    return datetime.now(UTC)


class Task(SQLModel, table=True):
    """The table, as the service made it."""

    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    user_id: str = Field(index=True)
    title: str = Field(max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    completed: bool = Field(default=False, index=True)
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: int = Field(default=2, sa_type=SmallInteger)
    tags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    timezone: str = Field(default="UTC")
    recurring_pattern: str | None = Field(default=None)
    next_task_id: int | None = Field(default=None, sa_type=BigInteger)
    version: int = Field(default=1)
    created_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    due_day: date | None = Field(default=None)


class TaskCreate(SQLModel):
    """What a client sends."""

    title: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=1000)


class TaskResponse(SQLModel):
    """What a client reads."""

    id: int
    user_id: str
    title: str
    description: str | None
    completed: bool
    completed_at: datetime | None
    priority: int
    tags: list[str]
    timezone: str
    recurring_pattern: str | None
    next_task_id: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None = ResponseField(exclude=True)
    due_day: date | None = ResponseField(exclude=True)

    @computed_field
    def due_date(self) -> datetime | date | None:
        """A day or an instant."""
        return self.due_day or self.due_at

    @computed_field
    def recurring(self) -> bool:
        """Whether there is a pattern."""
        return self.recurring_pattern is not None

    @field_serializer("priority")
    def level(self, priority: int) -> str:
        """Its name."""
        return LEVELS[priority]


async def _session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


def _user(authorization: Annotated[str, Header()]) -> str:
    token = authorization.removeprefix("Bearer ")
    try:
        return str(jwt.decode(token, os.environ["BETTER_AUTH_SECRET"], algorithms=["HS256"])["sub"])
    except JWTError:
        raise HTTPException(401) from None


Session = Annotated[AsyncSession, Depends(_session)]
User = Annotated[str, Depends(_user)]
app = FastAPI()


async def _one(session: AsyncSession, task_id: int, user: str) -> Task:
    found = await session.execute(select(Task).where(Task.id == task_id, Task.user_id == user))
    task = found.scalar_one_or_none()
    if task is None:
        raise HTTPException(404, "Task not found")
    return task


async def _saved(session: AsyncSession, task: Task) -> Task:
    session.add(task)
    await session.commit()
    await session.refresh(task)
    return task


@app.get("/api/tasks", response_model=list[TaskResponse])
async def list_tasks(session: Session, user: User, limit: int = 50) -> object:
    """The newest tasks."""
    newest = (
        select(Task).where(Task.user_id == user).order_by(col(Task.created_at).desc(), col(Task.id).desc())
    )
    return (await session.execute(newest.limit(limit))).scalars().all()


@app.get("/api/tasks/{task_id}", response_model=TaskResponse)
async def get_task(task_id: int, session: Session, user: User) -> Task:
    """One task."""
    return await _one(session, task_id, user)


@app.post("/api/tasks", response_model=TaskResponse, status_code=201)
async def create_task(body: TaskCreate, session: Session, user: User) -> Task:
    """A new task."""
    return await _saved(session, Task(user_id=user, title=body.title, description=body.description))


@app.patch("/api/tasks/{task_id}/complete", response_model=TaskResponse)
async def toggle_task(task_id: int, session: Session, user: User) -> Task:
    """The other state."""
    task = await _one(session, task_id, user)
    task.completed = not task.completed
    task.completed_at = _now() if task.completed else None
    task.version += 1
    task.updated_at = _now()
    return await _saved(session, task)
