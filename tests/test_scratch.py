"""The tests clear up after themselves."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.server import CHECKOUT, TIMEOUT

HOLDER = """
import subprocess, sys
from tests.scratch import scratch
with scratch() as folder:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=subprocess.PIPE)
    print(folder, worker.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
def test_nothing_is_left_behind(killed: bool) -> None:
    """However a run ends, its folder goes, and so does who works in it."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True
    ) as holder:
        assert holder.stdout is not None
        folder, worker = holder.stdout.readline().split()
        assert Path(folder).is_dir()
        if killed:
            holder.kill()
    late = time.monotonic() + TIMEOUT
    while Path(folder).exists() and time.monotonic() < late:
        time.sleep(0.02)  # who clears up is nobody's child any more
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(worker)) or psutil.Process(int(worker)).status() == psutil.STATUS_ZOMBIE
