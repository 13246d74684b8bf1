"""The tables, and nothing else. What a client may send is in schemas.py."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, Relationship, SQLModel

from backend.columns import AuthTime, Image, OwnersKey, PriorityLevel, TextList, UserId, no_texts, utc_now

TITLE_MAX = 200
DESCRIPTION_MAX = 1000
KEY_MAX = 255
ID_MAX = 2**63 - 1


# PostgreSQL's own default names, so that the user table comes out as Better Auth would have made it.
_NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """The service's own tables and classes: SQLModel's are shared with whatever else is in the process."""


_LAZY = {"lazy": "raise"}  # loaded when asked for, never by surprise


def _id() -> Any:
    return Field(
        default=None, sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    )


def _now() -> Any:
    return Field(default=None, nullable=False, sa_column_kwargs={"server_default": utc_now()})


def _auth_now(name: str) -> Any:
    now = func.current_timestamp()
    return Field(default=None, sa_column=Column(name, AuthTime(), server_default=now, nullable=False))


def _unique_where_said(name: str, column: str) -> Index:
    said = text(f"{column} IS NOT NULL")
    return Index(name, "user_id", column, unique=True, postgresql_where=said, sqlite_where=said)


class User(Base, table=True):
    """Better Auth's table, column for column: either side may create it. Referenced, never written."""

    __tablename__ = "user"

    id: str = Field(primary_key=True, sa_type=UserId)
    name: str = Field(sa_type=Text)
    email: str = Field(sa_type=Text, unique=True)
    email_verified: bool = Field(sa_column=Column("emailVerified", Boolean, nullable=False))
    image: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = _auth_now("createdAt")
    updated_at: datetime | None = _auth_now("updatedAt")
    # Asked for (`selectinload(User.tasks)`), never loaded by surprise; the database deletes a user's tasks.
    tasks: list["Task"] = Relationship(
        back_populates="user", passive_deletes="all", sa_relationship_kwargs=_LAZY
    )


class Task(Base, table=True):
    """A user's task. The limits stand here too because table models do not validate."""

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint(f"length(title) BETWEEN 1 AND {TITLE_MAX}", name="title"),
        CheckConstraint(f"length(description) <= {DESCRIPTION_MAX}", name="description"),
        OwnersKey("id"),
        # The two lists people ask for; `id` breaks ties.
        Index("tasks_newest_idx", "user_id", text("created_at DESC"), text("id DESC")),
        Index(
            "tasks_pending_idx",
            "user_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("NOT completed"),
            sqlite_where=text("completed = 0"),
        ),
        CheckConstraint("priority BETWEEN 1 AND 3", name="priority"),
        # What a file brings is imported once.
        _unique_where_said("tasks_import_idx", "import_key"),
        Index("tasks_due_idx", "user_id", "due_at", "id"),
        # SQLite reuses the ids of deleted rows otherwise: a repeated DELETE could hit somebody's new task.
        {"sqlite_autoincrement": True},
    )

    id: int | None = _id()
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    title: str = Field(max_length=TITLE_MAX)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime | None = _now()
    updated_at: datetime | None = _now()
    # In the order in which they came to be: a migration can only append.
    completed_at: datetime | None = Field(default=None)
    priority: str = Field(
        default="medium", sa_type=PriorityLevel, sa_column_kwargs={"server_default": text("2")}
    )
    tags: list[str] = Field(
        default_factory=list, sa_type=TextList, sa_column_kwargs={"server_default": no_texts()}
    )
    # A due date is an instant, or a whole day: then `due_day` is that day wherever one looks from, and
    # `due_at` its last moment in the task's time zone: one column sorts both kinds and says what is overdue.
    due_at: datetime | None = Field(default=None)
    due_day: date | None = Field(default=None)
    timezone: str = Field(default="UTC", sa_type=Text, sa_column_kwargs={"server_default": text("'UTC'")})
    recurring_pattern: str | None = Field(default=None, sa_type=Text)
    # The due date that a series began with: what its pattern is counted from. A day, or a time on the clocks
    # of the task's zone, with their offset; see planning.place().
    series_start: str | None = Field(default=None, sa_type=Text)
    # No foreign key: it may name a task that was deleted, and a completion then makes another.
    next_task_id: int | None = Field(default=None, sa_type=BigInteger)
    import_key: str | None = Field(default=None, sa_type=Text)
    version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    # What words.py makes of title, description and tags; empty where ASCII's lower case says as much.
    title_folded: str | None = Field(default=None, sa_type=Text)
    title_key: str | None = Field(default=None, sa_type=Text)
    description_folded: str | None = Field(default=None, sa_type=Text)
    tags_folded: list[str] | None = Field(default=None, sa_type=TextList)
    # The task's place in its series, where its due date or zone has moved; else the due date is its place.
    series_due: str | None = Field(default=None, sa_type=Text)
    # `due` or `completion`: what the next date of the series is counted from.
    recur_from: str = Field(default="due", sa_type=Text, sa_column_kwargs={"server_default": text("'due'")})

    user: User = Relationship(back_populates="tasks", sa_relationship_kwargs=_LAZY)


class IdempotencyKey(Base, table=True):
    """The answer to a POST with an Idempotency-Key, written in the transaction of what the POST did."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_age_idx", "user_id", "created_at"),)

    user_id: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    key: str = Field(primary_key=True, max_length=KEY_MAX)
    fingerprint: str = Field(sa_type=Text)
    status: int | None = Field(default=None)
    headers: str | None = Field(default=None, sa_type=Text)
    body: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = _now()


class ChangeCounter(Base, table=True):
    """How many times a user's tasks have changed: what the transactions that changed them are numbered by."""

    __tablename__ = "change_counters"

    user_id: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    seq: int = Field(sa_type=BigInteger)
    # The transaction that has the number `seq`, as long as it runs; see triggers.py.
    transaction_id: int | None = Field(default=None, sa_type=BigInteger)
    # What has a number up to this one may have been forgotten.
    floor: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})


class TaskEvent(Base, table=True):
    """That a transaction changed a task, and the task as it was before. Written by triggers alone.

    Its owner leads to the counter, which a transaction has locked by then, and not to the user: else whoever
    changes a task and whoever deletes its owner could wait for each other.
    """

    __tablename__ = "task_events"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["change_counters.user_id"], ondelete="CASCADE"),
        Index("task_events_task_idx", "user_id", "task_id", "seq"),
    )

    user_id: str = Field(primary_key=True, sa_type=UserId)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    task_id: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(sa_type=Text)  # `created`, `updated` or `deleted`
    at: datetime | None = _now()
    before: dict[str, Any] | None = Field(default=None, sa_type=Image)


class ChangeSource(Base, table=True):
    """Who made a change, where that was not a request for it: `import`, `undo`, an assistant by its name."""

    __tablename__ = "change_sources"
    __table_args__ = (ForeignKeyConstraint(["user_id"], ["change_counters.user_id"], ondelete="CASCADE"),)

    user_id: str = Field(primary_key=True, sa_type=UserId)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    source: str = Field(sa_type=Text)


class Calendar(Base, table=True):
    """A feed of a user's tasks that calendars subscribe to. Of its address a hash is kept."""

    __tablename__ = "calendars"
    __table_args__ = (
        OwnersKey("id"),
        Index("calendars_secret_idx", "user_id", "secret_hash", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: int | None = _id()
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    name: str = Field(sa_type=Text)
    secret_hash: str = Field(sa_type=Text)
    component: str = Field(sa_type=Text)  # what a task is there: `todo` or `event`
    alarm: int | None = Field(default=None)  # minutes before it is due
    filter: str = Field(sa_type=Text)  # JSON of the parameters that say which tasks
    created_at: datetime | None = _now()


class Conversation(Base, table=True):
    """A user's talk with the assistant."""

    __tablename__ = "conversations"
    __table_args__ = (
        OwnersKey("id"),
        CheckConstraint(f"length(title) <= {TITLE_MAX}", name="title"),
        Index("conversations_owner_idx", "user_id", "id", unique=True),
        Index("conversations_recent_idx", "user_id", text("updated_at DESC"), text("id DESC")),
        _unique_where_said("conversations_client_idx", "client_id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = _id()
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    title: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": text("''")})
    client_id: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = _now()
    updated_at: datetime | None = _now()
    # Whoever answers holds the lease: a name that nobody else has, until when, and whether it shall stop.
    lease: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime | None = Field(default=None)
    stopping: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})

    messages: list["Message"] = Relationship(
        back_populates="conversation", passive_deletes="all", sa_relationship_kwargs=_LAZY
    )


class Message(Base, table=True):
    """What the user said, or what the assistant answered in one turn: all its steps and calls."""

    __tablename__ = "messages"
    __table_args__ = (
        OwnersKey("id"),
        ForeignKeyConstraint(
            ["user_id", "conversation_id"], ["conversations.user_id", "conversations.id"], ondelete="CASCADE"
        ),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        Index("messages_conversation_idx", "user_id", "conversation_id", "id"),
        _unique_where_said("messages_client_idx", "client_id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = _id()
    user_id: str = Field(sa_type=UserId)
    conversation_id: int = Field(sa_type=BigInteger)
    role: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    # The steps and calls of an answer, as conversations/parts.py writes them.
    parts: str = Field(default="[]", sa_type=Text, sa_column_kwargs={"server_default": text("'[]'")})
    status: str = Field(
        default="complete", sa_type=Text, sa_column_kwargs={"server_default": text("'complete'")}
    )
    client_id: str | None = Field(default=None, sa_type=Text)
    tokens: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    created_at: datetime | None = _now()

    conversation: Conversation = Relationship(back_populates="messages", sa_relationship_kwargs=_LAZY)


class AssistantUsage(Base, table=True):
    """The tokens that a user's turns have cost on the last day that there were any."""

    __tablename__ = "assistant_usage"

    user_id: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE", sa_type=UserId)
    day: date
    tokens: int = Field(sa_type=BigInteger)


tasks: Table = Base.metadata.tables["tasks"]
idempotency_keys: Table = Base.metadata.tables["idempotency_keys"]
change_counters: Table = Base.metadata.tables["change_counters"]
task_events: Table = Base.metadata.tables["task_events"]
change_sources: Table = Base.metadata.tables["change_sources"]
calendars: Table = Base.metadata.tables["calendars"]
conversations: Table = Base.metadata.tables["conversations"]
messages: Table = Base.metadata.tables["messages"]
assistant_usage: Table = Base.metadata.tables["assistant_usage"]
users: Table = Base.metadata.tables["user"]
