"""What is measured, each as a process of its own with one worker: the service and its two peers."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import psutil
from jose import jwt

from backend.config import Settings
from tests.postgres import cpu_seconds, free_port

SECRET = "the-secret-of-the-benchmarks-is-long-enough"
START_MAX = 30.0  # seconds
TOKEN_SECONDS = 24 * 60 * 60


class Subject(NamedTuple):
    """A server to measure: its name in the results, and how it is started with a port."""

    name: str
    label: str
    command: tuple[str, ...]


def _uvicorn(app: str) -> tuple[str, ...]:
    return ("-m", "uvicorn", app, "--no-access-log", "--log-level", "warning", "--port")


SERVICE = Subject("service", "this service", ("-m", "backend", "serve"))
RAW = Subject("raw", "Starlette + asyncpg + orjson by hand", _uvicorn("benchmarks.raw:app"))
DOCUMENTS = Subject("documents", "FastAPI + ORM as in tutorials", _uvicorn("benchmarks.documents:app"))
WORKERS = Subject(
    "workers", "this service", ("-m", "uvicorn", "--factory", "backend.main:create_app", "--no-access-log")
)


def tokens(users: int) -> list[str]:
    """A token for each of the users of the data."""
    now = int(time.time())
    return [
        jwt.encode({"sub": f"user-{n}", "iat": now, "exp": now + TOKEN_SECONDS}, SECRET, "HS256")
        for n in range(1, users + 1)
    ]


def settings(database_url: str) -> Settings:
    """The service's settings, as its process reads them."""
    return Settings(_env_file=None, database_url=database_url, better_auth_secret=SECRET)


class Running:
    """A server that runs: where, and what it has used so far."""

    def __init__(self, address: str, process: "subprocess.Popen[bytes]", started_in: float) -> None:
        self.address = address
        self.started_in = started_in
        """Seconds from the start of the process to its first answer of 200."""
        self._process = psutil.Process(process.pid)

    def cpu(self) -> float:
        """The CPU seconds of the server and its workers, in user and kernel."""
        processes = [self._process, *self._process.children(recursive=True)]
        return sum(cpu_seconds(process) for process in processes)

    def memory(self) -> int:
        """The resident bytes of the largest of its processes."""
        processes = [self._process, *self._process.children(recursive=True)]
        return max(process.memory_info().rss for process in processes)


@contextmanager
def running(
    subject: Subject, database_url: str, folder: Path, token: str, *, workers: int = 0, **settings: object
) -> Iterator[Running]:
    """A subject that serves, until the end of the context."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "DATABASE_URL": database_url,
        "BETTER_AUTH_SECRET": SECRET,
        "PORT": str(port),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    arguments = [*subject.command, *([str(port)] if subject.command[-1] == "--port" else [])]
    if workers:
        arguments += ["--port", str(port), "--workers", str(workers)]
    with (folder / f"{subject.name}.log").open("ab") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {token}"}
        while not _answers(f"{address}/api/tasks?limit=1", headers):
            if process.poll() is not None or time.perf_counter() - begun > START_MAX:
                raise RuntimeError(f"{subject.name} did not start; see its log:\n{_log(folder, subject)}")
            time.sleep(0.01)
        yield Running(address, process, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait(START_MAX)


def _log(folder: Path, subject: Subject) -> str:
    return (folder / f"{subject.name}.log").read_text(errors="replace")[-2000:]


def _answers(address: str, headers: Mapping[str, str]) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=dict(headers))) as answer:
            return bool(answer.status == 200)
    except HTTPError:
        raise
    except OSError:
        return False
