"""The example with the service over a new database, and scripts in Chromium against the two."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.assistant.stand_in import MODEL, stand_in
from tests.better_auth.harness import SECRET
from tests.example.app import app
from tests.node import run_node
from tests.postgres import free_port
from tests.server import Server

HERE = Path(__file__).parent


class Running:
    """Both, as they run."""

    def __init__(self, server: Server, settings: dict[str, str], env: dict[str, str]) -> None:
        self.server = server
        self.settings = settings
        """The service's, but for its assistant's model."""
        self._env = env

    async def run(self, *arguments: str) -> str:
        """Run one of the scripts beside this file with Node.js, and return what it prints."""
        with TemporaryDirectory() as home:  # Chromium leaves things there
            return await run_node(HERE, {**self._env, "HOME": home}, *arguments)


@asynccontextmanager
async def running(database_url: str, folder: Path, chromium: str) -> AsyncIterator[Running]:
    """The built example and the service over an empty database, with the stand-in for a model."""
    port, api = free_port(), f"http://localhost:{free_port()}"
    both = {"DATABASE_URL": database_url, "BETTER_AUTH_URL": f"http://localhost:{port}"}
    theirs = both | {"BETTER_AUTH_SECRET": SECRET, "TASKS_URL": api, "ASSISTANT_MODEL": MODEL}
    opened = app(theirs, port, folder / "app.log")
    address = await asyncio.to_thread(opened.__enter__)  # first: it makes Better Auth's tables
    try:
        async with stand_in() as model, Server(folder) as server:
            own = {"CORS_ORIGINS": address, "PORT": api.rpartition(":")[2], "BETTER_AUTH_SECRET": ""}
            settings = both | own | {"RATE_LIMIT_ANONYMOUS": "0"}
            await server.start(settings | model.settings)
            yield Running(server, settings, {"APP": address, "API": api, "CHROMIUM": chromium})
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
