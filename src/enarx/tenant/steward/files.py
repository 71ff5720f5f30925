"""The Steward's files: policy, secrets and CA, read with bounds, and with the permissions that a secret needs."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from enarx.errors import ConfigError
from enarx.evidence.snp.policyfile import POLICY_MAX_BYTES
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.steward.ca import CertificateAuthority, load_authority

PEM_MAX_BYTES: Final = 64 * 1024
"""Largest certificate or key file (bytes)."""


def read(path: str | Path, limit: int, *, private: bool = False) -> bytes:
    """A regular file of at most ``limit`` bytes; ConfigError.

    A ``private`` file must be readable and writable by its owner alone, whatever it holds is lost otherwise.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hang the service
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(limit + 1) if stat.S_ISREG(found.st_mode) else b""
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "check the path and its permissions"
        raise ConfigError(f"cannot read {path}: {cause}", code="file-unreadable", hint=hint) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a file", code="file-unreadable", hint="name a regular file")
    if private and stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"{path} is a secret that others may read (mode {stat.S_IMODE(found.st_mode):04o})",
            code="file-permissions",
            hint=f"chmod 600 {path}, and replace what is in it if somebody else may have read it",
        )
    if len(data) > limit:
        raise ConfigError(
            f"{path} is longer than {limit} bytes", code="file-size", hint="this is not the file you mean"
        )
    return data


def read_policy(path: str | Path) -> Policy:
    """The policy file at ``path``; files that it names are relative to its directory, secrets must be private."""
    place = Path(path)

    def named(name: str, limit: int, private: bool) -> bytes:
        return read(place.parent / name, limit, private=private)

    return parse_policy(read(place, POLICY_MAX_BYTES), place.name, named)


def read_authority(certificate: str | Path, key: str | Path) -> CertificateAuthority:
    """The CA in two PEM files; its key must be private. ConfigError."""
    return load_authority(read(certificate, PEM_MAX_BYTES), read(key, PEM_MAX_BYTES, private=True))


def write_new(path: str | Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, durably, with exactly these permissions; ConfigError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        hint = "it may be the only copy: name another place, or move it away"
        raise ConfigError(f"{path} exists already", code="file-exists", hint=hint) from error
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", code="file-unwritable", hint="check the directory"
        ) from error


def replace(path: str | Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole: whoever reads it sees the old one or the new one. ConfigError."""
    place = Path(path)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    write_new(temporary, data, mode)
    try:
        temporary.replace(place)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(
            f"cannot replace {path}: {error.strerror}", code="file-unwritable", hint="check the directory"
        ) from error
