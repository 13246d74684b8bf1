"""The example app, built once and after each change; `python -m tests.example.app` serves it for people."""

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backend.config import load_settings
from tests.assistant.stand_in import MODEL
from tests.better_auth.harness import available, install
from tests.client.package import CLIENT
from tests.client.package import build as build_client

CHECKOUT = Path(__file__).parent.parent.parent
EXAMPLE = CHECKOUT / "example"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
STARTING = 60.0  # seconds
BUILT_OF = EXAMPLE / ".next" / "built-of"


def find_chromium() -> str | None:
    """A Chromium of this machine's, if it has one."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def build() -> None:
    """Install what the app needs and build it, unless that was done since anything last changed."""
    build_client()
    install(EXAMPLE)
    with (EXAMPLE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers share the folder
        sources = _fingerprint()
        if BUILT_OF.exists() and BUILT_OF.read_text() == sources:
            return
        # npm has copied the client, and does so again only with a new version of it.
        copied = EXAMPLE / "node_modules" / "task-api-client"
        shutil.rmtree(copied / "dist", ignore_errors=True)
        shutil.copytree(CLIENT / "dist", copied / "dist")
        shutil.copy(CLIENT / "package.json", copied)
        command = ["npm", "run", "build"]
        environment = {
            **os.environ,
            "NEXT_TELEMETRY_DISABLED": "1",
            "BETTER_AUTH_SECRET": secrets.token_urlsafe(),
        }
        ran = subprocess.run(
            command, cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=False
        )
        if ran.returncode != 0:
            raise RuntimeError(f"The example was not built:\n{ran.stdout}{ran.stderr}")
        BUILT_OF.write_text(sources)


def _fingerprint() -> str:
    """What the build is made of, in short."""
    ours = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(["git", *ours], cwd=EXAMPLE, capture_output=True, text=True, check=True).stdout
    files = [EXAMPLE / name for name in listed.split("\0") if name and (EXAMPLE / name).is_file()]
    found = hashlib.sha256()
    for path in sorted([*files, *(CLIENT / "dist").rglob("*.js")]):
        found.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
    return found.hexdigest()


@contextmanager
def process(
    command: list[str], folder: Path, env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children, which end with the block."""
    with log.open("ab") as said:
        child = subprocess.Popen(
            command, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@contextmanager
def app(env: Mapping[str, str], port: int, log: Path) -> Iterator[str]:
    """The built app; its address, once it serves."""
    next_js = EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next"
    command = ["node", str(next_js), "start", "--port", str(port)]
    passed = {"PATH": os.environ["PATH"], "NEXT_TELEMETRY_DISABLED": "1", **env}
    with process(command, EXAMPLE, passed, log) as child:
        address = f"http://localhost:{port}"
        wait_for(f"{address}/sign-in", child, log)
        yield address


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Return once an address answers 200.

    Raises:
        RuntimeError: its process has ended, or took too long; the message has what it said.
    """
    until = time.monotonic() + STARTING
    while time.monotonic() < until and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # nothing tells when a port is listened on
    raise RuntimeError(f"{url} did not answer:\n{log.read_text(errors='replace')}")


def _settings(database_url: str, app_port: int, port: int) -> dict[str, str]:
    """What the app is told, as its .env has it: made at the first start, and the user's from then on."""
    own = EXAMPLE / ".env"
    if not own.exists():
        own.write_text(
            f"DATABASE_URL={database_url}\n"
            f"BETTER_AUTH_URL=http://localhost:{app_port}\n"
            f"BETTER_AUTH_SECRET={secrets.token_urlsafe(32)}\n"
            f"TASKS_URL=http://localhost:{port}\n"
        )
    lines = (line.partition("=") for line in own.read_text().splitlines() if "=" in line)
    return {name: value for name, _, value in lines}


def main() -> None:
    """Serve the app and the service over one database until Ctrl-C."""
    if reason := available(EXAMPLE):
        raise SystemExit(f"The example cannot run here: {reason}")
    if not BUILT_OF.exists():
        print("installing and building the app: a few minutes, once", file=sys.stderr, flush=True)
    build()
    wanted = int(os.environ.get("APP_PORT") or 3000), int(os.environ.get("PORT") or 8000)
    theirs = _settings(os.environ["DATABASE_URL"], *wanted)
    app_port, port = (int(theirs[name].rpartition(":")[2]) for name in ("BETTER_AUTH_URL", "TASKS_URL"))
    log = EXAMPLE / "example.log"
    log.unlink(missing_ok=True)
    ours = os.environ | {
        "DATABASE_URL": theirs["DATABASE_URL"],
        "BETTER_AUTH_URL": theirs["BETTER_AUTH_URL"],
        "BETTER_AUTH_SECRET": "",
        "CORS_ORIGINS": theirs["BETTER_AUTH_URL"],
        "DATABASE_AUTO_MIGRATE": "true",
        "PORT": str(port),
    }
    os.environ.update(ours)
    model = load_settings().assistant_model
    theirs["ASSISTANT_MODEL"] = model or MODEL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with ExitStack() as opened:
            address = opened.enter_context(app(theirs, app_port, log))  # first: it makes Better Auth's tables
            command = ["backend", "serve"] if model else ["tests.assistant.stand_in"]
            child = opened.enter_context(process([sys.executable, "-m", *command], CHECKOUT, ours, log))
            wait_for(f"http://localhost:{port}/ready", child, log)
            print(f"\n  {address}  sign up there, and open it in a second window beside")
            print(f"  http://localhost:{port}/docs  the service\n")
            if not model:
                print("  The assistant is a stand-in for a model; ASSISTANT_MODEL sets a real one.\n")
            said = f"What they say is in {log.relative_to(CHECKOUT)}."
            print(f"  Ctrl-C ends both, `make db-stop` the database. {said}", flush=True)
            child.wait()
        raise SystemExit(f"The service has ended:\n{log.read_text(errors='replace')[-2000:]}")
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
