"""Numbers and layouts of WASI preview 1 (``wasi_snapshot_preview1``).

Source: the preview 1 witx files of the WebAssembly/WASI repository. Structures are little-endian and
C-aligned; each ``struct.Struct`` below is one of theirs, padding included.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

MODULE: Final = "wasi_snapshot_preview1"


class Errno(IntEnum):
    """``$errno``: the error numbers that a WASI function returns."""

    SUCCESS = 0
    TOO_BIG = 1
    ACCES = 2
    AGAIN = 6
    BADF = 8
    CONNABORTED = 13
    CONNREFUSED = 14
    CONNRESET = 15
    EXIST = 20
    FAULT = 21
    FBIG = 22
    ILSEQ = 25
    INVAL = 28
    IO = 29
    ISDIR = 31
    LOOP = 32
    MFILE = 33
    MLINK = 34
    NAMETOOLONG = 37
    NFILE = 41
    NOENT = 44
    NOMEM = 48
    NOSPC = 51
    NOSYS = 52
    NOTCONN = 53
    NOTDIR = 54
    NOTEMPTY = 55
    NOTSOCK = 57
    NOTSUP = 58
    OVERFLOW = 61
    PERM = 63
    PIPE = 64
    RANGE = 68
    ROFS = 69
    SPIPE = 70
    TIMEDOUT = 73
    NOTCAPABLE = 76


class WasiError(Exception):
    """A WASI function ends with this error number; never leaves ``keep.wasi``."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno)
        self.errno = errno


class Rights:
    """``$rights``: what may be done with a descriptor. Plain integers, as IntFlag costs a microsecond an operation."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_LINK_SOURCE = 1 << 11
    PATH_LINK_TARGET = 1 << 12
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_READLINK = 1 << 15
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_SYMLINK = 1 << 24
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27
    SOCK_SHUTDOWN = 1 << 28
    SOCK_ACCEPT = 1 << 29

    ALL = (1 << 30) - 1
    CHANGE = (
        FD_WRITE | FD_ALLOCATE | PATH_CREATE_DIRECTORY | PATH_CREATE_FILE | PATH_LINK_SOURCE | PATH_LINK_TARGET
        | PATH_RENAME_SOURCE | PATH_RENAME_TARGET | PATH_FILESTAT_SET_SIZE | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES | PATH_SYMLINK | PATH_REMOVE_DIRECTORY | PATH_UNLINK_FILE
    )  # fmt: skip
    FILE = (
        FD_DATASYNC | FD_READ | FD_SEEK | FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_TELL | FD_WRITE | FD_ADVISE | FD_ALLOCATE
        | FD_FILESTAT_GET | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES | POLL_FD_READWRITE
    )  # fmt: skip
    DIRECTORY = (
        FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_ADVISE | PATH_CREATE_DIRECTORY | PATH_CREATE_FILE | PATH_LINK_SOURCE
        | PATH_LINK_TARGET | PATH_OPEN | FD_READDIR | PATH_READLINK | PATH_RENAME_SOURCE | PATH_RENAME_TARGET
        | PATH_FILESTAT_GET | PATH_FILESTAT_SET_SIZE | PATH_FILESTAT_SET_TIMES | FD_FILESTAT_GET
        | FD_FILESTAT_SET_TIMES | PATH_SYMLINK | PATH_REMOVE_DIRECTORY | PATH_UNLINK_FILE | POLL_FD_READWRITE
    )  # fmt: skip


class Filetype(IntEnum):
    """``$filetype``."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


class Fdflags:
    """``$fdflags``."""

    APPEND = 1
    DSYNC = 2
    NONBLOCK = 4
    RSYNC = 8
    SYNC = 16

    ALL = 31


class Oflags:
    """``$oflags`` of ``path_open``."""

    CREAT = 1
    DIRECTORY = 2
    EXCL = 4
    TRUNC = 8


class Fstflags:
    """``$fstflags`` of ``*_filestat_set_times``."""

    ATIM = 1
    ATIM_NOW = 2
    MTIM = 4
    MTIM_NOW = 8


class Whence(IntEnum):
    """``$whence`` of ``fd_seek``."""

    SET = 0
    CUR = 1
    END = 2


class Clock(IntEnum):
    """``$clockid``."""

    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME = 2
    THREAD_CPUTIME = 3


class Eventtype(IntEnum):
    """``$eventtype`` of ``poll_oneoff``."""

    CLOCK = 0
    FD_READ = 1
    FD_WRITE = 2


LOOKUP_SYMLINK_FOLLOW: Final = 1
SUBCLOCK_ABSTIME: Final = 1
RIFLAG_PEEK: Final = 1
RIFLAG_WAITALL: Final = 2
ROFLAG_DATA_TRUNCATED: Final = 1
SDFLAG_RD: Final = 1
SDFLAG_WR: Final = 2
EVENT_HANGUP: Final = 1

U16: Final = Struct("<H")
U32: Final = Struct("<I")
U64: Final = Struct("<Q")
IOVEC: Final = Struct("<II")
FDSTAT: Final = Struct("<BxHxxxxQQ")
FILESTAT: Final = Struct("<QQB7xQQQQQ")
PRESTAT: Final = Struct("<BxxxI")
DIRENT: Final = Struct("<QQIB3x")
SUBSCRIPTION: Final = Struct("<QB7xI4xQ8xH6x")  # userdata, tag, descriptor or clock; of a clock: timeout, flags
SUBSCRIPTION_SIZE: Final = 48
EVENT: Final = Struct("<QHB5xQH6x")

MAX_IOVECS: Final = 1024
"""Most buffers of one scatter/gather call, as IOV_MAX of Linux."""
MAX_SUBSCRIPTIONS: Final = 4096
"""Most subscriptions of one ``poll_oneoff``."""
MAX_PATH: Final = 4096
"""Longest path, in bytes of UTF-8, as PATH_MAX of Linux."""
MAX_NAME: Final = 255
"""Longest file name, in bytes of UTF-8, as NAME_MAX of Linux."""

SIGNATURES: Final[dict[str, str]] = {
    # name -> parameters (i: i32, I: i64). All return an errno but proc_exit, which does not return.
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
