"""Reads of the database for a service: a connection of their own, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from enarx.tenant.steward.store import Store, StoreError

T = TypeVar("T")


class Reader:
    """Runs functions of a store one after the other; a connection that failed is made anew for the next."""

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, "reader")

    async def run(self, function: Callable[[Store], T]) -> T:
        """What ``function`` makes of the store; StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, function)

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._thread.submit(self._discard)
        self._thread.shutdown()

    def _call(self, function: Callable[[Store], T]) -> T:
        try:
            if self._store is None:
                self._store = self._connect()
            return function(self._store)
        except StoreError:
            self._discard()
            raise

    def _discard(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
