"""The workload's linear memory as WASI functions see it: nothing outside it can be read or written.

Every pointer and length comes from the workload and is checked here, against the memory's size at that
moment, before it is used. Memory never shrinks and never moves (the engine reserves its whole address
range), so a window that was once valid stays valid; it is only taken again when an access does not fit.
"""

from __future__ import annotations

from collections.abc import Callable

from enarx.keep.wasi.abi import IOVEC, MAX_IOVECS, U16, U32, U64, Errno, WasiError


class GuestMemory:
    """A bounds-checked window. ``window`` returns a writable memoryview of the whole memory as it is now.

    ``view`` holds the first ``size`` bytes of it: whoever uses it directly has checked against ``size``.
    """

    __slots__ = ("_window", "size", "view")

    def __init__(self, window: Callable[[], memoryview] | None = None) -> None:
        self._window = window
        self.view = memoryview(bytearray())
        self.size = 0

    def attach(self, window: Callable[[], memoryview]) -> None:
        """Use ``window`` from now on; the first access takes it."""
        self._window = window
        self._refresh()

    def _refresh(self) -> None:
        if self._window is not None:
            self.view = self._window()
            self.size = len(self.view)

    def slice(self, pointer: int, length: int) -> memoryview:
        """A writable view of exactly ``length`` bytes. Raises WasiError(FAULT) when they are not all there."""
        end = pointer + length
        if end > self.size:
            self._refresh()
            if end > self.size:
                raise WasiError(Errno.FAULT)
        return self.view[pointer:end]

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of ``length`` bytes."""
        return bytes(self.slice(pointer, length))

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Store ``data``."""
        self.slice(pointer, len(data))[:] = data

    def set_u16(self, pointer: int, value: int) -> None:
        """Store a 16-bit number."""
        U16.pack_into(self.slice(pointer, 2), 0, value)

    def set_u32(self, pointer: int, value: int) -> None:
        """Store a 32-bit number."""
        if pointer + 4 > self.size:
            self.slice(pointer, 4)
        U32.pack_into(self.view, pointer, value)

    def check(self, pointer: int, length: int) -> None:
        """Raise WasiError(FAULT) unless ``length`` bytes are there: before what cannot be taken back."""
        if pointer + length > self.size:
            self.slice(pointer, length)

    def set_u64(self, pointer: int, value: int) -> None:
        """Store a 64-bit number."""
        U64.pack_into(self.slice(pointer, 8), 0, value)

    def iovecs(self, pointer: int, count: int) -> list[memoryview]:
        """The buffers of a scatter/gather list, empty ones left out, all of them checked before any is used.

        Raises WasiError(INVAL) for more than MAX_IOVECS buffers or a total past 2^32-1, FAULT for a bad pointer.
        """
        if count == 1:
            if pointer + IOVEC.size > self.size:
                self.slice(pointer, IOVEC.size)
            buffer, length = IOVEC.unpack_from(self.view, pointer)
            end = buffer + length
            if not length:
                return []
            return [self.view[buffer:end] if end <= self.size else self.slice(buffer, length)]
        if count > MAX_IOVECS:
            raise WasiError(Errno.INVAL)
        pairs = IOVEC.iter_unpack(self.slice(pointer, 8 * count))
        views = [self.slice(buffer, length) for buffer, length in pairs if length]
        if sum(map(len, views)) > 0xFFFFFFFF:
            raise WasiError(Errno.INVAL)
        return views
