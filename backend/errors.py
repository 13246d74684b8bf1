"""Everything a client can be told went wrong.

ApiError
├── Unauthorized (401)
│   ├── MissingToken
│   ├── InvalidScheme
│   ├── InvalidToken
│   │   └── MissingSubject
│   ├── ExpiredToken
│   └── UnknownUser
├── ForeignUser (403)
├── ForeignOrigin (403)
├── TaskNotFound (404)
├── InvalidCursor (422)
└── Unavailable (503)
    ├── KeysUnavailable
    ├── DatabaseUnavailable
    ├── DatabaseWaking
    ├── DatabaseReadOnly
    ├── SchemaOutdated
    └── Overloaded

The docstring of a class is the `detail` its clients read; `code` is for programs.
"""

from typing import Any, ClassVar


class ApiError(Exception):
    """Internal server error"""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    headers: ClassVar[dict[str, str]] = {}

    @property
    def detail(self) -> Any:
        """What a person reads: the sentence passed in, or else the docstring."""
        return str(self) or type(self).__doc__


class Unauthorized(ApiError):
    """Unauthorized"""

    status = 401
    code = "unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class MissingToken(Unauthorized):
    """Missing authorization token"""

    code = "missing_token"


class InvalidScheme(Unauthorized):
    """Invalid authorization scheme, expected Bearer"""

    code = "invalid_scheme"


class InvalidToken(Unauthorized):
    """Invalid token"""

    code = "invalid_token"


class MissingSubject(InvalidToken):
    """Invalid token: missing sub claim"""


class ExpiredToken(Unauthorized):
    """Token has expired"""

    code = "token_expired"


class UnknownUser(Unauthorized):
    """No such user: the account of this token does not exist here; sign in again"""

    code = "user_not_found"


class ForeignUser(ApiError):
    """Access denied: Not authorized to access other users' resources"""

    status = 403
    code = "forbidden"


class ForeignOrigin(ApiError):
    """Access denied: a request with a session cookie must come from an allowed Origin"""

    status = 403
    code = "origin_not_allowed"


class TaskNotFound(ApiError):
    """Task not found"""

    status = 404
    code = "task_not_found"


class InvalidCursor(ApiError):
    """The cursor is not of this list; start again without it"""

    status = 422
    code = "validation_error"

    @property
    def detail(self) -> list[dict[str, Any]]:
        """The list that every 422 has."""
        return [{"loc": ["query", "cursor"], "msg": type(self).__doc__, "type": "invalid_cursor"}]


class Unavailable(ApiError):
    """Service unavailable"""

    status = 503
    code = "unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class KeysUnavailable(Unavailable):
    """The token's issuer cannot be reached for its keys; try again shortly"""

    code = "keys_unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; try again shortly"""

    code = "database_unavailable"


class DatabaseWaking(Unavailable):
    """The database is waking up or restarting; try again shortly"""

    code = "database_waking"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class DatabaseReadOnly(Unavailable):
    """The database takes no writes at the moment; try again shortly"""

    code = "database_read_only"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class SchemaOutdated(Unavailable):
    """The database's schema is not the one that this version needs; run: make migrate"""

    code = "schema_outdated"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


class Overloaded(Unavailable):
    """Too many requests are waiting for the database; try again shortly"""

    code = "overloaded"
