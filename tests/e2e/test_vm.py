"""Keeps in virtual machines, as a user runs them: started, stopped, starved, killed, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests import programs
from tests.e2e.command import STDIO, code_of, config, module, running, wait_for
from tests.e2e.detached import user
from tests.e2e.vms import SECONDS, hostile_qemu, machines_of, nothing_left, run_vm, vm_environment

pytestmark = pytest.mark.timeout(900)
KILLS = 20
STARVED = ("--memory", "256M")
HOG = programs.program(
    "(drop (memory.grow (i32.const 8000)))"
    "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 500000000)) (call $ready)"
)
"""Takes half a GiB of memory, and writes to every byte of it."""


def test_workload_runs_in_256_mib_and_its_status_output_and_files_come_back(image: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page").write_text("a page\n")
    options = ("--memory", "256M", "--cpus", "2", "--verbose", "--require-sandbox", "--dir", f"{tmp_path}/site::/")
    done = run_vm(module(tmp_path, programs.CAT_FILE), "page", home=tmp_path, image=image, options=options)
    assert (done.returncode, done.stdout) == (0, b"a page\n"), done.stderr.decode()
    said = done.stderr.decode()
    assert "enarx: virtual machine: 256 MiB, 2 vCPUs EPYC-v4, on TCG (ENARX_ACCEL=tcg asks for it)\n" in said
    assert "enarx: sandbox: seccomp: applied" in said


def test_exit_status_and_standard_input_are_the_workloads(image: Path, tmp_path: Path) -> None:
    done = run_vm(module(tmp_path, programs.CAT), home=tmp_path, image=image, data=b"x" * 3_000_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x" * 3_000_000, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_workload_and_machine(number: signal.Signals, image: Path, tmp_path: Path) -> None:
    env = vm_environment(tmp_path, image)
    with running("run", "--backend", "vm", module(tmp_path, programs.LOOP), cwd=tmp_path, env=env) as run:
        if number is signal.SIGTERM:  # else while it boots
            run.wait_until_ready()
        else:
            wait_for(lambda: machines_of(image), "QEMU was not started")
        run.process.send_signal(number)
        status, stderr = run.finish()
    assert (status, stderr) == (128 + number, b"")
    nothing_left(tmp_path, image)


def test_guest_that_panics_is_reported_with_what_its_console_said(image: Path, tmp_path: Path) -> None:
    """Its command line, which is measured, names another first process here."""
    edit = "at = arguments.index('-append') + 1; arguments[at] = 'console=ttyS0 panic=-1 rdinit=/nothing'"
    env = vm_environment(tmp_path, image) | {"PATH": hostile_qemu(tmp_path, edit)}
    done = run_vm(module(tmp_path, programs.HELLO), home=tmp_path, image=image, env=env)
    assert (done.returncode, code_of(done.stderr)) == (1, "keep-died")
    assert "the guest crashed" in done.stderr.decode()
    assert "console: " in done.stderr.decode()


def test_workload_that_takes_more_than_the_guest_has_is_ended_and_told_why(image: Path, tmp_path: Path) -> None:
    path = config(tmp_path, f'[limits]\nmemory = "1 GiB"\n{STDIO}')
    options = (*STARVED, "--wasmcfgfile", path)
    done = run_vm(module(tmp_path, HOG), home=tmp_path, image=image, options=options)
    assert (done.returncode, done.stdout, code_of(done.stderr)) == (1, b"", "keep-died"), done.stderr.decode()
    assert "--memory" in done.stderr.decode()


def test_package_that_is_larger_than_the_guest_is_an_error_whose_hint_is_memory(image: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "large").write_bytes(bytes(256 << 20))
    path = config(tmp_path, f'[limits]\nfilesystem = "512 MiB"\n{STDIO}')
    options = (*STARVED, "--wasmcfgfile", path, "--dir", f"{tmp_path}/site::/")
    done = run_vm(module(tmp_path, programs.HELLO), home=tmp_path, image=image, options=options)
    assert (done.returncode, done.stdout) == (1, b"")
    assert code_of(done.stderr) in ("keep-memory", "keep-died"), done.stderr.decode()  # by Python, or by the kernel
    assert "--memory" in done.stderr.decode()


def test_two_detached_keeps_run_at_once_and_are_listed_stopped_and_removed(image: Path, tmp_path: Path) -> None:
    with user(tmp_path) as ours:
        env = vm_environment(tmp_path, image, XDG_RUNTIME_DIR=str(ours.runtime))
        app = module(tmp_path, programs.WAIT_CLOCK).as_uri()
        arguments = ("deploy", "--detach", "--backend", "vm", "--memory", "256M", app)
        settings = {"env": env, "seconds": SECONDS}
        threads = [
            threading.Thread(target=ours.enarx, args=(*arguments, "--name", name), kwargs=settings)
            for name in ("one", "two")
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(one["name"], one["state"], one["backend"]) for one in ours.ps()] == [
            ("one", "running", "vm"), ("two", "running", "vm"),
        ]  # fmt: skip
        facts = ours.facts("one")
        assert facts["machine"] == "256 MiB, 1 vCPU EPYC-v4"
        assert facts["accelerator"] == "TCG (ENARX_ACCEL=tcg asks for it)"
        assert facts["isolation"].startswith("none: ")
        assert b"vm on TCG" in ours.enarx("ps").stdout
        assert sorted(ours.processes(name)[1] for name in ("one", "two")) == sorted(machines_of(image))
        assert ours.enarx("logs", "one").stdout == b"ready\n"
        assert ours.enarx("stop", "one").returncode == 0
        os.kill(ours.processes("two")[0], signal.SIGKILL)
        wait_for(lambda: not machines_of(image), "a machine is still there")
        assert set(ours.states()) == {"one", "two"}
        assert ours.enarx("rm", "one", "two").returncode == 0
        assert ours.states() == {}
    nothing_left(tmp_path, image)


def test_qemu_that_is_killed_at_any_point_is_a_clear_error_and_nothing_is_left(image: Path, tmp_path: Path) -> None:
    """Points are drawn from the whole life of a guest: most are in its boot, as most of its time is."""
    path, env = module(tmp_path, programs.LOOP), vm_environment(tmp_path, image)
    chance = random.Random(os.urandom(8))
    for _ in range(KILLS):
        seconds = chance.choice((0.0, chance.uniform(0, 1), chance.uniform(0, 8)))
        with running("run", "--backend", "vm", path, cwd=tmp_path, env=env) as run:
            pid = wait_for(lambda: machines_of(image), "QEMU was not started")[0]
            threading.Event().wait(seconds)  # not a wait for anything: the point is to be anywhere
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status, stderr = run.finish()
        assert (status, code_of(stderr)) == (1, "keep-died"), (seconds, stderr.decode())
        assert b"QEMU was ended by signal 9" in stderr, (seconds, stderr.decode())
        nothing_left(tmp_path, image)
