"""The statements on answered POSTs. Each carries its owner; all run in the transaction of the POST itself."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from backend.config import Settings
from backend.engine.prepared import Row
from backend.engine.statements import Transaction, insert_into
from backend.models import idempotency_keys

KEPT = timedelta(hours=24)
SMALL = 4096  # bytes of an answer that is kept without asking how many others are


class Limits(NamedTuple):
    """What is kept for one user: so many keys, and so many bytes of answers larger than SMALL."""

    keys: int
    bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        return cls(settings.idempotency_keys_max, settings.idempotency_bytes_max)


class byte_length(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The bytes of a text, which PostgreSQL knows without reading it."""

    type = BigInteger()
    inherit_cache = True


@compiles(byte_length)
def _byte_length(element: byte_length, compiler: SQLCompiler, **kw: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **kw)})"


@compiles(byte_length, "sqlite")
def _byte_length_sqlite(element: byte_length, compiler: SQLCompiler, **kw: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **kw)} AS BLOB))"


_KEYS = idempotency_keys.c
_OWNED = _KEYS.user_id == bindparam("owner")
_ONE = and_(_OWNED, _KEYS.key == bindparam("asked_key"))
_FORGET = delete(idempotency_keys).where(
    _OWNED, _KEYS.created_at < bindparam("before", type_=_KEYS.created_at.type)
)
_GET = select(_KEYS.fingerprint, _KEYS.status, _KEYS.headers, _KEYS.body).where(_ONE)
_OTHERS = idempotency_keys.alias("others")
_THEIRS = _OTHERS.c.user_id == bindparam("owner")
_COUNT = select(func.count()).select_from(_OTHERS).where(_THEIRS).scalar_subquery()
_BYTES = select(func.coalesce(func.sum(byte_length(_OTHERS.c.body)), 0)).where(_THEIRS).scalar_subquery()
_BODY = bindparam("new_body", type_=_KEYS.body.type)
_SIZE = bindparam("size", type_=BigInteger())


def _store(body: ColumnElement[Any]) -> Update:
    answer = {"status": bindparam("new_status"), "headers": bindparam("new_headers"), "body": body}
    return update(idempotency_keys).where(_ONE, bindparam("keys_max") >= _COUNT).values(**answer)


_STORE = _store(_BODY)
_STORE_IF_IT_FITS = _store(case((bindparam("bytes_max", type_=BigInteger()) >= _BYTES + _SIZE, _BODY)))


async def claim(transaction: Transaction, user_id: str, key: str, fingerprint: str) -> bool:
    """Take a key for this transaction; False when it was taken within KEPT.

    While another transaction holds the key this waits for its end.
    """
    await transaction.execute(_FORGET, {"owner": user_id, "before": datetime.now(UTC) - KEPT})
    statement = _claim_statement(transaction.dialect)
    parameters = {"user_id": user_id, "key": key, "fingerprint": fingerprint}
    return await transaction.first(statement, parameters) is not None


async def get(transaction: Transaction, user_id: str, key: str) -> Row:
    """Return the fingerprint, status, headers and body that were stored under a key that is taken."""
    row = await transaction.first(_GET, {"owner": user_id, "asked_key": key})
    assert row is not None
    return row


async def store(
    transaction: Transaction, user_id: str, key: str, answer: tuple[int, str, bytes], limits: Limits
) -> bool:
    """Keep an answer under its key: the status, the headers, and the body where it is small or fits.

    False when the user has more keys than there may be.
    """
    status, headers, body = answer
    parameters = {"owner": user_id, "asked_key": key, "keys_max": limits.keys}
    parameters |= {"new_status": status, "new_headers": headers, "new_body": body.decode()}
    if len(body) <= SMALL:
        return await transaction.execute(_STORE, parameters) > 0
    parameters |= {"size": len(body), "bytes_max": limits.bytes}
    return await transaction.execute(_STORE_IF_IT_FITS, parameters) > 0


@lru_cache(maxsize=2)
def _claim_statement(dialect: str) -> Insert:
    statement: Insert = (
        insert_into(idempotency_keys, dialect)
        .values({name: bindparam(name) for name in ("user_id", "key", "fingerprint")})
        .on_conflict_do_nothing()
        .returning(_KEYS.key)
    )
    return statement
