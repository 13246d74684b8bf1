"""What a driver's error means: to the client, and for trying again. Pure functions.

Connecting fails in three families: asyncpg's own errors, OSError (refused, reset, DNS, TLS) and
TimeoutError, which is an OSError too. Statements fail as SQLAlchemy's DBAPIError around the driver's, or as
raw TimeoutError.
"""

import socket
import ssl

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backend.errors import (
    ApiError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWaking,
    Overloaded,
    UnknownUser,
)

CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

# SQLSTATEs of a server that is starting, stopping, or out of connections: it will be back.
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300"})

# Neon's proxy reports its own troubles as internal errors, passing and lasting ones alike; only the text
# tells them apart (see the page "Connection errors" of Neon's manual). The passing ones:
_NEON_PASSING = (
    "couldn't connect to compute node",
    "control plane request failed",
    "too many connections",
    "temporarily unavailable",
    "connection terminated unexpectedly",
    "authentication timed out",
    "early eof",
)
# … except with these, which no waiting mends.
_NEON_LASTING = ("endpoint is disabled", "endpoint cannot be found", "quota")

# SQLSTATE classes of a database that cannot do it now: connection, login, no such database, deadlock,
# resources (disk full, too many connections), locks, operator intervention, system, internal (Neon).
_UNAVAILABLE = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58", "XX"})
_READ_ONLY = "25006"
_FOREIGN_KEY = "23503"


def is_passing(error: Exception) -> bool:
    """Whether connecting, which failed with one of CONNECT_ERRORS, may well succeed a moment later."""
    if isinstance(error, asyncpg.PostgresError):
        text = str(error).lower()
        if (error.sqlstate or "").startswith("XX"):
            return any(sign in text for sign in _NEON_PASSING) and not any(
                sign in text for sign in _NEON_LASTING
            )
        return (error.sqlstate or "")[:2] == "08" or error.sqlstate in _PASSING
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    # asyncpg's InterfaceError: the server hung up in the middle of the greeting.
    return True


def is_dead_connection(error: DBAPIError) -> bool:
    """Whether the statement failed because its connection was gone."""
    return error.connection_invalidated or _sqlstate(error) in _PASSING or _sqlstate(error)[:2] == "08"


def never_ran(error: DBAPIError) -> bool:
    """Whether the statement certainly did not run, so that even a write may be sent again.

    asyncpg refuses to send on a connection that it knows to be closed; and a server refuses a cached plan
    that a migration has outdated before it runs it. A connection that broke later leaves the question open.
    """
    text = str(error.orig)
    return "connection is closed" in text or "cached statement plan is invalid" in text


def translate(error: SQLAlchemyError | OSError) -> ApiError | None:
    """What to tell the client; None for an error that only a bug of ours can cause."""
    if isinstance(error, OSError):
        return DatabaseUnavailable()
    if isinstance(error, PoolTimeoutError):
        return Overloaded()
    if not isinstance(error, DBAPIError):
        return None
    state = _sqlstate(error)
    # tasks.user_id leads to the user; no other foreign key can be broken from outside.
    if isinstance(error, IntegrityError) and (state == _FOREIGN_KEY or "FOREIGN KEY" in str(error.orig)):
        return UnknownUser()
    if state == _READ_ONLY or "readonly database" in str(error.orig):
        return DatabaseReadOnly()
    if state == "57P03":
        return DatabaseWaking()
    if error.connection_invalidated or state[:2] in _UNAVAILABLE or _sqlite_is_busy(error):
        return DatabaseUnavailable()
    return None


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _sqlite_is_busy(error: DBAPIError) -> bool:
    text = str(error.orig)
    return "database is locked" in text or "disk is full" in text or "disk I/O error" in text
