"""Which accelerator runs a guest here: KVM where it really does, else QEMU's own translator, TCG.

That ``/dev/kvm`` exists and answers says little: in some virtual machines a guest of theirs hangs on it before its
first instruction. So it is tried out, by booting the image's kernel without an initial RAM disk: it panics when it
finds no root, which ends the machine, in less than a second where KVM works. The answer is remembered for a while, for
this host kernel, this QEMU and this guest kernel.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import HostError, UsageError
from enarx.host.qemu.child import QemuProcess
from enarx.host.qemu.command import base_arguments, machine_arguments
from enarx.host.qemu.console import Console
from enarx.host.qemu.machine import Machine

if TYPE_CHECKING:
    from enarx.host.image.layout import Image

KVM: Final = "/dev/kvm"
VARIABLE: Final = "ENARX_ACCEL"
"""Environment variable that decides: ``kvm``, ``tcg`` or, as when there is none, ``auto``."""
FIRST_SECONDS: Final = 3.0
"""How long a kernel has until its first word on KVM, in seconds: it takes a tenth of that."""
PROBE_SECONDS: Final = 8.0
"""How long it has to boot, in seconds."""
REMEMBERED_SECONDS: Final = 7 * 24 * 3600
"""How long the answer is remembered, in seconds."""
MAX_ANSWER_BYTES: Final = 4096
"""Largest file that an answer is read from, in bytes."""
_CMDLINE: Final = "console=ttyS0 panic=-1"
_MEMORY_MIB: Final = 256


@dataclass(frozen=True, slots=True)
class Accelerator:
    """``name`` is ``kvm`` or ``tcg``, ``why`` the reason in words."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name.upper()} ({self.why})"


def choose(program: str, image: Image, say: Callable[[str], None]) -> Accelerator:
    """The accelerator for guests of ``image``; ``say`` hears of it when it takes a while to find out.

    Raises HostError (``kvm-unusable``) when KVM is asked for and is not there, UsageError for another name.
    """
    wanted = os.environ.get(VARIABLE, "") or "auto"
    if wanted == "tcg":
        return Accelerator("tcg", f"{VARIABLE}=tcg asks for it")
    if wanted not in ("auto", "kvm"):
        raise UsageError(f"{VARIABLE}={wanted[:40]!r} is no accelerator", code="accelerator", hint="kvm, tcg or auto")
    reason = unusable()
    if reason and wanted == "kvm":
        raise HostError(reason, code="kvm-unusable", hint=f"unset {VARIABLE} to run without KVM")
    if reason:
        return Accelerator("tcg", reason)
    if wanted == "kvm":
        return Accelerator("kvm", f"{VARIABLE}=kvm asks for it")
    memory = _Memory(_key(program, image))
    boots = memory.recall()
    if boots is None:
        say("trying out whether a guest boots on KVM, which is done once a week")
        boots = boots_on_kvm(program, image)
        memory.keep(boots)
    if boots:
        return Accelerator("kvm", "a guest boots on it")
    return Accelerator("tcg", f"{KVM} is there, but no guest boots on it")


def unusable() -> str:
    """Why this process cannot use KVM; an empty string when nothing speaks against it."""
    try:
        fd = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"there is no {KVM}"
    except PermissionError:
        return f"{KVM} may not be opened: its group must have this user"
    except OSError as error:
        return f"{KVM} cannot be opened: {error.strerror}"
    os.close(fd)
    return ""


def boots_on_kvm(program: str, image: Image, accelerator: str = "kvm") -> bool:
    """Boot the kernel of ``image`` on KVM: whether it comes to its end in time."""
    ours, theirs = socket.socketpair()
    arguments = [
        *base_arguments(), "-machine", "q35,usb=off,vmport=off,smm=off,hpet=off", "-accel", accelerator,
        *machine_arguments(Machine()), "-m", f"{_MEMORY_MIB}M", "-kernel", str(image.kernel), "-append", _CMDLINE,
        "-chardev", f"socket,id=console,fd={theirs.fileno()}", "-serial", "chardev:console",
    ]  # fmt: skip
    try:
        process = QemuProcess(program, arguments, [theirs.fileno()])
    finally:
        theirs.close()
    spoke = threading.Event()
    Console(ours.detach(), spoke.set)
    Console(process.errors)
    try:
        ended = spoke.wait(FIRST_SECONDS) and process.ended(PROBE_SECONDS)
    finally:
        process.kill()
        status = process.wait()
    return ended and status == 0


def _key(program: str, image: Image) -> str:
    """What an answer is for. A file that is replaced has another time; this is no check of anything."""
    facts: list[Any] = [os.uname().release, os.uname().version]
    for path in (program, image.kernel):
        try:
            info = os.stat(path)
            facts.append([str(path), info.st_size, info.st_mtime_ns])
        except OSError:
            facts.append(None)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


class _Memory:
    """An answer in the user's cache directory. Without one, nothing is remembered."""

    def __init__(self, key: str) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self._directory = os.path.join(os.path.expanduser(base), "enarx", "kvm")
        self._path = os.path.join(self._directory, f"{key}.json")

    def recall(self) -> bool | None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                info = os.fstat(fd)
                if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid():
                    return None
                answer: Any = json.loads(file.read(MAX_ANSWER_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(answer, dict):
            return None
        boots, when = answer.get("boots"), answer.get("when")
        if type(boots) is not bool or type(when) is not int or not 0 <= time.time() - when <= REMEMBERED_SECONDS:
            return None
        return boots

    def keep(self, boots: bool) -> None:
        draft = f"{self._path}.{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            try:
                with open(draft, "x", encoding="ascii") as file:
                    json.dump({"boots": boots, "when": int(time.time())}, file)
                os.replace(draft, self._path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
