"""Retry safety: a change with an Idempotency-Key is done once, and answered alike however often it comes."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple, Self

from fastapi import Header, Request, Response
from pydantic import BaseModel

from backend.engine.prepared import Row
from backend.engine.statements import Statements, Transaction, again
from backend.errors import AnswerNotKept, KeyReused, TooManyKeys
from backend.models import KEY_MAX
from backend.observation import observing
from backend.web import kept_answers
from backend.web.answers import JsonResponse

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=KEY_MAX,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes the request safe to repeat for 24 hours: the first answer is given again",
    ),
]

ERRORS = (KeyReused, AnswerNotKept, TooManyKeys)


class Reply(NamedTuple):
    """An answer that can be kept."""

    status: int
    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, model: BaseModel) -> Self:
        """A 200 with a model as its JSON."""
        return cls(200, model.model_dump_json().encode(), {})


async def answer_once(
    request: Request,
    statements: Statements,
    user_id: str,
    key: str | None,
    write: Callable[[Statements], Awaitable[Reply]],
) -> Response:
    """Answer with what `write` replies, or did reply to the first request with this key.

    The key is written in the transaction of `write`: both happen or neither does. A second request that comes
    while the first is running waits for it.

    Raises:
        KeyReused: the key came with another request before.
        AnswerNotKept: it came with this one, whose answer did not fit.
        TooManyKeys: the user has as many as are kept; nothing was done.
    """
    if key is None:
        return _response(await write(statements))
    fingerprint = await _fingerprint(request)
    limits = kept_answers.Limits.of(request.app.state.settings)
    return await again(lambda: _once(statements, user_id, key, fingerprint, limits, write))


async def _once(
    statements: Statements,
    user_id: str,
    key: str,
    fingerprint: str,
    limits: kept_answers.Limits,
    write: Callable[[Statements], Awaitable[Reply]],
) -> Response:
    async with statements.transaction() as transaction:
        first = await claim(transaction, user_id, key, fingerprint)
        if first is None:
            reply = await write(transaction)
            await keep(transaction, user_id, key, reply, limits)
            return _response(reply)
    if (observation := observing.get()) is not None:
        observation.replayed = True
    headers = json.loads(first.headers) | {"Idempotency-Replayed": "true"}
    return _response(Reply(first.status, first.body.encode(), headers))


async def claim(transaction: Transaction, user_id: str, key: str, fingerprint: str) -> Row | None:
    """Take a key for this transaction; or return the row of what was answered to it before.

    Raises:
        KeyReused: the key came with another request.
        AnswerNotKept: it came with this one, whose answer did not fit.
    """
    if await kept_answers.claim(transaction, user_id, key, fingerprint):
        return None
    first = await kept_answers.get(transaction, user_id, key)
    if first.fingerprint != fingerprint:
        raise KeyReused
    if first.body is None:
        raise AnswerNotKept
    return first


async def keep(
    transaction: Transaction, user_id: str, key: str, reply: Reply, limits: kept_answers.Limits
) -> None:
    """Keep what is answered to a key that this transaction has.

    Raises:
        TooManyKeys: the user has as many as are kept; nothing must be done.
    """
    answer = (reply.status, json.dumps(reply.headers), reply.body)
    if not await kept_answers.store(transaction, user_id, key, answer, limits):
        raise TooManyKeys


async def _fingerprint(request: Request) -> str:
    """What makes it the same request: its address and its body. The two prefixes of one address differ."""
    address = f"{request.method} {request.scope['path']}?{request.url.query}\n"
    return hashlib.sha256(address.encode() + await request.body()).hexdigest()


def _response(reply: Reply) -> Response:
    if reply.body:
        return JsonResponse(reply.body, reply.status, reply.headers)
    return Response(status_code=reply.status, headers=reply.headers)
