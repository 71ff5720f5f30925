"""What Enarx's own tests ask of a Keep, with guests that a compiler made."""

from __future__ import annotations

import codecs
import random
import re
from pathlib import Path

import pytest

from tests import workloads

GUESTS = Path(__file__).parent / "guests"
MIB = 1 << 20


def test_two_mebibytes_on_stdin_come_back_on_stdout(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(2 * MIB)
    done = workloads.run(workloads.guest(GUESTS / "copy.c"), cwd=tmp_path, data=data)
    assert (done.returncode, done.stdout == data) == (0, True)


@pytest.mark.parametrize("mebibytes", [16, 32])
def test_memory_spike_is_served(mebibytes: int, tmp_path: Path) -> None:
    done = workloads.run(workloads.guest(GUESTS / "spike.c"), str(mebibytes), cwd=tmp_path)
    cells = range(mebibytes * MIB // 64)
    expected = sum(len(cells) // 256 * sum(range(256)) for _ in range(3))
    assert (done.returncode, done.stdout) == (0, b"%d\n" % expected)


def test_memory_spike_past_the_limit_is_refused_by_name(tmp_path: Path) -> None:
    config = '[limits]\nmemory = "16 MiB"\n'
    done = workloads.run(workloads.guest(GUESTS / "spike.c"), "32", cwd=tmp_path, config=config)
    assert done.returncode != 0
    assert b"Code: limit-memory" in done.stderr, done.stderr.decode()


def test_rot13_over_stdin(tmp_path: Path) -> None:
    text = "The quick brown fox jumps over 13 lazy dogs.\n" * 1000
    done = workloads.run(workloads.guest(GUESTS / "rot13.c"), cwd=tmp_path, data=text.encode())
    assert (done.returncode, done.stdout.decode()) == (0, codecs.encode(text, "rot13"))


def test_value_that_the_default_function_returns_is_not_the_exit_status(tmp_path: Path) -> None:
    assert workloads.run(workloads.guest(GUESTS / "return_1.wat"), cwd=tmp_path).returncode == 0


def test_module_without_a_function_to_call_is_refused(tmp_path: Path) -> None:
    done = workloads.run(workloads.guest(GUESTS / "no_export.wat"), cwd=tmp_path)
    error = done.stderr.decode()
    assert done.returncode == 1
    assert "Error: failed to execute default function: the module exports neither `_start` nor" in error
    assert "Code: wasm-entry" in error
    assert "Hint: " in error


DOCUMENTED = """\
[[files]]
kind = "null"

[[files]]
kind = "stdout"

[[files]]
kind = "stderr"

[[files]]
name = "listen"
kind = "listen"
prot = "tls"
addr = "127.0.0.1"
port = 0

[[files]]
name = "connect"
kind = "connect"
prot = "tcp"
host = "127.0.0.1"
port = {port}
"""


def test_descriptors_and_their_names_are_those_of_the_documented_example(tmp_path: Path) -> None:
    import socket

    with socket.create_server((workloads.ADDRESS, 0)) as peer:
        config = DOCUMENTED.format(port=peer.getsockname()[1])
        done = workloads.run(workloads.guest(GUESTS / "world.c"), "x", cwd=tmp_path, config=config)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["arg main.wasm", "arg x"]
    assert sorted(line for line in lines if line.startswith("env")) == [
        "env FD_COUNT=5",
        "env FD_NAMES=null:stdout:stderr:listen:connect",
    ]
    descriptors = [line for line in lines if line.startswith("fd")]
    assert len(descriptors) == 5
    # Sockets are streams (type 6); the TLS listener alone starts without blocking, and null is as Enarx has it.
    assert descriptors[3:] == ["fd 3 type 6 nonblocking 1", "fd 4 type 6 nonblocking 0"]


@pytest.mark.parametrize(
    ("config", "descriptors"),
    [(None, 3), ("", 0), ('[[files]]\nkind = "stdout"\n[[files]]\nkind = "stdout"\n', 2)],
    ids=["no config", "config without files", "exactly those"],
)
def test_three_cases_of_no_files(config: str | None, descriptors: int, tmp_path: Path) -> None:
    """Where there is no descriptor 1 to print to, the program's failure to print is what shows."""
    done = workloads.run(workloads.guest(GUESTS / "world.c"), cwd=tmp_path, config=config)
    if descriptors:
        assert done.returncode == 0
        assert len(re.findall(rb"^fd \d", done.stdout, re.MULTILINE)) == descriptors
    else:
        assert (done.returncode, done.stdout) == (1, b"")


def test_user_environment_follows_the_descriptors_in_it(tmp_path: Path) -> None:
    config = 'args = ["7"]\n[[files]]\nkind = "null"\n[[files]]\nkind = "stdout"\n[env]\nGREETING = "hello"\n'
    done = workloads.run(
        workloads.guest(GUESTS / "world.c"), "21", cwd=tmp_path, config=config, options=["--env", "MORE=yes"]
    )
    assert done.stdout.decode().splitlines()[:7] == [
        "arg main.wasm", "arg 7", "arg 21", "env FD_COUNT=2", "env FD_NAMES=null:stdout", "env GREETING=hello",
        "env MORE=yes",
    ]  # fmt: skip
