"""The main thread's event loop: link, TLS handshakes and deadline, while the workload runs in a thread of its own."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[], None]


class Loop:
    """Calls back when a descriptor is ready or a time has come. Single-threaded."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: dict[object, tuple[float, Callback]] = {}
        self._stopped = False

    def watch(self, fileobj: Any, events: int, callback: Callback) -> None:
        """Call ``callback`` whenever ``fileobj`` is ready for ``events``; replaces an earlier watch of it."""
        if fileobj.fileno() in self._selector.get_map():
            self._selector.modify(fileobj, events, callback)
        else:
            self._selector.register(fileobj, events, callback)

    def forget(self, fileobj: Any) -> None:
        """Stop watching."""
        if fileobj.fileno() in self._selector.get_map():
            self._selector.unregister(fileobj)

    def call_later(self, key: object, seconds: float, callback: Callback) -> None:
        """Call ``callback`` once after ``seconds``; replaces an earlier timer with this key."""
        self._timers[key] = (time.monotonic() + seconds, callback)

    def cancel(self, key: object) -> None:
        """Forget a timer."""
        self._timers.pop(key, None)

    def stop(self) -> None:
        """Make ``run`` return."""
        self._stopped = True

    def running(self) -> bool:
        """Whether ``stop`` has not been called."""
        return not self._stopped

    def run(self) -> None:
        """Serve callbacks until ``stop``."""
        while self.running():
            next_timer = min((when for when, _ in self._timers.values()), default=None)
            timeout = None if next_timer is None else max(0.0, next_timer - time.monotonic())
            for key, _ in self._selector.select(timeout):
                if self.running():
                    key.data()
            now = time.monotonic()
            for name, (when, callback) in list(self._timers.items()):
                if when <= now and name in self._timers and self.running():  # an earlier callback may have changed both
                    del self._timers[name]
                    callback()
