"""A steady, mixed load on the service, and a ledger of what the service promised by its answers."""

import asyncio
import json
import random
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import asyncpg

from tests.conftest import token_for

ANSWER_TIMEOUT = 20.0  # what a client waits for an answer, in seconds
IDLE_MAX = 2.0  # the service closes connections that idle for five seconds; nothing is sent into that
RETRY_MAX = 1.0  # a client that is told to return later than that does not obey, to keep the tests short

REFUSED, CUT, LATE = "refused", "cut", "late"  # no answer: nobody listened, half an answer or none, too late


class Answer(NamedTuple):
    """What a request came to: a status, or why there is none."""

    status: int | str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the service did what was asked."""
        return isinstance(self.status, int) and self.status < 300

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Http:
    """One client's HTTP/1.1 connection. It never retries, and is small, not to be its own bottleneck."""

    def __init__(self, address: str, user_id: str, *, keep_alive: bool = True) -> None:
        parts = urlsplit(address)
        assert parts.hostname
        assert parts.port
        self._host, self._port, self._keep_alive = parts.hostname, parts.port, keep_alive
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token_for(user_id)}\r\n"
        self._head += "" if keep_alive else "Connection: close\r\n"
        self._streams: tuple[StreamReader, StreamWriter] | None = None
        self._used = 0.0

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one request, once."""
        if not self._keep_alive or time.monotonic() - self._used > IDLE_MAX:
            self.close()
        answer = Answer(CUT)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                if self._streams is None:
                    try:
                        self._streams = await asyncio.open_connection(self._host, self._port)
                    except OSError:
                        answer = Answer(REFUSED)
                        raise
                answer = await self._exchange(*self._streams, method, path, body)
        except TimeoutError:
            answer = Answer(LATE)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._used = time.monotonic()
            if isinstance(answer.status, str) or answer.headers.get("connection") == "close":
                self.close()
        return answer

    async def _exchange(
        self, reader: StreamReader, writer: StreamWriter, method: str, path: str, body: Any
    ) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(content)}\r\n"
        head += "Content-Type: application/json\r\n" if content else ""
        writer.write(f"{head}\r\n".encode() + content)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        return Answer(int(first.split()[1]), headers, await reader.readexactly(length))

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class State(NamedTuple):
    """What can change in a task."""

    description: str | None
    completed: bool


GONE = None  # the state of a task that is not there


@dataclass
class Ledger:
    """What each task may be now. After an acknowledged write that is one state; after any other, several."""

    states: dict[str, set[State | None]] = field(default_factory=dict)
    """By title: each create has a title of its own."""
    owners: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    before: dict[str, set[State | None]] = field(default_factory=dict)
    """What each was before its last write."""
    unanswered: set[str] = field(default_factory=set)
    """The titles of tasks whose last write got no answer at all."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no state explains."""

    async def compare(self, database_url: str) -> list[str]:
        """Every promise that the table breaks, and every answer that was wrong."""
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch("SELECT id, title, user_id, description, completed FROM tasks")
        finally:
            await connection.close()
        problems = list(self.wrong)
        found: dict[str, State] = {}
        for row in rows:
            title = row["title"]
            if title in found:
                problems.append(f"{title} is there twice")
            found[title] = State(row["description"], row["completed"])
            if row["user_id"] != self.owners.get(title) or row["id"] != self.ids.get(title, row["id"]):
                problems.append(f"{title} was never created so: {row}")
        for title, states in self.states.items():
            if found.get(title) not in states:
                problems.append(f"{title} is {found.get(title)} and was promised to be {states}")
        return problems


class Load:
    """Clients that each send one request after the other, until they are stopped or `limit` were sent.

    A client that is refused returns after the time it is told, and each further time `backoff` times later.
    Each client has its own tasks. A task whose write was not acknowledged is left alone from then on: that
    write may still happen.
    """

    def __init__(
        self,
        address: str,
        users: list[str],
        *,
        clients: int = 16,
        pause: float = 0.01,
        limit: int = 20_000,
        keep_alive: bool = True,
        backoff: float = 1.0,
        ledger: Ledger | None = None,
    ) -> None:
        self.ledger = ledger or Ledger()
        self.statuses: Counter[int | str] = Counter()
        self.codes: Counter[str] = Counter()
        """Of the errors."""
        self.seconds: list[tuple[bool, float]] = []
        """Whether each request was served, and how long it took."""
        self.sent = 0
        self._limit = limit
        self._pause = pause
        self._backoff = backoff
        self._since, self._streak, self._streak_began = float("inf"), 0, 0.0
        self._changed = asyncio.Event()
        self._stopped = False
        self._random = random.Random(7)
        self._clients = [
            Client(
                self,
                Http(address, users[number % len(users)], keep_alive=keep_alive),
                users[number % len(users)],
            )
            for number in range(clients)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(client)) for client in self._clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let every client finish its request."""
        self._stopped = True
        await self.finish()

    async def finish(self) -> None:
        """Wait until `limit` requests were sent."""
        await asyncio.gather(*self._tasks)

    async def _run(self, client: "Client") -> None:
        refusals = 0
        try:
            while not self._stopped and self.sent < self._limit:
                answer = await client.step()
                retry_after = float(
                    answer.headers.get("retry-after", 0.05 if answer.status == REFUSED else 0)
                )
                refusals = refusals + 1 if retry_after else 0
                pause = min(RETRY_MAX, retry_after) * self._backoff ** (refusals - 1) or self._pause
                await asyncio.sleep(pause * self._random.uniform(1, 1.5))
        finally:
            client.http.close()

    def note(self, answer: Answer, ok: bool, started: float) -> None:
        """Count an answer."""
        now = time.monotonic()
        self.statuses[answer.status] += 1
        self.seconds.append((ok, now - started))
        if answer.status == 503:
            self.codes[answer.json()["code"]] += 1
            if not answer.headers.get("retry-after", "").isdigit():
                self.ledger.wrong.append("a 503 without Retry-After")
        elif not ok and isinstance(answer.status, int):
            self.ledger.wrong.append(f"{answer.status}: {answer.body!r}")
        if started >= self._since:
            self._streak = self._streak + 1 if ok else 0
            self._streak_began = now if self._streak == 1 else self._streak_began
        self._changed.set()

    async def until(self, condition: Callable[[], bool], within: float = 30.0) -> None:
        """Wait for something that an answer brings about."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def more(self, requests: int, within: float = 30.0) -> None:
        """Wait until so many more requests were served."""
        goal = self.served + requests
        await self.until(lambda: self.served >= goal, within)

    async def whole(self, streak: int = 60, within: float = 30.0) -> float:
        """Wait until so many requests in a row were served; return after how many seconds that began."""
        self._since, self._streak = time.monotonic(), 0
        await self.until(lambda: self._streak >= streak, within)
        return self._streak_began - self._since

    @property
    def served(self) -> int:
        """How many requests got what they asked for."""
        return sum(ok for ok, _ in self.seconds)

    @property
    def unserved(self) -> dict[int | str, int]:
        """The statuses that are failures, and how many there were."""
        return {
            status: count for status, count in self.statuses.items() if status not in (200, 201, 204, 404)
        }

    @property
    def slowest(self) -> float:
        """The longest that a client waited, in seconds."""
        return max((seconds for _, seconds in self.seconds), default=0.0)

    @property
    def summary(self) -> str:
        """One line."""
        failed = ", ".join(f"{status}: {count}" for status, count in self.unserved.items()) or "none failed"
        codes = "".join(f", {code}: {count}" for code, count in self.codes.items())
        return f"{self.served} served, {failed}{codes}, slowest {self.slowest:.2f} s"


class Client:
    """One client: what it does next, and what it then knows."""

    def __init__(self, load: Load, http: Http, user_id: str) -> None:
        self.http = http
        self._load = load
        self._ledger = load.ledger
        self._user_id = user_id
        self._random = random.Random(load._random.random())
        self._mine: dict[str, State] = {}
        self._deleted: list[int] = []
        # Both addresses of the same tasks.
        self._path = "/api/tasks" if self._random.random() < 0.5 else f"/api/{user_id}/tasks"

    async def step(self) -> Answer:
        """Send one request of the mix."""
        kinds = [
            self._create,
            self._list,
            self._get,
            self._get_deleted,
            self._update,
            self._toggle,
            self._delete,
        ]
        kind = self._random.choices(kinds, (4, 4, 5, 1, 4, 2, 2))[0]
        if not self._mine or (kind == self._get_deleted and not self._deleted):
            kind = self._random.choice((self._create, self._list))
        return await kind()

    async def _send(self, method: str, path: str, body: Any = None, *, expect: int) -> Answer:
        self._load.sent += 1
        started = time.monotonic()
        answer = await self.http.request(method, f"{self._path}{path}", body)
        self._load.note(answer, answer.status == expect, started)
        return answer

    async def _create(self) -> Answer:
        number = len(self._ledger.states)
        title, state = f"task {number} {self._random.getrandbits(40):x}", State(f"of {self._user_id}", False)
        self._ledger.owners[title] = self._user_id
        body = {"title": title, "description": state.description}
        answer = await self._write(title, GONE, state, "POST", "", body, expect=201)
        if answer.status == 201:
            self._ledger.ids[title] = answer.json()["id"]
        return answer

    async def _update(self) -> Answer:
        title, state = self._choose()
        new = State(f"revision {self._random.getrandbits(40):x}", self._random.random() < 0.5)
        return await self._write(title, state, new, "PATCH", self._address(title), new._asdict())

    async def _toggle(self) -> Answer:
        title, state = self._choose()
        new = state._replace(completed=not state.completed)
        return await self._write(title, state, new, "PATCH", f"{self._address(title)}/complete")

    async def _delete(self) -> Answer:
        title, state = self._choose()
        answer = await self._write(title, state, GONE, "DELETE", self._address(title), expect=204)
        if answer.status == 204:
            self._deleted.append(self._ledger.ids[title])
        return answer

    async def _write(
        self,
        title: str,
        before: State | None,
        after: State | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: int = 200,
    ) -> Answer:
        self._mine.pop(title, None)
        self._ledger.before[title], self._ledger.states[title] = {before}, {before, after}
        answer = await self._send(method, path, body, expect=expect)
        if answer.status == expect:
            self._ledger.states[title] = {after}
            if after is not None:
                self._mine[title] = after
                self._check(answer.json(), title, after)
        elif isinstance(answer.status, str):
            self._ledger.unanswered.add(title)
        return answer

    async def _get(self) -> Answer:
        title, state = self._choose()
        answer = await self._send("GET", self._address(title), expect=200)
        if answer.ok:
            self._check(answer.json(), title, state)
        return answer

    async def _get_deleted(self) -> Answer:
        # The 404 is what it asked for; anything else but a 503 is a delete that was promised and lost.
        return await self._send("GET", f"/{self._random.choice(self._deleted)}", expect=404)

    async def _list(self) -> Answer:
        answer = await self._send("GET", "?limit=20", expect=200)
        if answer.ok:
            titles = [task["title"] for task in answer.json()]
            if any(self._ledger.owners.get(title) != self._user_id for title in titles):
                self._ledger.wrong.append(f"{self._user_id} was shown {titles}")
        return answer

    def _check(self, task: dict[str, Any], title: str, state: State) -> None:
        shown = (task["title"], task["user_id"], State(task["description"], task["completed"]))
        if shown != (title, self._user_id, state):
            self._ledger.wrong.append(f"{task} for {title} of {self._user_id}, {state}")

    def _choose(self) -> tuple[str, State]:
        return self._random.choice(list(self._mine.items()))

    def _address(self, title: str) -> str:
        return f"/{self._ledger.ids[title]}"
