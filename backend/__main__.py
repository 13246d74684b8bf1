"""The command line: `python -m backend serve`, `token`, `migrate` and `purge`."""

import argparse
import asyncio
import os
import socket
import sys
import time
from datetime import UTC, datetime, timedelta

from jose import jwt
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from backend import migrate, purge, server
from backend.config import Settings, load_settings
from backend.db import Database
from backend.errors import ApiError
from backend.telemetry.board import Board
from backend.web import logs
from backend.workers import Supervisor

TOKEN_SECONDS = 24 * 60 * 60


def serve(settings: Settings, listener: int | None, board: tuple[int, int] | None) -> None:
    """Serve until SIGTERM or SIGINT; with a `listener`, as one of several workers that share it."""
    if listener is not None:
        server.serve_as_worker(settings, socket.socket(fileno=listener), board and Board(*board))
    elif settings.web_concurrency > 1:
        logs.configure(settings)
        sys.exit(asyncio.run(Supervisor(settings).run()))
    else:
        server.serve(settings)


def token(settings: Settings, user_id: str, email: str) -> None:
    """Print a bearer token for a user; on the embedded SQLite make sure that the user is there."""
    if not settings.secrets:
        raise SystemExit("BETTER_AUTH_SECRET is not set: there is nothing to sign a token with")
    if settings.dsn.is_sqlite:
        asyncio.run(_add_local_user(settings, user_id, email))
    else:
        print(
            f"No user was written: on PostgreSQL they are Better Auth's. This token works for {user_id!r} "
            "if Better Auth has that user (USER_ID=… chooses another).",
            file=sys.stderr,
        )
    now = int(time.time())
    claims = {"sub": user_id, "email": email, "iat": now, "exp": now + TOKEN_SECONDS}
    claims |= {"iss": settings.auth_issuer} if settings.auth_issuer else {}
    claims |= {"aud": settings.auth_audience} if settings.auth_audience else {}
    print(jwt.encode(claims, settings.secrets[0], algorithm="HS256"))


async def _add_local_user(settings: Settings, user_id: str, email: str) -> None:
    """Do what Better Auth would at sign-up, where no Better Auth is."""
    insert = text(
        f'INSERT INTO "{settings.auth_user_table}" '  # noqa: S608 - the setting is a plain name
        '(id, name, email, "emailVerified", "createdAt", "updatedAt") '
        "VALUES (:id, :id, :email, false, :now, :now) ON CONFLICT (id) DO NOTHING"
    )
    user = {"id": user_id, "email": email.lower(), "now": datetime.now(UTC).isoformat()}
    database = Database(settings)
    try:
        await migrate.prepare(database, settings)
        async with database.session() as session:
            await (await session.connection()).execute(insert, user)
    except IntegrityError:
        raise SystemExit(f"error: the e-mail address {email} belongs to another user") from None
    finally:
        await database.close()


async def _migrate(settings: Settings, arguments: argparse.Namespace) -> None:
    database = Database(settings)
    try:
        if arguments.downgrade:
            await migrate.downgrade(database, settings, arguments.downgrade)
        else:
            await migrate.upgrade(database, settings)
            await migrate.prepare(database, settings)
        print(f"the database's schema is at revision {database.revision}" if database.revision else "done")
    finally:
        await database.close()


async def _purge(settings: Settings) -> None:
    database = Database(settings)
    try:
        for kind in purge.PURGES:
            print(f"removed {await purge.run(database, kind)} {kind.what}", flush=True)
        forgotten = await purge.forget_changes(database, timedelta(days=settings.trash_days))
        print(f"removed {forgotten} changes of tasks", flush=True)
    finally:
        await database.close()


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m backend", description="The task backend.")
    commands = parser.add_subparsers(dest="command", required=True)
    for_serve = commands.add_parser("serve", help="serve on HOST and PORT")
    for_serve.add_argument("--listener", type=int, help=argparse.SUPPRESS)  # a worker's
    for_serve.add_argument("--board", type=int, nargs=2, help=argparse.SUPPRESS)  # with its place there
    for_token = commands.add_parser("token", help="print a bearer token for a local user")
    for_token.add_argument("--user-id", default=os.environ.get("USER_ID") or "local-user")
    for_token.add_argument("--email", default=os.environ.get("EMAIL") or "")
    for_migrate = commands.add_parser("migrate", help="bring the database's schema to this version's")
    for_migrate.add_argument(
        "--downgrade", metavar="REVISION", help="take it back instead (base: to nothing)"
    )
    for_migrate.add_argument("--message", help="write the next migration instead")
    commands.add_parser("purge", help="remove what has expired, of all users; for cron, once a day")
    arguments = parser.parse_args()
    settings = load_settings()
    try:
        if arguments.command == "serve":
            serve(settings, arguments.listener, arguments.board)
        elif arguments.command == "token":
            token(settings, arguments.user_id, arguments.email or f"{arguments.user_id}@localhost")
        elif arguments.command == "purge":
            logs.configure(settings)
            asyncio.run(_purge(settings))
        elif arguments.message is not None:
            print(migrate.write_migration(settings, arguments.message))
        else:
            logs.configure(settings)
            asyncio.run(_migrate(settings, arguments))
    except ApiError as error:
        raise SystemExit(f"error: {error.detail}") from None
    except migrate.SchemaError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
