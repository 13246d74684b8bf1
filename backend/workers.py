"""Several processes that serve on one address, and one that keeps them: WEB_CONCURRENCY."""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from backend.config import Settings
from backend.db import CLOSE_TIMEOUT
from backend.server import BACKLOG, STOP_SECONDS, address_of, say_where
from backend.telemetry import board

log = logging.getLogger(__name__)

START_SECONDS = 60.0  # that a worker may take until it serves: the database may have to wake up first
PLACES = 4  # of each worker on the board: those that retire have one until they have ended
PAUSE_SECONDS = 1.0  # between the end of a worker that nobody asked for and the start of another


class Supervisor:
    """Keeps `web_concurrency` workers serving on one listener, each a `python -m backend serve`.

    SIGHUP replaces them one after the other: each is told to retire once its replacement serves, which has
    read code and settings anew; where that does not come up the old ones stay. SIGTERM and SIGINT stop them,
    as they stop a single process. One that ends unasked is replaced.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listener = _listen(settings.host, settings.port)
        self._serving: list[Process] = []
        self._alive: dict[Process, asyncio.Task[None]] = {}  # those, and the ones that start or retire
        self._tasks: set[asyncio.Task[None]] = set()
        self._replacing = asyncio.Lock()
        self._over = asyncio.Event()
        self._places = PLACES * settings.web_concurrency
        self._board = board.make(self._places)
        self._taken: set[int] = set()  # places on it
        self._status = 0

    async def run(self) -> int:
        """Serve until a signal to stop; return the exit status: that of a worker which could not start."""
        with self._listener:
            return await self._run()

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._replace()))
        workers = [self._start() for _ in range(self._settings.web_concurrency)]
        self._serving = [worker for worker in await asyncio.gather(*workers) if worker is not None]
        if len(self._serving) == len(workers):
            say_where(self._settings, address_of(self._listener))
            await self._over.wait()
        self._over.set()
        for worker in self._alive:
            _signal(worker, signal.SIGTERM)
        if self._alive:
            within = self._settings.drain_seconds + STOP_SECONDS + CLOSE_TIMEOUT + 5
            await asyncio.wait(self._alive.values(), timeout=within)
        for worker in self._alive:
            _signal(worker, signal.SIGKILL)
        return self._status

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self) -> Process | None:
        """Start a worker; return it once it serves, or None if it does not come to that."""
        listener, board = self._listener.fileno(), self._board
        place = next((place for place in range(self._places) if place not in self._taken), None)
        if place is None:
            return None  # so many retire that another must wait
        self._taken.add(place)
        command = ["-m", "backend", "serve", "--listener", str(listener), "--board", str(board), str(place)]
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=PIPE, stdout=PIPE, pass_fds=[listener, board]
        )
        self._alive[worker] = asyncio.create_task(self._see_end(worker, place))
        assert worker.stdout is not None
        ready = b""
        with suppress(TimeoutError):
            ready = await asyncio.wait_for(worker.stdout.readline(), START_SECONDS)
        if not ready and worker.returncode is None:
            _signal(worker, signal.SIGKILL)
        return worker if ready else None

    async def _see_end(self, worker: Process, place: int) -> None:
        status = await worker.wait()
        del self._alive[worker]
        self._taken.discard(place)
        if worker in self._serving and not self._over.is_set():
            log.error("a worker has ended", extra={"fields": {"pid": worker.pid, "status": status}})
            self._begin(self._stand_in(worker))
        elif status > 0:  # it could not start, and said why
            self._status = self._status or status

    async def _stand_in(self, ended: Process) -> None:
        """Start workers until one serves in place of one that has ended."""
        while not self._over.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            async with self._replacing:
                if ended not in self._serving:
                    return
                if worker := await self._start():
                    self._serving[self._serving.index(ended)] = worker
                    return

    async def _replace(self) -> None:
        async with self._replacing:
            for place, old in enumerate(self._serving):
                new = None if self._over.is_set() else await self._start()
                if new is None:
                    log.error("a replacement did not start: the others stay as they are")
                    return
                self._serving[place] = new
                _signal(old, signal.SIGHUP)
            log.info("all workers are replaced")


def _listen(host: str, port: int) -> socket.socket:
    """A listener for others to share.

    Raises:
        SystemExit: the address is taken, or none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        log.error("%s: choose another address with HOST= or PORT=", error)
        raise SystemExit(1) from None


def _signal(worker: Process, number: signal.Signals) -> None:
    """Signal it. Its own send_signal() looks first how it has ended, and then nobody else learns that."""
    if worker.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, number)
