"""What the modes of ``enarx package`` share: files, keys, and the Keep's rules for the tenant's part."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.tenant.package.rules import KeepRules


def path_of(text: str) -> Path:
    """A path from the command line. UsageError for what can be none."""
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not a path", hint="name a file")
    return Path(text)


def package_of(text: str) -> Path:
    """The file of a package that the user names. UsageError."""
    if "://" in text:
        raise UsageError(
            f"{text!r} is not a file", code="package-reference", hint="`enarx package pull` it, and name its file"
        )
    return path_of(text)


@dataclass(frozen=True, slots=True)
class Found:
    """A package: its file, where it is pinned (``name``, for people), and the signature objects beside it."""

    path: Path
    name: str
    signatures: tuple[bytes, ...]


def find(args: argparse.Namespace) -> Found:
    """What ``args.package`` names, a file or a reference that is fetched into the local store. Raises EnarxError."""
    if "://" not in args.package:
        path = path_of(args.package)
        return Found(path, args.package, tuple(data for _, data in signatures_beside(path)))
    import sys

    from enarx.cli.packageregistry import access
    from enarx.cli.progress import ProgressBar
    from enarx.registry import DockerCredentials, Registry, Store, parse_reference
    from enarx.registry.layout import SIGNATURE_MEDIA_TYPES, SIGNATURE_TYPE
    from enarx.registry.web import Web

    store = Store()
    with ProgressBar(sys.stderr) as progress:
        if args.package.partition("://")[0].lower() != "oci":
            with Web(access(args), progress=progress) as web:
                got = web.fetch(args.package, store, require_digest=args.require_digest)
            return Found(got.path, f"{args.package}#{got.digest.replace(':', '=')}", ())
        reference = parse_reference(args.package)
        with Registry(access(args), DockerCredentials(), progress=progress) as registry:
            pulled = registry.pull(reference, store, require_digest=args.require_digest)
            beside = registry.attached(pulled.reference, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES, store)
    return Found(pulled.path, str(pulled.reference), tuple(one.data for one in beside))


def signatures_beside(path: Path) -> list[tuple[str, bytes]]:
    """The signatures beside the file of a package: media type and bytes. UsageError for one that cannot be read."""
    from enarx.cli.keyfile import read_input
    from enarx.registry.layout import DSSE, SIGSTORE_BUNDLE
    from enarx.tenant.signature.signers import OBJECT_MAX_BYTES

    places = [
        (DSSE, path.with_name(path.name + ".sig")),
        (SIGSTORE_BUNDLE, path.with_name(path.name + ".sigstore.json")),
    ]
    return [(kind, read_input(str(at), OBJECT_MAX_BYTES, "signature")) for kind, at in places if at.exists()]


def read_key(text: str | None) -> bytes | None:
    """The package key in a file, if one was named. UsageError (``file-...``, ``package-key-size``)."""
    if text is None:
        return None
    from enarx.cli.keyfile import read_input
    from enarx.envelope import KEY_BYTES

    key = read_input(str(path_of(text)), KEY_BYTES, "package key")
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"{text} does not hold a package key of {KEY_BYTES} bytes",
            code="package-key-size",
            hint="name the file that `enarx package build --key-file` wrote",
        )
    return key


def keep_rules() -> KeepRules:
    """What the Keep's own code says of workloads."""
    from enarx.keep.runtime import inspect_module, validate_module
    from enarx.keep.wasi.tree import entry_cost
    from enarx.tenant.package.rules import KeepRules

    return KeepRules(validate_module, inspect_module, entry_cost)
