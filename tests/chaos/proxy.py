"""A TCP proxy in front of PostgreSQL that can be told to misbehave."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from typing import Self
from urllib.parse import urlsplit

from tests.postgres import free_port

CHUNK = 65536

# The protocol's first messages: a length, then one of these or the protocol's version.
SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102

# "Execute" of the unnamed portal, without a limit, as asyncpg sends it.
EXECUTE = b"E\0\0\0\x09\0\0\0\0\0"


class Link:
    """A client's connection and its twin to the server."""

    def __init__(self, client: StreamWriter) -> None:
        self.client = client
        self.server: StreamWriter | None = None
        self.dead = False
        """Whether all that either side sends is swallowed, for ever."""
        self.answered = True
        """Whether the server spoke last."""

    def close(self, *, reset: bool = False) -> None:
        """Hang up on both sides: with RST, or else with FIN to whoever still listens."""
        for writer in filter(None, (self.client, self.server)):
            if reset:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Passes everything on to `target`, a port of this machine, until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.accepted = 0
        """How many connections clients opened."""
        self.received = 0
        """How many bytes clients sent."""
        self.executed = 0
        """How many statements with parameters, or prepared ones, they sent."""
        self.round_trips = 0
        """How often a client sent something and then got an answer."""
        self.delay = 0.0
        """How long each piece of a reply takes, in seconds."""
        self.cuts = 0
        """How many of the next replies end in their middle, and their connection with them."""
        self.error: tuple[str, str] | None = None
        """The SQLSTATE and message that new connections are refused with."""
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._black = False
        self._listener: asyncio.Server | None = None

    def url(self, url: str) -> str:
        """The database's URL by way of this proxy."""
        user = urlsplit(url).netloc.rpartition("@")[0]
        return urlsplit(url)._replace(netloc=f"{user}@127.0.0.1:{self.port}").geturl()

    async def listen(self) -> None:
        """Take connections (again)."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)

    def refuse(self) -> None:
        """Take no new connections: whoever tries is refused by the system."""
        if self._listener is not None:
            self._listener.close()

    def reset(self) -> None:
        """Cut every connection with RST."""
        for link in list(self._links):
            link.close(reset=True)

    def hold(self) -> None:
        """Keep back all that is sent, and answer no new connection, until flow(): a network that stalls."""
        self._flow.clear()

    def flow(self) -> None:
        """Deliver what was held, and go on as if nothing had been."""
        self._flow.set()

    def black_hole(self) -> None:
        """Swallow all that is sent on present and new connections, and tell nobody, as a lost route does."""
        self._black = True
        for link in self._links:
            link.dead = True

    def heal(self) -> None:
        """Serve new connections. Those of the black hole stay dead."""
        self._black = False

    async def quiet(self) -> None:
        """Wait until every connection has ended."""
        await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        self.flow()
        self.reset()
        await self.quiet()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = Link(writer)
        link.dead = self._black
        self._links.add(link)
        self.accepted += 1
        try:
            await self._connect(link, reader)
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever hung up has reason enough; the other side is hung up on below
        finally:
            link.close()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _connect(self, link: Link, reader: StreamReader) -> None:
        if self.error is not None:
            await _refuse(reader, link.client, *self.error)
            return
        await self._flow.wait()
        if link.dead:
            while await reader.read(CHUNK):
                pass
            return
        from_server, link.server = await asyncio.open_connection("127.0.0.1", self.target)
        # Each ends with its side, and hangs up on the other.
        await asyncio.gather(self._requests(link, reader), self._replies(link, from_server))

    async def _requests(self, link: Link, reader: StreamReader) -> None:
        assert link.server is not None
        try:
            while data := await reader.read(CHUNK):
                self.received += len(data)
                self.round_trips += link.answered
                link.answered = False
                self.executed += data.count(EXECUTE)
                await self._flow.wait()
                if not link.dead:
                    link.server.write(data)
                    await link.server.drain()
        finally:
            link.server.close()

    async def _replies(self, link: Link, reader: StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                link.answered = True
                await asyncio.sleep(self.delay)
                await self._flow.wait()
                if link.dead:
                    continue
                if self.cuts and len(data) > 1:
                    self.cuts -= 1
                    link.client.write(data[: len(data) // 2])
                    return
                link.client.write(data)
                await link.client.drain()
        finally:
            link.client.close()


async def _refuse(reader: StreamReader, writer: StreamWriter, state: str, message: str) -> None:
    """Answer a login with an error, as a server or Neon's proxy does."""
    while True:
        length, kind = struct.unpack("!II", await reader.readexactly(8))
        if kind != SSL_REQUEST:
            break
        writer.write(b"N")
    if kind != CANCEL_REQUEST:
        await reader.readexactly(length - 8)
        fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": message}
        body = b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0"
        writer.write(b"E" + struct.pack("!I", len(body) + 4) + body)
        await writer.drain()
