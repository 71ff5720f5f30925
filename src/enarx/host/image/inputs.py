"""What an image is made of: which packages are asked for, and from where.

Versions and digests are not here but in a lock file (``enarx.host.image.lock``): this is what `enarx image lock` starts
from, and what a lock file must cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Use = Literal["root", "kernel", "source", "firmware", "tool"]

ARCHIVES: Final = {
    "bookworm": (
        "http://deb.debian.org/debian bookworm main",
        "http://deb.debian.org/debian-security bookworm-security main",
    ),
    "sid": ("http://deb.debian.org/debian sid main",),
}
"""Where packages come from: lines of sources, by the name that a lock file gives them. The newest version of all
sources of one archive wins. Sid is for the firmware alone: no stable release of Debian has one that a measured direct
boot can start from."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Debian package. ``use``: "root" is in the initial RAM disk, "tool" runs while it is built and is in no image,
    "source" is what a kernel of our own is built from, where there is to be one instead of Debian's.

    ``follow``: the package is a name for the newest of its kind, and what it depends on under that prefix is meant.
    """

    name: str
    use: Use
    archive: str = "bookworm"
    follow: str = ""


PACKAGES: Final = (
    Wanted("linux-image-6.12-cloud-amd64", "kernel", follow="linux-image-"),
    Wanted("linux-source-6.12", "source"),
    Wanted("ovmf-amdsev", "firmware", archive="sid"),
    Wanted("python3.11-minimal", "root"),
    Wanted("libpython3.11-minimal", "root"),
    Wanted("libpython3.11-stdlib", "root"),
    Wanted("ca-certificates", "root"),
    Wanted("libc6", "root"),
    Wanted("libexpat1", "root"),
    Wanted("libffi8", "root"),
    Wanted("libgcc-s1", "root"),
    Wanted("libssl3", "root"),
    Wanted("zlib1g", "root"),
    Wanted("binutils-x86-64-linux-gnu", "tool"),
    Wanted("libbinutils", "tool"),
    Wanted("libzstd1", "tool"),
)
"""Debian packages. Everything that runs in the image, or makes it, is among them or among the wheels."""

WHEELS: Final = ("cffi", "cryptography", "wasmtime")
"""Python packages of the Keep, at the versions that are installed beside this program when it locks."""
