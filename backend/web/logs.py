"""Logging: one structured line a request, as text for people or JSON for machines."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

from backend.config import Settings

# The request that a line belongs to; errors show it to the client.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class TextFormatter(logging.Formatter):
    """`time level logger message key=value… request_id`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join([f" {name}={value}" for name, value in getattr(record, "fields", {}).items()])
        level, name, message = record.levelname.lower(), record.name, record.getMessage()
        line = f"{_time(record.created)} {level} {name} {message}{fields} request_id={request_id.get()}"
        if not line.isprintable():
            line = line.translate(_ESCAPED)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
            "request_id": request_id.get(),
        }
        if record.exc_info:
            fields["exception"] = f"\n{self.formatException(record.exc_info)}"
        return json.dumps(fields, default=str)


# What would end a line, or move the cursor of whoever reads it: a driver's message has several lines.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), 0x7F, 0x85, 0x2028, 0x2029)}


def _time(created: float) -> str:
    return f"{_second(int(created))}.{int(created % 1 * 1000):03}+00:00"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    """A second as all of its lines have it."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def configure(settings: Settings) -> None:
    """Send this process's log to stderr in the format asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    # What no line shows need not be found out for each (the logging manual's "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for quiet in ("uvicorn.error", "httpx", "httpcore", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
