"""A libpq or Neon connection URL, translated for SQLAlchemy and asyncpg; nothing here opens a connection.

SQLAlchemy hands each query parameter of a URL to asyncpg's connect(), which knows few of libpq's names: the
URL in Neon's console (`?sslmode=require&channel_binding=require`) ends in a TypeError. Here each parameter
keeps libpq's meaning or is refused by name; it is dropped only where nothing is lost. The rules are those of
the PostgreSQL manual, libpq 34.1.1 (URIs), 34.1.2 (parameters) and 34.19 (SSL), numbered as in release 16.
What a URL leaves out stays open to asyncpg, which reads PGSSLMODE, PGUSER and their like as libpq does.
"""

import difflib
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, make_url

_FORMS = "write postgresql://user:password@host/database, or sqlite:///tasks.db"
_ESCAPE = (
    "a special character is not percent-encoded: in names, passwords and values write @ as %40, : as %3A,"
    " / as %2F, ? as %3F, # as %23, & as %26, % as %25 and a space as %20"
)
# The text is not repeated: after a bare : or / in a password it would be a piece of that.
_PORT = f"a port is not a number from 1 to 65535; or {_ESCAPE}"
_STRONG = ("require", "verify-ca", "verify-full")
_SSLMODES = ("disable", "allow", "prefer", *_STRONG)
_TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_CERTIFICATES = ("sslrootcert", "sslcert", "sslkey")
_TLS_VALUES = (*_CERTIFICATES, "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")

# What the query may say: the values that can be honoured, None where any can and () where none can.
_PARAMETERS: dict[str, Sequence[str] | None] = {
    # translated
    **dict.fromkeys(("host", "port", "user", "password", "dbname", "passfile", "krbsrvname", "options")),
    **dict.fromkeys(("application_name", "fallback_application_name", "connect_timeout")),
    **dict.fromkeys((*_CERTIFICATES, "sslpassword")),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), tuple(_TLS_VERSIONS)),
    "sslmode": _SSLMODES,
    "ssl": (*_SSLMODES, "true"),
    "sslnegotiation": ("postgres", "direct"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "pgbouncer": ("true", "false"),  # Prisma's word
    # dropped: these values ask for what asyncpg does anyway, or leave it to the system
    **dict.fromkeys(("keepalives_idle", "keepalives_interval", "keepalives_count"), ("0",)),
    **dict.fromkeys(("tcp_user_timeout", "gssdelegation", "sslcompression"), ("0",)),
    "keepalives": ("1", "0"),
    "client_encoding": ("utf8", "UTF8", "utf-8", "UTF-8"),
    "gssencmode": ("disable", "prefer"),
    "gsslib": ("gssapi",),
    "sslcertmode": ("allow",),
    "sslsni": ("1",),
    "load_balance_hosts": ("disable",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "latest"),
    "replication": ("false", "off", "no", "0"),
    "uselibpqcompat": ("true",),  # node-postgres' word
    # refused: asyncpg has nothing for them; `service` would bring in parameters that nobody has looked at
    **dict.fromkeys(("service", "servicefile", "hostaddr", "requirepeer", "require_auth"), ()),
    **dict.fromkeys(("sslcrl", "sslcrldir", "sslkeylogfile", "scram_client_key", "scram_server_key"), ()),
    **dict.fromkeys(("oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"), ()),
}
# Other tools' parameters, as they come in a DATABASE_URL shared with the frontend, and what to do instead.
_FOREIGN = {
    "connection_limit": "set DATABASE_POOL_SIZE",
    "pool_timeout": "set DATABASE_POOL_WAIT",
    "schema": "write options=-csearch_path%3DNAME",
    "statement_cache_size": "write pgbouncer=true to do without prepared statements",
    "prepared_statement_cache_size": "write pgbouncer=true to do without prepared statements",
}
_SQLITE = {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}


class DsnError(ValueError):
    """The URL cannot be used. One line: what is wrong, what to write. Never a password, never the URL."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where the database is, in the two pieces that `create_async_engine(url, connect_args=…)` takes.

    `url` has the driver postgresql+asyncpg or sqlite+aiosqlite. On PostgreSQL it has no query, and no host
    where there are several or a unix socket: `connect_args`, for the driver's connect(), has them.
    """

    url: URL
    connect_args: Mapping[str, Any]

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; otherwise it is PostgreSQL."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def is_memory(self) -> bool:
        """Whether this is a SQLite database that is gone with its last connection."""
        name, query = self.url.database or ":memory:", self.url.query
        shared = "uri" in query and (name.startswith("file::memory:") or query.get("mode") == "memory")
        return self.is_sqlite and (name == ":memory:" or shared)

    @property
    def public(self) -> str:
        """One line for the start-up log: the URL without its password, hosts, and the sslmode in force."""
        text = self.url.render_as_string(hide_password=True)
        for name in ("host", "port"):
            if name in self.connect_args:
                text += f" {name}={','.join(map(str, self.connect_args[name]))}"
        mode = self.connect_args.get("ssl", "default")
        if isinstance(mode, ssl.SSLContext):
            verified = "verify-full" if mode.check_hostname else "verify-ca"
            mode = verified if mode.verify_mode else "require"
        return text if self.is_sqlite else f"{text} sslmode={mode}"


def parse_dsn(raw: str, *, prepared_statements: bool = True) -> Dsn:
    """Translate a database URL as libpq would understand it.

    `raw` is postgres://, postgresql:// or postgresql+asyncpg:// in libpq's form (several hosts, IPv6, unix
    sockets), or sqlite:// or sqlite+aiosqlite:// in SQLAlchemy's. The database must be named; no host is the
    local server. With `prepared_statements` false, or `pgbouncer=true` in the URL, neither asyncpg nor
    SQLAlchemy keeps prepared statements: for a pooler that cannot follow them.

    TLS follows 34.19, with `ssl` as another name for `sslmode`, and differs only where that is not weaker:
    - On *.neon.tech, whose certificates a public authority signs, `require` or no sslmode is verify-full.
    - `channel_binding=require` is verify-full on any host: asyncpg never binds the channel, and a verified
      certificate keeps the man in the middle out too. Where TLS is not certain (a weaker sslmode, a unix
      socket) it is an error: libpq fails there too, once it logs in without TLS.
    - verify-* without `sslrootcert` trusts the system's authorities; libpq looks for ~/.postgresql/root.crt.
    - `sslrootcert`, `sslcert` and their like are an error below sslmode=require instead of having no effect.

    `connect_timeout` is for all hosts together (libpq: for each). Without it asyncpg's 60 seconds hold.

    Raises:
        DsnError: something in it cannot be honoured in full, or a certificate file cannot be loaded.
    """
    text = raw.strip()
    scheme, found, rest = text.partition("://")
    if re.match(r"psql\s|['\"`]", text):
        raise DsnError(f"the database URL must stand alone, without psql and without quotes: {_FORMS}")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise DsnError(f"the database URL does not start with a scheme: {_FORMS}")
    if scheme in ("sqlite", "sqlite+aiosqlite"):
        return _sqlite(rest)
    if scheme in ("postgres", "postgresql", "postgresql+asyncpg"):
        return _postgres(rest, prepared_statements)
    raise DsnError(f"{scheme}:// is not supported, the drivers are asyncpg and aiosqlite: {_FORMS}")


def _sqlite(rest: str) -> Dsn:
    if rest and not rest.startswith("/"):
        raise DsnError("a SQLite URL has three slashes, or four before an absolute path: sqlite:///tasks.db")
    url = make_url(f"sqlite+aiosqlite://{rest}")
    unknown = sorted(set(url.query) - _SQLITE)
    if unknown and "uri" not in url.query:  # with uri=true they are for SQLite itself
        raise DsnError(f"SQLite knows no parameter {unknown[0]!r} without uri=true")
    return Dsn(url, {})


def _postgres(rest: str, prepared_statements: bool) -> Dsn:
    authority, path, query = _split(rest)
    userinfo, _, address = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    hosts, ports = _host_list(address, encoded=True)
    params = _parameters(query)
    if "host" in params:
        hosts, own_ports = _host_list(params["host"], encoded=False)
        ports = own_ports if any(own_ports) else ports
    numbers = _port_numbers(params["port"].split(",") if "port" in params else ports, len(hosts))
    database = params.get("dbname") or unquote(path)
    if not database:
        raise DsnError("the URL names no database: write postgresql://user:password@host/DATABASE")
    args = _tls(params, hosts) | _session(params)
    if not prepared_statements or params.get("pgbouncer") == "true":
        # Both caches: with one of them on, statements fail behind a pooler, or for ever after a DDL change.
        args |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    alone = len(hosts) == 1 and not hosts[0].startswith("/")
    if not alone:  # not in the URL: SQLAlchemy's query form for several hosts has no room for IPv6
        args |= {"host": hosts} | ({"port": numbers} if numbers else {})
    url = URL.create(
        "postgresql+asyncpg",
        username=params.get("user") or unquote(user) or None,
        password=params.get("password") or unquote(password) or None,
        host=hosts[0] or None if alone else None,
        port=numbers[0] if alone and numbers else None,
        database=database,
    )
    return Dsn(url, args)


def _split(rest: str) -> tuple[str, str, str]:
    """Authority, path, query. A bare @ or / in a password is refused: parsers disagree on where it ends."""
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    tail = rest.removeprefix(authority)
    path, _, query = tail.removeprefix("/").partition("?")
    garbled = re.search(r"[\s\x00-\x1f\x7f#]|%(?![0-9A-Fa-f]{2})|%00", rest) or "\ufffd" in unquote(rest)
    if garbled or authority.count("@") > 1 or "@" in tail:
        raise DsnError(_ESCAPE)
    return authority, path, query


def _host_list(text: str, *, encoded: bool) -> tuple[list[str], list[str]]:
    """The hosts and the ports of `host:port,[ipv6]:port,…`; an absent one is empty."""
    valid = re.compile(r"/[^\x00-\x20\x7f]*|[\w.-]+|[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}(%\w+)?")
    hosts, ports = [], []
    for entry in text.split(","):
        if six := re.fullmatch(r"\[(.*)\](?::|$)(.*)", entry):
            host, port = six.groups()
        elif not encoded and (entry.startswith("/") or entry.count(":") > 1):  # `host=` takes a bare ::1
            host, port = entry, ""
        else:
            host, _, port = entry.partition(":")
        hosts.append(unquote(host) if encoded else host)
        ports.append(port)
    if not re.fullmatch("[0-9,]*", ",".join(ports)):
        raise DsnError(_PORT)
    if hosts != [""] and not all(map(valid.fullmatch, hosts)):
        raise DsnError("a host is not a name, an IP address ([IPv6] in brackets) or a socket's directory")
    return hosts, ports


def _port_numbers(ports: Sequence[str], hosts: int) -> list[int]:
    """A port for each host, by 34.1.2: one is for all, an empty one is 5432; none if all are empty."""
    if not any(ports):
        return []
    numbers = [int(port or 5432) for port in ports if re.fullmatch("[0-9]{0,5}", port)]
    if len(numbers) != len(ports) or not all(0 < number < 65536 for number in numbers):
        raise DsnError(_PORT)
    if len(ports) not in (1, hosts):
        raise DsnError(f"{len(ports)} ports for {hosts} hosts: write one for each, or one for all")
    return numbers * (hosts // len(numbers))


def _parameters(query: str) -> dict[str, str]:
    """The query's parameters, each of them known and with a value that can be honoured."""
    params: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, found, value = (unquote(part) for part in item.partition("="))
        choices = _PARAMETERS.get(name)
        if not found or (name not in _PARAMETERS and {"password", "sslpassword"} & params.keys()):
            # Not repeated: it may be what follows a bare & in a password.
            raise DsnError("the query is not name=value&name=value (in a value write & as %26)")
        if name in _FOREIGN:
            raise DsnError(f"{name} is another tool's parameter: remove it and {_FOREIGN[name]}")
        if name not in _PARAMETERS:
            near = difflib.get_close_matches(name, _PARAMETERS, n=1)
            raise DsnError(
                f"unknown parameter {name!r}: {f'do you mean {near[0]}?' if near else 'remove it'}"
            )
        if choices is not None and value not in choices:
            only = f"with asyncpg {name} can only be {' or '.join(choices)}"
            raise DsnError(only if choices else f"asyncpg cannot honour {name}: remove it")
        if not value or (name in params and name != "host"):  # SQLAlchemy writes host=a:1&host=b:2
            raise DsnError(f"{name} must be given once and with a value, or not at all")
        params[name] = f"{params[name]},{value}" if name in params else value
    return params


def _session(params: Mapping[str, str]) -> dict[str, Any]:
    """What asyncpg is told that is not about TLS."""
    names = ("passfile", "krbsrvname", "target_session_attrs")
    args: dict[str, Any] = {name: params[name] for name in names if name in params}
    names = ("fallback_application_name", "application_name", "options")  # the second replaces the first
    if settings := {name.removeprefix("fallback_"): params[name] for name in names if name in params}:
        args["server_settings"] = settings
    if timeout := params.get("connect_timeout"):
        if not re.fullmatch("[+-]?[0-9]{1,9}", timeout):
            raise DsnError("connect_timeout is not a whole number of seconds")
        # 34.1.2: zero and less wait for ever, and one second is taken as two.
        args["timeout"] = max(2, int(timeout)) if int(timeout) > 0 else None
    return args


def _sslmode(params: Mapping[str, str], hosts: Sequence[str]) -> str | None:
    """The sslmode in force for these hosts; None leaves asyncpg its default, PGSSLMODE or else prefer."""
    alias = "require" if params.get("ssl") == "true" else params.get("ssl")  # 34.1.1.2: JDBC's ssl=true
    mode, root = params.get("sslmode", alias), params.get("sslrootcert")
    if alias not in (None, mode):
        raise DsnError("ssl and sslmode contradict each other: keep sslmode")
    if params.get("channel_binding") == "require":
        if mode not in (None, *_STRONG) or any(host.startswith("/") or not host for host in hosts):
            raise DsnError("channel_binding=require needs TLS: write sslmode=verify-full and a host's name")
        return "verify-full"
    if mode in (None, "require") and any(_is_neon(host) for host in hosts):
        return "verify-full"
    if root == "system":
        if mode not in (None, "verify-full"):
            raise DsnError("sslrootcert=system needs sslmode=verify-full")
        return "verify-full"
    return "verify-ca" if root and mode == "require" else mode  # 34.19.1


def _is_neon(host: str) -> bool:
    return host.lower().rstrip(".").endswith(".neon.tech")


def _tls(params: Mapping[str, str], hosts: Sequence[str]) -> dict[str, Any]:
    """What asyncpg is told about TLS: its own word for a weak mode, a context for the others.

    For the words of those it insists on ~/.postgresql/root.crt, and no argument of it names another file.
    """
    mode = _sslmode(params, hosts)
    if all(host.startswith("/") for host in hosts):
        return {"ssl": "disable"}  # 34.1.2: sslmode is ignored on a unix socket
    direct = params.get("sslnegotiation") == "direct"
    if mode in _STRONG:
        return {"ssl": _context(mode, params)} | ({"direct_tls": True} if direct else {})
    unused = [name for name in _TLS_VALUES if name in params] + ["sslnegotiation=direct"] * direct
    if unused:
        raise DsnError(f"{unused[0]} needs sslmode={' or '.join(_STRONG)}")
    return {"ssl": mode} if mode else {}


def _context(mode: str, params: Mapping[str, str]) -> ssl.SSLContext:
    # Not create_default_context(): from Python 3.13 on it also enforces the fine print of RFC 5280, which
    # libpq does not, and which the private authorities that sslrootcert is for often miss.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if mode == "require" else ssl.CERT_REQUIRED
    context.set_alpn_protocols(["postgresql"])  # as libpq; a server demands it for sslnegotiation=direct
    context.minimum_version = _TLS_VERSIONS[params.get("ssl_min_protocol_version", "TLSv1.2")]
    context.maximum_version = _TLS_VERSIONS[params.get("ssl_max_protocol_version", "TLSv1.3")]
    for name in _CERTIFICATES:
        path = params.get(name, "system")
        if path != "system" and not os.access(path, os.R_OK):
            raise DsnError(f"{name}: there is no readable file {path!r}")
    root, cert, key = map(params.get, _CERTIFICATES)
    loading = "sslrootcert: no PEM certificate in the file"
    try:
        if root in (None, "system"):
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=root)
        loading = "sslcert: the file holds no PEM certificate, or sslkey or sslpassword does not fit it"
        if cert or key:  # a password always, if empty: without one OpenSSL asks for it on the terminal
            context.load_cert_chain(cert or "", key, params.get("sslpassword", ""))
    except OSError:  # ssl.SSLError is one
        raise DsnError(loading) from None
    return context
