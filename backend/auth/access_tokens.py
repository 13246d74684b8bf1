"""OAuth access tokens: a client acts for a user, at one resource, within the scopes that the user granted."""

from typing import Any, ClassVar

from backend.auth.keys import ALGORITHMS
from backend.auth.tokens import CurrentUser, TokenVerifier, Verified, read_token
from backend.errors import InvalidToken

CLIENT_ID_MAX = 255

# RFC 9068 §2.1. Whatever else the issuer signs with the same keys has another type, or none.
_TYPES = ("at+jwt", "application/at+jwt")


class Agent(CurrentUser):
    """Who is asking, through somebody else's program."""

    client: str
    """The OAuth client that acts for them, by its id; empty where they pasted a token of their own."""
    scopes: frozenset[str]
    """What that client was granted."""

    def __new__(cls, user: CurrentUser, client: str, scopes: frozenset[str]) -> "Agent":
        agent = super().__new__(cls, user.id, user.expires)
        agent.client, agent.scopes = client, scopes
        return agent


class AccessTokenVerifier(TokenVerifier):
    """Says for whom, by whom and how far a token of Better Auth's OAuth provider may be used at MCP_URL.

    Nothing but its type, issuer and audience tells such a token from one of the API's: the keys are the same.
    """

    _settings_of: ClassVar = {"iss": "BETTER_AUTH_URL", "aud": "MCP_URL"}

    async def verify(self, token: str) -> Agent:
        agent = await super().verify(token)
        assert isinstance(agent, Agent)
        return agent

    async def check(self, token: str) -> Verified:
        header, claims = read_token(token, _TYPES)
        algorithm = header.get("alg")
        if self._jwks is None or not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise InvalidToken(reason="it is not signed with a key that the issuer publishes")
        key = await self._signing_key(token, algorithm, header.get("kid"), self._jwks)
        settings = self._settings
        user = self._user(claims, claims.get("sub"), settings.mcp_issuer, settings.mcp_url)
        if "cnf" in claims:
            raise InvalidToken(reason="it is bound to a key of its client's, which is not asked for here")
        client = _client(claims)
        if client == claims["sub"]:
            raise InvalidToken(reason="its subject is the client itself: no user granted it anything")
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            raise InvalidToken(reason="its scope is no text")
        return Verified(Agent(user, client, frozenset(scope.split())), key)


class ApiTokensToo(AccessTokenVerifier):
    """Takes a token of the API too, and lets who pastes one do everything: for development alone."""

    def __init__(self, *arguments: Any, api: TokenVerifier, scopes: frozenset[str]) -> None:
        super().__init__(*arguments)
        self._api = api
        self._scopes = scopes

    async def check(self, token: str) -> Verified:
        try:
            return await super().check(token)
        except InvalidToken:
            user, key = await self._api.check(token)
            return Verified(Agent(user, "", self._scopes), key)


def _client(claims: dict[str, Any]) -> str:
    client = claims.get("client_id")
    if not isinstance(client, str) or not 0 < len(client) <= CLIENT_ID_MAX or not client.isprintable():
        raise InvalidToken(reason="its client_id is missing or no printable text")
    return client
