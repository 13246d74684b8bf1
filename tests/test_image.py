"""The image, built and run as a platform would: `make image`. Needs root, buildah, podman and mmdebstrap."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.conftest import IN_MEMORY, IN_MEMORY_MIN, SECRET, token_for
from tests.postgres import free_port
from tests.scratch import scratch
from tests.server import CHECKOUT, sign_up

TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
PACKAGES = "ca-certificates,libstdc++6,python3,python3-venv"
CERTIFICATES = "/etc/ssl/certs"
SIZE_MAX = 200e6  # bytes over the base
STOP_SECONDS = 20
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(
        (os.geteuid() != 0 or bool(MISSING)) and "CI" not in os.environ,
        reason=f"needs root and {', '.join(MISSING)}",
    ),
]


class Containers:
    """Images and containers of these tests' own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = [
            "--root",
            f"{folder}/store",
            "--runroot",
            f"{folder}/run",
            "--storage-driver",
            "overlay",
        ]

    def run(self, tool: str, *arguments: str) -> str:
        """What a command says."""
        command = [tool, *self._store, *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def log(self, name: str) -> str:
        """What a container said so far."""
        command = ["podman", *self._store, "logs", name]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout

    def size(self, image: str) -> int:
        """An image's bytes."""
        [found] = json.loads(self.run("buildah", "images", "--json", image))
        size = subprocess.run(
            ["podman", *self._store, "image", "inspect", "--format", "{{.Size}}", found["id"]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(size.stdout)


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """With an image `task-api`, on a base of Debian's packages, for there is no registry here."""
    in_memory = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > IN_MEMORY_MIN
    with scratch(IN_MEMORY if in_memory else None) as folder:
        made = Containers(folder)
        base = folder / "base"
        command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={PACKAGES}", "bookworm"]
        subprocess.run([*command, str(base)], check=True)
        container = made.run("buildah", "from", "scratch")
        made.run("buildah", "add", "--quiet", container, str(base), "/")
        made.run("buildah", "commit", "--quiet", "--rm", container, "base")
        # The certificates are those of whoever builds, who may be behind a proxy; they do not stay.
        made.run(
            "buildah", "bud", "--isolation", "chroot", "--format", "docker", "--pull-never",
            "--build-arg", "BASE=localhost/base", "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro",
            "--tag", "task-api", ".",
        )  # fmt: skip
        yield made


def test_the_image_is_small_and_has_nothing_of_its_builder(containers: Containers) -> None:
    """Under 200 MB over its base; no variable or certificate of the machine that built it."""
    assert containers.size("task-api") - containers.size("base") < SIZE_MAX
    [config] = json.loads(containers.run("podman", "image", "inspect", "task-api"))
    variables = {line.partition("=")[0] for line in config["Config"]["Env"]}
    assert variables == {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "HOST", "PORT", "LOG_FORMAT"}
    assert config["Config"]["User"] == "10001:10001"
    assert config["Config"]["Labels"]["org.opencontainers.image.title"]
    container = containers.run("buildah", "from", "--pull-never", "task-api")
    root = Path(containers.run("buildah", "mount", container))
    bundle = Path(CERTIFICATES, "ca-certificates.crt").relative_to("/")
    assert (root / bundle).read_bytes() == (containers.folder / "base" / bundle).read_bytes()
    left = {path.name for path in (root / "app").iterdir()}
    assert left == {"backend", ".venv"}
    assert not (root / "uv").exists()
    containers.run("buildah", "rm", container)


async def test_the_image_runs_with_nothing_allowed(containers: Containers, postgres_database: str) -> None:
    """Read-only, without capabilities, as nobody: it serves, is healthy, and stops with status 0."""
    name, port = f"task-api-{uuid4().hex}", free_port()
    settings = {
        "HOST": "127.0.0.1",
        "PORT": port,
        "DATABASE_URL": postgres_database,
        "BETTER_AUTH_SECRET": SECRET,
    }
    containers.run(
        "podman", "--runtime", "runc", "run", "--detach", "--name", name, "--network", "host",
        "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges",
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
        *(f"--env={key}={value}" for key, value in settings.items()), "task-api",
    )  # fmt: skip
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False) as client:
            while True:
                try:
                    assert (await client.get("/ready")).status_code == 200
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline, containers.log(name)
                    time.sleep(0.2)  # noqa: ASYNC251 - nothing else is to be done
            await sign_up(postgres_database, "alice")
            created = await client.post("/api/tasks", json={"title": "a"})
            assert created.status_code == 201, created.text
        containers.run("podman", "--runtime", "runc", "healthcheck", "run", name)
        containers.run("podman", "--runtime", "runc", "stop", "--time", str(STOP_SECONDS), name)
        [state] = json.loads(containers.run("podman", "inspect", name))
        assert state["State"]["ExitCode"] == 0
    finally:
        containers.run("podman", "--runtime", "runc", "rm", "--force", name)
