"""What a link over bytes does when its port has lost the connection: a socket, and the port of a guest."""

from __future__ import annotations

import os
import stat
import time
from typing import Final

from enarx.errors import LinkError
from enarx.mux.transit import Transit

RETURN_SECONDS: Final = 60.0
"""How long a Keep waits for a host that has closed the port, in seconds."""


class Port:
    """A socket: when its connection ends, so does the link. ``due``: when `tend` wants to be called, if ever.

    ``stays``: the descriptor is the same for every connection.
    """

    stays = False

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.due: float | None = None

    def lost(self, transit: Transit) -> None:
        """The connection has ended. Raises LinkError when there will be no other."""
        raise closed()

    def tend(self, transit: Transit) -> bool:
        """While ``transit`` is not established: whether it has been given a new descriptor. Raises LinkError."""
        return False

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Device(Port):
    """A guest's port: a device that is there before the host is, and while the host is gone."""

    stays = True

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.due = time.monotonic() + RETURN_SECONDS

    def lost(self, transit: Transit) -> None:
        if transit.established:
            self.due = time.monotonic() + RETURN_SECONDS
        transit.restart()

    def tend(self, transit: Transit) -> bool:
        if self.due is not None and time.monotonic() >= self.due:
            raise closed()
        return False


def port_of(fd: int) -> Port:
    """The port that ``fd`` is, at the Keep's end."""
    return Device(fd) if stat.S_ISCHR(os.fstat(fd).st_mode) else Port(fd)


def closed() -> LinkError:
    """The error for a link whose other end is gone."""
    return LinkError("the other end closed the link", code="link-closed")
