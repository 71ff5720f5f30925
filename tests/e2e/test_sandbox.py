"""What the kernel says about a Keep while its workload runs, and what happens when it forbids a layer."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import programs, support
from tests.e2e.command import STDIO, Running, code_of, config, enarx, environment, module, running

LAYERS = {
    "no_new_privs", "rlimits", "user_namespace", "network_namespace", "ipc_namespace", "mount_namespace", "empty_root",
    "no_capabilities", "not_dumpable", "seccomp",
}  # fmt: skip
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a Keep's /proc entries are readable by root alone")


@pytest.fixture
def looping(tmp_path: Path) -> Iterator[Running]:
    """A workload that runs, in a Keep started by a process with descriptors that a child would inherit."""
    (tmp_path / "secret").write_text("secret")
    with (
        (tmp_path / "secret").open() as secret,
        running("run", module(tmp_path, programs.LOOP), cwd=tmp_path, pass_fds=[secret.fileno()]) as run,
    ):
        os.set_inheritable(secret.fileno(), True)
        run.wait_until_ready()
        yield run


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@needs_root
@pytest.mark.parametrize("kind", ["user", "net", "mnt", "ipc", "uts"])
def test_a_keep_has_its_own_namespaces(kind: str, looping: Running) -> None:
    assert os.readlink(f"/proc/{looping.keep_pid()}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


@needs_root
def test_a_keep_has_given_up_its_privileges(looping: Running) -> None:
    pid = looping.keep_pid()
    for task in os.listdir(f"/proc/{pid}/task"):
        status = status_of(int(task))
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status[capabilities], 16) == 0, (task, capabilities)


@needs_root
def test_a_keep_sees_no_network(looping: Running) -> None:
    lines = Path(f"/proc/{looping.keep_pid()}/net/dev").read_text().splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in lines] == ["lo"]
    assert Path(f"/proc/{looping.keep_pid()}/net/tcp").read_text().count("\n") == 1  # the heading


@needs_root
def test_a_keep_has_an_empty_root_directory(looping: Running) -> None:
    pid = looping.keep_pid()
    assert os.listdir(f"/proc/{pid}/root") == []
    assert os.listdir(f"/proc/{pid}/cwd") == []
    mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    assert len(mounts) == 1
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounts[0].split()[3].split(","))


@needs_root
def test_a_keep_has_a_clean_environment(looping: Running) -> None:
    variables = Path(f"/proc/{looping.keep_pid()}/environ").read_bytes().split(b"\0")
    assert [variable.partition(b"=")[0] for variable in variables if variable] == [b"OPENSSL_CONF"]


@needs_root
def test_a_keep_has_no_descriptor_of_the_hosts_but_the_link_and_what_it_asked_for(looping: Running) -> None:
    host, keep = looping.process.pid, looping.keep_pid()
    inherited = [os.readlink(f"/proc/{host}/fd/{fd}") for fd in os.listdir(f"/proc/{host}/fd")]
    assert any(target.endswith("/secret") for target in inherited), "the host itself must have got it"
    targets = {int(fd): os.readlink(f"/proc/{keep}/fd/{fd}") for fd in os.listdir(f"/proc/{keep}/fd")}
    standard = [os.readlink(f"/proc/{host}/fd/{fd}") for fd in range(3)]
    assert [targets.pop(fd) for fd in range(3)] == ["/dev/null"] * 3
    assert targets.pop(3).startswith("socket:")
    for target in targets.values():
        assert target in standard or target in ("anon_inode:[eventfd]", "anon_inode:[eventpoll]"), targets
    assert sorted(target for target in targets.values() if target.startswith("pipe:")) == sorted(standard)


def test_an_inherited_descriptor_beyond_a_limit_that_was_lowered_since_does_not_matter(tmp_path: Path) -> None:
    lower = "import os, resource, sys; os.dup2(0, 200); resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); "
    code = lower + "os.execv(sys.argv[1], sys.argv[1:])"
    done = enarx("run", module(tmp_path, programs.HELLO), cwd=tmp_path, prefix=[sys.executable, "-I", "-S", "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")


@needs_root
def test_a_keep_leaves_no_core_and_cannot_raise_its_limits(looping: Running) -> None:
    lines = Path(f"/proc/{looping.keep_pid()}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max core file size"] == ["0", "0"]
    soft, hard = limits["Max open files"]
    assert soft == hard


def test_a_keep_makes_no_network_socket_of_its_own(require_tool: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Its streams come from the host. What the kernel was asked for, from the first instruction of both on."""
    strace = require_tool("strace", "strace")
    if subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody trace a process")
    with socket.create_server(("127.0.0.1", 0)) as peer:
        port = peer.getsockname()[1]
        text = f"""{STDIO}
            [[files]]\nkind = "connect"\nprot = "tcp"\nhost = "127.0.0.1"\nport = {port}\n
            [[files]]\nkind = "listen"\nname = "plain"\nprot = "tcp"\naddr = "127.0.0.1"\nport = 0\n
            [[files]]\nkind = "listen"\nname = "secure"\nprot = "tls"\naddr = "127.0.0.1"\nport = 0\n"""
        calls = "trace=execve,clone,clone3,fork,vfork,socket,bind,listen,connect,accept,accept4"
        done = enarx(
            "run", "--wasmcfgfile", config(tmp_path, text), module(tmp_path, programs.HELLO), cwd=tmp_path,
            prefix=[str(strace), "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(tmp_path / "trace")],
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")
    lines = [line.split(maxsplit=1) for line in (tmp_path / "trace").read_text().splitlines()]
    _, keep = [task for task, call in lines if call.startswith("execve(")]
    tasks, found = {keep}, list[str]()
    for task, call in lines:
        name = call.removeprefix("<... ").replace(" ", "(").partition("(")[0]
        if task not in tasks:
            found.append(name)
        elif name in ("clone", "clone3") and (made := re.search(r" = (\d+)$", call)):
            tasks.add(made[1])
        else:
            assert name in ("execve", "clone", "clone3"), call
    assert len(tasks) > 1
    assert {"socket", "bind", "listen", "connect"} <= set(found)  # by the host


def test_verbose_says_what_was_applied(tmp_path: Path) -> None:
    done = enarx("run", "--verbose", "--require-sandbox", module(tmp_path, programs.HELLO), cwd=tmp_path)
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("enarx: sandbox: ")]
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr
    assert set(lines) == {f"enarx: sandbox: {layer}: applied" for layer in LAYERS}


# In a user namespace of its own a process may lower the number of namespaces that may be made below it.
WITHOUT = ["unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", "-ec",
           'echo 0 > /proc/sys/user/$0; exec "$@"']  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "layer"),
    [
        ("max_user_namespaces", "user_namespace"),
        ("max_net_namespaces", "network_namespace"),
        ("max_ipc_namespaces", "ipc_namespace"),
        ("max_mnt_namespaces", "mount_namespace"),
    ],
)
def test_a_layer_that_the_kernel_forbids(setting: str, layer: str, tmp_path: Path) -> None:
    prefix = [*WITHOUT, setting]
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system lets nobody lower {setting}: {probe.stderr.decode().strip()}")
    path = module(tmp_path, programs.HELLO)

    strict = enarx("run", "--require-sandbox", path, cwd=tmp_path, prefix=prefix)
    assert (strict.returncode, code_of(strict.stderr), strict.stdout) == (1, "sandbox-incomplete", b"")
    assert f"{layer} (not applied: " in strict.stderr.decode()
    assert b"Hint: " in strict.stderr

    lenient = enarx("run", "--verbose", path, cwd=tmp_path, prefix=prefix)
    assert (lenient.returncode, lenient.stdout) == (0, b"ready\n"), lenient.stderr
    assert f"enarx: sandbox: {layer}: not applied: " in lenient.stderr.decode()
    assert "enarx: sandbox: seccomp: applied" in lenient.stderr.decode()


def test_what_needs_a_missing_layer_is_not_applied_either(tmp_path: Path) -> None:
    prefix = [*WITHOUT, "max_mnt_namespaces"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody lower max_mnt_namespaces")
    done = enarx("run", "--verbose", module(tmp_path, programs.HELLO), cwd=tmp_path, prefix=prefix)
    assert b"enarx: sandbox: empty_root: not applied: needs the mount namespace" in done.stderr


def test_the_users_own_limits_are_kept(tmp_path: Path) -> None:
    """A limit that the user set on the size of files holds for what the workload writes to one."""
    done = subprocess.run(
        ["prlimit", "--fsize=65536:65536", "--", "/bin/sh", "-c", 'exec "$0" "$@" > out',
         str(support.command()), "run", "--no-cache", str(module(tmp_path, programs.writer(64)))],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "out").stat().st_size == 65536


def test_a_workload_with_tls_runs_in_the_full_sandbox(tmp_path: Path) -> None:
    path = config(tmp_path, STDIO + '[[files]]\nkind = "listen"\nname = "L"\naddr = "127.0.0.1"\nport = 0\n')
    done = enarx("run", "--require-sandbox", "--wasmcfgfile", path, module(tmp_path, programs.HELLO), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")
