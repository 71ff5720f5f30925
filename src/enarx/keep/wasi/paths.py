"""Path resolution. A path is relative to a directory descriptor and can never leave the tree below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enarx.keep.wasi.abi import MAX_NAME, MAX_PATH, Errno, WasiError
from enarx.keep.wasi.tree import Directory, File, Node, Symlink

MAX_SYMLINKS: Final = 40
"""Symbolic links followed in one resolution, as MAXSYMLINKS of Linux."""


@dataclass(slots=True, frozen=True)
class Place:
    """Where a path leads: ``name`` in ``parent``, and what is there, if anything.

    ``name`` is empty when the path ends in ``.`` or ``..`` or is the starting directory itself; ``node`` then is
    that directory. ``slash`` tells that the path ended in a slash, so only a directory will do.
    """

    parent: Directory
    name: str
    node: Node | None
    slash: bool

    def existing(self) -> Node:
        """The node. Raises WasiError: NOENT when there is none, NOTDIR when a slash follows something else."""
        if self.node is None:
            raise WasiError(Errno.NOENT)
        if self.slash and not isinstance(self.node, Directory):
            raise WasiError(Errno.NOTDIR)
        return self.node

    def free(self) -> None:
        """Raise WasiError(EXIST) unless the name is free."""
        if self.node is not None or not self.name:
            raise WasiError(Errno.EXIST)

    def free_for_link(self) -> None:
        """As `free`, for what is no directory: a slash is NOTDIR behind a file, and NOENT behind a free name.

        POSIX leaves open which of NOTDIR and EXIST it is behind a file; other engines say NOTDIR.
        """
        if self.slash and isinstance(self.node, File):
            raise WasiError(Errno.NOTDIR)
        self.free()
        if self.slash:
            raise WasiError(Errno.NOENT)


def decode_path(raw: bytes) -> str:
    """A path as the workload passed it. Raises WasiError: ILSEQ, NAMETOOLONG, or INVAL for a NUL."""
    if len(raw) > MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
    if "\0" in path:
        raise WasiError(Errno.INVAL)
    return path


def resolve(base: Directory, path: str, *, follow: bool, entry: bool = False) -> Place:
    """Walk ``path`` from ``base``. With ``follow`` a symbolic link at the end is followed too.

    So is one with a slash behind it, unless ``entry`` tells that the name itself is wanted, to make, move or remove.
    Raises WasiError: NOENT for an empty path or a missing directory on the way, NOTDIR, LOOP, NAMETOOLONG, and PERM
    for a path that is absolute or leads above ``base``, by itself or through a symbolic link.
    """
    if not path:
        raise WasiError(Errno.NOENT)
    stack = [base]
    parts = _split(path)
    slash = path.endswith("/")
    budget = MAX_SYMLINKS
    while parts:
        part = parts.pop()
        here = stack[-1]
        if part == "..":
            if len(stack) == 1:
                raise WasiError(Errno.PERM)
            stack.pop()
        elif part != ".":
            node = here.entries.get(part)
            if isinstance(node, Symlink) and (parts or follow or (slash and not entry)):
                budget -= 1
                if budget < 0:
                    raise WasiError(Errno.LOOP)
                slash = slash or (not parts and node.target.endswith("/"))
                parts += _split(node.target)
            elif not parts:
                return Place(here, part, node, slash)
            elif node is None:
                raise WasiError(Errno.NOENT)
            elif not isinstance(node, Directory):
                raise WasiError(Errno.NOTDIR)
            else:
                stack.append(node)
    return Place(stack[-1], "", stack[-1], slash)


def _split(path: str) -> list[str]:
    """The components of a relative path, last first."""
    if path.startswith("/"):
        raise WasiError(Errno.PERM)
    parts = [part for part in reversed(path.split("/")) if part]
    if any(len(part) > MAX_NAME // 4 and len(part.encode()) > MAX_NAME for part in parts):
        raise WasiError(Errno.NAMETOOLONG)
    return parts
