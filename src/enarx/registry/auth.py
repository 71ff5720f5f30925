"""Answers to a registry's challenge: Basic, and bearer tokens from the token server that it names.

Source: https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/. Credentials are looked up
when a registry asks for them, not before. What is asked of a token server is the scope that we need, whatever the
registry says that we should ask for: a token goes back to the registry, and must not be good for anything else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from enarx.errors import RegistryError
from enarx.registry.challenge import Challenge, parse_challenges
from enarx.registry.credentials import Credentials, Lookup
from enarx.registry.digest import parse_json
from enarx.registry.retry import TRANSIENT_STATUSES, parse_retry_after
from enarx.registry.transport import Http, Request, Response, TransientError
from enarx.registry.urls import Url, is_loopback, parse_url

TOKEN_ANSWER_MAX_BYTES: Final = 64 << 10
TOKEN_SECONDS: Final = 60
"""How long a token is good for where the server does not say (seconds); the specification's default."""
TOKEN_SECONDS_MAX: Final = 24 * 3600
MARGIN_SECONDS: Final = 5
"""A token is not used in the last seconds of its life."""
CLIENT_ID: Final = "enarx"
SHOWN_MAX_CHARS: Final = 200
_TOKEN: Final = re.compile(r"[!-~]+")


class Authenticator:
    """What is presented to one registry, for each scope such as ``repository:NAME:pull,push``."""

    def __init__(
        self, host: str, base: Url, http: Http, lookup: Lookup | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._base = base
        self._http = http
        self._lookup = lookup
        self._clock = clock
        self._basic: str | None = None
        self._has_credentials = False
        self._tokens: dict[str, tuple[str, float]] = {}
        self._secrets: set[str] = set()

    def header(self, scope: str) -> str | None:
        """The value of ``Authorization`` for a request of this scope, as far as it is known by now."""
        token, until = self._tokens.get(scope, ("", 0.0))
        if token and self._clock() < until:
            return f"Bearer {token}"
        return self._basic

    def answer(self, response: Response, scope: str) -> str:
        """The ``Authorization`` for another try after ``response``, which refused the first.

        RegistryError: ``registry-unauthorized`` without credentials, ``registry-denied`` where they are not accepted,
        ``registry-challenge`` and ``registry-insecure`` for a challenge that is not answered. TransientError.
        """
        challenges = parse_challenges(response.headers("WWW-Authenticate"))
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        credentials = self._lookup(self._host, scope.split(":")[1]) if self._lookup else None
        self._has_credentials = credentials is not None
        if credentials is not None:
            self._secrets.update(credentials.secrets)
        if "bearer" in by_scheme:
            return self._bearer(by_scheme["bearer"], credentials, scope)
        if "basic" not in by_scheme:
            raise RegistryError(
                f"{self._host} asks for credentials in a way that is not known here",
                code="registry-challenge",
                hint="Basic and Bearer are known",
            )
        if credentials is None or not credentials.password:
            raise self._unauthorized()
        if self._basic is not None:
            raise self.rejected()
        self._basic = credentials.basic()
        return self._basic

    def safe(self, text: str) -> str:
        """Text from a server made fit to be shown: bounded, printable, and without any secret that was sent to it."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        shown = "".join(character if character.isprintable() else " " for character in text[: SHOWN_MAX_CHARS + 1])
        return shown if len(shown) <= SHOWN_MAX_CHARS else f"{shown[:SHOWN_MAX_CHARS]}..."

    def rejected(self) -> RegistryError:
        """The error where what was presented is not enough."""
        return self._denied() if self._has_credentials else self._unauthorized()

    def _unauthorized(self) -> RegistryError:
        return RegistryError(
            f"{self._host} asks for credentials, and there are none for it",
            code="registry-unauthorized",
            hint=f"run: docker login {self._host} (or podman login)",
        )

    def _denied(self) -> RegistryError:
        return RegistryError(
            f"{self._host} does not accept the credentials, or they do not allow this",
            code="registry-denied",
            hint=f"log in again, or ask whoever runs {self._host} for the permission",
        )

    def _bearer(self, challenge: Challenge, credentials: Credentials | None, scope: str) -> str:
        if credentials is not None and credentials.registry_token:
            if scope in self._tokens:
                raise self._denied()
            return self._remember(scope, credentials.registry_token, TOKEN_SECONDS_MAX)
        realm = parse_url(challenge.parameters.get("realm", ""))
        self._http.access.check(realm, self._base)
        if is_loopback(realm.host) and not is_loopback(self._base.host):
            raise RegistryError(
                f"{self._host} names a token server on this machine: {realm}",
                code="registry-insecure",
                hint="a registry elsewhere must not lead to what only this machine can reach",
            )
        parameters = [("client_id", CLIENT_ID), ("scope", scope)]
        if challenge.parameters.get("service"):
            parameters.append(("service", challenge.parameters["service"]))
        with self._ask(realm, parameters, credentials) as response:
            if response.status in (400, 401, 403):
                raise self.rejected()
            if response.status in TRANSIENT_STATUSES:
                raise TransientError(
                    f"the token server answers {response.status}", parse_retry_after(response.header("Retry-After"))
                )
            if response.status != 200:
                raise self._no_token(f"answers {response.status}")
            body = response.read(TOKEN_ANSWER_MAX_BYTES, "the token")
        answer = parse_json(body, "the answer of the token server", "registry-token")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._no_token("gives no token")
        seconds = answer.get("expires_in", TOKEN_SECONDS)
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < TOKEN_SECONDS:
            seconds = TOKEN_SECONDS  # "a client should never see less", says the specification
        return self._remember(scope, token, min(seconds, TOKEN_SECONDS_MAX))

    def _ask(self, realm: Url, parameters: list[tuple[str, str]], credentials: Credentials | None) -> Response:
        """Ask once and follow nothing: what a token server is given is for nobody else."""
        if credentials is not None and credentials.identity_token:
            form = [*parameters, ("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token)]
            body = urlencode(form).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._http.send(Request("POST", realm, headers, lambda: [body], len(body)))
        headers = {"Authorization": credentials.basic()} if credentials is not None else {}
        return self._http.send(Request("GET", realm.with_query(*parameters), headers))

    def _remember(self, scope: str, token: str, seconds: float) -> str:
        self._secrets.add(token)
        self._tokens[scope] = token, self._clock() + seconds - MARGIN_SECONDS
        return f"Bearer {token}"

    def _no_token(self, reason: str) -> RegistryError:
        return RegistryError(
            f"the token server of {self._host} {reason}",
            code="registry-token",
            hint="this is its fault, or something between here and it answers instead",
        )
