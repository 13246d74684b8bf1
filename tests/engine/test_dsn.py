"""A database URL is translated with libpq's meaning, or refused in a line that helps and keeps secrets."""

import datetime as dt
import inspect
import ssl
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from backend.engine.dsn import Dsn, DsnError, parse_dsn

NEON = "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech"
PASSWORD = "hunter2"
NO_CACHE = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}


def arguments(dsn: Dsn) -> dict[str, Any]:
    """What asyncpg's connect() is called with: SQLAlchemy's reading of the URL, then connect_args."""
    _, named = dsn.url.get_dialect()().create_connect_args(dsn.url)
    return {**named, **dsn.connect_args}


def sslmode(dsn: Dsn) -> str | None:
    """The sslmode that the driver works by."""
    mode = dsn.connect_args.get("ssl")
    if not isinstance(mode, ssl.SSLContext):
        return mode
    if mode.verify_mode == ssl.CERT_NONE:
        return "require"
    return "verify-full" if mode.check_hostname else "verify-ca"


def refusal(url: str) -> str:
    """The line with which a URL is refused."""
    with pytest.raises(DsnError) as caught:
        parse_dsn(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in shown
    message = str(caught.value)
    assert message.isprintable()  # so it is one line
    return message


# URLs of the database app, and what asyncpg's connect() gets apart from it.
SERVERS: list[tuple[str, dict[str, Any]]] = [
    # the three schemes, and what may be left out
    ("postgres://me:pw@db/app", {"host": "db", "user": "me", "password": "pw"}),
    ("postgresql://me:pw@db:5433/app", {"host": "db", "port": 5433, "user": "me", "password": "pw"}),
    ("postgresql+asyncpg://db/app", {"host": "db"}),
    ("  postgresql://me@db/app\n", {"host": "db", "user": "me"}),
    ("postgresql://me:@db/app", {"host": "db", "user": "me"}),
    ("postgresql:///app", {}),
    ("postgresql://me@:5433/app", {"port": 5433, "user": "me"}),
    # percent-encoding, and libpq's `+`, which is no space
    ("postgresql://m%40e:a%2Fb%3Fc%23d%25:e@db/app", {"host": "db", "user": "m@e", "password": "a/b?c#d%:e"}),
    ("postgresql://me:pä%C3%A4@db/a%70p", {"host": "db", "user": "me", "password": "pää"}),
    ("postgresql://db/app?password=a+b", {"host": "db", "password": "a+b"}),
    # hosts and ports
    ("postgresql://[2001:db8::1]:5433/app", {"host": "2001:db8::1", "port": 5433}),
    ("postgresql://[fe80::1%25eth0]/app", {"host": "fe80::1%eth0"}),
    ("postgresql://a,b/app", {"host": ["a", "b"]}),
    ("postgresql://a:1,[::1]:2,c/app", {"host": ["a", "::1", "c"], "port": [1, 2, 5432]}),
    ("postgresql://a,b/app?port=5433", {"host": ["a", "b"], "port": [5433, 5433]}),
    ("postgresql:///app?host=a,b&port=1,", {"host": ["a", "b"], "port": [1, 5432]}),
    ("postgresql:///app?host=a:1&host=b:2", {"host": ["a", "b"], "port": [1, 2]}),
    ("postgresql:///app?host=::1", {"host": "::1"}),
    ("postgresql://a:1/app?host=b", {"host": "b", "port": 1}),
    (
        "postgresql://me:x@db/x?user=you&password=pw&dbname=app",
        {"host": "db", "user": "you", "password": "pw"},
    ),
    # unix sockets, which never have TLS
    ("postgresql:///app?host=/run/pg", {"host": ["/run/pg"], "ssl": "disable"}),
    ("postgresql://%2Frun%2Fpg:5433/app", {"host": ["/run/pg"], "port": [5433], "ssl": "disable"}),
    ("postgresql:///app?host=/run/pg&sslmode=verify-full", {"host": ["/run/pg"], "ssl": "disable"}),
    ("postgresql:///app?host=/run/pg,db", {"host": ["/run/pg", "db"]}),
]

# Queries of postgresql://db/app, and what connect() gets for them.
QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("connect_timeout=10", {"timeout": 10}),
    ("connect_timeout=1", {"timeout": 2}),
    ("connect_timeout=0", {"timeout": None}),
    ("connect_timeout=-1", {"timeout": None}),
    ("application_name=my%20app", {"server_settings": {"application_name": "my app"}}),
    ("fallback_application_name=b&application_name=a", {"server_settings": {"application_name": "a"}}),
    ("application_name=a&fallback_application_name=b", {"server_settings": {"application_name": "a"}}),
    ("fallback_application_name=b", {"server_settings": {"application_name": "b"}}),
    ("options=-c%20jit%3Doff", {"server_settings": {"options": "-c jit=off"}}),
    ("options=endpoint%3Dep-x", {"server_settings": {"options": "endpoint=ep-x"}}),
    ("options=project=x", {"server_settings": {"options": "project=x"}}),
    ("target_session_attrs=prefer-standby", {"target_session_attrs": "prefer-standby"}),
    ("passfile=/p&krbsrvname=pg", {"passfile": "/p", "krbsrvname": "pg"}),
    ("pgbouncer=true", NO_CACHE),
    ("pgbouncer=false", {}),
    ("sslmode=disable", {"ssl": "disable"}),
    # what asyncpg does anyway
    ("channel_binding=prefer&gssencmode=prefer&sslsni=1&sslcompression=0", {}),
    ("keepalives=1&keepalives_idle=0&tcp_user_timeout=0", {}),
    ("client_encoding=utf8&load_balance_hosts=disable&", {}),
    ("sslnegotiation=postgres&uselibpqcompat=true", {}),
]


@pytest.mark.parametrize(
    ("url", "expected"),
    [*SERVERS, *((f"postgresql://db/app?{query}", {"host": "db"} | extra) for query, extra in QUERIES)],
)
def test_accepted(url: str, expected: dict[str, Any]) -> None:
    """Each part of a URL reaches asyncpg as the argument that means the same, and nothing else does."""
    dsn = parse_dsn(url)
    assert arguments(dsn) == {"database": "app"} | expected
    assert dsn.url.drivername == "postgresql+asyncpg"
    assert not dsn.url.query
    assert (dsn.is_sqlite, dsn.is_memory) == (False, False)
    known = inspect.signature(asyncpg.connect).parameters.keys() | {"prepared_statement_cache_size"}
    assert arguments(dsn).keys() <= known


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://db/app", None),
        ("postgresql://db/app?sslmode=disable", "disable"),
        ("postgresql://db/app?sslmode=allow", "allow"),
        ("postgresql://db/app?sslmode=prefer", "prefer"),
        ("postgresql://db/app?sslmode=require", "require"),
        ("postgresql://db/app?sslmode=verify-ca", "verify-ca"),
        ("postgresql://db/app?sslmode=verify-full", "verify-full"),
        ("postgresql://db/app?ssl=require", "require"),
        ("postgresql://db/app?ssl=true&sslmode=require", "require"),
        ("postgresql://db/app?ssl=prefer", "prefer"),
        ("postgresql://db/app?sslrootcert=system", "verify-full"),
        ("postgresql://a,%2Frun%2Fpg/app?sslmode=require", "require"),
        # Neon: its certificates are public, so encryption without verification is never what is wanted
        (f"postgresql://{NEON}/app", "verify-full"),
        (f"postgresql://{NEON}/app?sslmode=require", "verify-full"),
        (f"postgresql://{NEON}/app?sslmode=require&channel_binding=require", "verify-full"),
        (f"postgresql://{NEON.upper()}./app?ssl=true", "verify-full"),
        (f"postgresql://db,{NEON}/app?sslmode=require", "verify-full"),
        (f"postgresql:///app?host={NEON}", "verify-full"),
        (f"postgresql://{NEON}/app?sslmode=require&sslrootcert=system", "verify-full"),
        (f"postgresql://{NEON}/app?sslmode=prefer", "prefer"),
        (f"postgresql://{NEON}/app?sslmode=verify-ca", "verify-ca"),
        ("postgresql://evilneon.tech/app?sslmode=require", "require"),
        ("postgresql://x.neon.tech.example.com/app?sslmode=require", "require"),
        ("postgresql://neon.technology/app", None),
        # what asyncpg cannot bind, it verifies
        ("postgresql://db/app?channel_binding=require", "verify-full"),
        ("postgresql://db/app?sslmode=require&channel_binding=require", "verify-full"),
        ("postgresql://db/app?sslmode=verify-ca&channel_binding=require", "verify-full"),
        ("postgresql://db/app?sslmode=require&channel_binding=disable", "require"),
    ],
)
def test_sslmode(url: str, mode: str | None) -> None:
    """Every sslmode keeps libpq's meaning, or is made stricter where the docstring says so; never weaker."""
    assert sslmode(parse_dsn(url)) == mode


REFUSED: list[tuple[str, str]] = [
    # not a URL of ours
    ("", "scheme"),
    ("   ", "scheme"),
    ("me:hunter2@db/app", "scheme"),
    ("//me:hunter2@db/app", "scheme"),
    ("host=db password=hunter2", "scheme"),
    ("mysql://me:hunter2@db/app", "mysql://"),
    ("postgresql+psycopg://me:hunter2@db/app", "postgresql+psycopg://"),
    ("postgresql+psycopg2://me:hunter2@db/app", "asyncpg"),
    ("prisma+postgres://me:hunter2@db/app", "prisma+postgres://"),
    ("sqlite+pysqlite:///app.db", "aiosqlite"),
    ("psql 'postgresql://me:hunter2@db/app'", "without psql"),
    ("'postgresql://me:hunter2@db/app'", "without quotes"),
    ('"postgresql://me:hunter2@db/app"', "without quotes"),
    # parts missing or malformed
    ("postgresql://", "database"),
    ("postgresql://me:hunter2@db", "database"),
    ("postgresql://me:hunter2@db/", "database"),
    ("postgresql://me:hunter2@db:http/app", "port"),
    ("postgresql://me:hunter2@db:0/app", "port"),
    ("postgresql://me:hunter2@db:65536/app", "port"),
    ("postgresql://db:-1/app", "port"),
    ("postgresql:///app?port=\u0665", "port"),
    ("postgresql://a,b,c/app?port=1,2", "2 ports for 3 hosts"),
    ("postgresql://a,,b/app", "host"),
    ("postgresql://a$b/app", "host"),
    ("postgresql://%40abstract/app", "host"),
    ("postgresql://a%2Cb/app", "host"),
    ("postgresql://db/app?connect_timeout=soon", "connect_timeout"),
    ("postgresql://db/app?connect_timeout=1.5", "connect_timeout"),
    ("postgresql://db/app?sslmode", "name=value"),
    ("postgresql://db/app?sslmode=", "sslmode"),
    ("postgresql://db/app?application_name=", "application_name"),
    ("postgresql://db/app?sslmode=verify-full&sslmode=disable", "once"),
    # values that libpq does not have
    ("postgresql://db/app?sslmode=no-verify", "verify-full"),
    ("postgresql://db/app?sslmode=REQUIRE", "sslmode"),
    ("postgresql://db/app?ssl=false", "ssl"),
    ("postgresql://db/app?channel_binding=yes", "channel_binding"),
    ("postgresql://db/app?target_session_attrs=master", "target_session_attrs"),
    ("postgresql://db/app?sslnegotiation=fast", "sslnegotiation"),
    ("postgresql://db/app?sslmode=require&ssl_min_protocol_version=TLSv1", "ssl_min_protocol_version"),
    # names that libpq does not have
    ("postgresql://db/app?sslmod=require", "do you mean sslmode?"),
    ("postgresql://db/app?statement_timeout=5", "statement_timeout"),
    ("postgresql://db/app?connection_limit=5", "DATABASE_POOL_SIZE"),
    ("postgresql://db/app?pool_timeout=5", "DATABASE_POOL_WAIT"),
    ("postgresql://db/app?schema=public", "options=-csearch_path%3D"),
    ("postgresql://db/app?prepared_statement_cache_size=0", "pgbouncer=true"),
    # what asyncpg cannot honour
    ("postgresql://db/app?service=x", "service"),
    ("postgresql://db/app?hostaddr=::1", "hostaddr"),
    ("postgresql:///app?host=/run/pg&requirepeer=postgres", "requirepeer"),
    ("postgresql://db/app?require_auth=scram-sha-256", "require_auth"),
    ("postgresql://db/app?sslmode=verify-full&sslcrl=/x", "sslcrl"),
    ("postgresql://db/app?gssencmode=require", "gssencmode"),
    ("postgresql://db/app?sslcompression=1", "sslcompression"),
    ("postgresql://db/app?sslsni=0", "sslsni"),
    ("postgresql://db/app?sslcertmode=require", "sslcertmode"),
    ("postgresql://db/app?keepalives_idle=30", "keepalives_idle"),
    ("postgresql://db/app?tcp_user_timeout=1000", "tcp_user_timeout"),
    ("postgresql://a,b/app?load_balance_hosts=random", "load_balance_hosts"),
    ("postgresql://db/app?client_encoding=latin1", "client_encoding"),
    ("postgresql://db/app?min_protocol_version=3.2", "min_protocol_version"),
    ("postgresql://db/app?oauth_client_secret=hunter2", "oauth_client_secret"),
    # contradictions
    ("postgresql://db/app?ssl=require&sslmode=verify-full", "contradict"),
    ("postgresql://db/app?channel_binding=require&sslmode=disable", "channel_binding"),
    ("postgresql://db/app?channel_binding=require&sslmode=allow", "channel_binding"),
    (f"postgresql://{NEON}/app?channel_binding=require&sslmode=prefer", "channel_binding"),
    ("postgresql:///app?channel_binding=require", "channel_binding"),
    ("postgresql:///app?channel_binding=require&host=db,/run/pg", "channel_binding"),
    ("postgresql://db/app?sslrootcert=system&sslmode=require", "verify-full"),
    ("postgresql://db/app?sslrootcert=system&sslmode=verify-ca", "verify-full"),
    ("postgresql://db/app?sslrootcert=/ca.pem", "sslrootcert needs"),
    ("postgresql://db/app?sslcert=/me.pem&sslmode=prefer", "sslcert needs"),
    ("postgresql://db/app?ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version needs"),
    ("postgresql://db/app?sslnegotiation=direct", "sslnegotiation=direct needs"),
    # a special character that is not encoded
    ("postgresql://me:hunter2@2@db/app", "%40"),
    ("postgresql://me:hunter2/2@db/app", "%2F"),
    ("postgresql://me:2/hunter2@db/app", "%2F"),
    ("postgresql://me:hunter2?2=3@db/app", "%3F"),
    ("postgresql://me:2?hunter2=3@db/app", "%3F"),
    ("postgresql://me:hunter2#2@db/app", "%23"),
    ("postgresql://me:hunter2%@db/app", "%25"),
    ("postgresql://me:hunter2%zz@db/app", "%25"),
    ("postgresql://me:hunter2%00@db/app", "percent-encoded"),
    ("postgresql://me:hunter2%FF@db/app", "percent-encoded"),
    ("postgresql://me:hunter2 2@db/app", "%20"),
    ("postgresql://me:hunter2\n2@db/app", "percent-encoded"),
    ("postgresql://me:hunter2", "port"),
    ("postgresql://me:hunter2:3/app", "port"),
    ("postgresql://me:pw?hunter2=1", "port"),
    ("postgresql://a::1/app", "port"),
    ("postgresql://[hunter2/app", "host"),
    ("postgresql://db/app?password=a&hunter2", "%26"),
    ("postgresql://db/app?password=a&hunter2=b", "%26"),
    # SQLite
    ("sqlite://app.db", "three slashes"),
    ("sqlite://me:hunter2@db/app.db", "three slashes"),
    ("sqlite://?@:hunter2", "three slashes"),
    ("sqlite:///app.db?sslmode=require", "sslmode"),
]


@pytest.mark.parametrize(("url", "word"), REFUSED)
def test_refused(url: str, word: str) -> None:
    """What cannot be honoured is refused in one line that says what to change and has no password."""
    assert word in refusal(url)


@given(before=st.text(max_size=8), after=st.text(max_size=8), rest=st.sampled_from(["@db/app", "@db", "@"]))
def test_a_pasted_password_is_never_shown(before: str, after: str, rest: str) -> None:
    """However a bare password breaks its URL, neither the error nor the start-up line has it."""
    try:
        shown = parse_dsn(f"postgresql://me:{before}{PASSWORD}{after}{rest}").public
    except DsnError as error:
        shown = "".join(traceback.format_exception(error))
    assert PASSWORD not in shown


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), min_size=1))
def test_a_percent_encoded_name_arrives(name: str) -> None:
    """Whatever is percent-encoded as user, password or database arrives as it was."""
    part = quote(name, safe="")
    got = arguments(parse_dsn(f"postgresql://{part}:{part}@db/{part}"))
    assert (got["user"], got["password"], got["database"]) == (name, name, name)


@pytest.mark.parametrize("url", ["postgresql://db/app", "postgresql://db/app?pgbouncer=false"])
def test_prepared_statements_off(url: str) -> None:
    """Prepared statements are switched off in asyncpg and in SQLAlchemy, since either cache alone breaks."""
    assert parse_dsn(url, prepared_statements=False).connect_args == NO_CACHE
    assert parse_dsn(url).connect_args == {}


@pytest.mark.parametrize(
    ("url", "rendered", "in_memory"),
    [
        ("sqlite://", "sqlite+aiosqlite://", True),
        ("sqlite:///", "sqlite+aiosqlite:///", True),
        ("sqlite:///:memory:", "sqlite+aiosqlite:///%3Amemory%3A", True),
        ("sqlite+aiosqlite:///:memory:", "sqlite+aiosqlite:///%3Amemory%3A", True),
        ("sqlite:///app.db", "sqlite+aiosqlite:///app.db", False),
        (" sqlite:////var/app.db ", "sqlite+aiosqlite:////var/app.db", False),
        ("sqlite+aiosqlite:///a/b.db?timeout=3", "sqlite+aiosqlite:///a/b.db?timeout=3", False),
        ("sqlite:///file:a.db?mode=ro&uri=true", "sqlite+aiosqlite:///file%3Aa.db?mode=ro&uri=true", False),
        (
            "sqlite:///file::memory:?cache=shared&uri=true",
            "sqlite+aiosqlite:///file%3A%3Amemory%3A?cache=shared&uri=true",
            True,
        ),
        ("sqlite:///file:x?mode=memory&uri=true", "sqlite+aiosqlite:///file%3Ax?mode=memory&uri=true", True),
    ],
)
def test_sqlite(url: str, rendered: str, in_memory: bool) -> None:
    """A SQLite URL becomes aiosqlite's and SQLAlchemy accepts it; what is lost at the end is known to be."""
    dsn = parse_dsn(url, prepared_statements=False)
    assert str(dsn.url) == rendered
    assert dsn.is_sqlite
    assert dsn.is_memory is in_memory
    assert dsn.connect_args == {}
    assert dsn.url.get_dialect()().create_connect_args(dsn.url)
    assert dsn.public == rendered


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("postgresql://me:hunter2@db:5433/app", "postgresql+asyncpg://me:***@db:5433/app sslmode=default"),
        (
            f"postgresql://me:hunter2@{NEON}/app",
            f"postgresql+asyncpg://me:***@{NEON}/app sslmode=verify-full",
        ),
        (
            "postgresql://db/app?password=hunter2&sslmode=require",
            "postgresql+asyncpg://db/app sslmode=require",
        ),
        ("postgresql://db/app?sslmode=verify-ca", "postgresql+asyncpg://db/app sslmode=verify-ca"),
        (
            "postgresql://me:hunter2@a:1,[::1]/app?sslmode=prefer",
            "postgresql+asyncpg://me:***@/app host=a,::1 port=1,5432 sslmode=prefer",
        ),
        ("postgresql:///app?host=/run/pg", "postgresql+asyncpg:///app host=/run/pg sslmode=disable"),
        ("sqlite:///tasks.db", "sqlite+aiosqlite:///tasks.db"),
    ],
)
def test_public(url: str, line: str) -> None:
    """The start-up line names server, database and sslmode; neither it nor the repr has the password."""
    dsn = parse_dsn(url)
    assert dsn.public == line
    assert PASSWORD not in repr(dsn)


@dataclass
class Authority:
    """A certificate authority in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        folder.mkdir()
        authority = cls(folder, ec.generate_private_key(ec.SECP256R1()))
        authority.issue("ca", authority.key)
        return authority

    def issue(self, name: str, key: ec.EllipticCurvePrivateKey | None = None, password: bytes = b"") -> None:
        """Write name.pem and name.key: a certificate for the DNS name; for `ca` the authority's own."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.folder.name} ca")]),
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.folder.name} {name}")]),
            key.public_key(),
            x509.random_serial_number(),
            now - dt.timedelta(days=1),
            now + dt.timedelta(days=1),
        )
        builder = builder.add_extension(
            x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        (self.folder / f"{name}.key").write_bytes(private)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    def server(self, name: str) -> ssl.SSLContext:
        """A server that has the certificate for `name`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.set_alpn_protocols(["postgresql"])
        return context


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the URLs trust: servers db and other, client me with the key's password s3cret."""
    authority = Authority.make(tmp_path_factory.mktemp("tls") / "ours")
    for name in ("db", "other"):
        authority.issue(name)
    authority.issue("me", password=b"s3cret")
    return authority


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts, with a server db."""
    authority = Authority.make(tmp_path_factory.mktemp("tls") / "theirs")
    authority.issue("db")
    return authority


def shake_hands(dsn: Dsn, server_context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """The client's and the server's end of a TLS connection to the host db, made in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = dsn.connect_args["ssl"].wrap_bio(to_client, to_server, server_hostname="db")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    return client, server


@pytest.mark.parametrize(
    ("query", "accepted"),
    [
        ("sslmode=require", {"db", "other", "stranger"}),
        ("sslmode=require&sslrootcert=CA", {"db", "other"}),
        ("sslmode=verify-ca&sslrootcert=CA", {"db", "other"}),
        ("sslmode=verify-full&sslrootcert=CA", {"db"}),
        ("channel_binding=require&sslrootcert=CA", {"db"}),
        ("sslmode=verify-ca", set()),
        ("sslmode=verify-full", set()),
    ],
)
def test_who_is_trusted(ours: Authority, theirs: Authority, query: str, accepted: set[str]) -> None:
    """A mode accepts just the servers it should: the named one, another of its authority, a stranger's."""
    dsn = parse_dsn(f"postgresql://db/app?{query.replace('CA', str(ours.folder / 'ca.pem'))}")
    servers = {"db": ours.server("db"), "other": ours.server("other"), "stranger": theirs.server("db")}
    trusted = set()
    for name, server in servers.items():
        try:
            shake_hands(dsn, server)
        except ssl.SSLCertVerificationError:
            continue
        trusted.add(name)
    assert trusted == accepted


def test_system_authorities(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sslrootcert, and with `system`, the authorities trusted are those of the system."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.folder / "ca.pem"))
    for query in ("sslmode=verify-full", "sslrootcert=system", "channel_binding=require"):
        shake_hands(parse_dsn(f"postgresql://db/app?{query}"), ours.server("db"))


def test_direct_negotiation(ours: Authority) -> None:
    """sslnegotiation=direct starts with TLS and says the protocol's name in it, as PostgreSQL 17 demands."""
    dsn = parse_dsn("postgresql://db/app?sslmode=require&sslnegotiation=direct")
    assert dsn.connect_args["direct_tls"] is True
    _, server = shake_hands(dsn, ours.server("db"))
    assert server.selected_alpn_protocol() == "postgresql"
    assert "direct_tls" not in parse_dsn("postgresql://db/app?sslmode=require").connect_args


def test_client_certificate(ours: Authority) -> None:
    """sslcert, sslkey and sslpassword make a server that asks for a certificate see ours."""
    me = ours.folder / "me"
    server_context = ours.server("db")
    server_context.load_verify_locations(ours.folder / "ca.pem")
    server_context.verify_mode = ssl.CERT_REQUIRED
    query = f"sslmode=require&sslcert={me}.pem&sslkey={me}.key&sslpassword=s3cret"
    _, server = shake_hands(parse_dsn(f"postgresql://db/app?{query}"), server_context)
    assert server.getpeercert(binary_form=True)


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", "TLSv1.3"),
        ("&ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
        ("&ssl_min_protocol_version=TLSv1.3", "TLSv1.3"),
    ],
)
def test_tls_versions(ours: Authority, query: str, version: str) -> None:
    """The protocol versions are the URL's, and at least TLS 1.2, libpq's default."""
    dsn = parse_dsn(f"postgresql://db/app?sslmode=require{query}")
    client, _ = shake_hands(dsn, ours.server("db"))
    assert client.version() == version
    old = ours.server("db")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    if "min" in query:
        with pytest.raises(ssl.SSLError):
            shake_hands(dsn, old)
    assert dsn.connect_args["ssl"].minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslrootcert=DIR/no.pem", ["sslrootcert", "no.pem"]),
        ("sslcert=DIR/no.pem", ["sslcert", "no.pem"]),
        ("sslcert=DIR/me.pem&sslkey=DIR/no.key", ["sslkey", "no.key"]),
        ("sslrootcert=DIR/ca.key", ["sslrootcert"]),
        ("sslrootcert=DIR", ["sslrootcert"]),
        ("sslcert=DIR/me.pem", ["sslcert", "sslkey"]),
        ("sslkey=DIR/db.key", ["sslcert"]),
        ("sslcert=DIR/me.pem&sslkey=DIR/db.key", ["sslkey"]),
        ("sslcert=DIR/me.pem&sslkey=DIR/me.key", ["sslpassword"]),
        ("sslcert=DIR/me.pem&sslkey=DIR/me.key&sslpassword=hunter2", ["sslpassword"]),
    ],
)
def test_certificate_files(ours: Authority, query: str, words: list[str]) -> None:
    """A certificate or key that is missing or does not fit is refused at once, by its parameter's name."""
    message = refusal(f"postgresql://db/app?sslmode=require&{query.replace('DIR', str(ours.folder))}")
    assert all(word in message for word in words)


async def test_a_server_understands(postgres_url: str) -> None:
    """On a real PostgreSQL the second host is taken when the first is down, and the settings are in force."""
    query = "application_name=my%20app&options=-c%20statement_timeout%3D7s&target_session_attrs=read-write"
    several = postgres_url.replace("@", "@127.0.0.1:1,", 1)
    dsn = parse_dsn(f"{several}{'&' if '?' in several else '?'}{query}&connect_timeout=10&pgbouncer=true")
    engine = create_async_engine(dsn.url, connect_args=dict(dsn.connect_args))
    try:
        async with engine.connect() as connection:
            settings = "current_setting('application_name'), current_setting('statement_timeout')"
            row = (await connection.execute(text(f"SELECT {settings}"))).one()
            prepared = await connection.scalar(
                text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
            )
    finally:
        await engine.dispose()
    assert tuple(row) == ("my app", "7s")
    assert prepared == 0
