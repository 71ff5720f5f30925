from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx import __version__
from enarx.errors import HostError, UsageError
from enarx.host.platform.amd import BESIDE_MIB
from enarx.host.platform.facts import Facts
from enarx.host.platform.firmware import TDX_METADATA
from enarx.host.platform.qemufacts import QemuFacts
from enarx.host.platform.rows import Backend, Row
from enarx.host.platform.survey import BACKENDS, Survey, require, survey
from tests.evidence.ovmf_images import ovmf_image, table_entry, with_table
from tests.host.platform.machines import (
    AMD_FLAGS,
    QEMU_10,
    QEMU_11,
    STRANGER,
    Tree,
    cpuinfo,
    epyc_snp,
    facts_of,
    modules,
    ordinary,
    rome_sev,
    xeon_tdx,
)


def have(found: Survey) -> set[str]:
    return {backend.name for backend in found.backends if backend.have}


def backend(facts: Facts, name: str) -> Backend:
    return next(one for one in survey(facts).backends if one.name == name)


def row(facts: Facts, kind: str, *names: str) -> Row:
    """The row that ``names`` lead to, from the outside in."""
    rows = backend(facts, kind).rows
    for name in names[:-1]:
        rows = next(one for one in rows if one.name == name).rows
    return next(one for one in rows if one.name == names[-1])


def tdvf(path: Path) -> str:
    """A firmware with TDX metadata."""
    entry = table_entry(TDX_METADATA, struct.pack("<I", 4 + 22 + 18 + 32))
    path.write_bytes(with_table([entry], body=b"TDVF"))
    return str(path)


def test_an_snp_host_can_launch_everything_of_amd_but_with_little_locked_memory_only_snp(tmp_path: Path) -> None:
    facts = facts_of(epyc_snp(), tmp_path)

    assert have(survey(facts)) == {"process", "vm", "snp"}
    for kind in ("sev", "sev-es"):
        assert [failure.name for failure in backend(facts, kind).failures()] == ["Locked memory"]
    assert "memlock" in row(facts, "sev", "Locked memory").advice


def test_what_is_said_of_an_snp_host_is_what_it_answers(tmp_path: Path) -> None:
    facts = facts_of(epyc_snp(), tmp_path)

    assert row(facts, "snp", "CPU", "C-bit").info == "bit 51"
    assert row(facts, "snp", "CPU", "ASIDs").info == "99 guests at once"
    assert row(facts, "sev", "CPU", "ASIDs").info == f"{0x3EE - 99} guests at once"
    firmware = row(facts, "snp", "Secure processor", "firmware").info
    assert firmware == "1.55 build 39, initialized, 0 guests, reported TCB 0a000000000018db"
    assert row(facts, "snp", "Secure processor", "/dev/sev").info.startswith("-rw-rw---- ")
    assert "EPYC 9004 (Genoa)" in survey(facts).machine[0].info
    assert "AMD EPYC 9354" in survey(facts).system


def test_a_host_with_sev_alone_is_told_what_the_others_lack(tmp_path: Path) -> None:
    facts = facts_of(rome_sev(), tmp_path)

    assert have(survey(facts)) == {"process", "vm", "sev"}
    lacks = [failure.name for failure in backend(facts, "sev-es").failures()]
    assert lacks == ["ASIDs", "kvm_amd.sev_es"]
    assert "SEV-ES ASID Space Limit" in row(facts, "sev-es", "CPU", "ASIDs").advice
    assert {"SEV-SNP", "Linux", "kvm_amd.sev_snp", "guests of type snp", "firmware"} <= {
        failure.name for failure in backend(facts, "snp").failures()
    }
    # Kernels of that age do not say which guests they make, and that is not held against them.
    assert not row(facts, "sev", "KVM", "guests of type sev").required


def test_a_tdx_host_launches_tdx_with_a_firmware_and_a_qemu_for_it(tmp_path: Path) -> None:
    firmware = tdvf(tmp_path / "tdvf.fd")

    good = facts_of(xeon_tdx(), tmp_path / "good", qemu=QEMU_11, firmware=firmware)
    old = facts_of(xeon_tdx(), tmp_path / "old", qemu=QEMU_10, firmware=firmware)
    bare = facts_of(xeon_tdx(), tmp_path / "bare", qemu=QEMU_11)

    assert have(survey(good)) == {"process", "vm", "tdx"}
    assert [failure.name for failure in backend(old, "tdx").failures()] == ["version", "object tdx-guest"]
    assert "--firmware" in row(bare, "tdx", "Firmware", "file").advice
    assert "AMD EPYC" in row(good, "snp", "CPU", "vendor").advice


def test_an_ordinary_machine_runs_processes_and_plain_vms(tmp_path: Path) -> None:
    found = survey(facts_of(ordinary(), tmp_path))

    assert have(found) == {"process", "vm"}
    for one in found.backends:
        for failure in one.failures():
            assert failure.info or failure.advice, failure.name


def test_a_directory_without_anything_is_a_machine_that_lacks_everything(tmp_path: Path) -> None:
    found = survey(facts_of(Tree(), tmp_path))

    assert "unknown processor" in found.system
    assert have(found) == {"process", "vm"}


@pytest.mark.parametrize("kind", ["snp", "sev", "sev-es"])
def test_a_user_outside_the_group_is_told_which_to_join(kind: str, tmp_path: Path) -> None:
    facts = facts_of(epyc_snp(), tmp_path, who=STRANGER)

    for place, device in (("KVM", "/dev/kvm"), ("Secure processor", "/dev/sev")):
        found = row(facts, kind, place, device)
        assert not found.passed
        assert "usermod -a -G kvm" in found.advice


def test_a_device_for_root_alone_needs_a_rule(tmp_path: Path) -> None:
    tree = epyc_snp()
    tree.devices["/dev/sev"] = 0o600

    found = row(facts_of(tree, tmp_path), "snp", "Secure processor", "/dev/sev")

    assert not found.passed
    assert 'KERNEL=="sev"' in found.advice


def _drop_flag(tree: Tree) -> None:
    tree.leaf = (0x0001_000F, 51, 509, 100)


def _old_kernel(tree: Tree) -> None:
    tree.files["/proc/sys/kernel/osrelease"] = "6.8.0-31-generic"


def _module_off(tree: Tree) -> None:
    tree.files |= modules(kvm_amd__sev_snp="N")


def _module_gone(tree: Tree) -> None:
    for name in [name for name in tree.files if name.startswith("/sys/module")]:
        del tree.files[name]


def _no_kvm(tree: Tree) -> None:
    del tree.devices["/dev/kvm"]


def _no_sev(tree: Tree) -> None:
    del tree.devices["/dev/sev"]


def _no_type(tree: Tree) -> None:
    tree.vm_types = 0b1101


def _old_kvm(tree: Tree) -> None:
    tree.kvm_api = 11


def _old_firmware(tree: Tree) -> None:
    tree.snp_status = struct.pack("<BBBBIIIQQ", 1, 49, 1, 1, 3, 0, 0, 0, 0)


def _firmware_fails(tree: Tree) -> None:
    tree.snp_status, tree.sev_error = b"", 0x16


def _no_leaf(tree: Tree) -> None:
    tree.leaf = None


def _no_asids(tree: Tree) -> None:
    tree.leaf = (0x0101_FD3F, 51, 509, 1)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (_drop_flag, ["SEV-SNP"]),
        (_old_kernel, ["Linux"]),
        (_module_off, ["kvm_amd.sev_snp"]),
        (_module_gone, ["kvm_amd.sev_snp"]),
        (_no_kvm, ["/dev/kvm"]),
        (_no_sev, ["/dev/sev"]),
        (_no_type, ["guests of type snp"]),
        (_old_kvm, ["API"]),
        (_old_firmware, ["firmware"]),
        (_firmware_fails, ["firmware"]),
        (_no_leaf, ["C-bit"]),
        (_no_asids, ["ASIDs"]),
    ],
)
def test_each_thing_that_an_snp_host_lacks_is_named_with_what_to_do(
    change: Callable[[Tree], None], names: list[str], tmp_path: Path
) -> None:
    tree = epyc_snp()
    change(tree)
    facts = facts_of(tree, tmp_path)

    missing = backend(facts, "snp").failures()

    assert [failure.name for failure in missing] == names
    assert all(failure.advice for failure in missing)
    with pytest.raises(HostError) as caught:
        require("snp", facts)
    assert caught.value.code == "platform-unsuitable"
    assert all(f", {name}: " in caught.value.message for name in names)
    assert "enarx platform info" in caught.value.hint


@pytest.mark.parametrize(
    ("firmware", "kind", "lacks"),
    [
        (ovmf_image(sections=None), "snp", ["SEV metadata", "kernel hashes"]),
        (ovmf_image(hash_table=None), "sev", ["hash table"]),
        (ovmf_image(reset_eip=None), "sev-es", ["SEV-ES reset block"]),
        (b"no firmware", "snp", ["SEV metadata", "kernel hashes"]),
        (b"", "snp", ["file"]),
    ],
)
def test_a_firmware_that_cannot_be_launched_as_is_said_so(
    firmware: bytes, kind: str, lacks: list[str], tmp_path: Path
) -> None:
    tree = epyc_snp()
    tree.files["/proc/self/limits"] = "Max locked memory  unlimited  unlimited  bytes"
    (tmp_path / "firmware.fd").write_bytes(firmware)
    facts = facts_of(tree, tmp_path, firmware=str(tmp_path / "firmware.fd"))

    assert [failure.name for failure in backend(facts, kind).failures()] == lacks


@pytest.mark.parametrize(
    ("qemu", "lacks"),
    [
        (QemuFacts(failure="no qemu-system-x86_64 in PATH"), ["program"]),
        (QemuFacts("/q", "", (9, 0, 4), frozenset(("sev-guest", "sev-snp-guest"))), ["version"]),
        (QemuFacts("/q", "", (9, 1, 0), frozenset(("sev-guest",))), ["object sev-snp-guest"]),
    ],
)
def test_a_qemu_that_will_not_do_is_said_so(qemu: QemuFacts, lacks: list[str], tmp_path: Path) -> None:
    facts = facts_of(epyc_snp(), tmp_path, qemu=qemu)

    assert [failure.name for failure in backend(facts, "snp").failures()] == lacks


def test_a_machine_without_an_image_says_how_to_make_one(tmp_path: Path) -> None:
    from enarx.host.platform.survey import gather

    machine = epyc_snp().write(tmp_path / "machine")
    facts = gather(machine, image=str(tmp_path / "none"), qemu=QEMU_10)

    assert [failure.name for failure in backend(facts, "snp").failures()] == ["Image", "file"]
    assert "enarx image build" in row(facts, "snp", "Image").advice


def test_a_guest_is_told_that_its_host_decides(tmp_path: Path) -> None:
    tree = Tree(files={"/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 17, "fpu svm hypervisor")}, leaf=(0, 0, 0, 0))
    facts = facts_of(tree, tmp_path)

    assert "this machine is a guest" in row(facts, "snp", "CPU", "SEV-SNP").advice
    assert any(one.name == "Bare metal" and not one.passed for one in survey(facts).machine)


def test_without_cpuid_the_flags_of_the_kernel_are_believed(tmp_path: Path) -> None:
    tree = Tree(files={"/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 1, AMD_FLAGS)})

    found = row(facts_of(tree, tmp_path), "snp", "CPU", "SEV-SNP")

    assert found.passed
    assert "/proc/cpuinfo" in found.info


def test_the_memory_of_the_guest_is_what_must_be_locked(tmp_path: Path) -> None:
    tree = epyc_snp()
    limit = 256 + BESIDE_MIB << 20
    tree.files["/proc/self/limits"] = f"Max locked memory  {limit}  {limit}  bytes"

    small = facts_of(tree, tmp_path / "small", memory_mib=256)
    large = facts_of(tree, tmp_path / "large", memory_mib=257)

    assert row(small, "sev", "Locked memory").passed
    assert not row(large, "sev", "Locked memory").passed


def test_requiring_what_is_there_is_silent(tmp_path: Path) -> None:
    require("snp", facts_of(epyc_snp(), tmp_path))


def test_an_unknown_kind_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sgx") as caught:
        require("sgx", facts_of(ordinary(), tmp_path))
    assert caught.value.code == "backend-unknown"
    assert all(kind in caught.value.hint for kind in BACKENDS)


def test_the_json_has_the_published_shape(tmp_path: Path) -> None:
    found = json.loads(json.dumps(survey(facts_of(ordinary(), tmp_path)).as_json()))

    assert list(found) == ["version", "system_info", "machine", "backends"]
    assert found["version"] == __version__
    assert [one["backend"] for one in found["backends"]] == ["process", "vm", "snp", "sev", "sev-es", "tdx"]
    assert all(list(one) == ["backend", "have", "data"] for one in found["backends"])

    def check(one: dict[str, object]) -> None:
        assert list(one) == ["name", "pass", "info", "mesg", "required", "data"]
        assert isinstance(one["name"], str)
        assert one["name"] == one["name"].strip()
        assert isinstance(one["pass"], bool)
        assert isinstance(one["info"], str) and one["info"]
        assert isinstance(one["mesg"], str) and one["mesg"]
        assert isinstance(one["data"], list)
        for inner in one["data"]:
            check(inner)

    for outer in found["machine"] + [one for each in found["backends"] for one in each["data"]]:
        check(outer)
