"""`python -m tests.example.pictures` takes the README's pictures; with a folder, and `all`, others."""

import asyncio
import sys
from pathlib import Path

from tests.better_auth.harness import available, install
from tests.example.app import CHECKOUT, EXAMPLE, build, find_chromium
from tests.example.harness import HERE, running
from tests.postgres import Postgres
from tests.scratch import scratch


async def main(folder: Path, *which: str) -> None:
    """Write them into a folder."""
    if reason := available(EXAMPLE):
        raise SystemExit(f"The example cannot run here: {reason}")
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("There is no Chromium on the PATH (Debian: apt-get install chromium).")
    install(HERE)
    build()
    with scratch() as made:
        postgres = Postgres(made / "postgres")
        postgres.start()
        try:
            async with running(postgres.url(), made, chromium) as example:
                print(await example.run("pictures.mjs", str(folder), *which), end="")
        finally:
            postgres.stop()


if __name__ == "__main__":
    given = Path(sys.argv[1]) if sys.argv[1:] else CHECKOUT / "docs" / "pictures"
    asyncio.run(main(given.absolute(), *sys.argv[2:]))
