"""What only an agent of others can be told."""

from typing import ClassVar

from backend.errors import ApiError, InvalidRequest


class InsufficientScope(ApiError):
    """Access denied: the token's scopes do not reach so far; sign in again and ask for those named"""

    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"Access denied: this needs the scope {scope}; sign in again and ask for it")
        self.scope = scope


class NotOneMessage(InvalidRequest):
    """The body must be one request or notification of JSON-RPC 2.0; batches and responses are not taken"""

    loc = ("body",)
    kind: ClassVar[str] = "json_rpc_message"


class TooManyValues(InvalidRequest):
    """The message has more than 5,000 values: call for less at once"""

    loc = ("body",)
    kind: ClassVar[str] = "json_rpc_message"


class UnknownArgument(InvalidRequest):
    """The tool has no such argument"""

    loc = ("arguments",)
