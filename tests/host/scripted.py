"""Keeps that follow a script, for tests of the host: at the other end of a real link, and of any temper."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enarx.errors import HostError, LinkError
from enarx.host.cache import DiskCache
from enarx.host.contract import Ending, Package
from enarx.host.launch import Host
from enarx.wire import Type, encode_fields
from tests.descriptors import nothing_left_open

Script = Callable[[socket.socket], None]
OBJECTS = [("module", "main.wasm", b"\0asm")]
ENOUGH = 60.0
"""Seconds in which every run must have ended."""


class ScriptedKeep:
    """A Keep played by ``script``, in a thread, at the other end of a real link."""

    def __init__(self, script: Script) -> None:
        self.failure = None
        self.link, self._theirs = socket.socketpair()
        self.killed = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(script,), daemon=True)
        self._thread.start()

    def _play(self, script: Script) -> None:
        with self._theirs, contextlib.suppress(OSError):
            script(self._theirs)

    def kill(self) -> None:
        self.killed.set()
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    def wait(self) -> int:
        self._thread.join(ENOUGH)
        assert not self._thread.is_alive()
        return -9 if self.killed.is_set() else 0

    def obituary(self) -> HostError:
        self.kill()
        return HostError(f"it ended with {self.wait()}", code="keep-died")


def run(script: Script, cache: DiskCache | None = None, **package: Any) -> Ending:
    """Serve the scripted Keep to its end."""
    log: list[str] = []
    with nothing_left_open(ENOUGH):
        keep = ScriptedKeep(script)
        ending = Host(keep, cache, log.append).run(Package(OBJECTS, **package))
        assert keep.killed.is_set()
    return ending


def refused(script: Script, **package: Any) -> str:
    """The code of the LinkError or HostError that serving the script ends with."""
    with nothing_left_open(ENOUGH), pytest.raises((LinkError, HostError)) as caught:
        Host(ScriptedKeep(script), None, lambda line: None).run(Package(OBJECTS, **package))
    return caught.value.code


def sends(*frames: bytes) -> Script:
    """A script that sends ``frames`` and then reads until the host hangs up."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"".join(frames))
        drain(sock)

    return script


def drain(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


def leave(status: int = 0, code: str = "", message: str = "", hint: str = "") -> bytes:
    return encode_fields(Type.EXIT, status=status, code=code, message=message, hint=hint)
