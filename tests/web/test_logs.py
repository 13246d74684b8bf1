"""Log lines: for people and for machines."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.web.logs import JsonFormatter, TextFormatter, configure, log_request, request_id, trace_id
from tests.conftest import settings_for

CHATTY = ("uvicorn.error", "httpx", "httpcore", "alembic")

MOMENT = datetime(2026, 11, 21, 12, 30, 15, 250_000, UTC)


def record(message: str = "hello", *args: object, exc_info: Any = None, **extra: Any) -> logging.LogRecord:
    """A record as the logging module makes them."""
    made = logging.LogRecord("backend.x", logging.WARNING, "x.py", 1, message, args, exc_info)
    made.created = MOMENT.timestamp()
    vars(made).update(extra)
    return made


def caught(message: str) -> Any:
    """What `exc_info` is where an error was caught."""
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def read_json(made: logging.LogRecord) -> dict[str, Any]:
    """The line of a record, read by a machine."""
    line = JsonFormatter().format(made)
    assert line.isprintable(), "one line, and nothing that a terminal obeys"
    fields: dict[str, Any] = json.loads(line)
    return fields


@pytest.fixture
def in_request() -> Iterator[str]:
    """A request is being served; its id."""
    token = request_id.set("a-request-1")
    yield "a-request-1"
    request_id.reset(token)


def test_a_line_of_a_trace_names_it(in_request: str) -> None:
    """Beside the request, and only where there is a trace."""
    text = TextFormatter().format(record())
    assert text.endswith("request_id=a-request-1")
    token = trace_id.set("0af7651916cd43dd8448eb211c80319c")
    try:
        assert TextFormatter().format(record()) == f"{text} trace_id=0af7651916cd43dd8448eb211c80319c"
        assert read_json(record())["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    finally:
        trace_id.reset(token)
    assert "trace_id" not in read_json(record())


def test_a_json_line_says_when_what_and_where(in_request: str) -> None:
    """Time in UTC, level, logger, the whole message, the extra fields and the request, each by its name."""
    assert read_json(record("%d of %s", 1, "two", fields={"status": 200, "user": "alice"})) == {
        "time": "2026-11-21T12:30:15.250+00:00",
        "level": "warning",
        "logger": "backend.x",
        "message": "1 of two",
        "status": 200,
        "user": "alice",
        "request_id": in_request,
    }


def test_a_text_line_says_the_same(in_request: str) -> None:
    """The head without names, the rest as name=value."""
    line = TextFormatter().format(record("%d of %s", 1, "two", fields={"status": 200}))
    assert (
        line == f"2026-11-21T12:30:15.250+00:00 warning backend.x 1 of two status=200 request_id={in_request}"
    )


def test_outside_a_request_there_is_no_id() -> None:
    """A line that belongs to no request says so."""
    assert read_json(record())["request_id"] == "-"
    assert TextFormatter().format(record()).endswith(" request_id=-")


@pytest.mark.parametrize(
    "text",
    [
        'x"}\n{"level": "error", "message": "forged"}',
        "\r\n{}",
        "\u2028\u0085\x0b\x0c",
        "\x1b[31m",
        "half a pair: \ud800",
        "\0",
        "漢字",
    ],
)
def test_no_text_can_forge_a_second_json_line(text: str) -> None:
    """Whatever is in a message, a field or an exception stays one value of one line."""
    fields = read_json(record(text, fields={"path": text}, exc_info=caught(text)))
    assert fields["message"] == fields["path"] == text
    assert text in fields["exception"]


@pytest.mark.parametrize("text", ["two\nlines", "a\r\nb", "\u2028\u0085\x0b\x0c", "\x1b[31m", "\0"])
def test_a_text_line_is_one_line(text: str) -> None:
    """A driver's message of several lines, and whatever else moves the cursor, is escaped."""
    line = TextFormatter().format(record(text, fields={"reason": text}))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_an_exception_is_logged_with_its_traceback() -> None:
    """Both formats show where it came from, in text beneath the line."""
    made = record(exc_info=caught("the reason"))
    lines = TextFormatter().format(made).splitlines()
    assert lines[0].startswith("2026-11-21T12:30:15.250+00:00 warning backend.x hello")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: the reason"
    told = read_json(made)["exception"].strip().splitlines()
    assert (told[0], told[-1]) == (lines[1], lines[-1])


def test_what_json_has_no_word_for_is_written_as_text() -> None:
    """A field of any type cannot lose the line."""
    assert read_json(record(fields={"when": MOMENT, "raw": b"x"}))["when"] == str(MOMENT)


@pytest.fixture
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test configures is taken back."""
    levels = {name: logging.getLogger(name).level for name in ("", *CHATTY)}
    monkeypatch.setattr(logging.root, "handlers", [])
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_settings_choose_level_and_format(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """What is at the level or above is one line on stderr, in the format asked for."""
    settings = settings_for("sqlite://", log_level="warning", log_format=log_format)
    configure(settings)
    configure(settings)
    logging.getLogger("backend.x").info("unheard")
    logging.getLogger("backend.x").warning("heard")
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert (json.loads(line)["message"] == "heard") if log_format == "json" else (" backend.x heard " in line)


@pytest.mark.usefixtures("_own_logging")
def test_libraries_do_not_chatter(capsys: pytest.CaptureFixture[str]) -> None:
    """At the usual level what uvicorn, httpx and Alembic do is not logged; their warnings are."""
    configure(settings_for("sqlite://"))
    for name in CHATTY:
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
    assert [line.split()[3] for line in capsys.readouterr().err.splitlines()] == ["trouble"] * len(CHATTY)


@pytest.mark.usefixtures("_own_logging")
async def test_requests_that_end_together_are_written_together(capsys: pytest.CaptureFixture[str]) -> None:
    """Their lines wait for the end of the loop's turn, in order, but not behind what is logged later."""

    def paths() -> list[str]:
        return [line.split()[5] for line in capsys.readouterr().err.splitlines()]

    configure(settings_for("sqlite://"))
    for path in ("/a", "/b"):
        log_request({"method": "GET", "path": path})
    assert paths() == []
    await asyncio.sleep(0)
    assert paths() == ["path=/a", "path=/b"]
    log_request({"method": "GET", "path": "/c"})
    logging.getLogger("backend.x").warning("x x x")
    assert paths() == ["path=/c", "x"]
    log_request({"method": "GET", "path": "/d"})
    logging.shutdown()
    assert paths() == ["path=/d"]
