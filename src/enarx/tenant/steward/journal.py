"""Group commit: one thread writes what many requests decided, in one transaction for all that wait.

A request awaits ``append`` before its answer leaves, so an answer always has a durable row. While one batch is being
committed the next one gathers, so the cost of a commit is shared by as many requests as come in its time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.log import Entry
from enarx.tenant.steward.store import Store, StoreError

BATCH_MAX: Final = 256
"""Entries in one transaction (count)."""
PENDING_MAX: Final = 2048
"""Entries that may wait (count); beyond, requests are turned away."""

_Waiting = tuple[Entry, "asyncio.Future[Position]"]


class Journal:
    """Writes entries through a store of its own, which the writing thread opens. Used from one event loop."""

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(PENDING_MAX)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start writing; must be called in the event loop that will append."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    async def append(self, entry: Entry) -> Position:
        """Wait until ``entry`` is durable; returns where it stands. StoreError when it is not, or nobody knows."""
        if self._loop is None:
            raise StoreError("the log is not open", hint="start the journal")
        future: asyncio.Future[Position] = self._loop.create_future()
        try:
            self._waiting.put_nowait((entry, future))
        except queue.Full:
            raise StoreError("too many decisions wait for the database", hint="see why it is slow") from None
        return await future

    async def stop(self) -> None:
        """Write what waits, then close the store."""
        if self._thread is None:
            return
        await asyncio.to_thread(self._waiting.put, None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _write(self) -> None:
        store: Store | None = None
        last = False
        while not last:
            batch, last = self._batch()
            if not batch:
                continue
            try:
                store = store or self._connect()
                positions = store.append([entry for entry, _ in batch])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
                self._settle(batch, error if isinstance(error, StoreError) else _unexpected(error))
                _discard(store)
                store = None
            else:
                self._settle(batch, positions)
        _discard(store)

    def _batch(self) -> tuple[list[_Waiting], bool]:
        """At least one entry, and whatever else waits; whether the end has come."""
        batch: list[_Waiting] = []
        found = self._waiting.get()
        while found is not None:
            batch.append(found)
            if len(batch) == BATCH_MAX:
                return batch, False
            try:
                found = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _settle(self, batch: Sequence[_Waiting], outcome: Sequence[Position] | StoreError) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, batch, outcome)


def _resolve(batch: Sequence[_Waiting], outcome: Sequence[Position] | StoreError) -> None:
    for index, (_, future) in enumerate(batch):
        if future.done():  # the client has gone
            continue
        if isinstance(outcome, StoreError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome[index])


def _unexpected(error: Exception) -> StoreError:
    made = StoreError(f"the log could not be written: {error}", hint="see the Steward's own messages")
    made.__cause__ = error
    return made


def _discard(store: Store | None) -> None:
    """Close a store that may be broken; what closing says no longer matters."""
    if store is not None:
        try:
            store.close()
        except StoreError:
            return
