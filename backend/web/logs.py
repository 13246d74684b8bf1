"""Logging: one structured line a request, as text for people or JSON for machines."""

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

from backend.config import Settings

# The request that a line belongs to; errors show it to the client.
request_id: ContextVar[str] = ContextVar("request_id", default="-")
# The trace that it is a part of, where TRACING_ENABLED.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")


Fields = Mapping[str, object]


class TextFormatter(logging.Formatter):
    """`time level logger message key=value… request_id`."""

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record.created, record.levelname, record.name, record.getMessage(), _fields(record))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def line(self, created: float, level: str, name: str, message: str, fields: Fields) -> str:
        """What a record without an exception comes to."""
        rest = "".join([f" {name}={value}" for name, value in fields.items()])
        line = f"{_time(created)} {level.lower()} {name} {message}{rest} request_id={request_id.get()}"
        if trace := trace_id.get():
            line += f" trace_id={trace}"
        return line if line.isprintable() else line.translate(_ESCAPED)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields = {**fields, "exception": f"\n{self.formatException(record.exc_info)}"}
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields)

    def line(self, created: float, level: str, name: str, message: str, fields: Fields) -> str:
        """What a record comes to."""
        head = {"time": _time(created), "level": level.lower(), "logger": name, "message": message}
        ids = {"request_id": request_id.get()}
        if trace := trace_id.get():
            ids["trace_id"] = trace
        return json.dumps({**head, **fields, **ids}, default=str)


def _fields(record: logging.LogRecord) -> Fields:
    """What was logged with `extra={"fields": {…}}`."""
    fields: Fields = getattr(record, "fields", {})
    return fields


# What would end a line, or move the cursor of whoever reads it: a driver's message has several lines.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), 0x7F, 0x85, 0x2028, 0x2029)}


def _time(created: float) -> str:
    return f"{_second(int(created))}.{int(created % 1 * 1000):03}+00:00"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    """A second as all of its lines have it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr; requests that end in one turn of the event loop with one system call."""

    def __init__(self, formatter: TextFormatter | JsonFormatter) -> None:
        super().__init__(sys.stderr)
        self.formatter: TextFormatter | JsonFormatter = formatter
        self._lines: list[str] = []
        self._flushes: asyncio.AbstractEventLoop | None = None  # in its next turn

    def write(self, name: str, message: str, fields: Fields) -> None:
        """Write what a record of INFO would come to, without the record, which costs more than the line."""
        self._lines.append(f"{self.formatter.line(time.time(), 'INFO', name, message, fields)}\n")
        loop = asyncio.get_running_loop()
        if self._flushes is not loop:
            self._flushes = loop
            loop.call_soon(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()  # one line after the other
        super().emit(record)

    def flush(self) -> None:
        """Write what is kept. Python does so too as it ends."""
        lines, self._lines, self._flushes = self._lines, [], None
        if lines:
            self.stream.write("".join(lines))
        super().flush()


# A calendar's secret lets in whoever reads it, also where its address was mistyped. It is longer than an id.
_SECRET_MIN = 40
_SECRET = re.compile(rb"(?:[A-Za-z0-9_-]|%%[0-9A-Fa-f]{2}){%d,}" % _SECRET_MIN)


def without_secrets(path: bytes) -> bytes:
    """Return a path, as it was sent, without what may be a secret in it."""
    return path if len(path) < _SECRET_MIN else _SECRET.sub(b"...", path)


_requests = logging.getLogger("backend.requests")


def log_request(fields: Fields) -> None:
    """Write the line of a request."""
    handlers = logging.root.handlers
    if not _requests.isEnabledFor(logging.INFO):
        return
    if len(handlers) == 1 and isinstance(handlers[0], Handler) and not _requests.handlers:
        handlers[0].write(_requests.name, "request", fields)
    else:  # somebody else listens too
        _requests.info("request", extra={"fields": fields})


def configure(settings: Settings) -> None:
    """Send this process's log to stderr in the format asked for."""
    handler = Handler(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    # What no line shows need not be found out for each (the logging manual's "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for quiet in ("uvicorn.error", "httpx", "httpcore", "alembic", "mcp"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
