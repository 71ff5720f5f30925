"""What a reference names, as objects for a Keep: opaque bytes, which the Keep checks.

A reference that is a URL is fetched by the fetcher of its scheme. Any other text is a slug of a Drawbridge,
``[HOST/]USER/REPO:TAG``, as it was in the published Enarx.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from enarx import archive
from enarx.errors import HostError, UsageError
from enarx.host.filebytes import Data, FileBytes
from enarx.host.load import archive as archive_of
from enarx.host.load import load_config
from enarx.mediatype import ENCRYPTED, HEAD_BYTES, PACKAGE, WASM, media_type_of

MAX_REFERENCE_CHARS: Final = 4096
MAX_SIGNATURE_BYTES: Final = 64 << 10
"""Largest signature that is found beside a package, in bytes."""
SIGNATURES: Final = (".sig", ".sigstore.json")
"""What is behind a package's name in those of its signatures: a DSSE envelope, and a sigstore bundle."""
SLUG: Final = ""
"""The scheme of a reference that is no URL."""

_BASE_SCHEMES: Final = ("file", "http", "https", "oci")
_PIN: Final = re.compile(r"sha256=([0-9a-f]{64})")
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/?)")
_KINDS: Final = {
    WASM: "WebAssembly module",
    PACKAGE: "package",
    ENCRYPTED: "encrypted package",
}


@dataclass(slots=True)
class Fetched:
    """A workload. ``digest`` is that of the module or the package; ``objects`` are as a Keep is given them.

    ``resolved`` is the reference that names these bytes and no others, where there is one.
    """

    digest: str
    media_type: str
    objects: list[tuple[str, str, Data]]
    resolved: str = ""

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return _KINDS.get(self.media_type, self.media_type)

    def close(self) -> None:
        """Close the files."""
        for _, _, data in self.objects:
            if isinstance(data, FileBytes):
                data.close()


class Fetcher(Protocol):
    """Gets what a reference of its scheme names."""

    def fetch(self, reference: str) -> Fetched:
        """The workload, its bytes checked against every digest that is known. Raises EnarxError."""


def scheme_of(reference: str) -> str:
    """The scheme of a URL, in lower case; SLUG for what is none.

    As in the published Enarx, a URL is what can be a base: `host:8080/user/repo:1.0.0` is a slug.
    """
    found = _URL.match(reference)
    if found is not None and (found[2] or found[1].lower() in _BASE_SCHEMES):
        return found[1].lower()
    return SLUG


def check_reference(reference: str, schemes: Container[str]) -> str:
    """The scheme of ``reference``, one of ``schemes``. Raises UsageError for what names nothing."""
    if not 0 < len(reference) <= MAX_REFERENCE_CHARS or "\0" in reference or not _is_text(reference):
        raise UsageError("this is no reference to a package", code="reference", hint=_HINT)
    scheme = scheme_of(reference)
    if scheme == SLUG:
        _check_slug(reference)
    if scheme not in schemes:
        raise UsageError(f"unsupported scheme: {scheme}", code="scheme", hint=_HINT)
    return scheme


def _check_slug(slug: str) -> None:
    from enarx.registry.drawbridge import parse_slug

    try:
        parse_slug(slug)
    except UsageError as error:
        hint = _HINT
        if os.path.exists(slug):
            hint = f"a file is named by a URL: enarx deploy {Path(os.path.abspath(slug)).as_uri()}"
        raise UsageError(error.message, code=error.code, hint=hint) from error


_HINT: Final = "oci://HOST/REPO:TAG, oci://HOST/REPO@sha256:..., file:///PATH, https://..., or HOST/USER/REPO:TAG"


def _is_text(reference: str) -> bool:
    try:
        reference.encode()
    except UnicodeEncodeError:
        return False
    return True


class FileFetcher:
    """``file://PATH[#sha256=HEX]``: a module, a package, or a directory with ``main.wasm`` and ``Enarx.toml``.

    PATH is absolute, or begins with ``./`` or ``../``. In a directory, ``files/`` becomes the workload's file system.
    """

    def __init__(self, *, require_digest: bool = False) -> None:
        self._require_digest = require_digest

    def fetch(self, reference: str) -> Fetched:
        """The workload. Raises ConfigError, HostError or UsageError."""
        path, pin = parse_file(reference)
        try:
            directory = path.is_dir()
        except OSError as error:
            raise _nothing_at(path, error.strerror or "") from error
        if (self._require_digest and not pin) or (directory and pin):
            raise UsageError(
                f"{reference!a} is not pinned to a digest" if not pin else f"a directory has no digest: {path}",
                code="digest-required",
                hint="write file:///PATH#sha256=HEX, the digest of a module or a package",
            )
        fetched = self._directory(path) if directory else self._file(path)
        if pin and fetched.digest != pin:
            fetched.close()
            raise HostError(
                f"{path} is {fetched.digest}, and {pin} was asked for", code="file-wrong-content",
                hint="the file has changed, or the digest is of another",
            )  # fmt: skip
        return fetched

    def _file(self, path: Path) -> Fetched:
        content = _open(path)
        try:
            media_type = media_type_of(content.head(HEAD_BYTES))
            if not media_type:
                raise _nothing_at(path, "it is neither a WebAssembly module nor a package")
            kind = ("module", archive.MODULE) if media_type == WASM else ("package", "")
            return Fetched(content.digest(), media_type, [(*kind, content), *signatures_beside(path)])
        except BaseException:
            content.close()
            raise

    def _directory(self, path: Path) -> Fetched:
        config, files = path / archive.CONFIG, path / archive.FILES
        for needed in (path / archive.MODULE, config):
            if not needed.is_file():
                raise _nothing_at(path, f"there is no {needed.name} in it")
        objects: list[tuple[str, str, Data]] = [*load_config(config)]
        module = _open(path / archive.MODULE)
        try:
            objects.append(("module", archive.MODULE, module))
            if files.is_dir():
                objects.append(("layer", "/", archive_of(files)))
            objects += signatures_beside(path / archive.MODULE)
            digest = module.digest()
        except BaseException:
            module.close()
            raise
        return Fetched(digest, WASM, objects)


def parse_file(url: str) -> tuple[Path, str]:
    """Path and pinned digest (or nothing) of a ``file:`` URL. Raises UsageError for another host, or no path."""
    url, mark, fragment = url.partition("#")
    pin = _PIN.fullmatch(fragment)
    if mark and pin is None:
        raise UsageError(
            "what follows # is not a digest", code="reference", hint="write URL#sha256=HEX; in a path, # is %23"
        )
    try:
        parts = urlsplit(url)
        host, path = parts.netloc, unquote(parts.path, errors="strict")
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL of a file", code="reference", hint="file:///PATH") from error
    if host in (".", ".."):
        host, path = "", host + path
    if host not in ("", "localhost") or not path or "\0" in path or parts.query:
        raise UsageError(
            f"{url!r} does not name a file of this machine", code="reference",
            hint="file:///PATH, or file://./PATH for one in this directory; write % as %25, # as %23 and ? as %3F",
        )  # fmt: skip
    return Path(path), f"sha256:{pin[1]}" if pin else ""


def absolute(reference: str) -> str:
    """``reference``, so that it means the same in any directory. Raises UsageError."""
    if scheme_of(reference) != "file":
        return reference
    path, pin = parse_file(reference)
    return Path(os.path.abspath(path)).as_uri() + (f"#{pin.replace(':', '=')}" if pin else "")


def begins_as(path: Path) -> str | None:
    """The media type of the file at ``path`` by its first bytes; None for what no Keep runs. Raises HostError."""
    content = _open(path)
    try:
        return media_type_of(content.head(HEAD_BYTES))
    finally:
        content.close()


def signatures_beside(path: Path) -> list[tuple[str, str, Data]]:
    """The signatures beside a package or a module, as objects. Raises HostError for one that cannot be read."""
    found: list[tuple[str, str, Data]] = []
    for ending in SIGNATURES:
        beside = path.with_name(path.name + ending)
        if not os.path.lexists(beside):
            continue
        content = _open(beside)
        try:
            if len(content) > MAX_SIGNATURE_BYTES:
                raise HostError(
                    f"the signature {beside} has more than {MAX_SIGNATURE_BYTES} bytes", code="file-too-large",
                    hint="sign again, or move it away",
                )  # fmt: skip
            found.append(("signature", beside.name, b"".join(content.parts())))
        finally:
            content.close()
    return found


def _open(path: Path) -> FileBytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _nothing_at(path, "it is not a regular file")
    except OSError as error:
        raise _nothing_at(path, error.strerror or "") from error
    return FileBytes(fd, str(path))


def _nothing_at(path: Path, why: str) -> HostError:
    return HostError(
        f"no Enarx package or WASM module found at {path}" + (f": {why}" if why else ""),
        code="package-not-found",
        hint=f"name a module, a package, or a directory with {archive.MODULE} and {archive.CONFIG}",
    )
