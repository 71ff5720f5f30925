"""What the Keep was given to run: receive it over the link, bounded at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from enarx import config as enarx_config
from enarx.config import MAX_CONFIG_BYTES, Config
from enarx.envelope import is_encrypted
from enarx.errors import ConfigError, LimitError, LinkError, WorkloadError
from enarx.keep.link import Link
from enarx.wire import Type

if TYPE_CHECKING:
    from enarx.keep.handover import Handover
    from enarx.keep.package import Contents
    from enarx.manifest import Manifest

MAX_CA_BYTES: Final = 1 << 16
"""Largest CA file, in bytes."""
WASM_MAGIC: Final = b"\0asm"
CORE_MODULE: Final = b"\x01\0\0\0"
COMPONENT: Final = b"\x0d\0\x01\0"
ARCHIVE_OVERHEAD: Final = 4
"""An archive may be this many times the file system's limit in size: headers and padding of small files."""
MAX_PACKAGE_BYTES: Final = 4 << 30
"""Largest package, in bytes. Its own limits are inside, and hold once it is open."""
MAX_SIGNATURES: Final = 8
"""Signatures of a package that are passed on to the Steward (count)."""
MAX_SIGNATURE_BYTES: Final = 1 << 16
"""Largest signature, in bytes."""
MAX_TABLE_BYTES: Final = 64 * 1024
"""Largest certificate table, in bytes."""
PASSED_ON: Final = ("signature", "certificates")
"""Kinds of object that are for the Steward, and may come beside a package."""


@dataclass(slots=True)
class Launch:
    """One launch as the host announced it. ``layers`` holds (guest path, tar archive) pairs.

    ``objects`` leaves out the manifest, whose size is ``manifest_size``: None for a launch without one. A workload that
    came as a package has its contents in ``package``; an encrypted one is in ``sealed`` until `open_package`.
    """

    args: list[str]
    env: list[tuple[str, str]]
    cache_key: bytes
    require_sandbox: bool
    checked_calls: bool
    objects: list[tuple[str, str, int]]
    manifest_size: int | None = None
    config: Config = field(default_factory=Config.default)
    configured: bool = False
    """Whether the workload came with an ``Enarx.toml``."""
    module: bytes | bytearray | memoryview = b""
    ca_files: dict[str, bytes] = field(default_factory=dict)
    layers: list[tuple[str, bytearray]] = field(default_factory=list)
    sealed: bytearray | None = None
    package: Contents | None = None
    signatures: list[bytes] = field(default_factory=list)
    certificates: bytes = b""
    """The host's certificate table for evidence that comes without one."""

    def configure(self, text: bytes, manifest: Manifest | None) -> None:
        """Take ``text`` for the config, narrowed by the manifest. Raises ConfigError or StreamError."""
        self.config = _narrowed(enarx_config.parse(text), manifest)
        self.configured = True

    def take_module(self, module: bytes | bytearray | memoryview) -> None:
        """Take ``module`` for the workload. Raises LimitError or WorkloadError."""
        _check_module_size(len(module), self.config.limits.module_bytes)
        check_module(module)
        self.module = module

    def open_package(self, archive: bytearray, manifest: Manifest | None) -> None:
        """Take config, module and files from a package's archive, every byte of which is the deployer's own.

        Raises ConfigError, LimitError, MalformedError, StreamError or WorkloadError.
        """
        from enarx.keep.package import contents

        self.package = found = contents(archive)
        if found.config is not None:
            self.configure(found.config, manifest)
        self.take_module(found.module)

    def forget_bytes(self) -> None:
        """What has been compiled and unpacked is not needed again."""
        self.module, self.package, self.sealed = b"", None, None
        self.layers.clear()


def encode_text(text: str) -> bytes:
    """The bytes that the host's command line had: UTF-8, or anything else in surrogates (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def receive_launch(link: Link) -> Launch:
    """The LAUNCH frame. Raises LinkError unless it is the first frame and well-formed."""
    frame = link.receive()
    frame.close()
    if frame.type != Type.LAUNCH:
        raise LinkError("the host did not begin with LAUNCH", code="link-frame")
    fields = frame.fields()
    try:
        key = bytes.fromhex(fields["cache_key"])
    except ValueError:
        raise _malformed() from None
    if fields["sandbox"] not in ("require", "try") or fields["engine"] not in ("checked", "fast"):
        raise _malformed()
    objects = [_object(item) for item in fields["objects"]]
    manifest_size = objects.pop(0)[2] if objects and objects[0][0] == "manifest" else None
    return Launch(
        args=list(_strings(fields["args"])),
        env=[(name, value) for name, value in map(_pair, fields["env"])],
        cache_key=key,
        require_sandbox=fields["sandbox"] == "require",
        checked_calls=fields["engine"] == "checked",
        objects=objects,
        manifest_size=manifest_size,
    )


def receive_manifest(link: Link, launch: Launch) -> bytes | None:
    """The manifest, which comes before every other object; None for a launch without one. Raises LinkError.

    Not one byte of it has been looked at.
    """
    from enarx.manifest import MAX_BYTES

    size = launch.manifest_size
    if size is not None and size > MAX_BYTES:
        raise _malformed()
    return None if size is None else bytes(link.receive_blob(size))


def receive_objects(
    link: Link, launch: Launch, manifest: Manifest | None = None, handover: Handover | None = None
) -> None:
    """Receive everything that the launch announced, in its order: config first, if any, as it sets the limits.

    With a ``manifest`` the config is narrowed by it, and ``handover`` checks each object before it is used. Raises
    AuthenticityError, ConfigError, LimitError, LinkError, StreamError or WorkloadError.
    """

    def receive(index: int, size: int) -> bytearray:
        data = link.receive_blob(size)
        if handover is not None:
            handover.check(index, data)
        return data

    launch.config = _narrowed(launch.config, manifest)
    kinds = [kind for kind, _, _ in launch.objects if kind not in PASSED_ON]
    if "package" in kinds and len(kinds) > 1:
        raise _malformed()
    for index, (kind, name, size) in enumerate(launch.objects):
        limits = launch.config.limits
        if kind == "config" and index == 0 and size <= MAX_CONFIG_BYTES:
            launch.configure(bytes(receive(index, size)), manifest)
        elif kind == "ca" and size <= MAX_CA_BYTES:
            launch.ca_files[name] = bytes(receive(index, size))
        elif kind == "module":
            _check_module_size(size, limits.module_bytes)
            launch.module = receive(index, size)
        elif kind == "package" and size <= MAX_PACKAGE_BYTES:
            launch.sealed = receive(index, size)
        elif kind == "signature" and size <= MAX_SIGNATURE_BYTES and len(launch.signatures) < MAX_SIGNATURES:
            launch.signatures.append(bytes(receive(index, size)))
        elif (
            kind == "certificates" and manifest is not None and not launch.certificates and 0 < size <= MAX_TABLE_BYTES
        ):
            launch.certificates = bytes(receive(index, size))
        elif kind == "layer":
            if size > ARCHIVE_OVERHEAD * limits.filesystem_bytes:
                raise LimitError(
                    f"the files for {name} take {size} bytes, which does not fit the limit `filesystem`",
                    code="limit-filesystem",
                    hint="raise `filesystem` under [limits] in Enarx.toml, or give the workload fewer files",
                )
            launch.layers.append((name, receive(index, size)))
        else:
            raise _malformed()
    if handover is not None:
        handover.finish()
    if launch.sealed is None:
        launch.take_module(launch.module)
    elif not is_encrypted(launch.sealed):
        archive, launch.sealed = launch.sealed, None
        launch.open_package(archive, manifest)


def _narrowed(config: Config, manifest: Manifest | None) -> Config:
    if manifest is None:
        if config.steward is not None:  # an author who asks for one is not given a Keep that certifies itself
            raise ConfigError(
                f"Enarx.toml asks for a certificate by the Steward {config.steward}, and this Keep has none",
                code="config-steward",
                hint="run with --steward and --steward-ca, or without `steward` in Enarx.toml",
            )
        return config
    from enarx.keep.narrow import narrow

    return narrow(config, manifest)


def _check_module_size(size: int, limit: int) -> None:
    if size > limit:
        raise LimitError(
            f"the module has {size} bytes, more than the limit `module` of {limit}",
            code="limit-module",
            hint="raise `module` under [limits] in Enarx.toml, or build a smaller module",
        )


def check_module(module: bytes | bytearray | memoryview) -> None:
    """Raise WorkloadError unless the bytes begin as a core WebAssembly module."""
    head = bytes(module[:8])
    if head == WASM_MAGIC + CORE_MODULE:
        return
    if head == WASM_MAGIC + COMPONENT:
        raise WorkloadError(
            "failed to compile Wasm module: this is a component, not a module",
            code="wasm-component",
            hint="build for wasm32-wasip1 (WASI preview 1)",
        )
    if head.startswith(WASM_MAGIC):
        raise WorkloadError(
            f"failed to compile Wasm module: version {head[4:8].hex()} is not supported", code="wasm-version"
        )
    raise WorkloadError(
        "failed to compile Wasm module: the file is not WebAssembly",
        code="wasm-magic",
        hint="give a binary module (.wasm); text (.wat) must be assembled first, for example with wat2wasm",
    )


def _malformed() -> LinkError:
    return LinkError("the launch is malformed", code="link-frame")


def _strings(items: list[Any]) -> Iterator[str]:
    for item in items:
        if not isinstance(item, str) or "\0" in item:
            raise _malformed()
        try:
            encode_text(item)
        except UnicodeEncodeError:
            raise _malformed() from None
        yield item


def _pair(item: Any) -> tuple[str, str]:
    if not isinstance(item, list) or len(item) != 2:
        raise _malformed()
    name, value = _strings(item)
    return name, value


def _object(item: Any) -> tuple[str, str, int]:
    if not isinstance(item, list) or len(item) != 3 or type(item[2]) is not int or item[2] < 0:
        raise _malformed()
    kind, name = _strings(item[:2])
    return kind, name, item[2]
