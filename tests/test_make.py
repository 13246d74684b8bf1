"""The commands as a stranger runs them: a fresh checkout, and nothing installed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jose import jwt

from backend.auth.strength import weakness
from tests.scratch import scratch

CHECKOUT = Path(__file__).parent.parent

# What the README asks for, and what every system has.
TOOLS = ("make", "git", "sh", "awk", "cp", "cat", "rm", "mkdir", "env")
# Neither a virtual environment's nor a version manager's script.
PYTHON = Path(sys.base_prefix, "bin", "python3")
# What make, uv and coverage tell the commands that they run, this one among them.
OURS = re.compile("MAKE.*|MFLAGS|UV|VIRTUAL_ENV|COVERAGE_.*")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of what is in the repository, or would be after the next commit."""
    with scratch() as folder:  # 300 MB, once all is installed into it
        copy = folder / "checkout"
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():  # not deleted since
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, copy / name)
        yield copy


@pytest.fixture
def strangers_environment(tmp_path: Path) -> dict[str, str]:
    """This machine's, but for a PATH of the few tools that are needed, and no uv."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(PYTHON)
    for name in TOOLS:
        path = shutil.which(name)
        assert path, f"{name} is needed"
        (tools / name).symlink_to(path)
    theirs = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
    return theirs | {"PATH": str(tools)}


def test_make_token_needs_nothing_but_python(checkout: Path, strangers_environment: dict[str, str]) -> None:
    """`make token` fetches uv and the rest, makes .env and prints a token; the second time it is quiet."""

    def make_token() -> subprocess.CompletedProcess[str]:
        command = ["make", "token"]
        return subprocess.run(
            command, cwd=checkout, env=strangers_environment, capture_output=True, text=True, check=False
        )

    first = make_token()
    assert first.returncode == 0, first.stderr
    assert "made .env" in first.stderr
    assert (checkout / ".uv").is_dir()
    [secret] = re.findall("^BETTER_AUTH_SECRET=(.+)$", (checkout / ".env").read_text(), re.MULTILINE)
    assert weakness(secret) is None
    assert (checkout / ".env").read_text().replace(secret, "") == (checkout / ".env.example").read_text()
    second = make_token()
    assert (second.returncode, second.stderr) == (0, "")
    for printed in (first.stdout, second.stdout):
        [token] = printed.splitlines()
        assert jwt.get_unverified_claims(token)["sub"] == "local-user"
