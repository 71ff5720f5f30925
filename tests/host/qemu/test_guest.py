"""The life of a virtual machine: started, seen to end, ended, and never left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.host.qemu import guest as guest_module
from enarx.host.qemu.command import Descriptors, vm_arguments
from enarx.host.qemu.console import KEPT_BYTES
from enarx.host.qemu.guest import Guest
from enarx.host.qemu.machine import Machine
from tests.descriptors import nothing_left_open
from tests.host.qemu import miniature
from tests.support import ROOT

ENOUGH = 60.0
"""Seconds in which everything must have ended."""
HOST = """
import sys
from pathlib import Path
from enarx.host.qemu.guest import Guest
from tests.host.qemu import miniature
guest = Guest(sys.argv[1], miniature.arguments(Path(sys.argv[2]), "hang"), simulated=True)
keep = guest.carry()
print(guest.pid, guest.monitor.version(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither descriptors, nor threads, nor files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    with nothing_left_open(ENOUGH):
        yield
    assert list(directory.iterdir()) == []


def started(qemu: str, program: Path, order: str) -> Guest:
    return Guest(qemu, miniature.arguments(program, order))


def test_guest_that_powers_off_has_ended(qemu: str, program: Path) -> None:
    guest = started(qemu, program, "off")
    died = guest.obituary()
    assert died.code == "keep-died"
    assert "the guest powered off" in died.message
    assert died.message.endswith("\n  console: miniature: off")
    assert guest.wait() == 0


def test_all_of_the_console_is_there_for_who_asks(qemu: str, program: Path) -> None:
    told: list[str] = []
    guest = Guest(qemu, miniature.arguments(program, "off"), detail=told.append)
    guest.obituary()
    assert told == ["console: miniature: off"]


def test_guest_that_crashes_is_told_from_one_that_powers_off(qemu: str, program: Path) -> None:
    died = started(qemu, program, "reset").obituary()
    assert "the guest crashed" in died.message


def test_guest_that_goes_on_without_its_keep_is_ended(
    qemu: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_module, "END_SECONDS", 0.2)
    guest = started(qemu, program, "hang")
    died = guest.obituary()
    assert "it left its virtual machine, which went on" in died.message
    assert guest.wait() == -signal.SIGKILL


def test_qemu_that_is_killed_is_named_with_its_signal(qemu: str, program: Path) -> None:
    for number, words in (
        (signal.SIGTERM, "somebody told QEMU to end"),
        (signal.SIGKILL, "QEMU was ended by signal 9"),
    ):
        guest = started(qemu, program, "hang")
        guest.monitor.version()
        os.kill(guest.pid, number)
        assert words in guest.obituary().message


def test_guest_can_be_killed_again_and_again(qemu: str, program: Path) -> None:
    guest = started(qemu, program, "hang")
    for _ in range(3):
        guest.kill()
        assert guest.wait() == -signal.SIGKILL


def test_console_that_is_flooded_keeps_its_end_and_no_control_characters(qemu: str, program: Path) -> None:
    guest = started(qemu, program, "flood")
    while len(guest.console._kept) < KEPT_BYTES:
        select.select([], [], [], 0.01)
    guest.kill()
    guest.wait()
    lines = guest.console.lines()
    assert len(lines) > 1000
    assert sum(map(len, lines)) <= KEPT_BYTES
    assert "\033" not in "".join(lines)
    assert "all work and no play" in lines[-2]
    died = guest.obituary()
    assert died.message.count("\n") <= 2 * guest_module.SHOWN_LINES


def test_a_guest_in_which_no_keep_greets_is_ended_and_reported(
    qemu: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_module, "BOOT_SECONDS", 0.5)
    keep = started(qemu, program, "hang").carry()
    assert keep.link.recv(1) == b""
    died = keep.obituary()
    keep.link.close()
    assert died.message.startswith("the Keep ended unexpectedly: no Keep greeted from the virtual machine within 0.5 s")
    assert "ENARX_ACCEL=tcg" in died.hint


def test_end_of_qemu_is_the_end_of_the_link(qemu: str, program: Path) -> None:
    keep = started(qemu, program, "off").carry()
    assert keep.link.recv(1) == b""
    assert "the guest powered off" in str(keep.obituary())
    assert keep.wait() == 0
    keep.link.close()


def test_options_that_qemu_refuses_are_told_in_its_words(qemu: str, program: Path) -> None:
    guest = Guest(qemu, lambda descriptors: [*miniature.arguments(program, "off")(descriptors), "-no-such-option"])
    died = guest.obituary()
    assert "QEMU ended with status 1" in died.message
    assert "no-such-option: invalid option" in died.message


def test_memory_that_the_machine_does_not_have_is_a_clear_error(qemu: str, program: Path) -> None:
    def arguments(descriptors: Descriptors) -> list[str]:
        found = list(miniature.arguments(program, "off")(descriptors))
        found[found.index("-m") + 1] = f"{1 << 34}M"
        return found

    died = Guest(qemu, arguments).obituary()
    assert "QEMU ended with status 1" in died.message


def test_program_that_is_no_qemu_is_a_clear_error(program: Path, tmp_path: Path) -> None:
    for name, words in (("nothing", "No such file"), ("text", "Exec format error")):
        path = tmp_path / name
        if name == "text":
            path.write_text("no program\n")
            path.chmod(0o755)
        died = started(str(path), program, "off").obituary()
        assert "QEMU ended with status 1" in died.message
        assert words in died.message


def test_link_of_a_guest_that_is_gone_is_a_clear_error(qemu: str, program: Path) -> None:
    guest = started(qemu, program, "off")
    guest.wait()
    with pytest.raises(HostError) as caught:
        guest.carry()
    assert caught.value.code == "keep-died"


def test_a_host_that_is_killed_leaves_no_qemu_and_no_file(qemu: str, program: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    command = [sys.executable, "-c", HOST, qemu, str(program)]
    environment = os.environ | {"TMPDIR": str(left), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as host:
        assert host.stdin and host.stdout
        pid, version = host.stdout.readline().split()
        assert version[:1].isdigit()
        with contextlib.ExitStack() as stack:
            fd = os.pidfd_open(int(pid))
            stack.callback(os.close, fd)
            host.kill()
            assert select.select([fd], [], [], ENOUGH)[0]
    assert list(left.iterdir()) == []


def test_several_guests_run_at_once(qemu: str, program: Path) -> None:
    guests = [started(qemu, program, order) for order in ("hang", "off", "hang")]
    assert len({guest.monitor.version() for guest in (guests[0], guests[2])}) == 1
    assert guests[1].wait() == 0
    assert guests[0].monitor.execute("query-status")["status"] == "running"
    for guest in guests:
        guest.kill()
        guest.wait()


def test_machine_that_is_asked_for_is_the_one_that_runs(qemu: str, program: Path) -> None:
    def arguments(descriptors: Descriptors) -> list[str]:
        return vm_arguments(miniature.image(program, "hang"), Machine(192, 3), "tcg", descriptors)

    guest = Guest(qemu, arguments)
    assert guest.monitor.execute("query-memory-size-summary")["base-memory"] == 192 << 20
    assert len(guest.monitor.execute("query-cpus-fast")) == 3
    guest.kill()
    guest.wait()
