"""The first process of a VM Keep, as far as it can be looked at without being one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import EnarxError, HostError
from enarx.host.contract import Package
from enarx.host.launch import Host
from enarx.host.mux import CarriedKeep
from enarx.keep import init
from tests import programs, support
from tests.e2e.command import STDIO


class Machine:
    """Ports that a host presents as time goes by: a list of (when in seconds, device, name), and a clock."""

    def __init__(self, directory: Path, *events: tuple[float, str, str | None]) -> None:
        self.directory = directory
        self.now = 0.0
        self.events = list(events)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for event in [event for event in self.events if event[0] <= self.now]:
            _, device, name = event
            (self.directory / device).mkdir(exist_ok=True)
            (self.directory / device / "name").write_text("(null)\n" if name is None else f"{name}\n")
            self.events.remove(event)

    def ports(self) -> tuple[str, str | None]:
        return init.find_ports(str(self.directory), clock=self.clock, sleep=self.sleep)


def test_ports_are_found_by_name_when_the_host_has_presented_them(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0.1, "vport0p1", None), (0.1, "vport0p2", None),
                      (0.2, "vport0p2", "enarx.link"), (0.4, "vport0p1", "enarx.tsm"))  # fmt: skip
    assert machine.ports() == ("vport0p2", "vport0p1")
    assert machine.now == pytest.approx(0.4, abs=0.01)


def test_without_a_simulated_processor_nobody_waits_for_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0.1, "vport0p1", "enarx.link"))
    assert machine.ports() == ("vport0p1", None)
    assert machine.now < 0.2


def test_a_port_that_is_never_named_does_not_hold_a_keep_for_ever(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0.1, "vport0p1", "enarx.link"), (0.1, "vport0p2", None))
    assert machine.ports() == ("vport0p1", None)
    assert machine.now < init.PORT_SECONDS + 1


def test_ports_of_other_names_are_none_of_ours(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0.1, "vport0p1", "enarx.links"), (0.1, "vport0p2", "org.qemu.guest_agent.0"))
    with pytest.raises(TimeoutError, match=r"no port of the name enarx\.link"):
        machine.ports()


def test_a_machine_without_ports_is_given_up(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "none")
    with pytest.raises(TimeoutError):
        machine.ports()
    assert machine.now < init.PORT_SECONDS + 1


def test_the_first_of_two_ports_of_one_name_is_taken(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0.1, "vport0p1", "enarx.link"), (0.1, "vport0p2", "enarx.link"))
    assert machine.ports() == ("vport0p1", None)


@pytest.mark.parametrize(
    ("platform", "cpuinfo", "drivers"),
    [
        ([], "flags\t\t: fpu sse2 hypervisor", ()),
        (["sev-guest", "i8042"], "flags : fpu", ("configfs", "tsm", "sev-guest")),
        (["pcspkr"], "flags\t\t: fpu tdx_guest sse2\n", ("configfs", "tsm", "tdx-guest")),
        ([], "model name : not_tdx_guest", ()),
    ],
)
def test_only_drivers_that_serve_this_processor_are_loaded(
    platform: list[str], cpuinfo: str, drivers: tuple[str, ...]
) -> None:
    assert init.wanted_drivers(platform, cpuinfo) == drivers


def test_a_driver_that_is_built_in_needs_no_file_and_one_that_is_none_is_an_error(tmp_path: Path) -> None:
    init.load_module(str(tmp_path / "built-in.ko"))
    (tmp_path / "x.ko").write_bytes(b"no driver")
    with pytest.raises(OSError, match="the driver cannot be loaded"):
        init.load_module(str(tmp_path / "x.ko"))


def test_a_switch_that_is_not_there_has_nothing_to_switch_off(tmp_path: Path) -> None:
    init.set_switch(str(tmp_path / "none"), "0")
    (tmp_path / "switch").write_text("438")
    init.set_switch(str(tmp_path / "switch"), "0")
    assert (tmp_path / "switch").read_text() == "038"  # as a switch of the kernel takes it: at once, and no file to cut
    assert not (tmp_path / "none").exists()


def test_a_slip_of_the_hand_powers_nothing_off() -> None:
    done = subprocess.run([sys.executable, "-m", "enarx.keep.init"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the first process of a VM Keep, and nothing else" in done.stderr


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os._exit(0)", ""),
        ("os._exit(7)", "the Keep ended with status 7"),
        ("os.kill(os.getpid(), 9)", "the Keep was killed: the machine has too little memory for it"),
        ("os.kill(os.getpid(), 6)", "the Keep was ended by signal 6"),
    ],
)
def test_what_the_keep_cannot_say_any_more_is_said_for_it(ending: str, said: str) -> None:
    """Whoever else the first process inherits ends first."""
    code = (
        "import os\nfrom enarx.keep import init\n"
        "other = os.fork()\nif other == 0:\n    os._exit(3)\n"
        "os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)\n"
        f"keep = os.fork()\nif keep == 0:\n    {ending}\n"
        "print(init._end_of(keep))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{said}\n"


def test_a_line_for_the_console_is_one_line_that_ends(capfd: pytest.CaptureFixture[str]) -> None:
    init.say("")
    init.say("x" * 5000)
    error = capfd.readouterr().err
    assert error.startswith("enarx: xxx")
    assert (len(error), error.count("\n")) == (1024, 1)


class Child:
    """A Keep behind a port, in a process that lives as the child of the first process does."""

    def __init__(self, port: socket.socket) -> None:
        code = (
            "import os, sys, time\nfrom enarx.keep.init import live\nfrom enarx.keep.sandbox import Sandbox\n"
            f"os._exit(live({port.fileno()}, None, Sandbox(), time.monotonic()))\n"
        )
        openssl = str(support.ROOT / "src/enarx/keep/openssl.cnf")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[port.fileno()], env={"OPENSSL_CONF": openssl}
        )
        port.close()

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> int:
        return self.process.wait()

    def obituary(self) -> EnarxError:
        return HostError(f"the child ended with {self.process.wait()}", code="keep-died")


@pytest.fixture
def ports() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_keep_lives_behind_a_port(ports: tuple[socket.socket, socket.socket]) -> None:
    keep = CarriedKeep(Child(ports[1]), ports[0])
    read, write = os.pipe()
    with open(read, "rb") as output:
        host = Host(keep, None, lambda line: None, stdio=lambda name: os.dup(write))
        package = Package([("config", "Enarx.toml", STDIO.encode()), ("module", "main.wasm", programs.HELLO)])
        ending = host.run(package)
        os.close(write)
        assert (ending.status, output.read()) == (0, b"ready\n")
    names = [name for name, _ in ending.timings]
    assert names[:2] == ["machine ready", "link carried"]
    assert ending.sandbox["seccomp"] == "applied"


def test_dataclasses_do_without_inspect() -> None:
    code = (
        "import sys\nfrom enarx.keep import init\ninit.without_inspect()\n"
        "from dataclasses import dataclass, replace\n"
        "@dataclass(frozen=True, slots=True)\nclass Bare:\n    number: int = 3\n"
        "import enarx.keep.main, enarx.keep.mux, enarx.keep.runtime, enarx.keep.world\n"
        "print(Bare(5), replace(Bare(), number=7).number, 'ast' in sys.modules, Bare.__doc__)\n"
    )
    environment = {"PYTHONPATH": str(support.ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "Bare(number=5) 7 False Bare\n"
