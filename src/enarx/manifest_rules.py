"""The rules that every manifest keeps, whether it was read or made: see ``enarx.manifest``."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from enarx.errors import MalformedError

if TYPE_CHECKING:
    from enarx.manifest import Allow, Manifest, ManifestFile

MAX_BYTES: Final = 1024 * 1024
"""Largest manifest (bytes of its encoding)."""
MAX_FILES: Final = 61
"""Files (count): with config and workload they are the 63 that a launch may hand over."""
MAX_ARGS: Final = 4096
"""Arguments, and likewise variables of the environment (count)."""
MAX_STREAMS: Final = 1024
"""Ports and endpoints in one allow-list (count)."""
MAX_NAME_CHARS: Final = 4096
"""Longest name of a file (characters)."""
MAX_URL_CHARS: Final = 2048
"""Longest URL of a Steward (characters)."""
MAX_HOST_CHARS: Final = 255
"""Longest name of a host (characters)."""
MAX_PORT: Final = 65_535

LIMIT_BOUNDS: Final = {
    "memory": (64 << 10, 4 << 30),
    "filesystem": (0, 4 << 30),
    "descriptors": (3, 65_536),
    "deadline": (10, 365 * 86_400_000),
    "module": (64 << 10, 1 << 30),
}
"""Least and greatest value of each limit, those of Enarx.toml: bytes, bytes, a count, milliseconds, bytes."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_RESTRICTED_NAME: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"  # RFC 6838 4.2
_MEDIA_TYPE: Final = re.compile(f"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_RESERVED_VARIABLES: Final = ("FD_COUNT", "FD_NAMES")


def endpoint(host: str, port: int) -> str:
    """``HOST:PORT`` in the one form that allow-lists have.

    Names in lower case without a final dot; addresses as RFC 5952 writes them, those of IPv6 in brackets.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return f"{host.lower().removesuffix('.')}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def check(manifest: Manifest) -> None:
    """Raise MalformedError (``manifest-...``) unless every rule holds."""
    _digest(manifest.workload.digest, "workload.digest")
    if not _MEDIA_TYPE.fullmatch(_text(manifest.workload.media_type, "workload.mediaType")):
        raise bad("media-type", "workload.mediaType is not a media type in lower case")
    if manifest.config is not None:
        _digest(manifest.config, "config")
    _check_files(manifest.files)
    if len(manifest.args) > MAX_ARGS or len(manifest.env) > MAX_ARGS:
        raise bad("too-many", f"more than {MAX_ARGS} arguments or variables")
    for arg in manifest.args:
        _text(arg, "an argument")
    for name, text in manifest.env:
        _text(text, "the value of a variable")
        if not _text(name, "the name of a variable") or "=" in name or name in _RESERVED_VARIABLES:
            raise bad("env", f"{name[:64]!r} cannot be the name of a variable")
    if manifest.steward is not None:
        _digest(manifest.steward.ca, "steward.ca")
        _check_url(_text(manifest.steward.url, "steward.url"))
    if manifest.allow is not None:
        _check_allow(manifest.allow)
    if manifest.limits is not None:
        for key, bounds in LIMIT_BOUNDS.items():
            value = getattr(manifest.limits, key)
            if value is not None or key != "deadline":
                _integer(value, f"limits.{key}", bounds)


def _check_files(files: tuple[ManifestFile, ...]) -> None:
    if len(files) > MAX_FILES:
        raise bad("too-many", f"more than {MAX_FILES} files")
    for file in files:
        _digest(file.digest, "the digest of a file")
        if file.kind not in ("ca", "layer") or not 0 < len(_text(file.name, "the name of a file")) <= MAX_NAME_CHARS:
            raise bad("file", "a file is neither a CA file nor a layer, or its name is empty or too long")
    if len({(file.kind, file.name) for file in files}) != len(files):
        raise bad("file", "two files have the same kind and name")


def _check_url(url: str) -> None:
    """https, a host, perhaps a port and a path; nothing that would mean another place to another reader."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and parts.netloc.isascii()
    except ValueError:
        valid = False
    plain = 0 < len(url) <= MAX_URL_CHARS and all(0x21 <= ord(char) <= 0x7E for char in url)
    if not valid or not plain or any(char in url for char in "@?#\\") or not url.startswith("https://"):
        raise bad("steward", "steward.url is not an https URL of host, port and path alone")


def _check_allow(allow: Allow) -> None:
    if len(allow.listen) > MAX_STREAMS or len(allow.connect) > MAX_STREAMS:
        raise bad("too-many", f"more than {MAX_STREAMS} ports or endpoints are allowed")
    for port in allow.listen:
        _integer(port, "a port of allow.listen", (0, MAX_PORT))  # 0: any free port, as Enarx.toml may ask for
    for text in allow.connect:
        host, _, port_text = _text(text, "an endpoint of allow.connect").rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        usable = 0 < len(host) <= MAX_HOST_CHARS and host.isprintable() and not any(map(str.isspace, host))
        if not usable or not _PORT.fullmatch(port_text) or int(port_text) > MAX_PORT:
            raise bad("allow", f"{text[:64]!r} in allow.connect is not HOST:PORT")
        if endpoint(host, int(port_text)) != text:
            raise bad("allow", f"{text[:64]!r} in allow.connect must be written {endpoint(host, int(port_text))!r}")
    if len(set(allow.listen)) != len(allow.listen) or len(set(allow.connect)) != len(allow.connect):
        raise bad("allow", "a port or an endpoint is allowed twice")


def _digest(value: object, what: str) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise bad("digest", f"{what} is not sha256: and 64 lower-case hexadecimal digits")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise bad("text", f"{what} is not text without NUL")
    return value


def _integer(value: object, what: str, bounds: tuple[int, int]) -> None:
    if type(value) is not int or not bounds[0] <= value <= bounds[1]:  # not isinstance: a bool is an int
        raise bad("range", f"{what} is not an integer from {bounds[0]} to {bounds[1]}")


def bad(code: str, what: str) -> MalformedError:
    """The error ``manifest-CODE``."""
    return MalformedError(
        f"the manifest is not acceptable: {what}",
        code=f"manifest-{code}",
        hint="make it with `enarx`, and hand it over as it was written: not one byte may change",
    )
