"""Key files on the command line: PEM read with bounds, private keys written so that only their owner reads them."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from enarx.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MAX_KEY_FILE_BYTES = 64 << 10
"""A PEM file with one key has at most this many bytes; a P-384 key takes 300."""


def read_input(path: str, limit: int, what: str) -> bytes:
    """The bytes of a file of at most ``limit`` bytes; raises UsageError (``file-unreadable``, ``file-size``)."""
    data = read_beginning(path, limit, what)
    if len(data) > limit:
        raise UsageError(
            f"the {what} {path} is longer than {limit} bytes", code="file-size", hint="this is not the file you mean"
        )
    return data


def read_beginning(path: str, limit: int, what: str) -> bytes:
    """The same for what has to be refused elsewhere when it is too long: never more than ``limit`` + 1 bytes."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _file_error("file-unreadable", f"cannot read the {what}", path, error) from error


def read_head(path: str, size: int, what: str) -> bytes:
    """The first ``size`` bytes of a regular file; raises UsageError (``file-unreadable``)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hang us
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is not a file")
            return file.read(size)
    except (OSError, ValueError) as error:
        raise _file_error("file-unreadable", f"cannot read the {what}", path, error) from error


def load_private_key(path: str) -> ec.EllipticCurvePrivateKey:
    """A P-384 private key from an unencrypted PEM file; raises UsageError (``key-file``, ``key-curve``)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from enarx.evidence.snp.idblock import check_curve

    pem = read_input(path, MAX_KEY_FILE_BYTES, "key")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key is encrypted
        raise _not_a_key(path, "a private key in PEM form without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _not_a_key(path, "an elliptic curve key")
    check_curve(key.curve)
    return key


def load_public_key(path: str) -> ec.EllipticCurvePublicKey:
    """A P-384 public key from a PEM file with either half of a key pair; raises as ``load_private_key``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from enarx.evidence.snp.idblock import check_curve

    pem = read_input(path, MAX_KEY_FILE_BYTES, "key")
    if b"-----BEGIN PUBLIC KEY-----" not in pem:
        return load_private_key(path).public_key()
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _not_a_key(path, "a public key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _not_a_key(path, "an elliptic curve key")
    check_curve(key.curve)
    return key


def write_private(path: str, data: bytes) -> None:
    """Write a new file that only its owner may read; raises UsageError (``file-exists``, ``file-unwritable``).

    An existing file is never touched: it may be the only copy of a key.
    """
    write_new(path, data, 0o600)


def write_new(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, completely or not at all; raises as ``write_private``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise UsageError(
            f"{path} exists already", code="file-exists", hint="name another file, or move this one away"
        ) from error
    except (OSError, ValueError) as error:
        raise _file_error("file-unwritable", "cannot create", path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        raise _file_error("file-unwritable", "cannot write", path, error) from error


def write_output(path: str | None, data: bytes) -> None:
    """Write a result to stdout, or replace a file by it as a whole; raises UsageError (``file-unwritable``)."""
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        if target.exists() and not target.is_file():  # a pipe or a terminal cannot be replaced
            target.write_bytes(data)
            return
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o644)
            Path(temporary).replace(target)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise _file_error("file-unwritable", "cannot write", path, error) from error


def _file_error(code: str, message: str, path: str, error: Exception) -> UsageError:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"{message} {path}: {cause}", code=code, hint="check the path and its permissions")


def _not_a_key(path: str, expected: str) -> UsageError:
    return UsageError(
        f"{path} does not hold {expected}", code="key-file", hint="make a key with: enarx key sev create --out KEY"
    )
