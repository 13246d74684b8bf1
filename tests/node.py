"""Scripts of Node.js, run to their end."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


async def run_node(folder: Path, environment: Mapping[str, str], *arguments: str) -> str:
    """Run Node.js in a folder, with PATH and this environment alone, and return what it prints on success."""
    child = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        printed, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, printed.decode()
    return printed.decode()
