"""The manifest of a launch: everything that a Keep is told to run and to allow, in one digest.

Whoever deploys writes it; its SHA-256 is the launch's HOST_DATA and so part of the evidence. The Keep compares the two
before anything else, and a verifier that is given the manifest knows what the Keep was given. Swap the workload, an
argument, the Steward or the allow-list and the evidence no longer fits.

It is canonical JSON (RFC 8785): one manifest has one encoding, so digests can be compared. Objects have exactly these
keys::

    version   1
    workload  {"digest": DIGEST, "mediaType": TYPE}
    config    DIGEST of the bytes of Enarx.toml, or null when there is none
    files     [{"kind": "ca" or "layer", "name": TEXT, "digest": DIGEST}], in the order in which they are handed over
    args      [TEXT]                 what the deployer added to those of Enarx.toml
    env       [[NAME, TEXT]]         likewise
    steward   {"url": "https://...", "ca": DIGEST of the CA's DER SubjectPublicKeyInfo}, or null
    allow     {"listen": [PORT], "connect": ["HOST:PORT"]}, or null: whatever Enarx.toml names
    limits    {"memory": B, "filesystem": B, "descriptors": N, "deadline": MILLISECONDS or null, "module": B}, or null

A DIGEST is ``sha256:`` and 64 lower-case hexadecimal digits. Of ``allow`` and ``limits`` and what Enarx.toml says, the
narrower holds. Every rule below is checked whether a `Manifest` is parsed or made: there are no others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from enarx.errors import MalformedError, StreamError

VERSION: Final = 1
MAX_BYTES: Final = 1024 * 1024
"""Largest manifest (bytes of its encoding)."""
MAX_FILES: Final = 61
"""Files (count): with manifest, config and workload they are the 64 objects that a launch may announce."""
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


@dataclass(frozen=True, slots=True)
class Workload:
    """The module, or the package that holds it: ``digest`` as ``sha256:...`` and what kind of bytes it is of."""

    digest: str
    media_type: str = "application/wasm"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """Another object that is handed over: a CA file (``name`` as Enarx.toml has it) or a layer (its guest path)."""

    kind: Literal["ca", "layer"]
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class StewardPin:
    """Where the Keep asks for its certificate, and the digest of the CA key that it accepts there."""

    url: str
    ca: str


@dataclass(frozen=True, slots=True)
class Allow:
    """The streams that the deployer permits. Endpoints are in the form that `endpoint` gives."""

    listen: tuple[int, ...] = ()
    connect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestLimits:
    """Upper bounds for those of Enarx.toml: bytes, bytes, a count, milliseconds or none, bytes."""

    memory: int
    filesystem: int
    descriptors: int
    deadline: int | None
    module: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest. Making one that breaks a rule raises MalformedError (``manifest-...``), as reading one does."""

    workload: Workload
    config: str | None = None
    files: tuple[ManifestFile, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    steward: StewardPin | None = None
    allow: Allow | None = None
    limits: ManifestLimits | None = None

    def __post_init__(self) -> None:
        _check(self)
        size = len(self.encode())
        if size > MAX_BYTES:
            raise _bad("too-long", f"it has {size} bytes, more than {MAX_BYTES}")

    def encode(self) -> bytes:
        """The canonical encoding (RFC 8785)."""
        steward, allow, limits = self.steward, self.allow, self.limits
        value = {
            "version": VERSION,
            "workload": {"digest": self.workload.digest, "mediaType": self.workload.media_type},
            "config": self.config,
            "files": [{"kind": file.kind, "name": file.name, "digest": file.digest} for file in self.files],
            "args": list(self.args),
            "env": [list(pair) for pair in self.env],
            "steward": None if steward is None else {"url": steward.url, "ca": steward.ca},
            "allow": None if allow is None else {"listen": list(allow.listen), "connect": list(allow.connect)},
            "limits": None if limits is None else {key: getattr(limits, key) for key in LIMIT_BOUNDS},
        }
        return _canonical(value)

    def digest(self) -> bytes:
        """SHA-256 of the encoding, 32 bytes: HOST_DATA of an SNP launch."""
        return hashlib.sha256(self.encode()).digest()

    def digest384(self) -> bytes:
        """SHA-384 of the encoding, 48 bytes: MRCONFIGID of a TDX launch."""
        return hashlib.sha384(self.encode()).digest()

    def check_listen(self, port: int) -> None:
        """Raise StreamError (``manifest-listen``) unless the deployer permits listening on ``port``."""
        if self.allow is not None and port not in self.allow.listen:
            permitted = ", ".join(map(str, self.allow.listen)) or "none"
            raise StreamError(
                f"the manifest refuses to listen on port {port}, which Enarx.toml asks for",
                code="manifest-listen",
                hint=f"the deployer permits these ports: {permitted}; deploy with a manifest that permits it as well",
            )

    def check_connect(self, host: str, port: int) -> None:
        """Raise StreamError (``manifest-connect``) unless the deployer permits connecting to ``host`` at ``port``."""
        if self.allow is not None and endpoint(host, port) not in self.allow.connect:
            permitted = ", ".join(self.allow.connect) or "none"
            raise StreamError(
                f"the manifest refuses to connect to {endpoint(host, port)}, which Enarx.toml asks for",
                code="manifest-connect",
                hint=f"the deployer permits these: {permitted}; deploy with a manifest that permits it as well",
            )


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """The SHA-256 of ``data`` as a manifest writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def endpoint(host: str, port: int) -> str:
    """``HOST:PORT`` in the one form that allow-lists have.

    Names in lower case without a final dot; addresses as RFC 5952 writes them, those of IPv6 in brackets.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return f"{host.lower().removesuffix('.')}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def parse(data: bytes) -> Manifest:
    """Read a manifest of at most `MAX_BYTES`; MalformedError for anything but the canonical encoding of a valid one."""
    if len(data) > MAX_BYTES:
        raise _bad("too-long", f"it has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _bad("json", "it is not JSON") from error
    found = _manifest(value)
    if found.encode() != data:  # also what a key that is given twice comes to
        raise _bad("not-canonical", "it is not in the canonical encoding of RFC 8785")
    return found


def _canonical(value: object) -> bytes:
    """RFC 8785 of what a manifest holds: all keys are ASCII, all numbers integers below 2^53."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair has no UTF-8, and RFC 8785 3.2.2.2 refuses it
        raise _bad("text", "it has text that is not Unicode") from error


def _manifest(value: object) -> Manifest:
    keys = ("version", "workload", "config", "files", "args", "env", "steward", "allow", "limits")
    top = _object(value, "the manifest", keys)
    if type(top["version"]) is not int or top["version"] != VERSION:
        raise _bad("version", f"its version is not {VERSION}")
    workload = _object(top["workload"], "workload", ("digest", "mediaType"))
    files = [_object(item, "an entry of files", ("kind", "name", "digest")) for item in _list(top["files"], "files")]
    steward = allow = limits = None
    if top["steward"] is not None:
        steward = StewardPin(**_object(top["steward"], "steward", ("url", "ca")))
    if top["allow"] is not None:
        lists = _object(top["allow"], "allow", ("listen", "connect"))
        allow = Allow(tuple(_list(lists["listen"], "allow.listen")), tuple(_list(lists["connect"], "allow.connect")))
    if top["limits"] is not None:
        limits = ManifestLimits(**_object(top["limits"], "limits", tuple(LIMIT_BOUNDS)))
    env = [_list(item, "an entry of env") for item in _list(top["env"], "env")]
    if any(len(pair) != 2 for pair in env):
        raise _bad("env", "an entry of env is not a name and a value")
    return Manifest(
        workload=Workload(workload["digest"], workload["mediaType"]),
        config=top["config"],
        files=tuple(ManifestFile(**file) for file in files),
        args=tuple(_list(top["args"], "args")),
        env=tuple((name, text) for name, text in env),
        steward=steward,
        allow=allow,
        limits=limits,
    )


def _object(value: object, what: str, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise _bad("keys", f"{what} does not have exactly the keys {', '.join(keys)}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad("type", f"{what} is not a list")
    return value


def _check(manifest: Manifest) -> None:
    _digest(manifest.workload.digest, "workload.digest")
    if not _MEDIA_TYPE.fullmatch(_text(manifest.workload.media_type, "workload.mediaType")):
        raise _bad("media-type", "workload.mediaType is not a media type in lower case")
    if manifest.config is not None:
        _digest(manifest.config, "config")
    _check_files(manifest.files)
    if len(manifest.args) > MAX_ARGS or len(manifest.env) > MAX_ARGS:
        raise _bad("too-many", f"more than {MAX_ARGS} arguments or variables")
    for arg in manifest.args:
        _text(arg, "an argument")
    for name, text in manifest.env:
        _text(text, "the value of a variable")
        if not _text(name, "the name of a variable") or "=" in name or name in _RESERVED_VARIABLES:
            raise _bad("env", f"{name[:64]!r} cannot be the name of a variable")
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
        raise _bad("too-many", f"more than {MAX_FILES} files")
    for file in files:
        _digest(file.digest, "the digest of a file")
        if file.kind not in ("ca", "layer") or not 0 < len(_text(file.name, "the name of a file")) <= MAX_NAME_CHARS:
            raise _bad("file", "a file is neither a CA file nor a layer, or its name is empty or too long")
    if len({(file.kind, file.name) for file in files}) != len(files):
        raise _bad("file", "two files have the same kind and name")


def _check_url(url: str) -> None:
    """https, a host, perhaps a port and a path; nothing that would mean another place to another reader."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and parts.netloc.isascii()
    except ValueError:
        valid = False
    plain = 0 < len(url) <= MAX_URL_CHARS and all(0x21 <= ord(char) <= 0x7E for char in url)
    if not valid or not plain or any(char in url for char in "@?#\\") or not url.startswith("https://"):
        raise _bad("steward", "steward.url is not an https URL of host, port and path alone")


def _check_allow(allow: Allow) -> None:
    if len(allow.listen) > MAX_STREAMS or len(allow.connect) > MAX_STREAMS:
        raise _bad("too-many", f"more than {MAX_STREAMS} ports or endpoints are allowed")
    for port in allow.listen:
        _integer(port, "a port of allow.listen", (0, MAX_PORT))  # 0: any free port, as Enarx.toml may ask for
    for text in allow.connect:
        host, _, port_text = _text(text, "an endpoint of allow.connect").rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        usable = 0 < len(host) <= MAX_HOST_CHARS and host.isprintable() and not any(map(str.isspace, host))
        if not usable or not _PORT.fullmatch(port_text) or int(port_text) > MAX_PORT:
            raise _bad("allow", f"{text[:64]!r} in allow.connect is not HOST:PORT")
        if endpoint(host, int(port_text)) != text:
            raise _bad("allow", f"{text[:64]!r} in allow.connect must be written {endpoint(host, int(port_text))!r}")
    if len(set(allow.listen)) != len(allow.listen) or len(set(allow.connect)) != len(allow.connect):
        raise _bad("allow", "a port or an endpoint is allowed twice")


def _digest(value: object, what: str) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _bad("digest", f"{what} is not sha256: and 64 lower-case hexadecimal digits")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _bad("text", f"{what} is not text without NUL")
    return value


def _integer(value: object, what: str, bounds: tuple[int, int]) -> None:
    if type(value) is not int or not bounds[0] <= value <= bounds[1]:  # not isinstance: a bool is an int
        raise _bad("range", f"{what} is not an integer from {bounds[0]} to {bounds[1]}")


def _bad(code: str, what: str) -> MalformedError:
    return MalformedError(
        f"the manifest is not acceptable: {what}",
        code=f"manifest-{code}",
        hint="make it with `enarx`, and hand it over as it was written: not one byte may change",
    )
