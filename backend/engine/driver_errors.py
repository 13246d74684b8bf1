"""What a driver's error means: to the client, and for trying again. Pure functions.

Connecting fails in three families: asyncpg's own errors, OSError (refused, reset, DNS, TLS) and
TimeoutError, which is an OSError too. Statements fail as SQLAlchemy's DBAPIError around the driver's, or as
raw TimeoutError.
"""

import socket
import ssl

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backend.errors import (
    ApiError,
    DatabaseConflict,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWaking,
    Overloaded,
    ReferenceMissing,
    SchemaOutdated,
    StatementTimeout,
    UnknownUser,
    UnknownZone,
)

CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
STATEMENT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# SQLSTATEs of a server that is starting, stopping, or out of connections: it will be back.
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300"})

# Neon's proxy reports its own troubles as internal errors, passing and unable ones alike; only the text
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

# SQLSTATE classes of a database that cannot do it now: connection, login, no such database, a lost outcome,
# resources (disk full, too many connections), locks, operator intervention, system, internal (Neon).
_UNAVAILABLE = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58", "XX"})
# A prepared statement is missing, or there twice: a pooler in between hands connections on without them.
_LOST_STATEMENTS = frozenset({"26000", "42P05"})
_BY_STATE: dict[str, type[ApiError]] = {
    "42P01": SchemaOutdated,  # no such table
    "25006": DatabaseReadOnly,
    "57P03": DatabaseWaking,
    "57014": StatementTimeout,  # the server's own limit, or an administrator
    # Undone because others were in the way: a rollback, a serialization failure, a constraint at the end, a
    # deadlock. Not 40003, whose outcome is not known.
    **dict.fromkeys(("40000", "40001", "40002", "40P01"), DatabaseConflict),
}
_SQLITE_SAYS: dict[str, type[ApiError]] = {
    "no such table": SchemaOutdated,
    "readonly database": DatabaseReadOnly,
    "is locked": DatabaseConflict,
    "interrupted": StatementTimeout,
    "disk is full": DatabaseUnavailable,
    "disk I/O error": DatabaseUnavailable,
    "unable to open database file": DatabaseUnavailable,
    "file is not a database": DatabaseUnavailable,
    "disk image is malformed": DatabaseUnavailable,
}
# Where an error of the network or of a time-out is raised that has to do with the database.
_BENEATH = frozenset({"asyncpg", "sqlalchemy", "aiosqlite", "sqlite3", "uvloop", "ssl", "socket"})
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

    asyncpg refuses to send on a connection that it knows to be closed, or is_spoilt(). A connection that
    broke later leaves the question open.
    """
    return _refused_to_send(error.orig, "connection is closed") or is_spoilt(error.orig)


def is_spoilt(error: BaseException | None) -> bool:
    """Whether a connection is open, but can run this statement no more, and did not.

    A migration has changed what the statement is about since it was prepared; or the server has said that it
    ends the connection, and not yet done so.
    """
    outdated = isinstance(_drivers_own(error), asyncpg.InvalidCachedStatementError)
    return outdated or _refused_to_send(error, "another operation")


def _refused_to_send(error: BaseException | None, reason: str) -> bool:
    """Whether asyncpg itself refused, for that reason. What a server says may quote anybody's words."""
    own = _drivers_own(error)
    return isinstance(own, asyncpg.InterfaceError | asyncpg.InternalClientError) and reason in str(own)


def _drivers_own(error: BaseException | None) -> BaseException | None:
    """What is beneath SQLAlchemy's error, where that is around it."""
    return getattr(error, "driver_exception", error)


def comes_from_driver(error: BaseException) -> bool:
    """Whether an error was raised beneath us: a TimeoutError or OSError may be anybody's own."""
    if isinstance(error, SQLAlchemyError | asyncpg.PostgresError | asyncpg.InterfaceError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.partition(".")[0] in _BENEATH or module.startswith("backend.engine.")


def translate(error: Exception) -> ApiError | None:
    """What to tell the client; None for an error that only a bug of ours can cause.

    The driver's own errors, without SQLAlchemy's around them, come from setting up a new connection.
    """
    if isinstance(error, CONNECT_ERRORS):
        return DatabaseUnavailable()
    if isinstance(error, PoolTimeoutError):
        return Overloaded()
    if isinstance(error, InvalidRequestError) and "connection is closed" in str(error):
        return DatabaseUnavailable()  # closed again and again as soon as it was opened
    if not isinstance(error, DBAPIError):
        return None
    state = _sqlstate(error)
    if state == _FOREIGN_KEY or (isinstance(error, IntegrityError) and "FOREIGN KEY" in str(error.orig)):
        return UnknownUser() if _is_the_owners(error) else ReferenceMissing()
    if meant := _BY_STATE.get(state) if state else _sqlite_says(error):
        return meant()
    if state == "22023" and "time zone" in str(error.orig):
        return UnknownZone()
    unable = state[:2] in _UNAVAILABLE or state in _LOST_STATEMENTS
    if error.connection_invalidated or unable:
        return DatabaseUnavailable()
    return None


def _is_the_owners(error: DBAPIError) -> bool:
    """Whether the broken foreign key leads from a row to its owner. SQLite does not say which it was."""
    name = getattr(_drivers_own(error.orig), "constraint_name", None)
    return name is None or name.endswith("_user_id_fkey")


def describe(error: Exception) -> str:
    """What the log says of an error, with what to do where that is known."""
    said = str(getattr(error, "orig", error)) or type(error).__name__
    if _sqlstate(error) in _LOST_STATEMENTS:
        said += " (a pooler in between knows no prepared statements: set DATABASE_PREPARED_STATEMENTS=false)"
    return said


def _sqlstate(error: Exception) -> str:
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _sqlite_says(error: DBAPIError) -> type[ApiError] | None:
    """What an error of SQLite's, which has no SQLSTATE, means."""
    return next((meant for sign, meant in _SQLITE_SAYS.items() if sign in str(error.orig)), None)
