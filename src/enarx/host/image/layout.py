"""A directory that holds an image: the files that a VM Keep is launched from, and what is known about them.

::

    vmlinuz                 kernel
    initrd                  initial RAM disk, an uncompressed newc archive
    cmdline                 the kernel's command line, to the byte; no newline at its end
    OVMF.fd                 firmware that checks the three above against the hashes that the launch measured
    image.toml              what the image was built from, and the size and SHA-256 of each other file
    sbom.cdx.json           the same as a CycloneDX bill of materials
    reference-values.toml   the launch digests to expect, for a policy to include
    reference-values.corim  the same as a CoRIM

The first four are what a processor measures. None of them is secret, and a host that changes one launches something
else, which its evidence says: ``verify`` is for the host's own benefit, against a broken disk or a half-copied image.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from enarx.errors import HostError

KERNEL: Final = "vmlinuz"
INITRD: Final = "initrd"
CMDLINE: Final = "cmdline"
FIRMWARE: Final = "OVMF.fd"
DESCRIPTION: Final = "image.toml"
SBOM: Final = "sbom.cdx.json"
REFERENCE_VALUES: Final = "reference-values.toml"
CORIM: Final = "reference-values.corim"

LAUNCHED: Final = (KERNEL, INITRD, CMDLINE, FIRMWARE)
"""What a launch measures."""
KINDS: Final = ("stock", "own")
"""Whose kernel: Debian's cloud kernel as it is, or one built from Debian's sources with the configuration kept here."""
FORMAT: Final = 1

MAX_BYTES: Final = MappingProxyType(
    {
        KERNEL: 64 << 20,
        INITRD: 256 << 20,
        CMDLINE: 2047,  # x86 COMMAND_LINE_SIZE is 2048 with the zero byte at its end
        FIRMWARE: 16 << 20,
        DESCRIPTION: 1 << 20,
    }
)
"""Largest file that is read, in bytes."""
_BUFFER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Image:
    """An image as its ``image.toml`` describes it.

    ``kind``: "stock" or "own". ``digests``: by file name, ``sha256:`` and 64 hexadecimal digits; what ``image.toml``
    says, which is not checked before ``verify``.
    """

    directory: Path
    kernel: Path
    initrd: Path
    cmdline: str
    firmware: Path
    kind: str
    digests: Mapping[str, str]


def default_directory() -> Path:
    """``$ENARX_IMAGE``, else ``enarx/image`` in the user's data directory. HostError (``no-home``) without a home."""
    chosen = os.environ.get("ENARX_IMAGE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        return Path(base).expanduser() / "enarx" / "image"
    except RuntimeError as error:
        raise HostError(
            "you have no home directory to keep an image in", code="no-home", hint="name one with --image"
        ) from error


def open_image(directory: Path) -> Image:
    """Look at the image in ``directory``, reading none of its large files.

    HostError: ``image-missing`` where there is none, ``image-unreadable`` for a file that cannot be read,
    ``image-invalid`` for one that is no part of an image.
    """
    description = _describe(directory)
    for name in LAUNCHED:
        size = _size(directory, name)
        if not 0 < size <= MAX_BYTES[name]:
            raise _invalid(directory, f"{name} has {size} bytes, expected 1 to {MAX_BYTES[name]}")
    try:
        cmdline = _read(directory, CMDLINE).decode("ascii")
    except UnicodeDecodeError as error:
        raise _invalid(directory, "the command line is not ASCII") from error
    if not cmdline.isprintable():
        raise _invalid(directory, "the command line has a control character or a line break")
    return Image(
        directory=directory,
        kernel=directory / KERNEL,
        initrd=directory / INITRD,
        cmdline=cmdline,
        firmware=directory / FIRMWARE,
        kind=_kind(directory, description),
        digests=_digests(directory, description),
    )


def verify(image: Image) -> None:
    """Compare every file with the digest in ``image.toml``. HostError: ``image-changed`` names the one that differs."""
    for name, expected in image.digests.items():
        found = file_digest(image.directory / name)
        if found != expected:
            raise HostError(
                f"{image.directory / name} is not what the image was built with: {found}, expected {expected}",
                code="image-changed",
                hint="copy the image again, or rebuild it with `enarx image build`",
            )


def file_digest(path: Path) -> str:
    """``sha256:`` and the SHA-256 of a file in hexadecimal. HostError (``image-unreadable``)."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while part := file.read(_BUFFER_BYTES):
                digest.update(part)
    except OSError as error:
        raise _unreadable(path, error) from error
    return f"sha256:{digest.hexdigest()}"


def _describe(directory: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(_read(directory, DESCRIPTION).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(directory, f"{DESCRIPTION} is not TOML: {error}") from error
    if document.get("format") != FORMAT:
        raise _invalid(directory, f"{DESCRIPTION} has format {document.get('format')!r}, expected {FORMAT}")
    return document


def _kind(directory: Path, description: dict[str, Any]) -> str:
    kind = description.get("kind")
    if kind not in KINDS:
        raise _invalid(directory, f"{DESCRIPTION} says kind = {kind!r}, expected one of {', '.join(KINDS)}")
    return str(kind)


def _digests(directory: Path, description: dict[str, Any]) -> Mapping[str, str]:
    listed = description.get("files")
    digests: dict[str, str] = {}
    if isinstance(listed, dict):
        for name, facts in listed.items():
            digest = facts.get("sha256") if isinstance(facts, dict) else None
            if "/" in name or name in ("", ".", "..") or not isinstance(digest, str) or not _is_digest(digest):
                raise _invalid(directory, f"{DESCRIPTION} has no usable entry for the file {name!r}")
            digests[name] = digest
    missing = sorted(set(LAUNCHED) - set(digests))
    if missing:
        raise _invalid(directory, f"{DESCRIPTION} names no digest of {', '.join(missing)}")
    return MappingProxyType(digests)


def _is_digest(text: str) -> bool:
    algorithm, _, digits = text.partition(":")
    return algorithm == "sha256" and len(digits) == 64 and all(digit in "0123456789abcdef" for digit in digits)


def _read(directory: Path, name: str) -> bytes:
    limit = MAX_BYTES[name]
    try:
        with (directory / name).open("rb", buffering=0) as file:
            data = file.read(limit + 1) or b""
    except FileNotFoundError as error:
        raise _missing(directory, name) from error
    except OSError as error:
        raise _unreadable(directory / name, error) from error
    if len(data) > limit:
        raise _invalid(directory, f"{name} has more than {limit} bytes")
    return data


def _size(directory: Path, name: str) -> int:
    path = directory / name
    try:
        info = path.stat()
    except FileNotFoundError as error:
        raise _missing(directory, name) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not path.is_file():
        raise _invalid(directory, f"{name} is not a regular file")
    return info.st_size


def _missing(directory: Path, name: str) -> HostError:
    there = directory.is_dir()
    return HostError(
        f"the image in {directory} has no {name}" if there else f"there is no image in {directory}",
        code="image-missing",
        hint="build one with `enarx image build`, or name another directory with --image",
    )


def _unreadable(path: Path, error: OSError) -> HostError:
    return HostError(
        f"{path} cannot be read: {error.strerror}", code="image-unreadable", hint="check its permissions and its disk"
    )


def _invalid(directory: Path, what: str) -> HostError:
    return HostError(
        f"{directory} is not an image: {what}",
        code="image-invalid",
        hint="rebuild it with `enarx image build`",
    )
