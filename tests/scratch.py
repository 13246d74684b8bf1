"""Folders that vanish, with whoever works in them, when their process ends: also when it is killed."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGQUIT

import psutil

PATIENCE = 10.0  # seconds


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent`, or where temporary files go.

    A process of its own clears it away as soon as its stdin closes, which no death of this one prevents.
    """
    folder = tempfile.mkdtemp(prefix="scratch-", dir=parent)
    # Neither a Ctrl-C in the terminal nor a measurement of coverage reaches it.
    command = [sys.executable, "-I", __file__, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env={}):
        yield Path(folder)


def _at_work(folder: str) -> list[psutil.Process]:
    """Who is in the folder, or has it on the command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != psutil.Process().pid and (
                process.cwd().startswith(folder) or folder in " ".join(process.cmdline())
            ):
                found.append(process)
    return found


def _clear(folder: str) -> None:
    last = time.monotonic() + PATIENCE
    told: set[psutil.Process] = set()
    while found := _at_work(folder):
        late = time.monotonic() > last
        for process in found if late else set(found) - told:
            with suppress(psutil.Error):
                # At SIGQUIT PostgreSQL ends at once, and gives its shared memory back.
                process.send_signal(SIGKILL if late else SIGQUIT)
        told.update(found)
        time.sleep(0.02)  # who is no child of this process cannot be awaited
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    _clear(sys.argv[1])
