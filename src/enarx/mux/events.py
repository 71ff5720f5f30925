"""epoll, edge-triggered: an event comes once, when something has become possible."""

from __future__ import annotations

import select
from typing import Final

READ: Final = select.EPOLLIN | select.EPOLLRDHUP
"""Asked for always: there is something to read, or the other end has stopped sending."""
WRITE: Final = select.EPOLLOUT
"""Asked for only while something waits to be written, as the events are many."""
ENDS: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
GONE: Final = select.EPOLLHUP | select.EPOLLERR


class Events:
    """What one thread waits for."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._asked: dict[int, int] = {}

    def ask(self, fd: int, *, write: bool = False) -> None:
        """Ask for the events of ``fd``. What is possible already makes an event too, if that was not asked for."""
        events = READ | select.EPOLLET | (WRITE if write else 0)
        known = self._asked.get(fd)
        if known is None:
            self._epoll.register(fd, events)
        elif known != events:
            self._epoll.modify(fd, events)
        self._asked[fd] = events

    def forget(self, fd: int) -> None:
        """``fd`` is about to be closed."""
        del self._asked[fd]
        self._epoll.unregister(fd)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Pairs of descriptor and events."""
        return self._epoll.poll(seconds)

    def close(self) -> None:
        """Ask for nothing any more."""
        self._epoll.close()
