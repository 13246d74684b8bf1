"""A load on a server: clients that each send one request after the other. wrk, or else our own client.

Run as a process of its own, so that its CPU time is not the server's: `python -m benchmarks.load ADDRESS …`.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

CHECKOUT = Path(__file__).parent.parent
BAG = ("list",) * 6 + ("get",) * 2 + ("create", "toggle")
BODY = b'{"title":"A new task","description":"As people write them"}'
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)


class Result(NamedTuple):
    """What a load came to. Times are in milliseconds and of served requests."""

    requests: int  # served: 2xx
    refused: int  # 503
    failed: int  # anything else
    seconds: float
    p50: float
    p99: float
    refused_p50: float

    @property
    def rate(self) -> float:
        """Served requests a second."""
        return self.requests / self.seconds


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.buffer = b""
        self.length = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.next()

    def next(self) -> None:
        if time.perf_counter() < self.load.end:
            self.sent = time.perf_counter()
            self.transport.write(self.load.request())
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.length:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            said = _LENGTH.search(self.buffer, 0, head)
            self.length = head + 4 + (int(said[1]) if said else 0)
        if len(self.buffer) < self.length:
            return
        answer, self.buffer, self.length = self.buffer, b"", 0
        status, now = answer[9:12], time.perf_counter()
        if status == b"503":
            self.load.refused.append(now - self.sent)
            wait = _RETRY_AFTER.search(answer)
            asyncio.get_running_loop().call_later(int(wait[1]) if wait else 0, self.next)
            return
        if status[:1] == b"2":
            self.load.served.append(now - self.sent)
            self.load.last = now
        else:
            self.load.failed += 1
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.failed += time.perf_counter() < self.load.end
        self.load.open -= 1
        if not self.load.open:
            self.load.closed.set()


class _Load:
    def __init__(self, address: str, workload: str, tasks: int, tokens: list[str], seconds: float) -> None:
        host = urlsplit(address).netloc
        self.kinds = BAG if workload == "mix" else (workload,)
        self.tasks = tasks
        self.heads = [f"Host: {host}\r\nAuthorization: Bearer {token}\r\n".encode() for token in tokens]
        self.end = time.perf_counter() + seconds
        self.served: list[float] = []
        self.refused: list[float] = []
        self.failed = self.open = 0
        self.last = time.perf_counter()  # when the last was served: who was refused may still be waiting
        self.closed = asyncio.Event()

    def request(self) -> bytes:
        kind, task = random.choice(self.kinds), random.randint(1, self.tasks)
        head = self.heads[(task - 1) % len(self.heads)]
        if kind == "list":
            return b"GET /api/tasks?limit=50 HTTP/1.1\r\n%b\r\n" % head
        if kind == "get":
            return b"GET /api/tasks/%d HTTP/1.1\r\n%b\r\n" % (task, head)
        if kind == "toggle":
            return b"PATCH /api/tasks/%d/complete HTTP/1.1\r\n%b\r\n" % (task, head)
        about = b"Content-Type: application/json\r\nContent-Length: %d" % len(BODY)
        return b"POST /api/tasks HTTP/1.1\r\n%b%b\r\n\r\n%b" % (head, about, BODY)


async def _run(
    address: str, workload: str, tasks: int, tokens: list[str], seconds: float, clients: int
) -> Result:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    load = _Load(address, workload, tasks, tokens, seconds)
    loop = asyncio.get_running_loop()
    load.open = clients
    started = time.perf_counter()
    for _ in range(clients):
        await loop.create_connection(lambda: _Client(load), parts.hostname, parts.port)
    await asyncio.wait_for(load.closed.wait(), seconds + 60)
    return _result(load.served, load.refused, load.failed, load.last - started)


def _result(served: list[float], refused: list[float], failed: int, seconds: float) -> Result:
    cuts = [1000 * cut for cut in quantiles(served, n=100)] if len(served) > 1 else [0.0] * 99
    told = 1000 * sorted(refused)[len(refused) // 2] if refused else 0.0
    return Result(len(served), len(refused), failed, seconds, cuts[49], cuts[98], told)


def has_wrk() -> bool:
    """Whether wrk is there to make the load with."""
    return shutil.which("wrk") is not None


def measure(
    address: str,
    workload: str,
    *,
    tasks: int,
    tokens: Path,
    seconds: float,
    clients: int,
    own_client: bool = False,
) -> Result:
    """Load a server for some seconds. Our own client, unlike wrk, obeys Retry-After."""
    if has_wrk() and not own_client:
        script = str(Path(__file__).with_name("mix.lua"))
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", script]
        command += [address, "--", workload, str(tasks), str(tokens)]
    else:
        command = [sys.executable, "-m", "benchmarks.load", address, workload, str(tasks), str(tokens)]
        command += [f"{seconds}", str(clients)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Result(**{"refused": 0, "refused_p50": 0.0, **said})


def main() -> None:
    """Print what a load came to, as JSON."""
    parser = argparse.ArgumentParser()
    for name in ("address", "workload", "tasks", "tokens", "seconds", "clients"):
        parser.add_argument(name)
    given = parser.parse_args()
    tokens = Path(given.tokens).read_text().split()
    how_much = float(given.seconds), int(given.clients)
    run = _run(given.address, given.workload, int(given.tasks), tokens, *how_much)
    print(json.dumps(uvloop.run(run)._asdict()))


if __name__ == "__main__":
    main()
