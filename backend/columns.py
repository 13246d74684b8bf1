"""What columns are made of where the two databases differ, or where neither has the type."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    DateTime,
    Dialect,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine, UserDefinedType
from sqlmodel.sql.sqltypes import UTCDateTime

PRIORITIES = ("low", "medium", "high")


class utc_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock: the transaction's start on PostgreSQL, the statement's on SQLite."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utc_now)
def _utc_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    # Citus refuses a clock inside CASE in an UPDATE, and a subquery in an INSERT.
    return "(SELECT now())" if compiler.isupdate else "now()"


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    # CURRENT_TIMESTAMP counts whole seconds there. Six digits, as bound datetimes have: SQLite compares text.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class UserId(TypeDecorator[str]):
    """A user's id: text to us, and in the database what Better Auth was told to make of it.

    That is a matter of each engine: db.py writes `user_id_type` on the engine's dialect.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kinds: dict[str, TypeEngine[Any]] = {
            "text": Text(),
            "uuid": Uuid(as_uuid=False),
            "integer": Integer(),
        }
        return kinds[getattr(dialect, "user_id_type", "text")]

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], Any] | None:
        kind = getattr(dialect, "user_id_type", "text")
        if kind == "text":
            return None  # nothing is to be done, and that is what costs least
        if kind == "integer":
            return lambda value: int(value) if value else value
        return super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None] | None:
        if getattr(dialect, "user_id_type", "text") == "text":
            return None
        return lambda value: None if value is None else str(value)


class UserIdList(TypeDecorator[list[str]]):
    """Users' ids as one parameter, so that a statement is the same for any number of them."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(UserId()) if dialect.name == "postgresql" else JSON()

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        convert = UserId().bind_processor(dialect) if dialect.name == "sqlite" else None
        return value if convert is None or value is None else [convert(user_id) for user_id in value]


class PriorityLevel(TypeDecorator[str]):
    """A priority: its name to us, and in the database a number, so that it sorts."""

    impl = SmallInteger
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> int | None:
        return None if value is None else PRIORITIES.index(value) + 1

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], str | None]:
        names: dict[int | None, str | None] = {None: None}
        return (names | dict(enumerate(PRIORITIES, start=1))).__getitem__


class TextList(TypeDecorator[list[str]]):
    """A list of texts: an array on PostgreSQL, which can index it, and JSON on SQLite."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(Text()) if dialect.name == "postgresql" else JSON(none_as_null=True)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], list[str] | None] | None:
        if dialect.name == "postgresql":
            return None  # the driver makes a list of it
        return super().result_processor(dialect, coltype)


class Image(TypeDecorator[dict[str, Any]]):
    """A row as it was, by column."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return JSONB() if dialect.name == "postgresql" else JSON()


class no_texts(FunctionElement[list[str]]):  # noqa: N801 - reads as the SQL literal it is
    """An empty TextList."""

    type = TextList()
    inherit_cache = True


@compiles(no_texts)
def _no_texts(element: no_texts, compiler: SQLCompiler, **kw: Any) -> str:
    return "'{}'::text[]"


@compiles(no_texts, "sqlite")
def _no_texts_sqlite(element: no_texts, compiler: SQLCompiler, **kw: Any) -> str:
    return "'[]'"


class OwnersKey(PrimaryKeyConstraint):
    """A primary key `id` that begins with the owner on PostgreSQL: only so can the table be distributed.

    SQLite gives no id twice only to a key that is the id alone. To SQLAlchemy a row is its id on both.
    """


@compiles(OwnersKey, "postgresql")
def _owners_key(element: OwnersKey, compiler: DDLCompiler, **kw: Any) -> str:
    return f"{compiler.define_constraint_preamble(element)}PRIMARY KEY (user_id, id)"


class _SqliteDate(UserDefinedType[str]):
    """A column that is declared `date`, and holds text."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "DATE"


class AuthTime(TypeDecorator[datetime]):
    """A time of Better Auth's, which declares it `date` on SQLite and writes ISO 8601 text there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _SqliteDate() if dialect.name == "sqlite" else DateTime(timezone=True)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return value.isoformat() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return] # PostgreSQL's driver makes it a datetime
        time = datetime.fromisoformat(value)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
