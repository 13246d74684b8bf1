"""A file as it arrives: as the body itself, or in the form that a browser sends."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from backend.slices import sliced
from backend.tasks.errors import InvalidFile
from backend.tasks.files.schemas import MEDIA_TYPES, Readable
from backend.web.handlers import media_type, unreadable

FORM = "multipart/form-data"
FORM_FIELDS_MAX = 20
_CHUNK = 4096

# What can be read, in the order in which it is named to those who sent something else.
_FORMATS: dict[str, Readable] = {
    **{name: kind for kind, name in MEDIA_TYPES.items()},
    "application/json": "json",
    "text/tab-separated-values": "csv",
    "application/vnd.ms-excel": "csv",  # what Windows calls a .csv where Excel is installed
}
_EXAMPLES: dict[Readable, Any] = {
    "ndjson": '{"title": "Buy milk"}\n',
    "csv": "title\nBuy milk\n",
    "json": [{"title": "Buy milk"}],
}
READABLE: dict[str, dict[str, Any]] = {
    name: {"schema": {"type": "string"}, "example": _EXAMPLES[kind]} for name, kind in _FORMATS.items()
} | {
    FORM: {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
        }
    }
}
_SUFFIXES: dict[str, Readable] = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "json": "json",
}
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


async def opened(request: Request, content: bytes) -> tuple[bytes, Readable]:
    """Return the file that a request brings, and what it is.

    Raises:
        UnsupportedMediaType: it is of no kind that can be read.
        InvalidFile: there is none in the form or there are several, or it is a workbook.
    """
    sent = request.headers.get("content-type")
    kind = _FORMATS.get(media_type(sent))
    if media_type(sent) == FORM:
        content, kind, sent = await _of_form(request, content)
    if kind is None:
        raise unreadable(sent, READABLE)
    if content.startswith(_WORKBOOKS):
        raise InvalidFile("is a workbook; save the sheet as CSV and send that")
    return content, kind


async def _of_form(request: Request, content: bytes) -> tuple[bytes, Readable | None, str | None]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        async for start in sliced(range(0, len(content), _CHUNK)):
            yield content[start : start + _CHUNK]

    # In memory from beginning to end: a body is no larger than what Starlette's files may have there.
    parser = MultiPartParser(request.headers, chunks(), max_files=1, max_fields=FORM_FIELDS_MAX)
    try:
        form = await parser.parse()
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise InvalidFile('is missing in the form, or ends midway; send it as <input type="file">')
        [file] = files
        suffix = (file.filename or "").rpartition(".")[2].lower()
        kind = _FORMATS.get(media_type(file.content_type)) or _SUFFIXES.get(suffix)
        return await file.read(), kind, file.content_type
    except MultiPartException as error:
        raise InvalidFile(f"cannot be found in the form: {error.message}") from None
    finally:
        for one in parser._files_to_close_on_error:  # the form itself has no file that the body ends in
            one.close()
