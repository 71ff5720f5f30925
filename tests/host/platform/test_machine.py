from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.host.platform.cpu import read_cpu
from enarx.host.platform.cpuid import execute, read_device
from enarx.host.platform.firmware import read_firmware
from enarx.host.platform.kvm import API_VERSION, KVM_DEVICE, read_kvm
from enarx.host.platform.machine import TEXT_MAX_BYTES, Identity, Machine
from enarx.host.platform.sevfirmware import SEV_ISSUE_CMD, read_sev, read_snp
from enarx.host.platform.survey import survey
from tests.host.platform.machines import Tree, epyc_snp, facts_of

HEADER = Path("/usr/include/linux/psp-sev.h")


def test_text_is_bounded_and_of_regular_files_alone(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * (TEXT_MAX_BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b" \xff\x00 ")
    machine = Machine(str(tmp_path))

    assert len(machine.text("/long") or "") == TEXT_MAX_BYTES
    assert machine.text("/pipe") is None
    assert machine.text("/") is None
    assert machine.text("/none") is None
    assert machine.text("/no\0name") is None
    assert machine.text("/bytes") == "\N{REPLACEMENT CHARACTER}\0"


@pytest.mark.parametrize(
    ("text", "means"), [("Y\n", True), ("1", True), ("N", False), ("0\n", False), ("(null)", None)]
)
def test_a_switch_is_on_off_or_unknown(text: str, means: bool | None, tmp_path: Path) -> None:
    (tmp_path / "switch").write_text(text)

    assert Machine(str(tmp_path)).switch("/switch") is means
    assert Machine(str(tmp_path)).switch("/none") is None


@pytest.mark.parametrize(
    ("mode", "owner", "group", "other"),
    [
        (0o600, True, False, False),
        (0o660, True, True, False),
        (0o666, True, True, True),
        (0o060, False, True, False),
        (0o640, True, False, False),
        (0o662, True, True, False),
    ],
)
def test_who_may_use_a_device_follows_from_its_mode(
    mode: int, owner: bool, group: bool, other: bool, tmp_path: Path
) -> None:
    device = tmp_path / "device"
    device.touch()
    device.chmod(mode)
    uid, gid = os.geteuid() or 0, os.getegid()

    def usable(identity: Identity) -> bool:
        found = Machine(str(tmp_path), identity).node("/device")
        assert found is not None
        return found.usable

    assert usable(Identity(uid + 1, frozenset((gid,)))) == group
    assert usable(Identity(uid + 1, frozenset((gid + 1,)))) == other
    assert uid == 0 or usable(Identity(uid, frozenset((gid,)))) == owner
    assert usable(Identity(0, frozenset()))  # root


def test_the_group_of_a_device_has_its_name_or_else_its_number(tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    machine = Machine(str(tmp_path))
    number = os.getegid()

    found = machine.node("/device")
    assert found is not None and found.group == str(number)

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text(f"broken\nother:x:{number + 1}:\nkvm:x:{number}:somebody\n")
    found = machine.node("/device")
    assert found is not None and found.group == "kvm"
    assert machine.node("/none") is None


@pytest.mark.parametrize(
    ("limits", "capabilities", "means"),
    [
        ("Max locked memory  65536  65536  bytes", "0", 65536),
        ("Max locked memory  unlimited  unlimited  bytes", "0", None),
        ("Max open files  1  1  files", "0", 0),
        ("Max locked memory  65536  65536  bytes", f"{1 << 14:x}", None),
    ],
)
def test_the_limit_of_locked_memory_is_the_process_s_own(
    limits: str, capabilities: str, means: int | None, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/limits").write_text(f"Limit  Soft  Hard  Units\n{limits}\n")
    (tmp_path / "proc/self/status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")

    assert Machine(str(tmp_path)).locked_memory() == means


def test_cpuid_comes_from_the_device_at_the_leaf_s_own_offset(tmp_path: Path) -> None:
    machine = epyc_snp().write(tmp_path)

    assert machine.cpuid(0x8000_001F) == (0x0101_FD3F, 51 | 5 << 6, 0x3EE, 0x64)
    assert machine.cpuid(0x8000_0029) is None  # beyond the last
    assert read_device(str(tmp_path / "none"), 0, 0) is None
    assert Machine(str(tmp_path / "other")).cpuid(0) is None  # another machine's: never ours


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction is x86's")
def test_the_instruction_says_what_the_kernel_says() -> None:
    vendor = execute(0, 0)

    assert vendor is not None
    name = b"".join(vendor[index].to_bytes(4, "little") for index in (1, 3, 2)).decode()
    assert name == read_cpu(Machine()).vendor
    device = read_device("/dev/cpu/0/cpuid", 0, 0)
    assert device is None or device == vendor


def test_the_instruction_is_used_without_the_device(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path), execute=lambda leaf, subleaf: (0x8000_00FF, leaf & 0xFF, subleaf, 7))

    assert machine.cpuid(0x8000_001F, 2) == (0x8000_00FF, 0x1F, 2, 7)


@pytest.mark.skipif(not HEADER.exists(), reason="needs linux-libc-dev")
def test_the_command_for_the_firmware_is_that_of_linux() -> None:
    text = HEADER.read_text()

    assert "#define SEV_ISSUE_CMD	_IOWR(SEV_IOC_TYPE, 0x0, struct sev_issue_cmd)" in text
    assert "#define SEV_IOC_TYPE		'S'" in text
    assert hex(SEV_ISSUE_CMD) == "0xc0105300"  # _IOWR of 16 bytes: asm-generic/ioctl.h


def test_firmware_that_does_not_answer_says_why(tmp_path: Path) -> None:
    tree = epyc_snp()
    tree.sev_status, tree.snp_status, tree.sev_error = b"", b"", 0x16
    machine = tree.write(tmp_path)

    assert read_snp(machine) == "Input/output error (firmware error 0x16)"
    tree.sev_error = 0
    assert read_sev(machine) == "/dev/sev: Input/output error"
    assert read_sev(Machine(str(tmp_path / "none"))) == "/dev/sev: No such file or directory"


@pytest.mark.skipif(not os.access(KVM_DEVICE, os.R_OK | os.W_OK), reason="needs /dev/kvm")
def test_the_real_kvm_answers() -> None:
    found = read_kvm(Machine())

    assert (found.failure, found.api) == ("", API_VERSION)


def test_a_file_that_is_no_device_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    (tmp_path / "dev/sev").touch()
    machine = Machine(str(tmp_path))

    assert read_kvm(machine).failure.startswith("/dev/kvm: ")
    assert isinstance(read_snp(machine), str)


@given(st.binary(max_size=2000), st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_files_say_a_survey_comes_to_an_end(
    tmp_path_factory: pytest.TempPathFactory, cpu: bytes, limits: bytes, release: bytes
) -> None:
    root = tmp_path_factory.mktemp("machine")
    facts = facts_of(Tree(devices={"/dev/kvm": 0o600}), root)
    for name, data in {
        "cpuinfo": b"vendor_id\t: " + cpu,
        "self/limits": limits,
        "sys/kernel/osrelease": release,
    }.items():
        (root / "machine/proc" / name).write_bytes(data)

    found = survey(facts)

    assert {one.name for one in found.backends if one.have} <= {"process", "vm"}


@given(st.text(alphabet="0123456789: \t\nabcfmodelvendor_id", max_size=300))
def test_a_garbled_cpuinfo_gives_numbers_or_nothing(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("machine")
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(text)

    found = read_cpu(Machine(str(root)))

    assert all(number >= -1 for number in (found.family, found.model, found.stepping))


def test_published_firmware_is_told_apart(vectors: Path) -> None:
    tdx = read_firmware(str(vectors / "measure/OVMF.inteltdx.fd"))
    amd = read_firmware(str(vectors / "measure/ovmf_AmdSev_suffix.bin"))

    assert (tdx.failure, tdx.tdx, tdx.hash_table) == ("", True, False)
    assert (amd.failure, amd.hash_table, amd.sev_es, amd.snp) == ("", True, True, True)
