"""A token server as registries name them: Basic or an identity token in, a signed token for a scope out.

Source: https://distribution.github.io/distribution/spec/auth/jwt/.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.registry.certificates import authority, server
from tests.registry.running import ISSUER, PASSWORD, SERVICE, USER
from tests.registry.serving import Exchange, Server, serving

IDENTITY_TOKEN = "identity-token-of-the-tester"


@dataclass
class TokenServer:
    """``scopes`` has what was asked for; ``lifetime`` is what tokens are good for (seconds)."""

    lifetime: int = 300
    anonymous: frozenset[str] = frozenset()
    scopes: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    presented: list[str] = field(default_factory=list)
    server: Server | None = None

    def behaviour(self, exchange: Exchange) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        known = False
        if exchange.command == "POST":
            query = parse_qs(exchange.body().decode())
            known = query.get("refresh_token") == [IDENTITY_TOKEN] and query["grant_type"] == ["refresh_token"]
        authorization = exchange.headers.get("Authorization", "")
        self.presented.append(authorization)
        if authorization:
            expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if authorization != f"Basic {expected}":
                return exchange.answer(401)
            known = True
        (scope,) = query["scope"]
        self.scopes.append(scope)
        assert query["service"] == [SERVICE]
        kind, name, actions = scope.split(":")
        allowed = actions.split(",") if known else [one for one in actions.split(",") if one in self.anonymous]
        token = sign({"access": [{"type": kind, "name": name, "actions": allowed}]}, self.lifetime)
        self.tokens.append(token)
        body = json.dumps({"token": token, "expires_in": self.lifetime}).encode()
        return exchange.answer(200, body, Content_Type="application/json")


def sign(claims: Mapping[str, object], lifetime: int) -> str:
    """A JSON web token, ES256, with its certificate."""
    now = int(time.time())
    identity = server()
    certificate = identity.certificate.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
    payload = {
        "iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": str(time.monotonic_ns()),
        "nbf": now - 60, "iat": now, "exp": now + lifetime, **claims,
    }  # fmt: skip
    text = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(payload).encode())}"
    r, s = decode_dss_signature(identity.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextlib.contextmanager
def token_server(directory: Path, **settings: object) -> Iterator[tuple[TokenServer, Mapping[str, object]]]:
    """A token server over TLS, and the configuration of a registry that trusts it."""
    tokens = TokenServer(**settings)  # type: ignore[arg-type]
    (directory / "issuers.pem").write_bytes(authority().pem)
    with serving(tokens.behaviour, directory) as running:
        tokens.server = running
        auth = {
            "realm": f"{running.url}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(directory / "issuers.pem"),
        }
        yield tokens, {"token": auth}
