"""Build an image: locked inputs in, a directory of files out, the same bytes for the same lock file and program."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from enarx.errors import HostError
from enarx.host.image import layout
from enarx.host.image.built import Built
from enarx.host.image.collect import PYTHON_LIBRARY, Piece, collect
from enarx.host.image.contents import decompress, read_deb
from enarx.host.image.describe import describe
from enarx.host.image.fetch import Inputs
from enarx.host.image.lock import Lock
from enarx.host.image.newc import Directory, Entry, File, Node, pack

COMMON: Final = (
    "console=ttyS0",  # for the lines that say why there is no link; nobody reads from it
    "quiet",
    "panic=-1",  # restart at once, which a host that starts Keeps turns into the end
    "oops=panic",
    "random.trust_cpu=on",
    "random.trust_bootloader=off",  # seeds that the host chooses are not counted
    "rdinit=/usr/bin/python3.11",
)
ARGUMENTS: Final = ("-I", "-S", "-B", f"/{PYTHON_LIBRARY}/enarx/keep/init.pyc")
"""The first process: the interpreter, and the module that it runs."""
STOCK: Final = (
    "lockdown=confidentiality",
    "lsm=lockdown",  # the other security modules have no policy here
    "cryptomgr.notests",  # a sixth of the time to boot without KVM; the Keep's cryptography is its own
)
COMMAND_LINES: Final[Mapping[str, str]] = {
    "stock": " ".join((*COMMON, *STOCK, "--", *ARGUMENTS)),
    "own": " ".join((*COMMON, "--", *ARGUMENTS)),
}
"""The kernel's command line, by kind of kernel. Every word of it must be known to the kernel, or it would go to the
first process."""

MOUNT_POINTS: Final = ("dev", "mnt", "proc", "sys", "tmp")
MODULES: Final = ("configfs", "tsm", "sev-guest", "tdx-guest")
"""Drivers that the stock kernel has as modules and a Keep on a secure processor needs."""
_VMLINUZ: Final = "boot/vmlinuz-"
_FIRMWARE: Final = "usr/share/ovmf/OVMF.amdsev.fd"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel with the modules that it needs, decompressed, by name.

    ``made_with``: of one that was built here, the digest of its inputs and the tools, by what they are.
    """

    vmlinuz: bytes
    modules: Mapping[str, bytes]
    made_with: Mapping[str, str] = field(default_factory=dict)


def listed() -> frozenset[str]:
    """Paths in the initial RAM disk: every file that a Keep opens, and no other."""
    return frozenset(line for line in _lines() if not line.startswith("!"))


def left_out() -> frozenset[str]:
    """Paths of what a Keep asks for and does without."""
    return frozenset(line.removeprefix("!") for line in _lines() if line.startswith("!"))


def _lines() -> list[str]:
    text = resources.files("enarx.host.image").joinpath("files.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def stock_kernel(lock: Lock, inputs: Inputs) -> Kernel:
    """Debian's cloud kernel, and its modules of `MODULES`. HostError (``image-input``)."""
    names = {f"{name}.ko.xz" for name in MODULES}
    for deb in lock.of_use("kernel"):
        files = read_deb(inputs.file(deb), lambda path: path.startswith(_VMLINUZ) or path.rpartition("/")[2] in names)
        modules = {
            path.rpartition("/")[2].removesuffix(".ko.xz"): decompress(data)
            for path, data in files.items()
            if path.endswith(".ko.xz")
        }
        kernels = [data for path, data in files.items() if path.startswith(_VMLINUZ)]
        if len(kernels) == 1 and set(modules) == set(MODULES):
            return Kernel(kernels[0], modules)
    raise HostError(
        "the locked kernel package has no kernel, or lacks a driver that a Keep needs",
        code="image-input",
        hint=f"it needs the modules {', '.join(MODULES)}: Linux 6.7 or newer",
    )


def firmware(lock: Lock, inputs: Inputs) -> bytes:
    """The firmware of a measured direct boot. HostError (``image-input``)."""
    for deb in lock.of_use("firmware"):
        for data in read_deb(inputs.file(deb), lambda path: path == _FIRMWARE).values():
            return data
    raise HostError(f"no locked package has {_FIRMWARE}", code="image-input", hint="lock again with `enarx image lock`")


def entries(pieces: Mapping[str, Piece], kernel: Kernel) -> dict[str, Entry]:
    """What is in the initial RAM disk, by path."""
    found: dict[str, Entry] = {name: Directory() for name in MOUNT_POINTS}
    found["dev/console"] = Node(5, 1)
    for path, piece in pieces.items():
        program = path.startswith(("usr/bin/", "lib64/")) or ".so" in path.rpartition("/")[2]
        found[path] = File(piece.data, executable=program)
    for name, data in kernel.modules.items():
        found[f"lib/modules/{name}.ko"] = File(data)
    return found


def build(
    lock: Lock, inputs: Inputs, directory: Path, kernel: Kernel, kind: Literal["stock", "own"] = "stock"
) -> layout.Image:
    """Write the image of ``lock`` and ``kernel`` into ``directory``, which is replaced when all of it is there.

    HostError: whatever the inputs raise, ``image-list`` for a file that no input has, ``image-directory`` when
    ``directory`` is something else than an image, or cannot be written.
    """
    _check_target(directory)
    names = listed()
    pieces = collect(lock, inputs, names.__contains__)
    missing = sorted(names - set(pieces))
    if missing:
        raise HostError(
            f"none of the locked inputs has {missing[0]}, nor {len(missing) - 1} others",
            code="image-list",
            hint="the lock file and this version of Enarx do not go together; use the lock file that comes with it",
        )
    found = entries(pieces, kernel)
    files = {
        layout.KERNEL: kernel.vmlinuz,
        layout.INITRD: b"".join(pack(found)),
        layout.CMDLINE: COMMAND_LINES[kind].encode(),
        layout.FIRMWARE: firmware(lock, inputs),
    }
    providers = {path: piece.provider for path, piece in pieces.items()}
    files |= describe(Built(kind, lock, files, found, providers, kernel.made_with))
    with _replacing(directory) as draft:
        for name, data in files.items():
            (draft / name).write_bytes(data)
    return layout.open_image(directory)


def _check_target(directory: Path) -> None:
    """Whether an image may be written to ``directory``. HostError (``image-directory``)."""
    try:
        taken = directory.exists() and not (directory / layout.DESCRIPTION).is_file() and any(directory.iterdir())
    except OSError as error:
        raise _unwritable(directory, error) from error
    if taken:
        raise HostError(
            f"{directory} is there, and is no image", code="image-directory", hint="name another directory with -o"
        )


def _unwritable(directory: Path, error: OSError) -> HostError:
    return HostError(
        f"the image cannot be written to {directory}: {error.strerror}",
        code="image-directory",
        hint="name another directory with -o",
    )


@contextlib.contextmanager
def _replacing(directory: Path) -> Iterator[Path]:
    """A directory to fill, that then takes the place of ``directory``. HostError (``image-directory``)."""
    _check_target(directory)
    draft = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}")
    old = draft.with_suffix(".old")
    try:
        draft.mkdir(parents=True)
        yield draft
        if directory.exists():
            directory.rename(old)
        draft.rename(directory)
    except OSError as error:
        raise _unwritable(directory, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not directory.exists() and old.exists():
            old.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
