"""Credentials for registries, from the files and helpers that Docker and Podman use. Read only, and never shown.

Looked for in ``$REGISTRY_AUTH_FILE`` if that is set, else in ``config.json`` of ``$DOCKER_CONFIG``, by default
``~/.docker``. A helper of the host, or else the file's one store, is asked first, then the file itself. Source:
https://docs.docker.com/reference/cli/docker/login/ and containers-auth.json(5), whose keys may have a repository's
first parts.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from enarx.errors import RegistryError
from enarx.registry.digest import parse_json
from enarx.registry.helper import ask_helper

AUTH_FILE_MAX_BYTES: Final = 1 << 20
CREDENTIAL_MAX_CHARS: Final = 32 << 10
"""Longest user name, password or token (characters)."""
TOKEN_USER: Final = "<token>"  # noqa: S105 - the name that says that the secret is an identity token
HUB_HOST: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"
"""What Docker calls its own registry in these files."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One of the three is there: a user's password, an identity token for the token server, or a bearer token."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, in the forms in which it could come back to us."""
        basic = self.basic().removeprefix("Basic ") if self.password else ""
        return tuple(one for one in (self.password, self.identity_token, self.registry_token, basic) if one)


Lookup = Callable[[str, str], Credentials | None]
"""Credentials for a host (with its port) and a repository."""


class DockerCredentials:
    """A `Lookup` in the user's files; the file is read on first use."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._path = auth_file(environment)
        self._config: dict[str, object] | None = None

    def __call__(self, host: str, repository: str) -> Credentials | None:
        """RegistryError ``registry-auth-file`` or ``registry-helper`` where they cannot be read or understood."""
        if self._path is None:
            return None
        if self._config is None:
            self._config = _read(self._path)
        for key in _helper_keys(host):
            helper = _table(self._config, "credHelpers").get(key) or self._config.get("credsStore")
            if helper:
                answer = ask_helper(helper, key, self._environment)
                if answer is not None:
                    return _from_helper(*answer)
        auths = _table(self._config, "auths")
        for key in _file_keys(host, repository):
            if key in auths:
                found = _from_file(auths[key], self._path)
                if found is not None:
                    return found
        return None


def auth_file(environment: Mapping[str, str]) -> Path | None:
    """Where the credentials are; None for a user without a home."""
    if environment.get("REGISTRY_AUTH_FILE"):
        return Path(environment["REGISTRY_AUTH_FILE"])
    if environment.get("DOCKER_CONFIG"):
        return Path(environment["DOCKER_CONFIG"]) / "config.json"
    home = environment.get("HOME")
    return Path(home) / ".docker" / "config.json" if home else None


def _helper_keys(host: str) -> tuple[str, ...]:
    return (HUB_KEY,) if host == HUB_HOST else (host,)


def _file_keys(host: str, repository: str) -> list[str]:
    parts = repository.split("/")
    keys = ["/".join([host, *parts[:count]]) for count in range(len(parts), -1, -1)]
    legacy = [f"{scheme}{host}{path}" for scheme in ("https://", "http://") for path in ("", "/", "/v1/", "/v2/")]
    return keys + legacy + ([HUB_KEY] if host == HUB_HOST else [])


def _read(path: Path) -> dict[str, object]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hang us
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            data = file.read(AUTH_FILE_MAX_BYTES + 1) if regular else b""
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not a path"
        raise RegistryError(
            f"cannot read {path}: {cause}", code="registry-auth-file", hint="check its permissions"
        ) from None
    if not regular or len(data) > AUTH_FILE_MAX_BYTES:
        raise _bad(path, "it is not a file of at most 1 MiB")
    return parse_json(data, str(path), "registry-auth-file")


def _table(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _from_file(entry: object, path: Path) -> Credentials | None:
    """The credentials in an entry of ``auths``; None for one that says only that there was a login."""
    if not isinstance(entry, dict):
        raise _bad(path, "an entry of auths is not an object")
    texts = {}
    for name in ("auth", "username", "password", "identitytoken", "registrytoken"):
        value = entry.get(name) or ""
        if not isinstance(value, str) or len(value) > CREDENTIAL_MAX_CHARS:
            raise _bad(path, f"{name} of an entry is not text, or too long")
        texts[name] = value
    username, password = texts["username"], texts["password"]
    if texts["auth"]:
        try:
            decoded = base64.b64decode(texts["auth"], validate=True).decode()
        except (binascii.Error, ValueError):
            raise _bad(path, "auth of an entry is not base64 of text") from None
        username, colon, password = decoded.partition(":")
        if not colon:
            raise _bad(path, "auth of an entry has no colon")
        password = password.rstrip("\0")  # Docker pads with them
    if not (password or texts["identitytoken"] or texts["registrytoken"]):
        return None
    return _checked(Credentials(username, password, texts["identitytoken"], texts["registrytoken"]))


def _from_helper(username: str, secret: str) -> Credentials:
    if username == TOKEN_USER:
        return _checked(Credentials(identity_token=secret))
    return _checked(Credentials(username, secret))


def _checked(found: Credentials) -> Credentials:
    """A token becomes part of a header: nothing in it may end the header."""
    for token in (found.identity_token, found.registry_token):
        if not token.isascii() or not token.isprintable() or " " in token:
            raise RegistryError(
                "a token among the credentials has characters that no token has",
                code="registry-auth-file",
                hint="log in again",
            )
    return found


def _bad(path: Path, reason: str) -> RegistryError:
    return RegistryError(
        f"{path} cannot be understood: {reason}", code="registry-auth-file", hint="log in again, with docker or podman"
    )
