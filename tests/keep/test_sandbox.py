"""The sandbox from inside: what a process that has entered it can no longer do, whatever code it runs."""

from __future__ import annotations

import subprocess

import pytest

from enarx.errors import SandboxError
from enarx.keep.sandbox import APPLIED, Sandbox
from tests.keep.confined import confined

# ctypes is what code that broke out of WebAssembly would have: system calls, and no Python in the way.
PROBE = """
import ctypes, errno, fcntl, resource, signal, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
here, there = socket.socketpair()
parent, machine = os.getppid(), os.uname().machine
sandbox.begin()
sandbox.finish()

def attempt(name, action):
    try:
        results[name] = repr(action())
    except OSError as error:
        results[name] = errno.errorcode[error.errno]

def system_call(number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments]) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "done"

attempt("socket inet", lambda: socket.socket(socket.AF_INET))
attempt("socket inet6", lambda: socket.socket(socket.AF_INET6))
attempt("socket unix", lambda: socket.socket(socket.AF_UNIX))
attempt("socket packet", lambda: socket.socket(socket.AF_PACKET))
attempt("connect", lambda: here.connect("/run/anything"))
attempt("bind", lambda: here.bind("/run/anything"))
attempt("open", lambda: open("/etc/passwd"))
attempt("open write", lambda: open("/new", "w"))
attempt("listdir", lambda: os.listdir("/"))
attempt("mkdir", lambda: os.mkdir("/new"))
attempt("chdir", lambda: os.chdir("/"))
attempt("execv", lambda: os.execv("/bin/true", ["true"]))
attempt("fork", os.fork)
attempt("kill parent", lambda: os.kill(parent, 0))
attempt("pidfd_open", lambda: os.pidfd_open(parent))
attempt("set parent's limits", lambda: resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1)))
attempt("set affinity", lambda: os.sched_setaffinity(parent, [0]))
attempt("TIOCSTI", lambda: fcntl.ioctl(0, 0x5412, b"x"))
attempt("TIOCLINUX", lambda: fcntl.ioctl(0, 0x541C, b"x"))
attempt("F_SETOWN", lambda: fcntl.fcntl(0, fcntl.F_SETOWN, parent))
if machine == "x86_64":
    attempt("ptrace", lambda: system_call(101, 16, parent, 0, 0))
    attempt("process_vm_readv", lambda: system_call(310, parent, 0, 0, 0, 0, 0))
    attempt("prctl", lambda: system_call(157, 38, 0, 0, 0, 0))
    attempt("bpf", lambda: system_call(321, 0, 0, 0))
    attempt("io_uring_setup", lambda: system_call(425, 1, 0))
    attempt("mount", lambda: system_call(165, 0, 0, 0, 0, 0))
    attempt("unshare", lambda: system_call(272, 0x10000000))
    attempt("setns", lambda: system_call(308, 0, 0))
    attempt("keyctl", lambda: system_call(250, 0, 0))
    attempt("memfd_secret", lambda: system_call(447, 0))
    attempt("execveat", lambda: system_call(322, 0, 0, 0, 0, 0))
    attempt("vfork", lambda: system_call(58))
    attempt("clone3", lambda: system_call(435, 0, 0))
    attempt("tgkill parent", lambda: system_call(234, parent, parent, 0))
    attempt("tgkill self", lambda: system_call(234, os.getpid(), threading.get_native_id(), 0))

def in_thread():
    with here, there:
        here.sendall(b"through")
        results["socketpair in a thread"] = there.recv(7).decode()
    read = os.eventfd(1)
    results["eventfd"] = os.eventfd_read(read)
    results["random"] = len(os.urandom(16))

thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
"""
NOT_PERMITTED = [
    "socket inet", "socket inet6", "socket unix", "socket packet", "connect", "bind", "open", "open write", "listdir",
    "mkdir", "chdir", "execv", "fork", "kill parent", "pidfd_open", "set parent's limits", "set affinity", "TIOCSTI",
    "TIOCLINUX", "F_SETOWN",
]  # fmt: skip
NOT_PERMITTED_X86_64 = [
    "ptrace", "prctl", "process_vm_readv", "bpf", "io_uring_setup", "mount", "unshare", "setns", "keyctl",
    "memfd_secret", "execveat", "vfork", "tgkill parent",
]  # fmt: skip


def test_inside_the_sandbox_everything_but_computing_is_refused() -> None:
    results, report = confined(PROBE)
    assert set(report.values()) == {APPLIED}, report
    assert {name: results[name] for name in NOT_PERMITTED} == dict.fromkeys(NOT_PERMITTED, "EPERM")
    if "ptrace" in results:
        assert {name: results[name] for name in NOT_PERMITTED_X86_64} == dict.fromkeys(NOT_PERMITTED_X86_64, "EPERM")
        assert (results["clone3"], results["tgkill self"]) == ("ENOSYS", "'done'")
    assert (results["socketpair in a thread"], results["eventfd"], results["random"]) == ("through", 1, 16)


def test_the_filter_alone_keeps_files_and_sockets_away() -> None:
    """Where the kernel gives no namespaces, it is all there is."""
    results, report = confined("""
import errno, socket
sandbox._no_new_privs()
sandbox.finish()
for name, action in (("open", lambda: open("/etc/passwd")), ("socket", socket.socket), ("fork", os.fork)):
    try:
        action()
    except OSError as error:
        results[name] = errno.errorcode[error.errno]
""")
    assert results == {"open": "EPERM", "socket": "EPERM", "fork": "EPERM"}
    assert report["empty_root"].startswith("not applied: needs")
    assert report["seccomp"] == APPLIED


def test_the_old_root_cannot_be_reached() -> None:
    """Before the system call filter forbids to look at all."""
    results, report = confined("""
sandbox._seccomp = lambda certificates: None
sandbox.begin()
sandbox.finish()
results["root"], results["above"] = os.listdir("/"), os.listdir("../../..")
try:
    os.mkdir("/new")
except OSError as error:
    results["mkdir"] = error.errno
""")
    assert (results["root"], results["above"]) == ([], [])
    assert results["mkdir"] in (1, 13, 30)
    assert report["empty_root"] == APPLIED


def test_a_limit_that_was_set_before_is_not_raised() -> None:
    results, _ = confined(
        """
import resource
sandbox.begin()
for name in ("CORE", "NOFILE", "FSIZE"):
    results[name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
""",
        prefix=("prlimit", "--nofile=64:64", "--fsize=100000000:100000000", "--core=5:5", "--"),
    )
    assert results == {"CORE": [0, 0], "NOFILE": [64, 64], "FSIZE": [100000000, 100000000]}


def test_a_layer_that_fails_is_reported_and_does_not_stop_the_others() -> None:
    shell = 'echo 0 > /proc/sys/user/max_mnt_namespaces; exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "--", "/bin/sh", "-ec", shell, "sh")
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system lets nobody lower max_mnt_namespaces: {probe.stderr.decode().strip()}")
    results, report = confined(
        """
sandbox.begin()
sandbox.finish()
from enarx.errors import SandboxError
try:
    sandbox.require()
except SandboxError as error:
    results.update(code=error.code, message=error.message)
""",
        prefix=prefix,
    )
    assert report["mount_namespace"].startswith("not applied: ")
    assert report["empty_root"] == "not applied: needs the mount namespace"
    assert {report[name] for name in report if name not in ("mount_namespace", "empty_root")} == {APPLIED}
    assert results["code"] == "sandbox-incomplete"
    assert "mount_namespace" in results["message"]
    assert "seccomp" not in results["message"]


def test_with_a_certificate_to_come_own_descriptors_can_be_read_and_nothing_else_opened() -> None:
    results, report = confined("""
import errno
sandbox.begin()
sandbox.finish(certificates=True)
fd = os.memfd_create("identity", os.MFD_CLOEXEC)
os.write(fd, b"a certificate")
with open(f"{sandbox.descriptors()}/{fd}", "rb") as file:
    results["read"] = file.read().decode()
for name, path, flags in (
    ("write", f"/fd/{fd}", os.O_WRONLY),
    ("both", f"/fd/{fd}", os.O_RDWR),
    ("make", "/new", os.O_CREAT),
    ("append", f"/fd/{fd}", os.O_APPEND),
    ("list", "/fd", os.O_DIRECTORY),
    ("passwd", "/etc/passwd", os.O_RDONLY),
    ("above", "/fd/../../etc/passwd", os.O_RDONLY),
    ("another", f"/fd/../{os.getppid()}/environ", os.O_RDONLY),
):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        results[name] = errno.errorcode[error.errno]
""")
    assert set(report.values()) == {APPLIED}, report
    assert results.pop("read") == "a certificate"
    assert results == {
        "write": "EPERM", "both": "EPERM", "make": "EPERM", "append": "EPERM", "list": "EPERM",
        "passwd": "ENOENT", "above": "ENOENT", "another": "ENOENT",
    }  # fmt: skip


def test_a_machine_without_a_filter_says_so() -> None:
    _, report = confined("sandbox._machine = 'riscv64'\nsandbox.finish()")
    assert report["seccomp"].startswith("not applied: ")


def test_a_complete_sandbox_satisfies_who_requires_it() -> None:
    sandbox = Sandbox()
    sandbox.report = {"a": APPLIED, "b": APPLIED}
    sandbox.require()
    sandbox.report["c"] = "not applied: because"
    with pytest.raises(SandboxError, match=r"c \(not applied: because\)"):
        sandbox.require()


def test_descriptors_above_the_link_are_closed() -> None:
    results, _ = confined("""
from enarx.keep.sandbox import close_inherited
os.dup2(1, 40)
os.dup2(1, 900)
before = set(os.listdir("/proc/self/fd"))
close_inherited(20)
after = set(os.listdir("/proc/self/fd"))
results["closed"] = sorted(before - after, key=int)
""")
    assert [fd for fd in results["closed"] if int(fd) > 20] == ["40", "900"]
