"""ETags of lists, counts and statistics: of the last change of the caller's tasks, and of what was asked for.

While neither is another, nor the service, the answer is the same. See docs/decisions/list-etags.md.
"""

import re
from datetime import UTC, datetime, timedelta

from fastapi import Request, Response

from backend.deps import Caller
from backend.tasks.lists import Key
from backend.tasks.log import LastChange, last_change
from backend.tasks.wire import encode
from backend.web.cursor import CursorCodec
from backend.web.etags import CODE, joined, named_etags

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = re.compile(r'(?:\.([0-9]{1,20}))?"')


def etag_header(
    request: Request, caller: Caller, key: Key, last: LastChange | None, until: datetime | None = None
) -> dict[str, str]:
    """The ETag of an answer that goes by `key`, and holds until then; none where it goes by the time."""
    if key is None:
        return {}
    end = "" if until is None else f".{_microseconds(until)}"
    return {"ETag": f'"{_mark(request, caller, key, last)}{end}"'}


async def not_modified(
    request: Request, caller: Caller, key: Key, *, bounded: bool = False
) -> Response | None:
    """A 304 to whoever has the answer that goes by `key`, and holds still; None where it has to be made.

    `bounded` says that such an answer holds for a time only. The database is asked where the request names an
    ETag, and then for one row, which is no task.
    """
    sent = joined(request.headers, b"if-none-match")
    if sent is None or key is None:
        return None
    last, now = await last_change(caller.statements, caller.id) or (None, _EPOCH)
    mark = f'"{_mark(request, caller, key, last)}'
    for etag in named_etags(sent):
        if etag == "*":  # any: one that holds at this moment
            etag = f'{mark}.{_microseconds(now)}"' if bounded else f'{mark}"'
        end = _END.fullmatch(etag, len(mark)) if etag.startswith(mark) else None
        if end and (end[1] is None or _microseconds(now) <= int(end[1])):
            return Response(status_code=304, headers={"ETag": etag})
    return None


def _mark(request: Request, caller: Caller, key: Key, last: LastChange | None) -> str:
    # Signed as cursors are: with another secret the `next` links of a list are others, too.
    cursors: CursorCodec = request.app.state.cursors
    return cursors.fingerprint(encode((CODE, caller.id, key, last)))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
