"""Credential helpers: programs ``docker-credential-NAME`` that are asked for a host's credentials.

Source: https://github.com/docker/docker-credential-helpers, "Development": ``get``, the server's URL on standard
input, JSON on standard output; without credentials exit status 1 and a fixed line. Their standard error is thrown
away: nobody promises that no secret is in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import IO, Final

from enarx.errors import RegistryError
from enarx.registry.digest import parse_json

HELPER_SECONDS: Final = 60.0
"""How long a helper may take (seconds): it may ask the user to unlock a keyring."""
HELPER_MAX_BYTES: Final = 64 << 10
"""Largest answer of a helper."""
NOT_FOUND: Final = b"credentials not found in native keychain"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def ask_helper(
    name: object, server: str, environment: Mapping[str, str], seconds: float = HELPER_SECONDS
) -> tuple[str, str] | None:
    """User name and secret for ``server``; None where the helper has none. RegistryError ``registry-helper``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad(ascii(name)[:80], "it is not the name of a helper")
    program = shutil.which(f"docker-credential-{name}", path=environment.get("PATH", os.defpath))
    if program is None:
        raise _bad(name, f"docker-credential-{name} is not in PATH")
    status, output = _run(name, program, server, environment, seconds)
    if status:
        if NOT_FOUND in output:
            return None
        raise _bad(name, f"it ended with {status}")
    answer = parse_json(output, f"the answer of docker-credential-{name}", "registry-helper")
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _bad(name, "its answer has no Username and Secret")
    return (username, secret) if secret else None


def _run(name: str, program: str, server: str, environment: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell; the name has no separators
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,  # so that what it starts ends with it
        )
    except OSError as error:
        raise _bad(name, error.strerror or "it cannot be started") from None
    assert process.stdin is not None  # noqa: S101 - pipes were asked for
    assert process.stdout is not None  # noqa: S101
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(server.encode())  # a pipe holds more than the longest name
        deadline = time.monotonic() + seconds
        output = _read(name, process.stdout, deadline)
        return process.wait(max(0.0, deadline - time.monotonic())), output
    except subprocess.TimeoutExpired:
        raise _bad(name, f"it takes longer than {seconds:g} seconds") from None
    finally:
        process.stdout.close()
        if process.returncode is None:  # not waited for yet, so its number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(name: str, pipe: IO[bytes], deadline: float) -> bytes:
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise subprocess.TimeoutExpired(name, 0)
            block = os.read(pipe.fileno(), HELPER_MAX_BYTES)
            if not block:
                return bytes(output)
            output += block
            if len(output) > HELPER_MAX_BYTES:
                raise _bad(name, f"its answer is longer than {HELPER_MAX_BYTES} bytes")


def _bad(name: str, reason: str) -> RegistryError:
    return RegistryError(
        f"the credential helper {name} gives no credentials: {reason}",
        code="registry-helper",
        hint="your Docker or Podman configuration names it under credHelpers or credsStore",
    )
