"""Files as people have them: Excel's delimiters and encodings, the columns of other tools. Pure functions."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from backend.tasks.errors import InvalidFile
from backend.tasks.files.foreign import KNOWN, Columns, google_task, readable
from backend.tasks.files.schemas import FIELDS, LINES_MAX, ImportedTask, Line, Readable
from backend.web.spelling import camel_names, spelt

IGNORED_MAX = 100  # names

_TEXT_LINES_MAX = 100_000  # of a file, and of a broken CSV that are read again
_LINE_MAX = 262_144  # bytes of JSON or characters of CSV: what is read in one step
_PARTS_MAX = 20_000  # objects and lists of JSON, and twice as many commas: it is read in one step
_HEAD_MAX = 65_536  # characters in which a CSV's header row ends

_DELIMITERS = ",;\t|"
_SEP = re.compile(r'"?sep=(.)"?[,;\t|]*[\r\n]*', re.IGNORECASE | re.DOTALL)
# What TickTick writes above its header row.
_PREAMBLE = re.compile(r"(?:date|version|status):", re.IGNORECASE)

_CAMEL_NAMES = camel_names(ImportedTask)
_CAMEL_NAME = re.compile("|".join(f'"{name}"' for name in _CAMEL_NAMES).encode())
_SPELT: TypeAdapter[ImportedTask] = TypeAdapter(Annotated[ImportedTask, spelt(ImportedTask)])


def read(content: bytes, kind: Readable) -> Iterator[Line]:
    """Read a file line by line, those that hold nothing included: however many, they are not one long step.

    Of JSON a line is a task.

    Raises:
        InvalidFile: there are more than LINES_MAX, a CSV has no sound header row, or JSON is none.
    """
    content = _in_utf8(content)
    ends = content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
    if ends > _TEXT_LINES_MAX:
        raise InvalidFile(f"has more than {_TEXT_LINES_MAX} lines of text; send it in parts")
    count = 0
    reader = {"csv": _read_csv, "ndjson": _read_ndjson, "json": _read_json}[kind]
    for line in reader(content):
        count += line.holds_something
        if count > LINES_MAX:
            raise InvalidFile(f"has more than {LINES_MAX} lines; send it in parts")
        yield line


def _read_ndjson(content: bytes) -> Iterator[Line]:
    for number, line in enumerate(io.BytesIO(content), start=1):
        if len(line) > _LINE_MAX:
            yield Line(number, None, f"is longer than {_LINE_MAX} bytes")
        else:
            yield _line(number, lambda line=line: _object(line)) if line.strip() else Line(number)


def _read_json(content: bytes) -> Iterator[Line]:
    """A list of tasks, one task, or what Google's Takeout has of its lists of tasks."""
    if content.count(b"{") + content.count(b"[") > _PARTS_MAX or content.count(b",") > 2 * _PARTS_MAX:
        raise InvalidFile("has too many parts to be read at once; send fewer tasks")
    try:
        found = from_json(content)
    except ValueError as error:
        raise InvalidFile(f"is no JSON: {error}; lines of it are application/x-ndjson") from None
    parse: Callable[[Any], ImportedTask] = _SPELT.validate_python
    if isinstance(found, dict) and str(found.get("kind")).startswith("tasks#"):
        lists = found.get("items")
        of_lists = (
            [one.get("items", []) for one in lists if isinstance(one, dict)]
            if isinstance(lists, list)
            else []
        )
        found = [task for tasks in of_lists if isinstance(tasks, list) for task in tasks]
        yield Line(0, ignored=("names of lists",))
        parse = _parse_google
    items = found if isinstance(found, list) else [found]
    if len(items) > LINES_MAX:
        raise InvalidFile(f"has more than {LINES_MAX} tasks; send it in parts")
    for number, item in enumerate(items, start=1):
        yield _line(number, lambda item=item: parse(item))


def _parse_google(item: Any) -> ImportedTask:
    return ImportedTask.model_validate(google_task(item) if isinstance(item, dict) else item)


def _in_utf8(content: bytes) -> bytes:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            # Half a surrogate pair becomes what is no UTF-8 either: one line is invalid.
            content = content.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise InvalidFile("begins like UTF-16 and is none; save it anew, as UTF-8") from None
    return content.removeprefix(codecs.BOM_UTF8)


def _object(line: bytes) -> ImportedTask:
    if _CAMEL_NAME.search(line) is None:
        return ImportedTask.model_validate_json(line)
    return _SPELT.validate_python(from_json(line))


def _read_csv(content: bytes) -> Iterator[Line]:
    # A byte that is no UTF-8 becomes half of a surrogate pair, which no field takes: one line is invalid.
    text = content.decode("utf-8", "surrogateescape")
    lines = list(io.StringIO(text, newline=""))
    delimiter, columns, first = _header(lines)
    yield Line(first, ignored=columns.ignored)
    for number, cells in _records(lines, delimiter):
        if number <= first:
            continue
        if isinstance(cells, str):
            yield Line(number, None, cells)
        elif any(cells[columns.count :]):
            yield Line(number, None, "has more cells than the first line has names")
        elif any(cells):
            line = _line(number, lambda cells=cells: ImportedTask.model_validate(columns.values(cells)))
            yield line._replace(ignored=columns.nameless(cells))
        else:
            yield Line(number)


def _header(lines: Sequence[str]) -> tuple[str, Columns, int]:
    """The delimiter of a CSV with which most is understood, its columns, and the number of their line."""
    head: list[str] = []
    for line in lines[:20]:
        if sum(map(len, head)) + len(line) > _HEAD_MAX:
            break
        head.append(line)
    said = _SEP.fullmatch(head[0]) if head else None
    found = []
    for delimiter in said[1] if said else _DELIMITERS:
        for number, cells in _records(head, delimiter) if delimiter in _DELIMITERS else ():
            if isinstance(cells, str):
                break
            if (number == 1 and said) or _PREAMBLE.match(cells[0] if cells else ""):
                continue
            columns = Columns(cells)
            if columns.are_sound:
                found.append((len(columns.fields), delimiter, columns, number))
            break
    if not found:
        raise InvalidFile(
            f"the first line must name the columns, each once: title, and any of {', '.join(FIELDS)}"
        )
    _, delimiter, columns, number = max(found, key=lambda one: one[0])
    return delimiter, columns, number


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with the number of its first line, or what is wrong there.

    A quote that is never closed would take all that follows with it: after a broken record reading goes on
    at its second line.
    """
    position = budget = 0

    def following() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            if len(lines[position - 1]) > _LINE_MAX:
                raise csv.Error(f"a line is longer than {_LINE_MAX} characters")
            yield lines[position - 1]

    reader = csv.reader(following(), strict=True, delimiter=delimiter)
    while True:
        start = position
        try:
            yield start + 1, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            budget += position - start
            if budget > _TEXT_LINES_MAX:
                raise InvalidFile("too many of its lines are no CSV") from None
            yield start + 1, f"is no CSV: {error}"
            position = start + 1
            reader = csv.reader(following(), strict=True, delimiter=delimiter)


def _line(number: int, parse: Any) -> Line:
    try:
        task: ImportedTask = parse()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
    except ValueError as error:
        return Line(number, None, readable(str(error)))
    else:
        extra = task.model_extra
        if not extra:
            return Line(number, task)
        ignored = tuple(readable(name) for name in islice(extra, IGNORED_MAX) if name not in KNOWN)
        extra.clear()  # it may be large, and there may be many
        return Line(number, task, ignored=ignored)
    place = ".".join(map(str, problem["loc"]))
    said = problem["msg"]
    if problem["type"] == "string_unicode":
        said = "is not in UTF-8; save the file as UTF-8, which Excel calls CSV UTF-8"
    message = f"{place}: {said}" if place else said
    sent = problem["input"]
    return Line(number, None, readable(f"{message}, not {sent[:40]!r}" if isinstance(sent, str) else message))
