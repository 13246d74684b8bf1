"""The statements on answered POSTs. Each carries its owner; all run in the transaction of the POST itself."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, and_, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from backend.engine.prepared import Row
from backend.engine.statements import Transaction
from backend.models import idempotency_keys

KEPT = timedelta(hours=24)

_KEYS = idempotency_keys.c
_OWNED = _KEYS.user_id == bindparam("owner")
_ONE = and_(_OWNED, _KEYS.key == bindparam("asked_key"))
_FORGET = delete(idempotency_keys).where(
    _OWNED, _KEYS.created_at < bindparam("before", type_=_KEYS.created_at.type)
)
_GET = select(_KEYS.fingerprint, _KEYS.status, _KEYS.headers, _KEYS.body).where(_ONE)
_STORE = (
    update(idempotency_keys)
    .where(_ONE)
    .values(status=bindparam("new_status"), headers=bindparam("new_headers"), body=bindparam("new_body"))
)


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
    transaction: Transaction, user_id: str, key: str, status: int, headers: str, body: str
) -> None:
    """Keep the answer under its key."""
    answer = {"new_status": status, "new_headers": headers, "new_body": body}
    await transaction.execute(_STORE, {"owner": user_id, "asked_key": key, **answer})


@lru_cache(maxsize=2)
def _claim_statement(dialect: str) -> Insert:
    insert: Any = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Insert = (
        insert(idempotency_keys)
        .values({name: bindparam(name) for name in ("user_id", "key", "fingerprint")})
        .on_conflict_do_nothing()
        .returning(_KEYS.key)
    )
    return statement
