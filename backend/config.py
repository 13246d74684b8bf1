"""Every knob of the service, typed, and refused at start when it is wrong. Reads, but opens nothing."""

import re
import sys
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.auth.strength import weakness
from backend.engine.dsn import Dsn, DsnError, parse_dsn
from backend.urls import PORT_MAX, AuthUrl, McpUrl, ModelUrl, Origin, PublicUrl, is_loopback

_HOW = "use the frontend's, or make one with: openssl rand -base64 32"


def _split(value: Any) -> Any:
    """Let a list be written as `a, b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _header_name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9!#$%&'+.^_`|~-]+", value) is None:
        raise ValueError(f"{value!r} is not the name of a header; '*' would name none beside credentials")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
UserIdType = Literal["text", "uuid", "integer"]
_NAME = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"


class Settings(BaseSettings):
    """What the environment and `.env` say; each field's variable is its name in capitals.

    Raises pydantic's ValidationError for a value that is missing or cannot be used; no message shows
    a secret or a password.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    database_url: SecretStr
    database_url_unpooled: SecretStr = SecretStr("")
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_pool_wait: float = Field(default=5.0, gt=0, le=60)
    database_queue_size: int = Field(default=200, ge=0, le=100_000)
    database_pool_recycle: int = Field(default=1800, ge=1)
    database_statement_timeout: float = Field(default=10.0, gt=0, le=600)
    database_connect_budget: float = Field(default=15.0, ge=0, le=120)
    database_prepared_statements: bool = True
    database_auto_migrate: bool = False
    better_auth_secret: SecretStr = SecretStr("")
    better_auth_secrets: SecretStr = SecretStr("")
    better_auth_url: AuthUrl = None
    auth_jwks_url: AuthUrl = None
    auth_issuer: str | None = None
    auth_audience: str | None = None
    auth_accept_sessions: bool = False
    auth_cookie_prefix: str = "better-auth"
    auth_user_table: str = Field(default="user", pattern=rf"^({_NAME}\.)?{_NAME}$")
    auth_session_table: str = Field(default="session", pattern=rf"^({_NAME}\.)?{_NAME}$")
    auth_user_id_type: UserIdType = "text"
    mcp_enabled: bool = False
    mcp_url: McpUrl = "http://localhost:8000/mcp"
    mcp_accept_api_tokens: bool = False
    cors_headers: Annotated[list[HeaderName], NoDecode, BeforeValidator(_split)] = []
    idempotency_keys_max: int = Field(default=10_000, ge=1)
    idempotency_bytes_max: int = Field(default=16 * 2**20, ge=0)
    tasks_max: int | None = Field(default=None, ge=1)
    trash_days: int = Field(default=30, ge=1, le=3650)
    streams_per_user: int = Field(default=20, ge=1, le=100_000)
    streams_max: int = Field(default=10_000, ge=0, le=100_000)
    stream_seconds: float = Field(default=600.0, gt=0, le=86_400)
    stream_keepalive: float = Field(default=20.0, gt=0, le=60)
    cors_origins: Annotated[list[Origin], NoDecode, BeforeValidator(_split)] = ["http://localhost:3000"]
    trust_forwarded_prefix: bool = False
    public_url: PublicUrl = None
    rate_limit: int | None = Field(default=None, ge=0, le=1_000_000)
    rate_limit_anonymous: int = Field(default=600, ge=0, le=1_000_000)
    forwarded_allow_ips: str = "127.0.0.1"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=PORT_MAX)
    web_concurrency: int = Field(default=1, ge=1, le=256)
    drain_seconds: float = Field(default=0.0, ge=0, le=3600)
    connections_max: int = Field(default=1000, ge=1, le=100_000)
    connections_per_address: int | None = Field(default=None, ge=1)
    assistant_model: str = Field(default="", max_length=200)
    assistant_base_url: ModelUrl = None
    assistant_api_key: SecretStr = SecretStr("")
    assistant_steps: int = Field(default=8, ge=1, le=100)
    assistant_calls: int = Field(default=20, ge=1, le=1000)
    assistant_seconds: float = Field(default=90.0, gt=0, le=600)
    assistant_history_bytes: int = Field(default=32_768, ge=0, le=1_000_000)
    assistant_tokens_per_day: int | None = Field(default=1_000_000, ge=1)
    assistant_message_max: int = Field(default=4000, ge=1, le=100_000)
    metrics_enabled: bool = False
    metrics_token: SecretStr = SecretStr("")
    server_timing: bool = False
    tracing_enabled: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("database_url", "database_url_unpooled")
    @classmethod
    def _database_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.field_name == "database_url_unpooled" and not value.get_secret_value():
            return value
        try:
            parse_dsn(value.get_secret_value())
        except DsnError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("better_auth_secrets")
    @classmethod
    def _versioned(cls, value: SecretStr) -> SecretStr:
        for entry in filter(None, value.get_secret_value().split(",")):
            version, _, secret = entry.partition(":")
            if not version.strip().isdigit() or not secret.strip():
                raise ValueError("write it as Better Auth does: 2:the-new-secret,1:the-old-one")
        return value

    @model_validator(mode="after")
    def _usable_secrets(self) -> "Settings":
        if not self.secrets and self.jwks_url is None:
            raise ValueError(
                f"BETTER_AUTH_SECRET is empty; {_HOW}. For published keys alone set BETTER_AUTH_URL"
            )
        if any("-----BEGIN" in secret or "ssh-" in secret for secret in self.secrets):
            raise ValueError(f"BETTER_AUTH_SECRET is a key file's content, not a secret; {_HOW}")
        if not (self.dsn.is_sqlite and is_loopback(self.host)):
            self.refuse_weak_secrets()
        return self

    @model_validator(mode="after")
    def _usable_mcp(self) -> "Settings":
        if not self.mcp_enabled:
            return self
        if not self.mcp_url.endswith("/mcp") or {"?", "#"} & set(self.mcp_url):
            raise ValueError("MCP_URL is the whole public address, such as https://api.example.com/mcp")
        if self.mcp_is_local and not is_loopback(self.host):
            raise ValueError("MCP_URL is of this machine, but HOST is not: set the address that agents use")
        if self.mcp_issuer is None and not self.mcp_accept_api_tokens:
            raise ValueError("MCP_ENABLED needs the tokens of Better Auth's mcp plugin: set BETTER_AUTH_URL")
        self.refuse_pasted_tokens(is_loopback(self.host))
        return self

    def refuse_pasted_tokens(self, serves_this_machine_alone: bool) -> None:
        """Raise ValueError if tokens that no user granted to an agent would be taken from elsewhere."""
        taken = self.mcp_enabled and self.mcp_accept_api_tokens
        if taken and not (serves_this_machine_alone and self.mcp_is_local):
            raise ValueError(
                "MCP_ACCEPT_API_TOKENS is for development: HOST and MCP_URL have to be of this machine, "
                "and `make run` has to serve it; sign in through BETTER_AUTH_URL instead"
            )

    @property
    def mcp_is_local(self) -> bool:
        """Whether agents on this machine alone can reach MCP_URL."""
        return is_loopback(urlsplit(self.mcp_url).hostname or "")

    @property
    def mcp_issuer(self) -> str | None:
        """The `iss` of an OAuth access token: Better Auth's base URL with its base path."""
        if self.better_auth_url is None:
            return None
        path = urlsplit(self.better_auth_url).path
        return f"{self._issuer_origin}{path or '/api/auth'}"

    @model_validator(mode="after")
    def _shared_by_workers(self) -> "Settings":
        if self.web_concurrency > 1 and self.dsn.is_memory:
            raise ValueError("WEB_CONCURRENCY is more than 1, but a database in memory is one process's own")
        if self.web_concurrency > 1 and sys.platform == "win32":
            raise ValueError("WEB_CONCURRENCY is more than 1, but workers cannot share a listener on Windows")
        return self

    @model_validator(mode="after")
    def _usable_metrics_token(self) -> "Settings":
        if self.metrics_enabled and (what := weakness(self.metrics_token.get_secret_value())):
            what = (
                what
                if self.metrics_token.get_secret_value()
                else "is empty, and anybody could read the metrics"
            )
            raise ValueError(f"METRICS_TOKEN {what}; make one with: openssl rand -base64 32")
        return self

    @property
    def telemetry(self) -> bool:
        """Whether anything is told of requests beside the log."""
        return self.metrics_enabled or self.server_timing or self.tracing_enabled

    def refuse_weak_secrets(self) -> None:
        """Raise ValueError if one of the secrets can be guessed: whoever does so is any user.

        Done already but for SQLite on a HOST that nobody else can reach.
        """
        for secret in self.secrets:
            if what := weakness(secret):
                name = "BETTER_AUTH_SECRET"
                if secret != self.better_auth_secret.get_secret_value():
                    name = "BETTER_AUTH_SECRETS has a secret that"
                raise ValueError(
                    f"{name} {what}, which is good enough for SQLite on a loopback HOST alone; {_HOW}, "
                    "or for published keys alone leave it empty"
                )

    @property
    def dsn(self) -> Dsn:
        """The database's URL as SQLAlchemy and the driver take it."""
        url = self.database_url.get_secret_value()
        return parse_dsn(url, prepared_statements=self.database_prepared_statements)

    @property
    def unpooled_dsn(self) -> Dsn:
        """The way to the same database past its pooler, where there is one: for changing the schema."""
        url = self.database_url_unpooled.get_secret_value()
        return parse_dsn(url, prepared_statements=self.database_prepared_statements) if url else self.dsn

    @property
    def secrets(self) -> list[str]:
        """What tokens may be signed with: the secret, and those of a rotation."""
        rotation = [
            # As Better Auth does: without the blanks around it.
            entry.partition(":")[2].strip()
            for entry in self.better_auth_secrets.get_secret_value().split(",")
        ]
        return [secret for secret in (self.better_auth_secret.get_secret_value(), *rotation) if secret]

    @property
    def cursor_secret(self) -> str:
        """What cursors are signed with: something that all processes of the service share."""
        return next(iter(self.secrets), self.database_url.get_secret_value())

    @property
    def jwks_url(self) -> str | None:
        """Where the issuer publishes its keys; None when it publishes none."""
        if self.auth_jwks_url or self.better_auth_url is None:
            return self.auth_jwks_url
        # A base URL with a path is Better Auth's whole base path.
        path = "/jwks" if urlsplit(self.better_auth_url).path else "/api/auth/jwks"
        return self.better_auth_url + path

    @property
    def jwks_issuer(self) -> str | None:
        """The `iss` of a token signed with a published key: by default its issuer's origin."""
        return self.auth_issuer or self._issuer_origin

    @property
    def jwks_audience(self) -> str | None:
        """The `aud` of such a token: by default its issuer's origin too."""
        return self.auth_audience or self._issuer_origin

    @property
    def _issuer_origin(self) -> str | None:
        parts = urlsplit((self.better_auth_url or self.auth_jwks_url or "").lower())
        default = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
        # As browsers and Better Auth write an origin: lower case, without the port that goes without saying.
        return f"{parts.scheme}://{parts.netloc.removesuffix(default)}" if parts.netloc else None


def load_settings(*, anywhere: bool = False) -> Settings:
    """Read the settings, or end the process: exit status 2 and a line a problem on stderr.

    `anywhere`: another than us decides on which address to serve, so nothing is let pass for HOST's sake.
    """
    try:
        settings = Settings()
        if anywhere:
            settings.refuse_weak_secrets()
            settings.refuse_pasted_tokens(False)
        return settings
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors(include_url=False, include_input=False)]
    except UnicodeDecodeError:
        problems = ["the file .env is not UTF-8"]
    except ValueError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"configuration error: {problem}", file=sys.stderr)
    raise SystemExit(2)


def _sentence(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "missing":
        return f"{name} is not set; set it in the environment or in .env (see .env.example)"
    message = problem["msg"].removeprefix("Value error, ")
    return message if not name or message.startswith(name) else f"{name}: {message}"
