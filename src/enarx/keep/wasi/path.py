"""``path_*``: everything that takes a path."""

from __future__ import annotations

from enarx.keep.wasi.abi import (
    LOOKUP_SYMLINK_FOLLOW,
    Errno,
    Fdflags,
    Oflags,
    Rights,
    WasiError,
)
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.descriptor import Descriptor
from enarx.keep.wasi.fd import chosen_times, pack_stat
from enarx.keep.wasi.openfile import OpenDirectory, OpenFile, set_times
from enarx.keep.wasi.paths import Place, decode_path, resolve
from enarx.keep.wasi.tree import Directory, File, Symlink


class PathCalls:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._memory = context.memory
        self._table = context.table

    def _base(self, fd: int, rights: int) -> OpenDirectory:
        descriptor = self._table.get(fd)
        if not isinstance(descriptor, OpenDirectory):
            raise WasiError(Errno.NOTDIR)
        return self._require(descriptor, rights)

    @staticmethod
    def _require(base: OpenDirectory, rights: int) -> OpenDirectory:
        if rights & ~base.rights:
            raise WasiError(Errno.NOTCAPABLE)
        return base

    def _path(self, pointer: int, length: int) -> str:
        return decode_path(self._memory.read(pointer, length))

    def _place(self, base: OpenDirectory, pointer: int, length: int, *, follow: bool = False) -> Place:
        return resolve(base.directory, self._path(pointer, length), follow=follow)

    def _entry(self, base: OpenDirectory, pointer: int, length: int) -> Place:
        """A name that is to be made, moved or removed."""
        return resolve(base.directory, self._path(pointer, length), follow=False, entry=True)

    def path_create_directory(self, fd: int, path: int, length: int) -> int:
        base = self._base(fd, Rights.PATH_CREATE_DIRECTORY)
        place = self._entry(base, path, length)
        place.free()
        base.fs.create_directory(place.parent, place.name)
        return 0

    def path_filestat_get(self, fd: int, flags: int, path: int, length: int, out: int) -> int:
        base = self._base(fd, Rights.PATH_FILESTAT_GET)
        place = self._place(base, path, length, follow=bool(flags & LOOKUP_SYMLINK_FOLLOW))
        self._memory.write(out, pack_stat(place.existing().stat()))
        return 0

    def path_filestat_set_times(
        self, fd: int, flags: int, path: int, length: int, atim: int, mtim: int, fst_flags: int
    ) -> int:
        base = self._base(fd, Rights.PATH_FILESTAT_SET_TIMES)
        times = chosen_times(atim, mtim, fst_flags)
        place = self._place(base, path, length, follow=bool(flags & LOOKUP_SYMLINK_FOLLOW))
        set_times(base.fs, place.existing(), *times)
        return 0

    def path_link(
        self, old_fd: int, old_flags: int, old: int, old_length: int, new_fd: int, new: int, new_length: int
    ) -> int:
        source = self._base(old_fd, Rights.PATH_LINK_SOURCE)
        target = self._base(new_fd, Rights.PATH_LINK_TARGET)
        if old_flags & LOOKUP_SYMLINK_FOLLOW:  # the witx allows it, POSIX leaves it open, and no engine does it
            raise WasiError(Errno.INVAL)
        node = self._place(source, old, old_length).existing()
        place = self._entry(target, new, new_length)
        place.free_for_link()
        target.fs.link(place.parent, place.name, node)
        return 0

    def path_open(
        self, fd: int, dirflags: int, path: int, length: int, oflags: int, base_rights: int, inheriting: int,
        fdflags: int, out: int,
    ) -> int:  # fmt: skip
        needed = Rights.PATH_OPEN
        if oflags & Oflags.CREAT:
            needed |= Rights.PATH_CREATE_FILE
        if oflags & Oflags.TRUNC:
            needed |= Rights.PATH_FILESTAT_SET_SIZE
        base = self._base(fd, needed)
        result = self._memory.slice(out, 4)
        if oflags > 15 or fdflags & ~Fdflags.ALL:
            raise WasiError(Errno.INVAL)
        if (base_rights | inheriting) & ~base.inheriting:
            raise WasiError(Errno.NOTCAPABLE)
        if oflags & Oflags.DIRECTORY and oflags & (Oflags.CREAT | Oflags.EXCL | Oflags.TRUNC):
            raise WasiError(Errno.INVAL)
        creates = bool(oflags & Oflags.CREAT)
        name = self._path(path, length)
        # What is created is not looked for behind a link: not with EXCL, nor with a slash, which is an error anyway.
        itself = creates and (oflags & Oflags.EXCL or name.endswith("/"))
        follow = bool(dirflags & LOOKUP_SYMLINK_FOLLOW) and not itself
        place = resolve(base.directory, name, follow=follow, entry=creates)
        opened = self._open(base, place, oflags, base_rights, inheriting, fdflags)
        result[:] = self._table.add(opened).to_bytes(4, "little")
        return 0

    def _open(
        self, base: OpenDirectory, place: Place, oflags: int, rights: int, inheriting: int, fdflags: int
    ) -> Descriptor:
        node = place.node
        if oflags & Oflags.CREAT and place.slash:
            raise WasiError(Errno.ISDIR)
        if node is None:
            if not oflags & Oflags.CREAT:
                raise WasiError(Errno.NOENT)
            node = base.fs.create_file(place.parent, place.name)
        elif oflags & Oflags.CREAT and oflags & Oflags.EXCL:
            raise WasiError(Errno.EXIST)
        if isinstance(node, Symlink):
            raise WasiError(Errno.LOOP)
        if isinstance(node, Directory):
            if rights & Rights.FD_WRITE or oflags & (Oflags.CREAT | Oflags.TRUNC):
                raise WasiError(Errno.ISDIR)
            if rights & Rights.PATH_OPEN and not inheriting & (Rights.FD_READ | Rights.FD_WRITE):
                # To open files, and neither read nor write them: so ask programs that know no rights (Zig's library).
                inheriting = base.inheriting
            return OpenDirectory(base.fs, node, rights & Rights.DIRECTORY, inheriting, fdflags)
        if oflags & Oflags.DIRECTORY or place.slash:
            raise WasiError(Errno.NOTDIR)
        assert isinstance(node, File)  # noqa: S101 - the only kind left; tells mypy
        if oflags & Oflags.TRUNC:
            base.fs.resize(node, 0)
        return OpenFile(base.fs, node, rights & Rights.FILE, inheriting, fdflags)

    def path_readlink(self, fd: int, path: int, length: int, buffer: int, room: int, out: int) -> int:
        base = self._base(fd, Rights.PATH_READLINK)
        node = self._place(base, path, length).existing()
        if not isinstance(node, Symlink):
            raise WasiError(Errno.INVAL)
        target = node.target.encode()[:room]
        self._memory.write(buffer, target)
        self._memory.set_u32(out, len(target))
        return 0

    def path_remove_directory(self, fd: int, path: int, length: int) -> int:
        base = self._base(fd, Rights.PATH_REMOVE_DIRECTORY)
        place = self._entry(base, path, length)
        if not isinstance(place.existing(), Directory):
            raise WasiError(Errno.NOTDIR)
        if not place.name:  # `.`, `..` or the starting directory itself
            raise WasiError(Errno.INVAL)
        base.fs.remove_directory(place.parent, place.name)
        return 0

    def path_rename(self, old_fd: int, old: int, old_length: int, new_fd: int, new: int, new_length: int) -> int:
        source = self._base(old_fd, Rights.PATH_RENAME_SOURCE)
        target = self._base(new_fd, Rights.PATH_RENAME_TARGET)
        origin = self._entry(source, old, old_length)
        place = self._entry(target, new, new_length)
        node = origin.existing()
        if not origin.name or not place.name:
            raise WasiError(Errno.INVAL)
        if not isinstance(node, Directory) and place.slash:
            raise WasiError(Errno.NOTDIR)
        source.fs.rename(origin.parent, origin.name, place.parent, place.name)
        return 0

    def path_symlink(self, old: int, old_length: int, fd: int, new: int, new_length: int) -> int:
        base = self._base(fd, Rights.PATH_SYMLINK)
        target = self._path(old, old_length)
        if not target:
            raise WasiError(Errno.NOENT)
        if target.startswith("/"):  # it could never be followed
            raise WasiError(Errno.PERM)
        place = self._entry(base, new, new_length)
        place.free_for_link()
        base.fs.create_symlink(place.parent, place.name, target)
        return 0

    def path_unlink_file(self, fd: int, path: int, length: int) -> int:
        base = self._base(fd, Rights.PATH_UNLINK_FILE)
        place = self._entry(base, path, length)
        if isinstance(place.existing(), Directory):
            raise WasiError(Errno.ISDIR)
        base.fs.unlink(place.parent, place.name)
        return 0
