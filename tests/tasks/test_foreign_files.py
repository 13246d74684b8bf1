"""Files as people have them: Excel's, browsers' forms, and what other tools export."""

import gc
from typing import Any

import pytest

from backend.tasks.files.reading import read
from backend.tasks.files.schemas import ImportedTask
from tests.conftest import Client
from tests.pauses import PAUSE_MAX, watched
from tests.tasks.test_files import everything, import_, imported, totals


@pytest.fixture
def database_url() -> str:
    """One kind of database: how a file is read hangs on none."""
    return "sqlite://"


def tasks_of(content: str | bytes) -> list[ImportedTask]:
    """The tasks of a CSV all of whose lines are sound."""
    data = content.encode() if isinstance(content, str) else content
    lines = [line for line in read(data, "csv") if line.holds_something]
    assert [line.problem for line in lines] == [None] * len(lines)
    return [line.task for line in lines if line.task]


def problems_of(content: str) -> list[str | None]:
    """What is wrong with each line of a CSV."""
    return [line.problem for line in read(content.encode(), "csv") if line.holds_something]


TABLE = "Title;Notes;Tags\r\na, b;é;x,y\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", '"sep={}"\r\n', "SEP={}\n"])
def test_excels_tables_are_read(encoding: str, delimiter: str, first: str) -> None:
    """Its delimiters, with the line that names them and without, in its encodings."""
    text = first.format(delimiter) + TABLE.replace(";", delimiter)
    [task] = tasks_of(text.encode(encoding))
    assert (task.title, task.description, task.tags) == ("a, b", "é", ["x", "y"])


def test_the_byte_order_of_utf_16_is_told_by_its_mark() -> None:
    """Both orders are read, and half of a pair spoils its own line alone."""
    for mark, codec in (("\ufeff", "utf-16-le"), ("\ufeff", "utf-16-be")):
        content = f"{mark}title\na\n\ud800\nb\n".encode(codec, "surrogatepass")
        assert [line.problem is None for line in read(content, "csv") if line.holds_something] == [
            True,
            False,
            True,
        ]


async def test_broken_utf_16_is_refused(alice: Client) -> None:
    """A file that ends in the middle of a character cannot be read."""
    response = await import_(alice, "title\na".encode("utf-16")[:-1], "csv")
    assert response.status_code == 422
    assert "UTF-16" in response.text


@pytest.mark.parametrize(
    ("cell", "state"),
    [(word, True) for word in ("yes", "YES", "1", "x", "TRUE", "ja", "Wahr", "✓", "Completed", "done")]
    + [(word, False) for word in ("no", "0", "", "FALSE", "nein", "Falsch", "needsAction", "Not Started")],
)
def test_people_have_many_words_for_done(cell: str, state: bool) -> None:
    """Each says whether the task is completed."""
    for name in ("Done", "completed", "Status"):
        [task] = tasks_of(f"Name,{name}\na,{cell}\n")
        assert task.completed is state


def test_what_is_no_state_is_refused() -> None:
    """Another word is no guess: its line is invalid, and the word is named."""
    [problem] = problems_of("title,done\na,perhaps\n")
    assert problem
    assert "completed" in problem
    assert "'perhaps'" in problem


@pytest.mark.parametrize("date", ["12/24/2026", "1/2/26", "24.12.2026", "24-12-2026 10:00", "1.2.2026 9:00"])
def test_a_date_that_can_be_read_in_two_ways_is_refused(date: str) -> None:
    """Nobody guesses: the line says how to write it."""
    [problem] = problems_of(f"title,due date\na,{date}\n")
    assert problem
    assert "write 2026-12-24" in problem
    assert date in problem


@pytest.mark.parametrize("empty", ["0001-01-01", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", ""])
async def test_the_first_of_all_days_is_no_date(alice: Client, empty: str) -> None:
    """Other tools write it where there is none, in either format and in any date."""
    [task] = tasks_of(f"title,due,created,completed at,done\na,{empty},{empty},{empty},x\n")
    assert (task.due_date, task.created_at, task.completed_at) == (None, None, None)
    assert totals(await imported(alice, f'{{"title":"a","due_date":"{empty}"}}')) == (1, 0, 0)


TICKTICK = (
    '\ufeff"Date: 2026-11-26+0000"\n"Version: 7.1"\n"Status: \n0 Normal\n1 Completed\n2 Archived"\n'
    '"Folder Name","List Name","Title","Kind","Tags","Content","Is Check list","Start Date","Due Date",'
    '"Reminder","Repeat","Priority","Status","Created Time","Completed Time","Order","Timezone",'
    '"Is All Day","Is Floating","Column Name","Column Order","View Mode","taskId","parentId"\n'
    '"","Inbox","a","TEXT","x, y","text","N","","2026-12-23T23:00:00+0000","","RRULE:FREQ=DAILY","5","0",'
    '"2026-11-01T10:00:00+0000","","1","Europe/Berlin","true","false","","0","list","1",""\n'
    '"","Inbox","b","TEXT","","","N","","2026-12-24 00:00:00+0000","","","0","2",'
    '"2026-11-01T10:00:00+0000","2026-11-02T10:00:00+0000","1","Europe/Berlin","false","","","0","","2",""\n'
)
TODOIST = (
    "TYPE,CONTENT,DESCRIPTION,IS_COLLAPSED,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE\r\n"
    "task,a,text,,1,1,me (1),,2026-12-24,en,Europe/Berlin\r\n,,,,,,,,,,\r\n"
    "section,Later,,,,,,,,,\r\ntask,b,,,4,1,me (1),,every day,en,\r\n"
)


async def test_ticktick_is_read(alice: Client) -> None:
    """With its preamble, its numbers and its days; what is not understood is named."""
    reply = await imported(alice, TICKTICK, "csv")
    assert totals(reply) == (2, 0, 0)
    assert {"Folder Name", "List Name", "Reminder", "parentId"} <= set(reply["ignored"])
    assert not {"Title", "Content", "Due Date", "Repeat", "Timezone", "Is All Day"} & set(reply["ignored"])
    a, b = [task for _, task in sorted((await everything(alice)).items())]
    assert (a["title"], a["description"], a["tags"]) == ("a", "text", ["x", "y"])
    assert (a["due_date"], a["priority"], a["completed"]) == ("2026-12-24", "high", False)
    assert (a["recurring_pattern"], a["created_at"]) == ("FREQ=DAILY", "2026-11-01T10:00:00Z")
    assert (b["due_date"], b["priority"], b["completed"]) == ("2026-12-24T00:00:00Z", "medium", True)
    assert b["completed_at"] == "2026-11-02T10:00:00Z"


async def test_todoist_is_read(alice: Client) -> None:
    """Its tasks are; a section is none, and a date in words is said to be none, each on its line."""
    reply = await imported(alice, TODOIST, "csv")
    assert [(line["line"], line["status"]) for line in reply["lines"]] == [
        (2, "created"),
        (4, "invalid"),
        (5, "invalid"),
    ]
    assert "section" in reply["lines"][1]["detail"]
    assert "every day" in reply["lines"][2]["detail"]
    assert {"AUTHOR", "INDENT", "DATE_LANG"} <= set(reply["ignored"])
    [task] = (await everything(alice)).values()
    assert (task["title"], task["priority"], task["due_date"]) == ("a", "high", "2026-12-24")


async def test_nothing_is_dropped_in_silence(alice: Client) -> None:
    """Columns and keys that are no fields are named: once, in their order, a hundred at most."""
    reply = await imported(alice, "title,List,Reminder,,updated_at\na,b,c,d,\nb,,,,\n", "csv")
    assert reply["ignored"] == ["List", "Reminder", "column 4"]
    reply = await imported(alice, '{"title":"c","List":1,"user_id":"x"}\n{"title":"d","List":2,"due":3}')
    assert reply["ignored"] == ["List", "due"]
    assert (await imported(alice, "title\ne\n", "csv"))["ignored"] == []
    many = ",".join(f'"k{n}":1' for n in range(500))
    assert len((await imported(alice, f'{{"title":"f",{many}}}'))["ignored"]) == 100


@pytest.mark.parametrize("word", ["1", "5", "p1", "highest"])
def test_priorities_of_unknown_scales_are_refused(word: str) -> None:
    """A number is the highest in one tool and the lowest in another."""
    [problem] = problems_of(f"title,priority\na,{word}\n")
    assert problem
    assert "priority" in problem


@pytest.mark.parametrize("kind", ["application/vnd.ms-excel", "text/tab-separated-values"])
async def test_other_names_of_csv(alice: Client, kind: str) -> None:
    """Windows calls a CSV after Excel; tabs have a name of their own. A real workbook is refused."""
    headers = {"Content-Type": kind}
    assert totals(await imported_as(alice, "title\tdone\na\tx\n", headers)) == (1, 0, 0)
    for content in (b"PK\x03\x04rest", b"\xd0\xcf\x11\xe0rest"):
        response = await alice.post("/api/tasks/import", content=content, headers=headers)
        assert response.status_code == 422
        assert "save the sheet as CSV" in response.text


async def imported_as(client: Client, content: str, headers: dict[str, str]) -> Any:
    """Import a file of some media type."""
    response = await client.post("/api/tasks/import", content=content, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


FORMS: list[tuple[str, str, bytes]] = [
    ("tasks.csv", "text/csv", b"title\na\n"),
    ("tasks.csv", "application/vnd.ms-excel", b"title;done\na;x\n"),
    ("tasks.csv", "application/octet-stream", b"title\na\n"),
    ("Tasks.TSV", "text/plain", b"title\tx\na\t\n"),
    ("tasks.ndjson", "application/octet-stream", b'{"title":"a"}\n'),
    ("tasks", "application/x-ndjson", b'{"title":"a"}\n'),
]


@pytest.mark.parametrize(("name", "kind", "content"), FORMS)
async def test_a_browsers_form_is_read(alice: Client, name: str, kind: str, content: bytes) -> None:
    """The file in it, by its media type or else its name, whatever the field is called."""
    files = {"upload": (name, content, kind)}
    response = await alice.post("/api/tasks/import", files=files, data={"csrf": "x"})
    assert response.status_code == 200, response.text
    assert totals(response.json()) == (1, 0, 0)


async def test_forms_that_bring_no_file_are_refused(alice: Client) -> None:
    """None, two, one of another type, and what is no form."""
    csv = ("a.csv", b"title\na\n", "text/csv")
    for status, form in (
        (422, {"files": [("a", csv), ("b", csv)]}),
        (422, {"files": [(f"f{n}", (None, "x")) for n in range(30)]}),
        (415, {"files": {"a": ("a.pdf", b"title", "application/pdf")}}),
        (422, {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        (422, {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}),
        (422, {"content": b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}),
    ):
        response = await alice.post("/api/tasks/import", **form)
        assert response.status_code == status, (form, response.text)
    assert await everything(alice) == {}


@pytest.mark.slow
async def test_no_file_and_no_form_holds_others_up(alice: Client) -> None:
    """What is dearest to read is read in slices: rows of delimiters, a form that seems to end everywhere."""
    size = 1_000_000
    boundary = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n'
    lines = {"Content-Type": "application/x-ndjson"}
    keys = ",".join(f'"k{n}":1' for n in range(70_000)).encode()
    for content, headers in (
        (b"title" + b"," * size, {"Content-Type": "text/csv"}),
        (b"title,x\n" + b";,|" * (size // 3), {"Content-Type": "text/csv"}),
        (b"title\n" + b"a\n" * 9_000, {"Content-Type": "text/csv"}),
        (b'{"title":"a",' + keys + b"}", lines),
        (b'{"title":"a","y":[' + b"1," * (size // 2) + b"1]}", lines),
        (b'{"id":7,"title":"a"}\n{"id":7,"title":"b"}\n' * 4_000, lines),
        (b'{"id":7,"title":"a","completed":true,"next_task_id":7}\n' * 9_000, lines),
        (part + b"\r\n--" * (size // 4), boundary),
        (part + b"\r" * size, boundary),
        ((part + b"\r\n") * (size // 80), boundary),
    ):
        await alice.get("/api/tasks")
        gc.collect()
        gc.disable()
        try:
            async with watched() as pauses:
                await alice.post("/api/tasks/import?on_conflict=update", content=content, headers=headers)
        finally:
            gc.enable()
        assert pauses.longest < PAUSE_MAX, (content[:60], pauses.longest)


def test_the_limit_of_lines_is_the_same_for_all_their_ends() -> None:
    """LF, CRLF and CR count alike."""
    for end in (b"\n", b"\r\n", b"\r"):
        assert sum(1 for _ in read(b"title" + end * 100_000, "csv"))
        with pytest.raises(Exception, match="more than 100000 lines"):
            list(read(b"title" + end * 100_001, "csv"))


TAKEOUT: dict[str, Any] = {
    "kind": "tasks#taskLists",
    "items": [
        {
            "kind": "tasks#tasks",
            "id": "MTIz",
            "title": "My Tasks",
            "updated": "2026-11-20T10:00:00.000Z",
            "items": [
                {
                    "kind": "tasks#task",
                    "id": "YWJj",
                    "title": "Äpfel",
                    "task_type": "PERSONAL_TASK",
                    "notes": "two kilos",
                    "status": "needsAction",
                    "due": "2026-12-24T00:00:00.000Z",
                    "created": "2026-11-01T10:00:00.000Z",
                },
                {"title": "done", "status": "completed", "completed": "2026-11-02T08:00:00.000Z"},
                {"title": "", "status": "needsAction"},
                {"title": "gone", "deleted": True},
                7,
            ],
        },
        {"kind": "tasks#tasks", "id": "NDU2", "title": "Empty"},
        7,
    ],
}


async def test_googles_takeout_is_read(alice: Client) -> None:
    """Its tasks are due on days, in any zone; what a task cannot keep is named, and twice is once."""
    for status in ("created", "unchanged"):
        response = await alice.post("/api/tasks/import", json=TAKEOUT)
        reply = response.json()
        assert (response.status_code, reply[status], reply["invalid"]) == (200, 2, 3), reply
        assert reply["ignored"] == ["names of lists", "task_type"]
        assert [line["status"] for line in reply["lines"]] == [status, status, *["invalid"] * 3]
    done, apples = (await alice.get("/api/tasks?sort=title&order=desc")).json()
    assert (apples["title"], apples["description"], apples["due_date"]) == (
        "Äpfel",
        "two kilos",
        "2026-12-24",
    )
    assert (apples["completed"], apples["created_at"]) == (False, "2026-11-01T10:00:00Z")
    assert (done["completed"], done["completed_at"]) == (True, "2026-11-02T08:00:00Z")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b'[{"title": "a", "dueDate": "2026-12-24"}, {"title": "b", "x": 1}, {}, 3, null]', (2, 3)),
        (b'{"title": "a"}', (1, 0)),
        (b"[]", (0, 0)),
        (b"7", (0, 1)),
        (b'{"kind": "tasks#taskLists"}', (0, 0)),
        (b'{"kind": "tasks#taskLists", "items": 7}', (0, 0)),
        (b'{"kind": "tasks#taskLists", "items": [{"items": 7}]}', (0, 0)),
        (b"[{}" + b", {}" * 20_000 + b"]", None),
        (b"[" * 1_000_000, None),
        (b'{"title": "a"}\n{"title": "b"}', None),
        (b"", None),
        (b"\xff", None),
    ],
)
async def test_json_is_a_list_of_tasks(alice: Client, content: bytes, answer: tuple[int, int] | None) -> None:
    """Each is created or named; what is no JSON, or is too much, is a 422 that says so."""
    response = await alice.post(
        "/api/tasks/import", content=content, headers={"Content-Type": "application/json"}
    )
    if answer is None:
        assert response.status_code == 422, response.text
    else:
        reply = response.json()
        assert (response.status_code, (reply["created"], reply["invalid"])) == (200, answer), reply
