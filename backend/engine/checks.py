"""What SQLAlchemy is told of connections as it lends them, and as their statements fail."""

from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util.concurrency import await_only

from backend.engine.connector import is_slow
from backend.errors import StatementTimeout


def tell_slow(failed: ExceptionContext) -> Exception | None:
    """Return what a statement that ran out of time is to clients, if it is only slow."""
    # SQLAlchemy gives the connection up, whatever comes of this.
    if not isinstance(failed.original_exception, TimeoutError) or failed.connection is None:
        return None
    return StatementTimeout() if await_only(is_slow(failed.connection.connection)) else None


def refuse_closed(_: DBAPIConnection, entry: ConnectionPoolEntry, connection: PoolProxiedConnection) -> None:
    """Lend no connection that the server has closed: raise DisconnectionError, and another is opened."""
    # What was opened before the pool was distrusted SQLAlchemy has replaced by then.
    driver: Any = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError("the server has closed this connection")
