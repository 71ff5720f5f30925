"""The first process of a VM Keep: makes the machine ready, starts the Keep, and powers off when it has ended.

This process stays behind, alone with the right to power off; the Keep is its child and gives up every right, as in any
other place. So its end is noticed, whatever the cause. Nothing is read from the host here but the names of ports: one
that is none of ours is passed over, and a port that pretends to be ours carries nothing that the Keep would not refuse.

What goes wrong before there is a link is said in one line on the console, which is for writing only.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import termios
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from enarx.keep.sandbox import Sandbox

LINK_PORT: Final = "enarx.link"
"""Name of the virtio-serial port that carries the link to the host."""
CHANNEL_PORT: Final = "enarx.tsm"
"""Name of the port behind which a simulated secure processor may answer."""
PORT_SECONDS: Final = 30.0
"""How long the host may take to present its ports, in seconds."""
NAME_MAX_BYTES: Final = 256
"""What is read of a port's name, in bytes."""
LINE_MAX_BYTES: Final = 1024
"""Longest line for the console (bytes)."""
MODULES: Final = "/lib/modules"
"""Where drivers are that the kernel has as modules; not there in an image whose kernel has them built in."""

_PORTS: Final = "/sys/class/virtio-ports"
_PLATFORM: Final = "/sys/bus/platform/devices"
_POLL_SECONDS: Final = 0.005
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_NOEXEC: Final = 8
_MS_BIND: Final = 4096
_MS_MOVE: Final = 8192
_PLAIN: Final = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_SYS_FINIT_MODULE: Final = 313  # x86-64
_RB_POWER_OFF: Final = 0x4321FEDC
_RB_AUTOBOOT: Final = 0x01234567
_OPENSSL: Final = "openssl.cnf"


def main() -> NoReturn:
    """Run one Keep as the first process of a machine of its own, and power the machine off."""
    if os.getpid() != 1:  # else a slip of the hand would power off somebody's workstation
        raise SystemExit("enarx.keep.init is the first process of a VM Keep, and nothing else")
    start = time.monotonic()
    try:
        gc.disable()  # nothing of what is imported is garbage
        without_inspect()
        prepare()
        say(_end_of(_start(start)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the host must hear of it and the machine must end
        say(f"the Keep was not started: {type(error).__name__}: {error}")
    while True:
        power_off()


def without_inspect() -> None:
    """Let `dataclasses` do without `inspect`, of which it wants the signature for a class that has no docstring.

    It would be a tenth of what a Keep imports, with ``ast``, ``dis`` and ``tokenize`` behind it. None is in the image.
    To be called before anything else is imported.
    """
    stand_in = types.ModuleType("inspect")
    stand_in.signature = lambda _: ""  # type: ignore[attr-defined]
    sys.modules["inspect"] = stand_in


def say(line: str) -> None:
    """One line for the console, if there is anything to say. Nothing that a guest could be hurt by goes there."""
    if line:
        with contextlib.suppress(OSError, termios.error):
            os.write(2, f"enarx: {line}".encode("utf-8", "replace")[: LINE_MAX_BYTES - 1] + b"\n")
            if os.isatty(2):
                termios.tcdrain(2)  # a machine that is powered off says no more


def prepare() -> None:
    """File systems that the Keep needs, drivers that this machine has a use for, limits, and no way in. OSError."""
    mount("devtmpfs", "/dev", _MS_NOSUID | _MS_NOEXEC)
    mount("proc", "/proc", _PLAIN)
    mount("sysfs", "/sys", _PLAIN)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)  # the console is for writing
    os.close(null)
    set_switch("/proc/sys/kernel/sysrq", "0")  # which a host could otherwise reach through the serial port
    drivers = wanted_drivers(_listing(_PLATFORM), _read("/proc/cpuinfo", 1 << 16))
    for name in drivers:
        load_module(f"{MODULES}/{name}.ko")
    set_switch("/proc/sys/kernel/modules_disabled", "1")
    if os.path.isdir("/sys/kernel/config"):
        mount("configfs", "/sys/kernel/config", _PLAIN)
    if any(name.startswith("efi_secret") for name in _listing(_PLATFORM)):
        mount("securityfs", "/sys/kernel/security", _PLAIN)
    let_streams_flow()
    _leave_rootfs()
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def let_streams_flow() -> None:
    """Settings for the streams between the Keep's threads: the one that carries its link, and those of its workload.

    The sockets have room for a stream's whole window. And who is woken by a piece of data waits until the other has
    nothing left to do, so that they take turns by megabytes: to change between them is dear in a virtual machine.
    """
    from enarx.mux.table import PAIR_BYTES

    set_switch("/proc/sys/net/core/wmem_max", str(PAIR_BYTES))
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # for all that this process starts


def mount(kind: str, target: str, flags: int, source: str = "none") -> None:
    """mount(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = (source.encode(), target.encode(), kind.encode() if kind else None)
    if libc.mount(*texts, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source}: {os.strerror(number)}", target)


def _leave_rootfs() -> None:
    """Put the root directory's own file system over itself: the sandbox can pivot away from that, from rootfs not."""
    mount("", "/mnt", _MS_BIND, "/")
    for name in ("dev", "proc", "sys"):
        mount("", f"/mnt/{name}", _MS_MOVE, f"/{name}")
    os.chdir("/mnt")
    mount("", "/", _MS_MOVE, ".")
    os.chroot(".")
    os.chdir("/")


def wanted_drivers(platform: list[str], cpuinfo: str) -> tuple[str, ...]:
    """Names of the modules, in their order, that serve a processor which ``platform`` devices or CPU flags show."""
    if "sev-guest" in platform:
        return ("configfs", "tsm", "sev-guest")
    if "tdx_guest" in cpuinfo.split():
        return ("configfs", "tsm", "tdx-guest")
    return ()


def load_module(path: str) -> None:
    """Load a kernel module; one that is not there is built into the kernel. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(ctypes.c_long(_SYS_FINIT_MODULE), ctypes.c_int(fd), b"", ctypes.c_int(0)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"the driver cannot be loaded: {os.strerror(number)}", path)
    finally:
        os.close(fd)


def set_switch(switch: str, value: str) -> None:
    """Set a switch of the kernel's; one that is not there has nothing to set. Raises OSError."""
    try:
        fd = os.open(switch, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def find_ports(
    directory: str = _PORTS, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> tuple[str, str | None]:
    """Names of the devices of the link and, where there is one, of the channel to a simulated processor.

    A port has no name yet when it appears, so all that have appeared are waited for. TimeoutError without a link.
    """
    deadline = clock() + PORT_SECONDS
    while True:
        late = clock() >= deadline
        devices = sorted(_listing(directory), reverse=True)
        names = {_port_name(f"{directory}/{device}/name"): device for device in devices}
        if LINK_PORT in names and ("" not in names or late):
            return names[LINK_PORT], names.get(CHANNEL_PORT)
        if late:
            raise TimeoutError(f"the host has presented no port of the name {LINK_PORT} in {PORT_SECONDS:g} s")
        sleep(_POLL_SECONDS)


def _port_name(path: str) -> str:
    """What the host calls a port; empty while that is not known."""
    name = _read(path, NAME_MAX_BYTES).removesuffix("\n")
    return "" if name == "(null)" else name


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _read(path: str, limit: int) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(limit) or b"").decode("ascii", "replace")
    except OSError:  # not there yet, or not any more
        return ""


def _start(start: float) -> int:
    """Start the Keep. Returns its process. Raises OSError, and TimeoutError without a port."""
    link, channel = find_ports()
    keep = os.fork()
    if keep:
        return keep
    status = 1
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        port = os.open(f"/dev/{link}", os.O_RDWR | os.O_CLOEXEC)
        processor = None if channel is None else os.open(f"/dev/{channel}", os.O_RDWR | os.O_CLOEXEC)
        for number in range(3):
            os.dup2(null, number)
        os.close(null)
        os.environ.clear()
        os.environ["OPENSSL_CONF"] = os.path.join(os.path.dirname(__file__), _OPENSSL)
        from enarx.keep.sandbox import Sandbox

        status = live(port, processor, Sandbox(), start)
    finally:
        os._exit(status)


def live(port: int, channel: int | None, sandbox: Sandbox | None, start: float) -> int:
    """Live as a Keep whose link goes over ``port``, to its end. Returns the exit status of the process.

    ``channel``: the descriptor behind which a simulated secure processor may answer. ``start``: when the machine's
    first process started, on the monotonic clock. To be called while there is a single thread.
    """
    from enarx.keep.main import live_over
    from enarx.keep.timings import Timings

    timings = Timings(start)
    timings.mark("machine ready")
    return live_over(port, sandbox, timings, channel)


def _end_of(keep: int) -> str:
    """Wait until the Keep has ended. Returns what there is to say: nothing where the Keep has said all itself."""
    while True:
        pid, status = os.wait()
        if pid != keep:
            continue  # whoever the Keep has left behind
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            return "the Keep was killed: the machine has too little memory for it"
        if code < 0:
            return f"the Keep was ended by signal {-code}"
        return f"the Keep ended with status {code}" if code else ""


def power_off() -> None:
    """Power the machine off, or restart it where that is all it can: a host that starts Keeps lets none restart."""
    libc = ctypes.CDLL(None, use_errno=True)
    for command in (_RB_POWER_OFF, _RB_AUTOBOOT):
        libc.reboot(ctypes.c_int(command))
    time.sleep(1)


if __name__ == "__main__":
    main()
