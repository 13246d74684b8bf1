"""Logging: one structured line a request, as text for people or JSON for machines."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from backend.config import Settings

# The request that a line belongs to; errors show it to the client.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class TextFormatter(logging.Formatter):
    """`time level logger message key=value… request_id`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        exception = fields.pop("exception", "")
        line = " ".join(str(value) if key in _HEAD else f"{key}={value}" for key, value in fields.items())
        return f"{line.translate(_ESCAPED)}{exception}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_fields(record), default=str)


_HEAD = ("time", "level", "logger", "message")
# What would end a line, or move the cursor of whoever reads it: a driver's message has several lines.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), 0x7F, 0x85, 0x2028, 0x2029)}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What a line says: the message, and what was logged with `extra={"fields": {…}}`."""
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **getattr(record, "fields", {}),
        "request_id": request_id.get(),
    }
    if record.exc_info:
        fields["exception"] = "\n" + logging.Formatter().formatException(record.exc_info)
    return fields


def configure(settings: Settings) -> None:
    """Send this process's log to stderr in the format asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    # What no line shows need not be found out for each (the logging manual's "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for quiet in ("uvicorn.error", "httpx", "httpcore", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
