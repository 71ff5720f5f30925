"""A listening socket for QEMU that has no name: made in a directory of its own, which is gone when this returns.

A guest's port needs a listening socket so that the host can connect to it again. A name in the file system would have
to be removed in every case, also when this process is killed; an abstract one could be used by every user of the
machine. But a socket can also be reached by a descriptor of its inode, and only by who has that descriptor.
"""

from __future__ import annotations

import os
import socket
import tempfile

from enarx.errors import HostError

_NAME = "s"


class NamelessListener:
    """``socket`` listens. `connect` works until QEMU has ended: `release` closes the copy here."""

    def __init__(self) -> None:
        """Raises HostError (``runtime-directory``)."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with tempfile.TemporaryDirectory(prefix="enarx-") as directory:
                path = f"{directory}/{_NAME}"
                self.socket.bind(path)
                self._inode = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
            self.socket.listen()
        except OSError as error:
            self.socket.close()
            raise HostError(
                f"a socket for QEMU cannot be made: {error.strerror}",
                code="runtime-directory",
                hint="make room in the directory for temporary files, or choose another by TMPDIR",
            ) from error

    def connect(self) -> socket.socket:
        """A connection to whoever listens. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(f"/proc/self/fd/{self._inode}")
        except BaseException:
            sock.close()
            raise
        return sock

    def release(self) -> None:
        """QEMU has its copy: from here on the socket listens as long as QEMU runs."""
        self.socket.close()

    def close(self) -> None:
        """Nothing will connect any more."""
        self.socket.close()
        if self._inode >= 0:
            os.close(self._inode)
            self._inode = -1
