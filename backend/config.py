"""Every knob of the service, typed, and refused at start when it is wrong. Reads, but opens nothing."""

import sys
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.dsn import Dsn, DsnError, parse_dsn

# RFC 7518 §3.2: a key of HS256 has at least the size of its hash; Better Auth asks for the same.
SECRET_MIN = 32


def _split(value: Any) -> Any:
    """Let a list be written as `a, b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    if value == "*":
        raise ValueError("'*' would let every site act for a signed-in user; list the origins")
    scheme, _, host = value.partition("://")
    if scheme not in ("http", "https") or not host.strip("/") or "/" in host.rstrip("/"):
        raise ValueError(f"{value!r} is not an origin such as https://app.example.com")
    return value.rstrip("/").lower()


def _empty_is_unset(value: Any) -> Any:
    return None if value == "" else value


Origin = Annotated[str, AfterValidator(_origin)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_unset)]


class Settings(BaseSettings):
    """What the environment and `.env` say; each field's variable is its name in capitals.

    Raises pydantic's ValidationError for a value that is missing or cannot be used; no message shows
    a secret or a password.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", hide_input_in_errors=True, frozen=True)

    database_url: SecretStr
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_pool_wait: float = Field(default=5.0, gt=0, le=60)
    better_auth_secret: SecretStr = SecretStr("")
    auth_issuer: OptionalText = None
    auth_audience: OptionalText = None
    cors_origins: Annotated[list[Origin], NoDecode, BeforeValidator(_split)] = ["http://localhost:3000"]
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr) -> SecretStr:
        try:
            parse_dsn(value.get_secret_value())
        except DsnError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _secret(self) -> "Settings":
        secret = self.better_auth_secret.get_secret_value()
        how = "use the frontend's, or make one with: openssl rand -base64 32"
        if not secret:
            raise ValueError(f"BETTER_AUTH_SECRET is empty; {how}")
        if "-----BEGIN" in secret or secret.startswith("ssh-"):
            raise ValueError(f"BETTER_AUTH_SECRET is a key file's content, not a secret; {how}")
        if not self.dsn.is_sqlite:
            if "change-me" in secret.lower() or "your-secret" in secret.lower():
                raise ValueError(f"BETTER_AUTH_SECRET is still the placeholder; {how}")
            if len(secret.encode()) < SECRET_MIN:
                raise ValueError(f"BETTER_AUTH_SECRET is shorter than {SECRET_MIN} bytes; {how}")
        return self

    @property
    def dsn(self) -> Dsn:
        """The database's URL as SQLAlchemy and the driver take it."""
        return parse_dsn(self.database_url.get_secret_value())


def load_settings() -> Settings:
    """Read the settings, or end the process: exit status 2 and a line a problem on stderr."""
    try:
        return Settings()
    except ValidationError as error:
        _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"]).upper()
        if problem["type"] == "missing":
            message = f"{name} is not set; set it in the environment or in .env (see .env.example)"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message if not name or message.startswith(name) else f"{name}: {message}"
        print(f"configuration error: {message}", file=sys.stderr)
    raise SystemExit(2)
