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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from enarx.errors import StreamError
from enarx.manifest_rules import (
    LIMIT_BOUNDS,
    MAX_ARGS,
    MAX_BYTES,
    MAX_FILES,
    MAX_STREAMS,
    bad,
    check,
    endpoint,
)

__all__ = [
    "LIMIT_BOUNDS",
    "MAX_ARGS",
    "MAX_BYTES",
    "MAX_FILES",
    "MAX_STREAMS",
    "VERSION",
    "Allow",
    "Manifest",
    "ManifestFile",
    "ManifestLimits",
    "StewardPin",
    "Workload",
    "digest_of",
    "endpoint",
    "parse",
]

VERSION: Final = 1


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
        check(self)
        size = len(self.encode())
        if size > MAX_BYTES:
            raise bad("too-long", f"it has {size} bytes, more than {MAX_BYTES}")

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


def parse(data: bytes) -> Manifest:
    """Read a manifest of at most `MAX_BYTES`; MalformedError for anything but the canonical encoding of a valid one."""
    if len(data) > MAX_BYTES:
        raise bad("too-long", f"it has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise bad("json", "it is not JSON") from error
    found = _manifest(value)
    if found.encode() != data:  # also what a key that is given twice comes to
        raise bad("not-canonical", "it is not in the canonical encoding of RFC 8785")
    return found


def _canonical(value: object) -> bytes:
    """RFC 8785 of what a manifest holds: all keys are ASCII, all numbers integers below 2^53."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair has no UTF-8, and RFC 8785 3.2.2.2 refuses it
        raise bad("text", "it has text that is not Unicode") from error


def _manifest(value: object) -> Manifest:
    keys = ("version", "workload", "config", "files", "args", "env", "steward", "allow", "limits")
    top = _object(value, "the manifest", keys)
    if type(top["version"]) is not int or top["version"] != VERSION:
        raise bad("version", f"its version is not {VERSION}")
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
        raise bad("env", "an entry of env is not a name and a value")
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
        raise bad("keys", f"{what} does not have exactly the keys {', '.join(keys)}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad("type", f"{what} is not a list")
    return value
