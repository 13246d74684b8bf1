"""The real Better Auth beside the Python service: `server.mjs` as a child process, spoken to over HTTP."""

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any, Literal, Self, TypedDict, Unpack
from urllib.parse import urlsplit

from httpx import AsyncClient, Response

HERE = Path(__file__).parent
LOCK = "package-lock.json"
OLDEST_NODE = 20
TIMEOUT = 30.0
SECRET = "a-secret-of-the-tests-that-is-long-enough"

Algorithm = Literal["EdDSA", "ES256", "ES512", "RS256", "PS256"]


def available(folder: Path = HERE) -> str | None:
    """None where what a folder's lock file names can run, otherwise why it cannot, as a sentence."""
    node = shutil.which("node")
    if node is None:
        return "Node.js is not on the PATH."
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        return f"Node.js {version} is too old: Better Auth needs {OLDEST_NODE} or newer."
    if not _installed(folder) and shutil.which("npm") is None:
        return "Better Auth is not installed, and npm is not on the PATH."
    return None


def _installed(folder: Path) -> bool:
    # npm writes this file last, so its age is the age of a complete installation.
    installed = folder / "node_modules" / ".package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (folder / LOCK).stat().st_mtime


def install(folder: Path = HERE) -> None:
    """Install what a folder's lock file names, unless that was done since the lock file last changed."""
    with (folder / LOCK).open() as lock:
        # Parallel test runs share the folder: the first one installs, the others wait and find it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed(folder):
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")


class Options(TypedDict, total=False):
    """The variables that the head of `server.mjs` describes; only `migrate` is on by default."""

    better_auth_url: str
    port: int
    migrate: Literal[0, 1]
    jwt_expires_in: str
    jwt_rotation: int
    jwt_grace: int
    cookie_cache: Literal["jwt", "jwks", "jwe", "compact"]
    id_type: Literal["text", "uuid", "serial"]
    user_model: str
    schema: str
    mcp_resource: str
    trusted_origins: str


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user, as the browser that signed in knows it."""

    user_id: str
    token: str  # of the session itself, as in `session.token` and for the bearer plugin: not a JWT
    cookies: dict[str, str]  # by name, the values still percent-encoded
    set_cookie: tuple[str, ...]  # the same as whole headers, with their attributes


class BetterAuth:
    """A running Better Auth: `request` returns any answer, the other methods raise on a failure."""

    def __init__(self, environment: dict[str, str], log: IO[bytes], client: AsyncClient) -> None:
        self._environment = environment
        self._log = log
        self._client = client
        self._process: Process | None = None
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def start(
        cls, database_url: str, *, secret: str = SECRET, alg: Algorithm = "EdDSA", **options: Unpack[Options]
    ) -> AsyncIterator[Self]:
        # Better Auth and pg read variables of their own: nothing but the path reaches them from this process.
        own = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": secret, "JWT_ALG": alg, "MIGRATE": "1"}
        chosen = {name.upper(): str(value) for name, value in options.items()}
        # Each session carries its own cookies; a jar in the client would mix those of several users.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        # A file, because a pipe that nobody reads fills up and then stops the server.
        with tempfile.TemporaryFile() as log:
            async with AsyncClient(cookies=no_cookies, trust_env=False, timeout=TIMEOUT) as client:
                auth = cls({"PATH": os.environ["PATH"]} | own | chosen, log, client)
                try:
                    await auth._launch()
                    yield auth
                finally:
                    await auth.stop()

    async def _launch(self) -> None:
        # The server ends when its stdin does, so even an interpreter that is killed leaves none behind.
        self._process = await asyncio.create_subprocess_exec(
            "node", HERE / "server.mjs", env=self._environment, stdin=PIPE, stdout=PIPE, stderr=self._log
        )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), TIMEOUT)
            self.url = json.loads(line)["listening"]
        except (TimeoutError, ValueError):
            await self.stop()
            raise RuntimeError(f"Better Auth did not start:\n{self.log}") from None

    async def stop(self) -> None:
        """End the server, as an outage would; `restart` brings it back."""
        if self._process is None or self._process.returncode is not None:
            return
        try:
            # Ends it by closing its stdin: a signal to a process that has just ended confuses asyncio.
            await asyncio.wait_for(self._process.communicate(b""), TIMEOUT)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def restart(self, alg: Algorithm | None = None) -> None:
        """The same server on the same port and database; with `alg`, its next new key is of that kind."""
        await self.stop()
        self._environment["PORT"] = str(urlsplit(self.url).port)
        self._environment["JWT_ALG"] = alg or self._environment["JWT_ALG"]
        await self._launch()

    @property
    def issuer(self) -> str:
        """The origin of its base URL: issuer and audience of its JWTs, and where its pages come from."""
        base = urlsplit(self._environment.get("BETTER_AUTH_URL", self.url))
        return f"{base.scheme}://{base.netloc}"

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/api/auth/jwks"

    @property
    def log(self) -> str:
        """What the server said on stderr; `pread` leaves the position alone, at which the server writes."""
        return os.pread(self._log.fileno(), 1_000_000, 0).decode(errors="replace")

    async def request(
        self, method: str, path: str, session: Session | None = None, body: dict[str, Any] | None = None
    ) -> Response:
        """Send as a page of the frontend would: with its origin and the session's cookies."""
        headers = {"Origin": self.issuer} | ({"Cookie": cookie_header(session)} if session else {})
        return await self._client.request(method, self.url + path, json=body, headers=headers)

    async def _get(self, path: str, session: Session | None = None) -> Any:
        return _checked(await self.request("GET", path, session)).json()

    async def _post(self, path: str, session: Session | None = None, **body: str) -> Response:
        return _checked(await self.request("POST", path, session, body))

    async def sign_up(self, email: str, password: str, name: str) -> Session:
        return _opened(await self._post("/api/auth/sign-up/email", email=email, password=password, name=name))

    async def sign_in(self, email: str, password: str) -> Session:
        return _opened(await self._post("/api/auth/sign-in/email", email=email, password=password))

    async def token(self, session: Session) -> str:
        """A new JWT, signed with the published key."""
        return str((await self._get("/api/auth/token", session))["token"])

    async def jwks(self) -> dict[str, Any]:
        return dict(await self._get("/api/auth/jwks"))

    async def get_session(self, session: Session) -> dict[str, Any] | None:
        """What Better Auth itself says about the session: None when it has ended."""
        found = await self._get("/api/auth/get-session", session)
        return dict(found) if found else None

    async def sign_out(self, session: Session) -> None:
        await self._post("/api/auth/sign-out", session)

    async def delete_user(self, session: Session, password: str) -> None:
        await self._post("/api/auth/delete-user", session, password=password)

    async def mails(self) -> list[dict[str, str]]:
        """The verification mails since it was started, each with `to`, `url` and `token`."""
        return list(await self._get("/__mail"))

    async def rotate(self, *, forget: bool = False) -> None:
        """Retire the keys, published for their grace or forgotten: the next token makes a new one."""
        await self._post("/__forget-keys" if forget else "/__retire-keys")


def _checked(response: Response) -> Response:
    if not response.is_success:
        raise RuntimeError(f"{response.request.url.path} answered {response.status_code}: {response.text}")
    return response


def _opened(response: Response) -> Session:
    body = response.json()
    set_cookie = tuple(response.headers.get_list("set-cookie"))
    cookies = dict(header.partition(";")[0].split("=", 1) for header in set_cookie)
    return Session(body["user"]["id"], body["token"], cookies, set_cookie)


def cookie_header(session: Session) -> str:
    """The Cookie header that the session's browser sends."""
    return "; ".join(f"{name}={value}" for name, value in session.cookies.items())
