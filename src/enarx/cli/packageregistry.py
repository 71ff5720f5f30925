"""``enarx package push`` and ``pull``: packages, and modules in the CNCF's layout, to and from OCI registries."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from enarx.registry import Access, Pulled, Store

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

REFERENCE_HELP: Final = "oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]"
_COPY_BYTES: Final = 1 << 20


def add_parsers(modes: Subparsers) -> None:
    """Add ``push`` and ``pull`` to the modes of ``enarx package``."""
    push = modes.add_parser(
        "push", help="push a package to an OCI registry, with the signatures beside it; prints what it is pinned by"
    )
    push.add_argument("file", metavar="FILE", help="what `enarx package build` wrote, or a module with --wasm")
    push.add_argument("reference", metavar="REF", help=REFERENCE_HELP)
    push.add_argument("--wasm", action="store_true", help="FILE is a WebAssembly module, for other wasm tools as well")
    add_registry_options(push)
    push.set_defaults(run=_push)

    pull = modes.add_parser("pull", help="pull a package, or a module, from an OCI registry")
    pull.add_argument("reference", metavar="REF", help=REFERENCE_HELP)
    pull.add_argument("-o", "--output", metavar="FILE", required=True, help="where it goes, as a whole or not at all")
    add_require_digest(pull)
    add_registry_options(pull)
    pull.set_defaults(run=_pull)


def add_registry_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how registries are spoken to."""
    parser.add_argument(
        "--ca-bundle",
        metavar="FILE",
        default=os.environ.get("ENARX_CA_BUNDLE") or None,
        help="certificates (PEM) to trust besides the system's (default: $ENARX_CA_BUNDLE)",
    )
    parser.add_argument(
        "--plain-http",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="speak to this host without TLS; loopback needs no such leave",
    )


def add_require_digest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--require-digest", action="store_true", help="refuse a reference that has no digest")


def access(args: argparse.Namespace) -> Access:
    """What `add_registry_options` asked for."""
    from enarx.registry import Access

    return Access(args.ca_bundle, args.plain_http)


def _push(args: argparse.Namespace) -> int:
    from pathlib import Path

    from enarx.cli.packagefile import signatures_beside
    from enarx.cli.progress import ProgressBar
    from enarx.mediatype import WASM
    from enarx.registry import Attached, DockerCredentials, Registry, parse_reference
    from enarx.registry.layout import SIGNATURE_TYPE

    reference = parse_reference(args.reference)
    path = Path(args.file)
    media_type = _media_type(path, wasm=args.wasm)
    signatures = [Attached(kind, data) for kind, data in signatures_beside(path)]
    with (
        ProgressBar(sys.stderr) as progress,
        Registry(access(args), DockerCredentials(), progress=progress) as registry,
    ):
        if media_type == WASM:
            pushed = registry.push_wasm(reference, path)
        else:
            pushed = registry.push_package(reference, path, media_type)
        pinned = reference.at(pushed.digest)
        for one in signatures:
            registry.attach(pinned, SIGNATURE_TYPE, [one])
    if signatures:
        print(f"{len(signatures)} signature{'s' if len(signatures) > 1 else ''} beside it", file=sys.stderr)
    print(pinned)
    return 0


def _pull(args: argparse.Namespace) -> int:
    from pathlib import Path

    from enarx.cli.progress import ProgressBar
    from enarx.registry import DockerCredentials, Registry, Store, parse_reference

    reference = parse_reference(args.reference)
    target = Path(args.output)
    _check_writable(target)
    store = Store()
    with (
        ProgressBar(sys.stderr) as progress,
        Registry(access(args), DockerCredentials(), progress=progress) as registry,
    ):
        pulled = registry.pull(reference, store, require_digest=args.require_digest)
    _copy(store, pulled, target)
    print(pulled.reference)
    print(f"{args.output}: {pulled.layer.digest}, {pulled.layer.size} bytes, {pulled.layer.media_type}")
    return 0


def _media_type(path: Path, *, wasm: bool) -> str:
    """What the file is; UsageError where it is not what was said, before anything is pushed."""
    from enarx.cli.keyfile import read_head
    from enarx.errors import UsageError
    from enarx.mediatype import HEAD_BYTES, WASM, media_type_of

    found = media_type_of(read_head(str(path), HEAD_BYTES, "package"))
    if found is None:
        raise UsageError(
            f"{path} is neither a package nor a WebAssembly module",
            code="package-file",
            hint="make one with `enarx package build`",
        )
    if (found == WASM) != wasm:
        raise UsageError(
            f"{path} is {'a module, not a package' if found == WASM else 'a package, not a module'}",
            code="package-file",
            hint="--wasm pushes a module as it is; `enarx package build` makes a package of it",
        )
    return found


def _check_writable(target: Path) -> None:
    """Find out before the download, where that can be told."""
    from enarx.errors import UsageError

    if target.is_dir() or not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write {target}", code="file-unwritable", hint="check that its directory is there, and writable"
        )


def _copy(store: Store, pulled: Pulled, target: Path) -> None:
    """Copy what was pulled out of the store, checked on the way, in the place of the file as a whole."""
    import tempfile
    from pathlib import Path

    from enarx.errors import UsageError

    temporary: Path | None = None
    try:
        with store.open(pulled.layer.digest, pulled.layer.size) as blob:
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            temporary = Path(name)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                buffer = memoryview(bytearray(_COPY_BYTES))
                while count := blob.readinto(buffer):
                    rest = buffer[:count]
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fchmod(file.fileno(), 0o644)
        temporary.replace(target)
        temporary = None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot write {target}: {cause}", code="file-unwritable", hint="check the path and its permissions"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
