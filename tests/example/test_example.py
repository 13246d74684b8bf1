"""The example app in Chromium, the service and PostgreSQL behind it. What it promises is in *.test.mjs."""

import asyncio
from pathlib import Path

import pytest

from tests.better_auth.conftest import refuse
from tests.better_auth.harness import available, install
from tests.conftest import Databases
from tests.example.app import EXAMPLE, build, find_chromium
from tests.example.harness import HERE, running

pytestmark = pytest.mark.slow


async def test_the_example_in_chromium(databases: Databases, tmp_path: Path) -> None:
    """The journey, the assistant, two windows, a long list, themes, 360 px, axe; an outage; no assistant."""
    if reason := available(EXAMPLE):
        refuse(reason, "The example")
    chromium = find_chromium()
    if chromium is None:
        refuse("there is no Chromium on the PATH (Debian: apt-get install chromium).", "The example")
    await asyncio.to_thread(install, HERE)
    await asyncio.to_thread(build)
    database_url = await databases.create(empty=True)
    async with running(database_url, tmp_path, str(chromium)) as example:
        test = ("--test", "--test-reporter=spec")
        for file in ("journey", "assistant", "speed"):  # one after the other: each has a browser
            await example.run(*test, f"{file}.test.mjs")
        await example.server.terminate()
        assert "unhandled error" not in example.server.stderr, example.server.stderr
        await example.run(*test, "outage.test.mjs")
        await example.server.start(example.settings)
        await example.run(*test, "off.test.mjs")
    await databases.drop(database_url)
