"""The settings: read from the environment and `.env`, refused at start when wrong, silent about secrets."""

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from secrets import choice, token_bytes, token_hex, token_urlsafe
from string import printable
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from backend.auth.strength import weakness
from backend.config import Settings, load_settings
from backend.main import create_app

SECRET = "zu3Xk-a-secret-of-42-bytes-for-the-settings"
PASSWORD = "hunter2-is-the-password"
POSTGRES = f"postgresql://user:{PASSWORD}@db.example.com/tasks"
PLACEHOLDER = "change-me-this-is-only-good-enough-for-the-embedded-sqlite"
SHORT = "only-31-bytes-long-is-too-short"

LOCAL = {"DATABASE_URL": "sqlite:///tasks.db", "BETTER_AUTH_SECRET": SECRET}
REMOTE = {"DATABASE_URL": POSTGRES, "BETTER_AUTH_SECRET": SECRET}

OPTIONAL = {name for name, field in Settings.model_fields.items() if not field.is_required()}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The process's environment: no more than the two settings that a local service needs."""
    own = dict(LOCAL)
    monkeypatch.setattr(os, "environ", own)
    return own


def plain(value: Any) -> Any:
    """A setting's value as a test can write it down."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


# What the variable says, and what the service makes of it.
GOOD: dict[str, list[tuple[str, Any]]] = {
    "database_url": [("sqlite:///a.db", "sqlite:///a.db"), (POSTGRES, POSTGRES)],
    "database_url_unpooled": [("", ""), (POSTGRES, POSTGRES)],
    "database_pool_size": [("1", 1), ("1000", 1000)],
    "database_pool_wait": [("0.1", 0.1), ("60", 60.0)],
    "database_queue_size": [("0", 0), ("100000", 100_000)],
    "database_pool_recycle": [("1", 1), ("3600", 3600)],
    "database_statement_timeout": [("0.5", 0.5), ("600", 600.0)],
    "database_connect_budget": [("0", 0.0), ("120", 120.0)],
    "database_prepared_statements": [("true", True), ("false", False), ("0", False)],
    "database_auto_migrate": [("true", True), ("1", True), ("false", False)],
    "better_auth_secret": [
        (SECRET, SECRET),
        ("pass phrase, with = and \"'#", "pass phrase, with = and \"'#"),
    ],
    "better_auth_secrets": [(f"2:{SECRET},1:{SHORT}", f"2:{SECRET},1:{SHORT}")],
    "better_auth_url": [
        ("https://app.example.com/", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000/api/auth", "http://127.0.0.1:3000/api/auth"),
    ],
    "auth_jwks_url": [
        ("https://a.example.com/.well-known/jwks.json", "https://a.example.com/.well-known/jwks.json")
    ],
    "auth_issuer": [("https://app.example.com", "https://app.example.com")],
    "auth_audience": [("tasks", "tasks")],
    "auth_accept_sessions": [("true", True), ("false", False)],
    "auth_cookie_prefix": [("neonauth", "neonauth")],
    "auth_user_table": [("users", "users"), ("neon_auth.user", "neon_auth.user")],
    "auth_session_table": [("sessions", "sessions"), ("neon_auth.session", "neon_auth.session")],
    "auth_user_id_type": [("text", "text"), ("uuid", "uuid"), ("integer", "integer")],
    "idempotency_keys_max": [("1", 1)],
    "idempotency_bytes_max": [("0", 0)],
    "tasks_max": [("1", 1)],
    "trash_days": [("1", 1), ("3650", 3650)],
    "streams_per_user": [("1", 1), ("100000", 100_000)],
    "streams_max": [("0", 0), ("100000", 100_000)],
    "stream_seconds": [("0.5", 0.5), ("86400", 86_400.0)],
    "stream_keepalive": [("0.5", 0.5), ("60", 60.0)],
    "mcp_enabled": [("false", False), ("0", False)],
    "mcp_url": [("https://api.example.com/mcp", "https://api.example.com/mcp")],
    "mcp_accept_api_tokens": [("true", True), ("false", False)],
    "cors_headers": [("X-One, x-two", ["X-One", "x-two"])],
    "trust_forwarded_prefix": [("true", True), ("false", False)],
    "public_url": [
        ("https://api.example.com", "https://api.example.com"),
        ("https://example.com/v1/", "https://example.com/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
    "cors_origins": [
        ("https://a.example.com", ["https://a.example.com"]),
        (
            " https://a.example.com , http://localhost:3000,, ",
            ["https://a.example.com", "http://localhost:3000"],
        ),
        ("https://A.Example.com/", ["https://a.example.com"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
    ],
    "rate_limit": [("600", 600), ("0", 0)],
    "rate_limit_anonymous": [("60", 60), ("0", 0)],
    "forwarded_allow_ips": [("10.0.0.0/8", "10.0.0.0/8"), ("*", "*")],
    "host": [("0.0.0.0", "0.0.0.0"), ("::1", "::1")],
    "port": [("0", 0), ("65535", 65535)],
    "web_concurrency": [("1", 1), ("4", 4)],
    "drain_seconds": [("0", 0.0), ("1.5", 1.5)],
    "connections_max": [("1", 1)],
    "connections_per_address": [("1", 1)],
    "metrics_enabled": [("false", False)],
    "metrics_token": [(SECRET, SECRET)],
    "server_timing": [("true", True), ("false", False)],
    "tracing_enabled": [("true", True), ("false", False)],
    "log_level": [(level, level) for level in ("debug", "info", "warning", "error")],
    "assistant_model": [("gpt-5-mini", "gpt-5-mini")],
    "assistant_base_url": [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("http://ollama:11434/v1", "http://ollama:11434/v1"),
    ],
    "assistant_api_key": [("sk-1", "sk-1")],
    "assistant_steps": [("1", 1), ("100", 100)],
    "assistant_calls": [("1", 1)],
    "assistant_seconds": [("0.5", 0.5), ("600", 600.0)],
    "assistant_history_bytes": [("0", 0)],
    "assistant_tokens_per_day": [("1", 1)],
    "assistant_message_max": [("1", 1)],
    "log_format": [("text", "text"), ("json", "json")],
}

BAD: dict[str, list[str]] = {
    "database_url": [
        "",
        "tasks.db",
        "mysql://user@host/db",
        "postgresql://host",
        "postgresql://user@host/db?nonsense=1",
        "sqlite://tasks.db",
        f"psql '{POSTGRES}'",
    ],
    "database_url_unpooled": ["tasks.db", "mysql://user@host/db"],
    "database_pool_size": ["0", "-1", "1001", "ten", "1.5"],
    "database_pool_wait": ["0", "-1", "61", "inf", "nan", "soon"],
    "database_queue_size": ["-1", "100001", "many"],
    "database_pool_recycle": ["0", "-1", "never"],
    "database_statement_timeout": ["0", "601", "inf", "nan", "10s"],
    "database_connect_budget": ["-1", "121", "inf", "nan", "x"],
    "database_prepared_statements": ["2", "perhaps"],
    "database_auto_migrate": ["2", "perhaps"],
    "better_auth_secret": [
        "",
        "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI user@host",
    ],
    "better_auth_secrets": ["secret", "2:", f"x:{SECRET}", f":{SECRET}", f"2:{SECRET},secret"],
    "better_auth_url": ["app.example.com", "http://app.example.com", "ftp://app.example.com", "https://"],
    "auth_jwks_url": ["/api/auth/jwks", "http://app.example.com/jwks", "file:///etc/jwks.json"],
    "auth_accept_sessions": ["2", "perhaps"],
    "auth_user_table": ['user"', "user; DROP TABLE tasks", "a.b.c", "1user", ".user", "user."],
    "auth_session_table": ['session"', "a b", "a.b.c"],
    "auth_user_id_type": ["int", "UUID", "serial"],
    "rate_limit": ["-1", "many", "10/s"],
    "rate_limit_anonymous": ["-1", "1.5"],
    "web_concurrency": ["0", "257", "auto"],
    "drain_seconds": ["-1", "3601", "inf", "nan", "10s"],
    "metrics_enabled": ["2", "perhaps"],
    "server_timing": ["2", "perhaps"],
    "tracing_enabled": ["2", "perhaps"],
    "cors_origins": [
        "*",
        "https://a.example.com,*",
        "https://*.example.com",
        "a.example.com",
        "null",
        "https://",
        "ftp://a.example.com",
        "https://a.example.com/path",
        "https://a.example.com?query",
        "https://a.example.com#fragment",
        "https://user:password@a.example.com",
        "https://a.example.com https://b.example.com",
        "http://localhost:port",
        "http://localhost:99999",
    ],
    "idempotency_keys_max": ["0", "many"],
    "idempotency_bytes_max": ["-1"],
    "tasks_max": ["0"],
    "trash_days": ["0", "3651", "a week"],
    "streams_per_user": ["0", "100001", "few"],
    "streams_max": ["-1", "100001"],
    "stream_seconds": ["0", "86401", "long"],
    "stream_keepalive": ["0", "61", "often"],
    "mcp_enabled": ["2", "perhaps", "true"],
    "mcp_url": ["api.example.com/mcp", "http://api.example.com/mcp"],
    "mcp_accept_api_tokens": ["2", "perhaps"],
    "cors_headers": ["*", "a b"],
    "trust_forwarded_prefix": ["perhaps"],
    "public_url": ["api.example.com", "webcal://a.example.com", "https://a b", "https://a.example.com?x=1"],
    "port": ["-1", "65536", "http", "80.5"],
    "connections_max": ["0", "100001"],
    "connections_per_address": ["0"],
    "log_level": ["verbose", "5"],
    "assistant_model": ["x" * 201],
    "assistant_base_url": ["api.openai.com/v1", "https://me:secret@example.com/v1", "ftp://example.com"],
    "assistant_steps": ["0", "101"],
    "assistant_calls": ["0"],
    "assistant_seconds": ["0", "601"],
    "assistant_history_bytes": ["-1"],
    "assistant_tokens_per_day": ["0"],
    "assistant_message_max": ["0"],
    "log_format": ["xml"],
}

FREE = {
    "auth_issuer",
    "auth_audience",
    "auth_cookie_prefix",
    "forwarded_allow_ips",
    "host",
    "assistant_api_key",
    "metrics_token",  # where metrics are off
}  # any text will do


def test_every_setting_is_tested_here() -> None:
    """A new setting gets its good values in GOOD and its bad ones in BAD."""
    assert GOOD.keys() == Settings.model_fields.keys()
    assert BAD.keys() == Settings.model_fields.keys() - FREE


@pytest.mark.parametrize(
    ("name", "text", "value"), [(name, text, value) for name in GOOD for text, value in GOOD[name]]
)
def test_a_good_value_is_taken(environ: dict[str, str], name: str, text: str, value: Any) -> None:
    """Each setting is read from its variable, in the type that the service works with."""
    environ[name.upper()] = text
    read = plain(getattr(Settings(), name))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in BAD for text in BAD[name]])
def test_a_bad_value_is_refused(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    """What cannot work ends the process at once with status 2, and one line that names the variable."""
    environ[name.upper()] = text
    with pytest.raises(SystemExit) as ended:
        load_settings()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("configuration error: ")
    assert name.upper() in line


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_unset_means_the_default(environ: dict[str, str], name: str) -> None:
    """What nobody set is what the class says."""
    environ.pop(name.upper(), None)
    environ["BETTER_AUTH_URL" if name != "better_auth_url" else "AUTH_JWKS_URL"] = "https://a.example.com"
    assert getattr(Settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize("name", sorted(OPTIONAL - {"better_auth_secret"}))
def test_empty_means_unset(environ: dict[str, str], name: str) -> None:
    """`NAME=` in a file or a container's settings is no value: the default holds."""
    environ[name.upper()] = ""
    assert getattr(Settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize("value", ["", None])
def test_there_is_no_default_database(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], value: str | None
) -> None:
    """Without DATABASE_URL the process ends with one line that says where to set it."""
    del environ["DATABASE_URL"]
    if value is not None:
        environ["DATABASE_URL"] = value
    with pytest.raises(SystemExit) as ended:
        load_settings()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("configuration error: DATABASE_URL")
    assert value is not None or ".env.example" in line


def test_every_problem_is_told_at_once(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Three wrong settings are three lines."""
    environ |= {"PORT": "http", "LOG_FORMAT": "xml", "DATABASE_URL": "tasks.db"}
    with pytest.raises(SystemExit):
        load_settings()
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split()[2].strip(":") for line in lines) == ["DATABASE_URL", "LOG_FORMAT", "PORT"]


WEAK = [
    PLACEHOLDER,
    SHORT,
    "x",
    "a" * 64,
    "ab" * 32,
    "é" * 40,
    "abcdefgh" * 8,
    "horses;correct!" * 3,
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba9876543210",
    "better-auth-secret-12345678901234567890",  # Better Auth's own default
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's tutorial
    "a-string-secret-at-least-256-bits-long",  # jwt.io
    "your-secret-here-your-secret-here-0123",
    "YOUR_BETTER_AUTH_SECRET_AT_LEAST_32_CHARS",
    "change_me_to_something_that_is_long_enough",
    "Change.Me! Change.Me! Change.Me! Change.Me!",
    "changeit-0b9f7a1c6d2e4f3a8b5c1d2e3f4a5b6c",
    "REPLACE_ME_WITH_A_LONG_RANDOM_STRING!!",
    "my-super-secret-key-for-better-auth-2026",
    "thisisasecretkeyforbetterauth1234567890",
    "dev-secret-do-not-use-in-production-1234",
    "secretsecretsecretsecretsecretsecret",
]
# How people make secrets; digits alone are no good way, and yet good enough.
STRONG: dict[str, Callable[[], str]] = {
    "openssl rand -base64 32": lambda: b64encode(token_bytes(32)).decode(),
    "openssl rand -hex 16": lambda: token_hex(16),
    "openssl rand -hex 32": lambda: token_hex(32),
    "token_urlsafe": lambda: token_urlsafe(32),
    "pwgen": lambda: "".join(choice(printable[:94]) for _ in range(32)),
    "a sentence": lambda: "Three ochre boats drift past a quiet mill",
}


@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.parametrize("name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRETS"])
def test_a_weak_secret_serves_this_machine_alone(environ: dict[str, str], name: str, secret: str) -> None:
    """What can be guessed is good for SQLite on loopback; elsewhere anybody could sign tokens with it."""
    environ[name] = secret if name == "BETTER_AUTH_SECRET" else f"2:{SECRET},1: {secret}"
    assert secret.strip() in Settings().secrets
    environ["HOST"] = "0.0.0.0"
    with pytest.raises(ValidationError, match=f"{name} ") as refused:
        Settings()
    assert secret not in str(refused.value) or len(secret) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost", "LOCALHOST"])
def test_this_machine_has_many_names(environ: dict[str, str], host: str) -> None:
    """Each address and name of loopback is enough for a weak secret."""
    environ |= {"HOST": host, "BETTER_AUTH_SECRET": PLACEHOLDER}
    assert Settings().secrets == [PLACEHOLDER]


@pytest.mark.parametrize("change", [{"DATABASE_URL": POSTGRES}, {"HOST": "::"}, {"HOST": "10.0.0.1"}])
@pytest.mark.parametrize("name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRETS"])
def test_what_others_can_reach_needs_a_secret(
    environ: dict[str, str], name: str, change: dict[str, str]
) -> None:
    """Another's database, or any address that is not loopback, is too much for a weak secret."""
    environ |= change | {name: PLACEHOLDER if name == "BETTER_AUTH_SECRET" else f"1:{PLACEHOLDER}"}
    with pytest.raises(ValidationError, match=f"{name} "):
        Settings()


def test_whoever_serves_it_a_weak_secret_is_refused(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Under uvicorn's own command HOST decides nothing: what it would excuse is refused there."""
    environ["BETTER_AUTH_SECRET"] = PLACEHOLDER
    assert load_settings().secrets == [PLACEHOLDER]
    with pytest.raises(SystemExit) as ended:
        create_app()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("configuration error: BETTER_AUTH_SECRET is a placeholder")


@pytest.mark.parametrize("kind", STRONG)
def test_a_random_secret_is_taken(kind: str) -> None:
    """No good secret is refused for its looks, in 2,000 of each kind."""
    for _ in range(2000):
        secret = STRONG[kind]()
        assert weakness(secret) is None, secret


def test_metrics_are_never_open_to_the_world(environ: dict[str, str]) -> None:
    """They are on with a token that cannot be guessed, or not at all, on whatever address."""
    environ |= LOCAL | {"METRICS_ENABLED": "true"}
    for token in ("", "change-me", "short", "a" * 40):
        environ["METRICS_TOKEN"] = token
        with pytest.raises(ValidationError, match="METRICS_TOKEN"):
            Settings()
    environ["METRICS_TOKEN"] = SECRET
    assert Settings().metrics_enabled


def test_workers_share_their_database(environ: dict[str, str]) -> None:
    """One in memory is one process's own: several are refused, and told why."""
    environ |= {"DATABASE_URL": "sqlite://", "BETTER_AUTH_SECRET": SECRET, "WEB_CONCURRENCY": "2"}
    with pytest.raises(ValidationError, match="WEB_CONCURRENCY is more than 1, but a database in memory"):
        Settings()


def test_the_secrets_length_is_counted_in_bytes() -> None:
    """32 bytes are enough, however many characters they are; 31 are not."""
    text = "äöüßéèàçñåøœhjklqwxzv"  # the first twelve are two bytes each
    assert weakness(text[1:]) == "is shorter than 32 bytes"
    assert (len(text.encode()), weakness(text)) == (33, None)


def test_published_keys_need_no_secret(environ: dict[str, str]) -> None:
    """Where the tokens are signed with published keys alone, there is no secret to set."""
    environ |= {
        "DATABASE_URL": POSTGRES,
        "BETTER_AUTH_SECRET": "",
        "BETTER_AUTH_URL": "https://a.example.com",
    }
    assert Settings().secrets == []


def test_settings_do_not_change(environ: dict[str, str]) -> None:
    """What was read at start holds until the end."""
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc] # which mypy knows too


# Settings that are refused for each of the reasons there are, with a password and a secret in their midst.
REFUSED = [
    ("DATABASE_URL", f"postgresql://user:{PASSWORD}@host@host/db"),
    ("DATABASE_URL", f"postgresql://user:{PASSWORD}/@host/db"),
    ("DATABASE_URL", f"postgresql://user:{PASSWORD}#@host/db"),
    ("DATABASE_URL", f"postgresql://user:{PASSWORD}%@host/db"),
    ("DATABASE_URL", f"postgresql://host:{PASSWORD}/db"),
    ("DATABASE_URL", f"postgresql://user:{PASSWORD}@host"),
    ("DATABASE_URL", f"postgresql://user@host/db?password={PASSWORD}&nonsense=1"),
    ("DATABASE_URL", f"postgresql://user@host/db?password=x&{PASSWORD}=1"),
    ("DATABASE_URL", f"postgresql://user@host/db?sslpassword={PASSWORD}"),
    ("DATABASE_URL", f"mysql://user:{PASSWORD}@host/db"),
    ("DATABASE_URL", f"sqlite://user:{PASSWORD}@host/db"),
    ("DATABASE_URL", f"user:{PASSWORD}@host/db"),
    ("DATABASE_URL", f'"postgresql://user:{PASSWORD}@host/db"'),
    ("DATABASE_URL_UNPOOLED", f"postgresql://user:{PASSWORD}@host@host/db"),
    ("BETTER_AUTH_SECRET", f"change-me-{SECRET}"),
    ("BETTER_AUTH_SECRET", SECRET[:20]),
    ("BETTER_AUTH_SECRET", f"ssh-rsa {SECRET}"),
    ("BETTER_AUTH_SECRETS", SECRET),
    ("BETTER_AUTH_SECRETS", f"2:{SECRET},{SECRET}"),
    ("BETTER_AUTH_SECRETS", f"1:{SECRET[:20]}"),
    ("PORT", "http"),
    ("CORS_ORIGINS", "*"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_no_error_shows_a_secret(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    """Whatever is wrong, neither the error nor the process's last words have the password or a secret."""
    environ |= REMOTE | {name: text}
    with pytest.raises(ValidationError) as refused:
        Settings()
    with pytest.raises(SystemExit):
        load_settings()
    for shown in (str(refused.value), repr(refused.value), capsys.readouterr().err):
        assert shown
        for private in (PASSWORD, SECRET, SECRET[:20]):
            assert private not in shown


def test_no_view_of_the_settings_shows_a_secret(environ: dict[str, str]) -> None:
    """Printed, logged or dumped, the settings keep the password and the secrets to themselves."""
    environ |= REMOTE | {"BETTER_AUTH_SECRETS": f"2:{SECRET}", "DATABASE_URL_UNPOOLED": POSTGRES}
    settings = Settings()
    for shown in (
        str(settings),
        repr(settings),
        repr(settings.model_dump()),
        settings.model_dump_json(),
        settings.dsn.public,
        str(settings.dsn),
    ):
        assert PASSWORD not in shown
        assert SECRET not in shown


def test_the_working_folders_env_file_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    """`.env` holds a developer's settings: quotes, comments, `export` and names in any case are fine."""
    environ.clear()
    (tmp_path / ".env").write_text(
        "# a comment\nDATABASE_URL=sqlite:///from-file.db\n\nexport BETTER_AUTH_SECRET='a secret'\n"
        "cors_origins=http://a.example.com, http://b.example.com\nPORT=1 # why\nUNKNOWN=ignored\n"
    )
    settings = Settings()
    assert plain(settings.database_url) == "sqlite:///from-file.db"
    assert settings.secrets == ["a secret"]
    assert settings.cors_origins == ["http://a.example.com", "http://b.example.com"]
    assert settings.port == 1


def test_the_environment_wins_over_the_env_file(environ: dict[str, str], tmp_path: Path) -> None:
    """`PORT=9000 make run` is 9000 whatever `.env` says; what it does not name is `.env`'s."""
    (tmp_path / ".env").write_text("PORT=1\nHOST=::1\n")
    environ["PORT"] = "9000"
    settings = Settings()
    assert (settings.port, settings.host) == (9000, "::1")


def test_a_byte_order_mark_is_no_part_of_a_name(environ: dict[str, str], tmp_path: Path) -> None:
    """`.env` as Windows editors save it is read like any other."""
    environ.clear()
    lines = [f"{name}={value}\n" for name, value in LOCAL.items()]
    (tmp_path / ".env").write_text("".join(lines), encoding="utf-8-sig")
    assert plain(Settings().database_url) == LOCAL["DATABASE_URL"]


def test_an_env_file_that_is_not_utf8_is_one_line(
    environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`.env` in UTF-16, as PowerShell's `>` writes it, is refused like any other mistake: no traceback."""
    (tmp_path / ".env").write_text("PORT=1\n", encoding="utf-16")
    with pytest.raises(SystemExit) as ended:
        load_settings()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("configuration error: ")
    assert ".env" in line


def test_the_issuer_is_written_as_an_origin() -> None:
    """Capitals and the default port of BETTER_AUTH_URL are not in the tokens' `iss`."""
    for url, origin in (
        ("https://App.Example.com:443/", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
    ):
        given = Settings(_env_file=None, database_url="sqlite://", better_auth_url=url)
        assert given.jwks_issuer == given.jwks_audience == origin


def test_a_password_in_an_address_of_keys_is_refused_and_not_shown() -> None:
    """It would end in the log otherwise."""
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, database_url="sqlite://", better_auth_url="https://me:hunter2@example.com")
    assert "hunter2" not in str(refused.value)
