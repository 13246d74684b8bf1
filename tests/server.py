"""The service as a process of its own: `python -m backend serve`, spoken to over HTTP."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import TracebackType
from typing import Self

import psutil

from backend.main import create_app
from tests.conftest import SECRET, add_user, settings_for
from tests.postgres import cpu_seconds

CHECKOUT = Path(__file__).parent.parent
TIMEOUT = 60.0

# Linux ends a process with its parent if it asked for that, so that even a pytest that is killed leaves no
# server behind. An interpreter asks for it and then becomes the service: same pid, same command.
_TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.executable, sys.argv[1:])"


def environment(**settings: object) -> dict[str, str]:
    """All that a process of the service sees: the checkout, these settings, and coverage if it measures."""
    passed = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "error"}
    return passed | own | {name.upper(): str(value) for name, value in settings.items()}


async def sign_up(database_url: str, user_id: str) -> None:
    """Do what Better Auth does at sign-up, in a database that has its tables."""
    app = create_app(settings_for(database_url))
    try:
        await add_user(app, user_id)
    finally:
        await app.state.database.close()


class Server:
    """A server that works in `folder`. It can be started again; leaving the context kills what runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stdout = ""
        """What its last run said: one line once it serves, and all that followed once it has ended."""
        self._process: Process | None = None

    async def start(self, env: Mapping[str, str]) -> str:
        """Start it with these settings, and return its address once it serves. PORT is any free one.

        Raises:
            RuntimeError: it did not come up; the message has its stderr.
        """
        assert self._process is None, "it runs"
        self.stdout = ""
        settings = {"PORT": "0", "BETTER_AUTH_SECRET": SECRET, **env}
        command = [sys.executable, "-m", "backend", "serve"]
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", _TIED, *command]
        with self._log.open("ab") as log:  # a file: a pipe that nobody reads fills up and stops the server
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=self.folder, env=environment(**settings), stdout=PIPE, stderr=log
            )
        assert self._process.stdout is not None
        try:
            self.stdout = (await asyncio.wait_for(self._process.stdout.readline(), TIMEOUT)).decode()
        finally:
            address = re.search(r"http://\S+", self.stdout)
            if address is None:
                await self.kill()
        if address is None:
            raise RuntimeError(f"the server did not start:\n{self.stderr}")
        return address[0]

    async def kill(self) -> None:
        """End it at once, as a crash does."""
        await self._end(SIGKILL)

    async def terminate(self, number: Signals = SIGTERM) -> int:
        """Ask it to stop, wait until it has, and return its exit status."""
        return await self._end(number)

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.returncode is None:
            # Not Process.send_signal: that may reap the process behind asyncio's back.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    @property
    def stderr(self) -> str:
        """What all its runs said on stderr."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def cpu(self) -> float:
        """The CPU seconds that it has used so far."""
        assert self._process is not None, "it runs"
        return cpu_seconds(psutil.Process(self._process.pid))

    def memory(self) -> int:
        """The bytes of memory that it has."""
        assert self._process is not None, "it runs"
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def workers(self) -> set[int]:
        """The ids of the processes that serve for it, where it has any."""
        assert self._process is not None, "it runs"
        return {child.pid for child in psutil.Process(self._process.pid).children()}

    async def _end(self, number: Signals) -> int:
        process = self._process
        if process is None:
            return 0
        self.signal(number)
        try:
            # Also reads stdout to its end, without which asyncio leaves the pipe open.
            rest, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
            self.stdout += rest.decode()
        except (TimeoutError, asyncio.CancelledError):
            self.signal(SIGKILL)
            await process.communicate()
            raise
        finally:
            status, self._process = process.returncode, None
        assert status is not None
        return status
