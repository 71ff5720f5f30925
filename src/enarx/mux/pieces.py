"""A buffer that the system reads into, or writes from, in pieces: the port of a Linux guest does one piece at a time.

`os.readv` takes a list of views and looks at each of them in each call, which for the hundreds of pieces here takes as
long as to copy what is in them. So the pieces are laid out once, as the system wants them, and this module has to see
to it that they stay within the buffer, and the buffer where it is.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Final

MAX_PIECES: Final = 1024
"""Most pieces of a buffer (count). Source: IOV_MAX of Linux."""
_IOVEC_BYTES: Final = 2 * ctypes.sizeof(ctypes.c_size_t)

_libc = ctypes.CDLL(None, use_errno=True)
for _call in (_libc.readv, _libc.writev):
    _call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    _call.restype = ctypes.c_ssize_t


class Pieces:
    """``size`` bytes of zeros in pieces of ``unit`` bytes, which divides it. ``view`` is the buffer."""

    def __init__(self, size: int, unit: int) -> None:
        count, rest = divmod(size, unit)
        if rest or not 0 < count <= MAX_PIECES:
            raise ValueError(f"{size} bytes in pieces of {unit}")
        self._unit = unit
        buffer = bytearray(size)  # whose pages are nobody's until they are used
        self.view = memoryview(buffer)
        self._held = (ctypes.c_char * size).from_buffer(buffer)  # so that it stays where it is
        self._start = ctypes.addressof(self._held)
        self._vector = (ctypes.c_size_t * (2 * count))()  # struct iovec: address and length of each piece
        self._vector[:] = [word for index in range(count) for word in (self._start + index * unit, unit)]
        self._first = ctypes.addressof(self._vector)

    def read(self, fd: int) -> int | None:
        """Read to the beginning of the buffer: how many bytes, 0 at the end, None if there are none now. OSError."""
        return self._repeat(_libc.readv, fd, self._first, len(self._vector) // 2)

    def write(self, fd: int, start: int, end: int) -> int | None:
        """Write what is between two places of the buffer: how many bytes, None if none can be now. Raises OSError."""
        if not 0 <= start < end <= len(self.view):
            raise ValueError(f"{start} to {end} of {len(self.view)} bytes")
        vector, unit = self._vector, self._unit
        first, last = start // unit, (end - 1) // unit
        vector[2 * first], vector[2 * first + 1] = self._start + start, (first + 1) * unit - start
        vector[2 * last + 1] -= (last + 1) * unit - end
        try:
            return self._repeat(_libc.writev, fd, self._first + first * _IOVEC_BYTES, last - first + 1)
        finally:
            vector[2 * first], vector[2 * first + 1] = self._start + first * unit, unit
            vector[2 * last + 1] = unit

    @staticmethod
    def _repeat(call: Callable[[int, int, int], int], fd: int, vector: int, count: int) -> int | None:
        while (done := call(fd, vector, count)) < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return None
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
        return done
