"""The TypeScript client as a package: compiled once, and again after a change."""

import fcntl
import subprocess
from pathlib import Path

from tests.better_auth.conftest import refuse
from tests.better_auth.harness import available, install

CLIENT = Path(__file__).parent.parent.parent / "client"


def build() -> Path:
    """Compile the client if it has changed, and return its folder; without Node.js the test is skipped."""
    if reason := available(CLIENT):
        refuse(reason, "The TypeScript client")
    install(CLIENT)
    with (CLIENT / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers share the folder
        sources = [*CLIENT.glob("*.json"), *(CLIENT / "src").rglob("*.ts*")]
        newest = max(path.stat().st_mtime for path in sources if path.name != "schema.ts")
        made = CLIENT / "node_modules" / ".built"  # not in dist: that is packed
        if not made.exists() or made.stat().st_mtime < newest:
            command = ["npm", "run", "build"]
            ran = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            made.touch()
    return CLIENT
