"""``enarx run`` through the command line: exit statuses, arguments, environment, standard streams, files."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs, support
from tests.e2e.command import STDIO, code_of, config, enarx, environment, module, running

CHARACTER_DEVICE, REGULAR_FILE = 2, 4
ERRNO_NOENT, ERRNO_PERM, ERRNO_PIPE = 44, 63, 64

both = pytest.mark.usefixtures("both_links")
"""Over a link that passes descriptors, and over one that carries bytes."""


@both
@pytest.mark.parametrize("status", [0, 1, 7, 125])
def test_proc_exit_is_the_exit_status(status: int, tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.exiting(status)), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.parametrize("status", [126, 255, 256, 0xFFFFFFFF])
def test_an_exit_status_that_shells_use_becomes_125_and_is_told(status: int, tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.exiting(status)), cwd=tmp_path)
    assert done.returncode == 125
    assert code_of(done.stderr) == "exit-not-portable"
    assert str(status) in done.stderr.decode()


def test_return_from_start_is_success(tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.HELLO), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")


@both
def test_a_trap_is_named_with_its_wasm_backtrace(tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.TRAP), cwd=tmp_path)
    assert done.returncode == 134
    assert code_of(done.stderr) == "trap"
    text = done.stderr.decode()
    assert "unreachable" in text
    assert text.index(" - inner") < text.index(" - outer") < text.index(" - function ")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer division by zero"),
        ("(drop (i32.load (i32.const 0x7fffffff)))", "memory out of bounds"),
        ("(call $forever)", "stack overflow"),
    ],
)
def test_traps_have_their_names(body: str, name: str, tmp_path: Path) -> None:
    content = programs.program(body, functions="(func $forever (call $forever))")
    done = enarx("run", module(tmp_path, content), cwd=tmp_path)
    assert done.returncode == 134
    assert name in done.stderr.decode()


def test_control_characters_in_a_function_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    content = programs.assemble(
        '(module (memory (export "memory") 1) (func $"\\1b[31mred" unreachable)'
        ' (func (export "_start") (call $"\\1b[31mred")))'
    )
    done = enarx("run", module(tmp_path, content), cwd=tmp_path)
    assert done.returncode == 134
    assert b"[31mred" in done.stderr
    assert b"\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["run", "app.wasm"], []),
        (["run", "app.wasm", "a", "b c", ""], ["a", "b c", ""]),
        (["run", "--env", "X=1", "app.wasm", "a"], ["a"]),
        (["run", "app.wasm", "--env", "X=1", "--no-cache", "a"], ["a"]),
        (["run", "app.wasm", "--env=X=1", "a", "--env", "Y=2"], ["a", "--env", "Y=2"]),
        (["run", "app.wasm", "--", "--env", "X=1"], ["--env", "X=1"]),
        (["run", "app.wasm", "--", "a", "--", "b"], ["a", "--", "b"]),
        (["run", "app.wasm", "a", "--", "b"], ["a", "--", "b"]),
        (["run", "app.wasm", "--", "--"], ["--"]),
        (["run", "app.wasm", "-v", "--unknown"], ["-v", "--unknown"]),
        (["run", "--", "app.wasm", "--no-cache"], ["--no-cache"]),
    ],
)
def test_arguments_after_ours_are_the_workloads(arguments: list[str], seen: list[str], tmp_path: Path) -> None:
    module(tmp_path, programs.ARGS)
    done = enarx(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"".join(text.encode() + b"\0" for text in ["main.wasm", *seen])


def test_a_module_whose_name_begins_with_a_dash_comes_after_a_double_dash(tmp_path: Path) -> None:
    module(tmp_path, programs.HELLO, "-x.wasm")
    assert enarx("run", "--no-cache", "--", "-x.wasm", cwd=tmp_path).stdout == b"ready\n"


def test_arguments_that_are_not_utf_8_arrive_as_they_are(tmp_path: Path) -> None:
    command = [os.fsencode(support.command()), b"run", os.fsencode(module(tmp_path, programs.ARGS)), b"\xff\xfe"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"main.wasm\0\xff\xfe\0"), done.stderr


def test_arguments_of_the_config_come_first(tmp_path: Path) -> None:
    path = config(tmp_path, 'args = ["from", "config"]\n' + STDIO)
    done = enarx("run", "--wasmcfgfile", path, module(tmp_path, programs.ARGS), "more", cwd=tmp_path)
    assert done.stdout == b"main.wasm\0from\0config\0more\0"


def test_without_a_config_the_environment_is_what_the_command_line_gives(tmp_path: Path) -> None:
    done = enarx("run", "--env", "A=1", "--env", "B=x=y", module(tmp_path, programs.ENVIRON), cwd=tmp_path)
    assert done.stdout == b"A=1\0B=x=y\0"


def test_the_config_gives_descriptor_names_and_variables(tmp_path: Path) -> None:
    path = config(tmp_path, '[env]\nA = "1"\n' + STDIO + '[[files]]\nkind = "null"\nname = "void"\n')
    done = enarx("run", "--wasmcfgfile", path, module(tmp_path, programs.ENVIRON), cwd=tmp_path)
    assert set(done.stdout.split(b"\0")) == {b"", b"A=1", b"FD_COUNT=4", b"FD_NAMES=stdin:stdout:stderr:void"}


def test_the_config_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = config(tmp_path, 'args = ["x"]\n' + STDIO)
    done = enarx(
        "run", module(tmp_path, programs.ARGS), cwd=tmp_path,
        env=environment(tmp_path, ENARX_WASMCFGFILE=str(path)),
    )  # fmt: skip
    assert done.stdout == b"main.wasm\0x\0"


def test_a_config_without_a_name_is_no_config_less(tmp_path: Path) -> None:
    path = module(tmp_path, programs.ARGS)
    done = enarx("run", "--wasmcfgfile", "", path, cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr), done.stdout) == (2, "usage", b"")
    assert b"--wasmcfgfile: it names no file" in done.stderr
    done = enarx("run", path, cwd=tmp_path, env=environment(tmp_path, ENARX_WASMCFGFILE=""))
    assert done.stdout == b"main.wasm\0"


@both
def test_stdin_from_a_pipe_is_echoed_whole(tmp_path: Path) -> None:
    data = os.urandom(2 << 20)
    done = enarx("run", module(tmp_path, programs.CAT), cwd=tmp_path, data=data)
    assert (done.returncode, done.stdout == data) == (0, True)


@both
def test_stdin_from_a_regular_file_is_a_regular_file(tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_bytes(b"from a file")
    with source.open("rb") as stdin:
        assert enarx("run", module(tmp_path, programs.CAT), cwd=tmp_path, stdin=stdin).stdout == b"from a file"
    with source.open("rb") as stdin:
        done = enarx("run", module(tmp_path, programs.FILETYPES), cwd=tmp_path, stdin=stdin)
    assert done.stdout[0] == REGULAR_FILE


@both
def test_a_terminal_is_a_character_device(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [support.command(), "run", module(tmp_path, programs.FILETYPES)], env=environment(tmp_path),
            stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    assert (done.stdout[0], done.stdout[2]) == (CHARACTER_DEVICE, CHARACTER_DEVICE)
    assert done.stdout[1] != CHARACTER_DEVICE


@both
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_empty_and_swallow(closed: str, tmp_path: Path) -> None:
    """Nothing of ours may take their numbers: the workload would write to the link, or to a file of the host's."""
    path = module(tmp_path, programs.program("(local $fd i32) (call $ready)" + programs._COPY))
    command = f"exec {support.command()} run {path} {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment(tmp_path), input=b"unread", capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"" if ">" in closed.replace("2>", "").replace("<", "") else b"ready\n")


def test_output_that_nobody_reads_is_errno_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [support.command(), "run", module(tmp_path, programs.writer(4))], env=environment(tmp_path),
            stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (ERRNO_PIPE, b"")


@both
def test_much_output_arrives_whole(tmp_path: Path) -> None:
    done = enarx("run", module(tmp_path, programs.writer(512)), cwd=tmp_path)
    assert (done.returncode, len(done.stdout)) == (0, 512 << 16)


@both
def test_a_copy_of_a_directory_is_what_the_workload_sees(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "below").mkdir(parents=True)
    (site / "below" / "page").write_text("a page")
    done = enarx("run", "--dir", f"{site}::/", module(tmp_path, programs.CAT_FILE), "below/page", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"a page"), done.stderr


def test_what_the_workload_writes_stays_in_the_keep(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "old").write_text("old")
    path = module(tmp_path, programs.WRITE_FILE)
    for name in ("old", "new"):
        done = enarx("run", "--dir", f"{site}::/", path, name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr
    assert {entry.name: entry.read_text() for entry in site.iterdir()} == {"old": "old"}


@pytest.mark.parametrize("target", ["../secret", "/etc/hostname", "{tmp}/secret"])
def test_links_are_not_followed_out_of_the_directory(target: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "secret").write_text("secret")
    (site / "link").symlink_to(target.format(tmp=tmp_path))
    done = enarx("run", "--dir", f"{site}::/", module(tmp_path, programs.CAT_FILE), "link", cwd=tmp_path)
    assert done.returncode == ERRNO_PERM
    assert done.stdout == b""


def test_what_is_no_file_is_left_out_of_the_copy(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    os.mkfifo(site / "fifo")
    (site / "page").write_text("a page")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(site / "socket"))
        path = module(tmp_path, programs.CAT_FILE)
        for name in ("fifo", "socket"):
            assert enarx("run", "--dir", f"{site}::/", path, name, cwd=tmp_path).returncode == ERRNO_NOENT
        assert enarx("run", "--dir", f"{site}::/", path, "page", cwd=tmp_path).stdout == b"a page"


def test_a_directory_nested_deeper_than_calls_may_is_copied(tmp_path: Path) -> None:
    depth = 1200  # beyond Python's recursion limit, below the longest path
    site = tmp_path / "site"
    site.mkdir()
    try:
        here = os.open(site, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        with os.fdopen(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=here), "w") as leaf:
            leaf.write("deep")
        os.close(here)
        path = module(tmp_path, programs.CAT_FILE)
        done = enarx("run", "--dir", f"{site}::/", path, "d/" * depth + "leaf", cwd=tmp_path)
    finally:
        subprocess.run(["rm", "-rf", site], check=True)  # pytest's own way to remove it is by recursion
    assert (done.returncode, done.stdout) == (0, b"deep"), done.stderr


def test_timings_tell_where_start_up_went(tmp_path: Path) -> None:
    done = enarx("run", "--timings", module(tmp_path, programs.HELLO), cwd=tmp_path)
    assert done.returncode == 0
    text = done.stderr.decode()
    steps = ["host: all", "keep: sandbox, first half", "keep: compiled", "keep: streams open"]
    assert sorted(steps, key=text.index) == steps


def test_no_socket_is_opened_for_a_module_that_is_not_compiled_yet(tmp_path: Path) -> None:
    """It may take long, and whoever connects expects an answer; nor is one opened for what cannot run."""
    entry = '[[files]]\nkind = "listen"\nname = "L"\nprot = "tcp"\naddr = "127.0.0.1"\nport = 0\n'
    path = config(tmp_path, STDIO + entry)
    content = programs.assemble('(module (import "env" "f" (func)) (func (export "_start")))')
    done = enarx("run", "--verbose", "--wasmcfgfile", path, module(tmp_path, content), cwd=tmp_path)
    assert (done.returncode, code_of(done.stderr)) == (1, "wasm-import")
    assert b"listening on" not in done.stderr


def test_the_checked_calls_give_the_same_result(tmp_path: Path) -> None:
    done = enarx("run", "--checked-calls", module(tmp_path, programs.CAT), cwd=tmp_path, data=b"same")
    assert (done.returncode, done.stdout) == (0, b"same")


def test_the_keep_leaves_the_terminals_process_group(tmp_path: Path) -> None:
    """So that Ctrl-C reaches the host alone, which ends the Keep in good order."""
    with running("run", module(tmp_path, programs.LOOP), cwd=tmp_path) as run:
        run.wait_until_ready()
        assert os.getpgid(run.keep_pid()) != os.getpgid(run.process.pid)


def test_an_ignored_sigchld_does_not_matter(tmp_path: Path) -> None:
    """Some supervisors start their children with it ignored; the kernel then keeps no exit status."""
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    done = enarx(
        "run", module(tmp_path, programs.exiting(7)), cwd=tmp_path, prefix=[sys.executable, "-I", "-S", "-c", code]
    )
    assert (done.returncode, done.stderr) == (7, b"")
