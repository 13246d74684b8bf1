"""Whether a request costs the same, however many tasks others have: two tables, the same user in each."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks import subjects
from tests.postgres import Postgres, used_since

SMALL, GROWN = 100_000, 10_000_000
USUAL, MANY = 100, 10_000  # tasks of the users who ask
PAGE = 10
NEW = "brandnew"  # a word that only created tasks have
MEMBERS = 100  # ids of a user's that are asked for in turn

REQUESTS: dict[str, tuple[str, str, Any]] = {
    "list": ("GET", "?limit=50", None),
    "list, last page": ("GET", "{last}", None),
    "list, pending": ("GET", "?limit=50&status=pending", None),
    "list, completed": ("GET", "?limit=50&status=completed", None),
    "list, by due date": ("GET", "?limit=50&sort=due_date", None),
    "list, by title": ("GET", "?limit=50&sort=title", None),
    "list, overdue": ("GET", "?limit=50&overdue=true", None),
    "list, a tag": ("GET", "?limit=50&tag=home", None),
    "search": ("GET", "?limit=50&search=ordinary+9", None),
    "search, nothing found": ("GET", "?limit=50&search=nowhere", None),
    "stats": ("GET", "/stats", None),
    "count, pending": ("GET", "/count?status=pending", None),
    "get": ("GET", "/{id}", None),
    "create": ("POST", "", {"title": f"A {NEW} task", "description": "As people write them"}),
    "update": ("PATCH", "/{id}", {"title": "Changed in round {round}"}),
    "toggle": ("PATCH", "/{id}/complete", None),
}


class Measured(NamedTuple):
    """A request: what its median took, and what PostgreSQL did for one."""

    milliseconds: float
    database: float  # microseconds of CPU


class Client:
    """One user of one service, asking again and again over one connection."""

    def __init__(self, postgres: Postgres, address: str, token: str) -> None:
        self._postgres = postgres
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._last = self._walk()
        _, listed = self.send("GET", f"?limit={MEMBERS}")
        self._ids = [task["id"] for task in json.loads(listed)]

    def send(self, method: str, path: str, body: Any = None) -> tuple[str, bytes]:
        """Return what the header `Link` says, and the body."""
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, f"/api/tasks{path}", body=sent, headers=self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"{answer.status} at {method} {path}: {read.decode()}")
        return answer.headers.get("Link", ""), read

    def close(self) -> None:
        """End the connection; the next request opens another."""
        self._connection.close()

    def _walk(self) -> str:
        """Where the last page is."""
        path = f"?limit={PAGE}"
        while link := self.send("GET", path)[0]:
            path = link[link.index("?") : link.index(">")]
        return path

    def measure(self, name: str, number: int, seconds: float) -> Measured:
        """Ask for one thing for some seconds."""
        method, path, body = REQUESTS[name]
        if isinstance(body, dict) and method == "PATCH":
            body = {key: value.format(round=number) for key, value in body.items()}
        self.close()  # the service has, while others had their turn
        times: list[float] = []
        before = self._postgres.cpu()
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            task = self._ids[len(times) % len(self._ids)]
            self.send(method, path.format(last=self._last, id=task), body)
            times.append(time.perf_counter() - begun)
        used = used_since(before, self._postgres.cpu())
        if method == "POST":
            self.send("DELETE", f"?search={NEW}")
        return Measured(median(times) * 1e3, used / len(times) * 1e6)


def growth(
    postgres: Postgres, urls: dict[int, str], folder: Path, seconds: float, rounds: int
) -> dict[str, dict[str, Any]]:
    """The requests of two users in the smaller table and in the larger one, in turn."""
    tokens = dict(zip((MANY, USUAL), subjects.tokens(2), strict=True))
    found: dict[tuple[str, int], list[Measured]] = {}
    with ExitStack() as stack:
        clients = {}
        for tasks, url in urls.items():
            one = stack.enter_context(subjects.running(subjects.SERVICE, url, folder, tokens[MANY]))
            for own, token in tokens.items():
                clients[own, tasks] = Client(postgres, one.address, token)
                stack.callback(clients[own, tasks].close)
        for number, own, name in _turns(rounds):
            for tasks in (SMALL, GROWN) if number % 2 else (GROWN, SMALL):
                measured = clients[own, tasks].measure(name, number, seconds)
                found.setdefault((f"{own:,} tasks: {name}", tasks), []).append(measured)
    return {
        name: _compared(found[name, SMALL], found[name, GROWN]) for name, tasks in found if tasks == SMALL
    }


def _turns(rounds: int) -> Iterator[tuple[int, int, str]]:
    for number in range(rounds):
        for own in (USUAL, MANY):
            for name in REQUESTS:
                yield number, own, name


def _compared(small: list[Measured], grown: list[Measured]) -> dict[str, Any]:
    pairs = list(zip(small, grown, strict=True))
    return {
        "ms": [median(one.milliseconds for one in table) for table in (small, grown)],
        "database": [median(one.database for one in table) for table in (small, grown)],
        "time": median(large.milliseconds / little.milliseconds for little, large in pairs),
        "database's time": median(large.database / little.database for little, large in pairs),
    }


def databases() -> dict[int, dict[str, int]]:
    """The tables to compare: how many tasks there are, and of whom."""
    return {tasks: {"users": tasks // USUAL, "own": MANY} for tasks in (SMALL, GROWN)}
