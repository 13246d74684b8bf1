"""What a client can be told went wrong, whatever it asked for. A noun has the rest in its own errors.py.

ApiError
├── Unauthorized (401)
│   ├── MissingToken
│   ├── InvalidScheme
│   ├── InvalidToken
│   │   └── MissingSubject
│   ├── ExpiredToken
│   ├── AmbiguousSession
│   └── UnknownUser
├── ForeignUser (403)
├── ForeignOrigin (403)
├── PreflightRefused (400)
├── ReferenceMissing (409)
├── UnsupportedMediaType (415)
├── AnswerNotKept (409)
├── TooManyKeys (429)
├── InvalidRequest (422)
│   ├── InvalidCursor
│   ├── UnknownZone
│   ├── InvalidBody
│   ├── RepeatedHeader
│   └── KeyReused
├── BadRequest (400)
├── RequestTimeout (408)
├── UrlTooLong (414)
├── HeadersTooLarge (431)
├── TooManyRequests (429)
└── Unavailable (503)
    ├── KeysUnavailable
    ├── DatabaseUnavailable
    ├── DatabaseWaking
    ├── DatabaseConflict
    ├── DatabaseReadOnly
    ├── SchemaOutdated
    ├── StatementTimeout
    ├── Overloaded
    └── ConnectionsUsedUp

The docstring of a class is the `detail` its clients read; `code` is for programs. An error that says more
brings its own `members`, and the `model` that documents its answer.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel


class Problem(BaseModel):
    """What went wrong: `detail` for a person, `code` for a program, `request_id` for the logs."""

    detail: str
    code: str
    request_id: str


class FieldError(BaseModel):
    """One thing wrong with one part of a request."""

    loc: list[str | int]
    msg: str
    type: str


class ValidationProblem(BaseModel):
    """A request that breaks the rules of its schema."""

    detail: list[FieldError]
    code: Literal["validation_error"]
    request_id: str


class ApiError(Exception):
    """Internal server error"""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    headers: ClassVar[dict[str, str]] = {}
    model: ClassVar[type[BaseModel]] = Problem

    def __init__(self, detail: str = "", *, reason: str = "") -> None:
        super().__init__(*filter(None, [detail]))
        self.reason = reason
        """What the log has beside, for whoever runs the service: why a token was refused. Never sent."""

    @property
    def detail(self) -> Any:
        """What a person reads: the sentence passed in, or else the docstring."""
        return str(self) or type(self).__doc__

    @property
    def members(self) -> Mapping[str, object]:
        """What the answer has beside `detail`, `code` and `request_id`."""
        return {}


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


class AmbiguousSession(Unauthorized):
    """Session cookies of several users came with the request: delete this site's cookies and sign in again"""

    code = "ambiguous_session"


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


class PreflightRefused(ApiError):
    """Browsers may not send this from another origin"""

    status = 400
    code = "preflight_refused"


class ReferenceMissing(ApiError):
    """What this refers to does not exist, or not any more; read it again"""

    status = 409
    code = "reference_missing"


class UnsupportedMediaType(ApiError):
    """The body's media type cannot be read here; the answer says which can"""

    status = 415
    code = "unsupported_media_type"


class AnswerNotKept(ApiError):
    """This was done when its Idempotency-Key first came; the answer was too large to keep, so read it anew"""

    status = 409
    code = "answer_not_kept"


class TooManyKeys(ApiError):
    """Nothing was done: too many of your Idempotency-Keys are kept, each for a day; send it without one"""

    status = 429
    code = "too_many_keys"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "3600"}


class InvalidRequest(ApiError):
    """The request breaks a rule that its schema cannot say"""

    status = 422
    code = "validation_error"
    model = ValidationProblem
    loc: tuple[str, ...] = ()
    kind: ClassVar[str] = "value_error"

    @property
    def detail(self) -> list[dict[str, Any]]:
        """The list that every 422 has."""
        message = str(self) or type(self).__doc__
        return [{"loc": list(self.loc), "msg": message, "type": self.kind}]


class InvalidCursor(InvalidRequest):
    """The cursor is not of this list; start again without it"""

    loc = ("query", "cursor")
    kind = "invalid_cursor"


class UnknownZone(InvalidRequest):
    """The database does not know the time zone of one of these tasks; say which one days are in: timezone="""

    loc = ("query", "timezone")


class InvalidBody(InvalidRequest):
    """The body breaks a rule that its schema cannot say"""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.loc = ("body", field)


class RepeatedHeader(InvalidRequest):
    """This header came several times with different values; send it once"""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.loc = ("header", name)


class KeyReused(InvalidRequest):
    """This Idempotency-Key came with another request before; use a new one for each"""

    loc = ("header", "Idempotency-Key")


class BadRequest(ApiError):
    """The request is not HTTP/1.1 as this service reads it"""

    status = 400
    code = "bad_request"


class RequestTimeout(ApiError):
    """The request did not come in time; send it without pauses"""

    status = 408
    code = "request_timeout"


class UrlTooLong(ApiError):
    """The URL is longer than 8 KiB"""

    status = 414
    code = "url_too_long"


class HeadersTooLarge(ApiError):
    """The headers are more than 100, or larger than 32 KiB"""

    status = 431
    code = "headers_too_large"


class TooManyRequests(ApiError):
    """More requests in a minute than there may be; try again after the seconds of Retry-After"""

    status = 429
    code = "too_many_requests"


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


class DatabaseConflict(Unavailable):
    """Others changed the same at the same moment, again and again; nothing was done; try again shortly"""

    code = "database_conflict"


class DatabaseReadOnly(Unavailable):
    """The database takes no writes at the moment; try again shortly"""

    code = "database_read_only"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class SchemaOutdated(Unavailable):
    """The database's schema is not the one that this version needs; run: make migrate"""

    code = "schema_outdated"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


class StatementTimeout(Unavailable):
    """The database needs longer for this than it may; ask for less: narrow the filter, send fewer at once"""

    code = "statement_timeout"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "30"}


class Overloaded(Unavailable):
    """Too many requests are waiting for the database; try again shortly"""

    code = "overloaded"


class ConnectionsUsedUp(Unavailable):
    """All connections of the service are in use; try again shortly"""

    code = "connections_used_up"
