"""What the modes of ``enarx package`` share: files, keys, and the Keep's rules for the tenant's part."""

from __future__ import annotations

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
            f"{text!r} is not a file", code="package-reference", hint="fetch the package first, and name its file"
        )
    return path_of(text)


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
