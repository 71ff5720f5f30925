"""How a kernel is built: with sources of a few lines, whose Makefile is asked for the same as the kernel's own."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import HostError
from enarx.host.image import kernelbuild
from enarx.host.image.kernelbuild import Product, named, options, unmet
from tests.support import ROOT, require_tool

MUST_BE_OFF = {
    "MODULES", "DEVMEM", "DEVPORT", "PROC_KCORE", "KEXEC", "KEXEC_FILE", "HIBERNATION", "DEBUG_FS", "TRACING",
    "KPROBES", "MAGIC_SYSRQ", "BPF_SYSCALL", "IO_URING", "USERFAULTFD", "BLOCK", "INET", "PACKET", "VSOCKETS",
    "NETDEVICES", "USB_SUPPORT", "INPUT", "VT", "DRM", "FB", "FW_CFG_SYSFS", "HW_RANDOM", "SWAP", "BINFMT_MISC",
    "IA32_EMULATION", "MODIFY_LDT_SYSCALL", "VIRTIO_BALLOON", "MEMORY_HOTPLUG", "HOTPLUG_PCI",
    "CMDLINE_BOOL", "ACPI_TABLE_UPGRADE",
}  # fmt: skip
MUST_BE_ON = {
    "SMP", "AMD_MEM_ENCRYPT", "INTEL_TDX_GUEST", "SEV_GUEST", "TDX_GUEST_DRIVER", "TSM_REPORTS", "EFI_SECRET",
    "EFI_STUB", "VIRTIO_PCI", "VIRTIO_CONSOLE", "SERIAL_8250_CONSOLE", "SECCOMP_FILTER", "USER_NS", "NET_NS", "IPC_NS",
    "UTS_NS", "UNIX", "STRICT_KERNEL_RWX", "RANDOMIZE_BASE", "HARDENED_USERCOPY", "STACKPROTECTOR_STRONG",
    "INIT_ON_ALLOC_DEFAULT_ON", "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "PANIC_ON_OOPS", "CPU_MITIGATIONS",
}  # fmt: skip

MAKEFILE = """\
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) .config
bzImage:
\t@echo building && test -z "$$SECRET" && grep -q REGION_DISJOINT include/acpi/acpi_io.h
\t@mkdir -p arch/x86/boot
\t@{ env | grep -E '^(KBUILD|SOURCE|TZ|LC_ALL)' | sort; umask; } > arch/x86/boot/bzImage
\t@echo symbols > System.map
"""

settings_of = st.dictionaries(
    st.from_regex(r"CONFIG_[A-Z][A-Z0-9_]{0,12}", fullmatch=True),
    st.sampled_from(["y", "64", '"text with spaces"', None]),
)


def lines(values: dict[str, str | None]) -> list[str]:
    return [f"# {name} is not set" if value is None else f"{name}={value}" for name, value in values.items()]


@given(settings_of, settings_of)
def test_a_fragment_holds_in_a_configuration_that_has_all_of_it(
    fragment: dict[str, str | None], others: dict[str, str | None]
) -> None:
    assert unmet("\n".join(["# a comment", *lines(fragment)]), "\n".join(lines(others | fragment))) == []


@given(settings_of.filter(bool), st.data())
def test_each_line_that_does_not_hold_is_named(fragment: dict[str, str | None], data: st.DataObject) -> None:
    wrong = data.draw(st.sets(st.sampled_from(sorted(fragment)), min_size=1))
    config = {name: ("m" if name in wrong else value) for name, value in fragment.items()}
    assert unmet("\n".join(lines(fragment)), "\n".join(lines(config))) == lines(
        {name: value for name, value in fragment.items() if name in wrong}
    )


def test_an_option_that_is_not_there_at_all_is_off_and_not_on() -> None:
    assert unmet("# CONFIG_A is not set\nCONFIG_B=y", "") == ["CONFIG_B=y"]


def test_options_are_read_from_kconfig() -> None:
    text = 'config A\n\tbool "a"\nmenuconfig B\nchoice\n\tconfig C\n  depends on config D\n# config E\n'
    assert options(text) == {"A", "B", "C"}


def test_the_configuration_says_each_thing_once() -> None:
    said = re.findall(r"^(?:# )?CONFIG_(\w+)", kernelbuild.own_config().decode(), re.MULTILINE)
    assert len(said) == len(set(said))
    assert set(said) == named(kernelbuild.own_config().decode())


def test_what_must_be_off_is_off_and_what_must_be_on_is_on() -> None:
    text = kernelbuild.own_config().decode()
    assert {name for name in MUST_BE_OFF if f"# CONFIG_{name} is not set\n" not in text} == set()
    assert {name for name in MUST_BE_ON if f"CONFIG_{name}=y\n" not in text} == set()


def test_what_a_build_needs_is_in_the_list_of_debian_packages() -> None:
    listed = {line.split()[0] for line in (ROOT / "requirements" / "apt.txt").read_text().splitlines() if line.strip()}
    brought = {"dpkg", "tar", "util-linux", "binutils"}  # by every Debian, and by the compiler
    needed = {*kernelbuild.PROGRAMS.values(), *kernelbuild.HEADERS.values()}
    assert needed - brought <= listed


def test_missing_tools_are_named_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as caught:
        kernelbuild.toolchain()
    assert caught.value.code == "kernel-tools"
    for package in ("gcc-12", "flex", "bison", "zstd"):
        assert package in caught.value.message
        assert package in caught.value.hint


# --- builds


def old_side(patch: str) -> dict[str, str]:
    """Files that the patch applies to, with empty lines where it says nothing."""
    files: dict[str, list[str]] = {}
    content: list[str] = []
    for line in patch.splitlines():
        if line.startswith("--- a/"):
            content = files.setdefault(line.removeprefix("--- a/"), [])
        elif hunk := re.match(r"@@ -(\d+)", line):
            content += [""] * (int(hunk[1]) - 1 - len(content))
        elif line.startswith((" ", "-")) and not line.startswith("---"):
            content.append(line[1:])
    return {name: "\n".join(content) + "\n" for name, content in files.items()}


def package(directory: Path, makefile: str = MAKEFILE, kconfig: str | None = None) -> Path:
    """A package of sources with that Makefile."""
    for program, name in (("make", "make"), ("patch", "patch"), ("xz", "xz-utils"), ("dpkg-deb", "dpkg")):
        require_tool(program, name)
    root = directory / "package"
    top = directory / "linux-source-6.12"
    if kconfig is None:
        kconfig = "".join(f"config {name}\n" for name in sorted(named(kernelbuild.own_config().decode())))
    for path, text in {
        **old_side(kernelbuild.own_patch().decode()),
        "Makefile": makefile,
        "sub/Kconfig.x": kconfig,
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    (root / "usr" / "src").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: linux-source-6.12\nVersion: 1\nArchitecture: all\nMaintainer: x <x@invalid>\nDescription: few lines\n"
    )
    with tarfile.open(root / "usr" / "src" / "linux-source-6.12.tar.xz", "w:xz") as archive:
        archive.add(top, "linux-source-6.12")
    target = directory / "package.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", str(root), str(target)], check=True, capture_output=True)
    return target


def build(directory: Path, deb: Path) -> Product:
    directory.mkdir(exist_ok=True)
    return kernelbuild.build(deb, directory, "name", 1)


def test_a_build_is_told_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = package(tmp_path)
    monkeypatch.setenv("SECRET", "of this machine")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("KBUILD_BUILD_USER", "somebody")
    before = os.umask(0o077)
    try:
        product = build(tmp_path / "work", deb)
    finally:
        os.umask(before)
    assert product.vmlinuz.decode().splitlines() == [
        *(f"{name}={value}" for name, value in sorted(kernelbuild.ENVIRONMENT.items())), "0022",
    ]  # fmt: skip
    assert product.config == kernelbuild.own_config()
    assert product.symbols == b"symbols\n"
    assert list((tmp_path / "work").iterdir()) == []


def failure(directory: Path, deb: Path) -> HostError:
    with pytest.raises(HostError) as caught:
        build(directory, deb)
    assert [path.name for path in directory.iterdir() if path.name.startswith(".")] == []
    return caught.value


def test_an_option_that_turns_out_otherwise_fails_the_build(tmp_path: Path) -> None:
    changed = MAKEFILE.replace(
        ".config\n", ".config; echo CONFIG_MODULES=y >> .config; sed -i /CONFIG_SMP=/d .config\n", 1
    )
    error = failure(tmp_path / "work", package(tmp_path, changed))
    assert error.code == "kernel-config"
    assert "CONFIG_MODULES is not set" in error.message
    assert "CONFIG_SMP=y" in error.message


def test_an_option_that_the_sources_do_not_know_fails_the_build(tmp_path: Path) -> None:
    kconfig = "".join(f"config {name}\n" for name in sorted(named(kernelbuild.own_config().decode()) - {"DEVMEM"}))
    error = failure(tmp_path / "work", package(tmp_path, kconfig=kconfig))
    assert error.code == "kernel-config"
    assert "CONFIG_DEVMEM, which these sources do not have" in error.message


def test_the_output_of_a_failed_build_is_kept(tmp_path: Path) -> None:
    deb = package(tmp_path, MAKEFILE.replace("@echo building &&", "@echo main.c: error: no such thing; false &&"))
    error = failure(tmp_path / "work", deb)
    assert error.code == "kernel-build"
    assert "main.c: error: no such thing" in error.message
    assert str(tmp_path / "work" / "name.log") in error.hint
    assert "main.c: error: no such thing" in (tmp_path / "work" / "name.log").read_text()


def test_sources_that_the_patch_does_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = package(tmp_path)
    patch = kernelbuild.own_patch().replace(
        b"-#define should_use_kmap(pfn)   page_is_ram(pfn)", b"-#define another(pfn) 1"
    )
    monkeypatch.setattr(kernelbuild, "own_patch", lambda: patch)
    error = failure(tmp_path / "work", deb)
    assert error.code == "kernel-build"
    assert "patch ended with 1" in error.message


def test_a_package_without_sources_is_refused(tmp_path: Path) -> None:
    deb = package(tmp_path)
    (tmp_path / "package" / "usr" / "src" / "linux-source-6.12.tar.xz").unlink()
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", str(tmp_path / "package"), str(deb)], check=True, capture_output=True
    )
    error = failure(tmp_path / "work", deb)
    assert error.code == "kernel-build"
    assert "0 archives" in error.message


def test_a_disk_without_room_is_said_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelbuild, "SPACE_BYTES", 1 << 62)
    error = failure(tmp_path, tmp_path / "none.deb")
    assert error.code == "kernel-space"


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, gone = tmp_path / "mark", tmp_path / "gone"
    deb = package(tmp_path, MAKEFILE.replace("@echo building &&", f"@echo $$PPID > {mark}; sleep 600; touch {gone};"))
    original = subprocess.Popen.wait

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is not None and "bzImage" in str(process.args):
            while not (mark.exists() and mark.read_text()):
                time.sleep(0.01)
            raise KeyboardInterrupt
        return original(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "work", deb)
    assert list((tmp_path / "work").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert not gone.exists()


def test_a_build_whose_process_is_killed_ends_and_the_next_one_clears_up(tmp_path: Path) -> None:
    mark, work = tmp_path / "mark", tmp_path / "work"
    slow = package(tmp_path, MAKEFILE.replace("@echo building &&", f"@echo $$PPID > {mark}; sleep 600;"))
    work.mkdir()
    code = "import sys; from pathlib import Path; from enarx.host.image import kernelbuild\n"
    code += "kernelbuild.build(Path(sys.argv[1]), Path(sys.argv[2]), 'name', 1)"
    with subprocess.Popen([sys.executable, "-c", code, str(slow), str(work)]) as process:
        while not (mark.exists() and mark.read_text().strip()):
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(BlockingIOError), kernelbuild._locked(next(work.iterdir()), fcntl.LOCK_EX | fcntl.LOCK_NB):
            pass
        process.kill()
    make = int(mark.read_text())
    while Path(f"/proc/{make}").exists() and "Z" not in Path(f"/proc/{make}/stat").read_text().rpartition(")")[2]:
        time.sleep(0.01)
    (left,) = work.iterdir()
    assert left.name.startswith(".kernel-")
    (tmp_path / "quick").mkdir()
    build(work, package(tmp_path / "quick"))
    assert list(work.iterdir()) == []
