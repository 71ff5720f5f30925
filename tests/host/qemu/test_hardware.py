"""Command lines of confidential guests: to the letter, and before QEMU's own parser, as far as that goes without them.

QEMU makes the objects of a command line, which checks every property, and then looks for the accelerator. Without one
that has the technology it stops there, with an error that says so: whatever is wrong in an object is reported before.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import AuthenticityError, UsageError
from enarx.evidence.snp.idblock import IdBlock, authorize, endorse
from enarx.host.image.layout import Image, open_image
from enarx.host.platform.kvm import read_kvm
from enarx.host.platform.machine import Machine as Platform
from enarx.host.platform.qemufacts import QemuFacts, ask_qemu
from enarx.host.qemu.command import Descriptors
from enarx.host.qemu.hardware import (
    CONFIG_ID_BYTES,
    HOST_DATA_BYTES,
    Sev,
    Snp,
    Tdx,
    sev_arguments,
    snp_arguments,
    tdx_arguments,
)
from enarx.host.qemu.machine import Machine
from enarx.host.qemu.program import NAME
from enarx.manifest import Manifest, Workload
from tests.evidence.ovmf_images import ovmf_image
from tests.host.platform import machines

ANSWER_SECONDS = 60
KINDS = ("snp", "sev", "sev-es", "tdx")
REFUSALS = {
    "tcg": ("KVM required", "accelerator does not support confidential guest"),
    "kvm": ("not supported by KVM", "cbitpos check failed"),
}
"""Where QEMU stops when a command line is right, by accelerator."""
NO_TDX = "does not accept value 'tdx-guest'"
"""What QEMU 10.0 says. Of the command line of TDX it then proves nothing but that it is one."""
MANIFEST = Manifest(Workload("sha256:" + "5a" * 32))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return open_image(machines.image(tmp_path / "an image, with a comma", ovmf_image(pages=16)))


@pytest.fixture
def descriptors() -> Iterator[Descriptors]:
    """Real sockets: QEMU looks at what it inherits."""
    pairs = [socket.socketpair() for _ in range(2)]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen()
    yield Descriptors(pairs[0][0].fileno(), pairs[1][0].fileno(), listener.fileno())
    listener.close()
    for pair in pairs:
        for one in pair:
            one.close()


@pytest.fixture
def qemu(require_tool: Callable[[str, str], Path]) -> QemuFacts:
    found = ask_qemu(str(require_tool(NAME, "qemu-system-x86")))
    if "sev-snp-guest" not in found.objects:
        pytest.skip(f"QEMU {found.version_text()} is too old to know SEV-SNP")
    return found


def arguments_of(kind: str, image: Image, descriptors: Descriptors) -> list[str]:
    """A launch of each kind."""
    machine = Machine(256, 2)
    if kind == "snp":
        key, author = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
        block = IdBlock(bytes(range(48)))
        auth = authorize(block, key, endorse(author, key.public_key()))
        launch = Snp(51, MANIFEST.digest(), id_block=block, id_auth=auth)
        return snp_arguments(image, machine, descriptors, launch)
    if kind == "tdx":
        return tdx_arguments(image, machine, descriptors, Tdx(image.firmware, MANIFEST.digest384()))
    files = image.directory / "owner.cert", image.directory / "session"
    return sev_arguments(image, machine, descriptors, Sev(51, *files, 5 if kind == "sev-es" else 1))


def tee(arguments: list[str]) -> dict[str, Any]:
    """The object of the technology."""
    found = [json.loads(text) for option, text in pairwise(arguments) if option == "-object"]
    return next(one for one in found if one["id"] == "tee")


def changed(arguments: list[str], change: Callable[[dict[str, Any]], object]) -> list[str]:
    """The same command line with the object changed."""
    found = tee(arguments)
    text = json.dumps(found, separators=(",", ":"))
    change(found)
    return [json.dumps(found) if one == text else one for one in arguments]


def asked(qemu: QemuFacts, arguments: list[str], descriptors: Descriptors, accelerator: str = "tcg") -> str:
    """What QEMU says of a command line under another accelerator. It must refuse, and not start anything."""
    arguments = list(arguments)
    arguments[arguments.index("-accel") + 1] = accelerator
    done = subprocess.run(
        [qemu.path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        pass_fds=descriptors.all(), timeout=ANSWER_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "warning:" not in line]
    return "\n".join(lines)


def knows(qemu: QemuFacts, kind: str) -> bool:
    """Whether this QEMU has the technology at all; QEMU 10.0 has no TDX."""
    return kind != "tdx" or "tdx-guest" in qemu.objects


@pytest.mark.parametrize("kind", KINDS)
def test_qemu_accepts_each_command_line_up_to_the_missing_processor(
    kind: str, image: Image, descriptors: Descriptors, qemu: QemuFacts
) -> None:
    said = asked(qemu, arguments_of(kind, image, descriptors), descriptors)

    if knows(qemu, kind):
        assert any(refusal in said for refusal in REFUSALS["tcg"]), said
    else:
        assert NO_TDX in said


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs /dev/kvm")
@pytest.mark.parametrize("kind", KINDS)
def test_kvm_without_the_processor_refuses_the_guest(
    kind: str, image: Image, descriptors: Descriptors, qemu: QemuFacts
) -> None:
    if read_kvm(Platform()).makes(kind):
        pytest.skip("this machine could start it")

    said = asked(qemu, arguments_of(kind, image, descriptors), descriptors, "kvm")

    assert any(refusal in said for refusal in (REFUSALS["kvm"] if knows(qemu, kind) else (NO_TDX,))), said


def _short(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: found.__setitem__(name, "AAAA")


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("snp", _short("host-data"), "parameter length of 3 not equal to 32"),
        ("snp", _short("id-block"), "parameter length of 3 not equal to 96"),
        ("snp", lambda found: found.__setitem__("host-data", "?"), "Base64 data contains invalid characters"),
        ("snp", lambda found: found.__setitem__("policy", "x"), "policy"),
        ("snp", lambda found: found.__setitem__("cbit", 1), "Parameter 'cbit' is unexpected"),
        ("snp", lambda found: found.pop("cbitpos"), None),
        ("sev", lambda found: found.__setitem__("session", "x"), "Parameter 'session' is unexpected"),
        ("sev", lambda found: found.__setitem__("kernel-hashes", "on"), "kernel-hashes"),
        ("sev-es", lambda found: found.__setitem__("policy", -1), "policy"),
        ("tdx", lambda found: found.__setitem__("mrconfigid", 1), "mrconfigid"),
        ("tdx", lambda found: found["quote-generation-socket"].pop("path"), "quote-generation-socket.path"),
    ],
)
def test_qemu_s_parser_looks_at_every_object(
    kind: str,
    change: Callable[[dict[str, Any]], object],
    complaint: str | None,
    image: Image,
    descriptors: Descriptors,
    qemu: QemuFacts,
) -> None:
    said = asked(qemu, changed(arguments_of(kind, image, descriptors), change), descriptors)

    if not knows(qemu, kind):
        assert NO_TDX in said
    elif complaint is None:
        assert any(refusal in said for refusal in REFUSALS["tcg"]), said  # a property that QEMU has a default for
    else:
        assert complaint in said
        assert not any(refusal in said for refusal in REFUSALS["tcg"])


def test_an_snp_guest_is_launched_for_its_manifest(image: Image, descriptors: Descriptors) -> None:
    launch = Snp(51, MANIFEST.digest())
    arguments = snp_arguments(image, Machine(256, 2), descriptors, launch)

    assert tee(arguments) == {
        "qom-type": "sev-snp-guest", "id": "tee", "cbitpos": 51, "reduced-phys-bits": 1, "policy": 0x30000,
        "kernel-hashes": True, "host-data": base64.b64encode(MANIFEST.digest()).decode(),
    }  # fmt: skip
    assert option(arguments, "-machine") == (
        "q35,usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off,confidential-guest-support=tee,"
        "memory-backend=memory"
    )
    assert option(arguments, "-cpu") == "EPYC-v4"
    assert option(arguments, "-smp") == "2"
    assert option(arguments, "-accel") == "kvm"
    assert option(arguments, "-bios") == str(image.firmware)
    assert option(arguments, "-append") == image.cmdline
    memory = json.loads(option(arguments, "-object"))
    assert memory == {
        "qom-type": "memory-backend-memfd", "id": "memory", "size": 256 << 20, "share": True, "prealloc": False,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "policy"), [("sev", 1), ("sev-es", 5)])
def test_a_sev_guest_waits_for_its_owner(kind: str, policy: int, image: Image, descriptors: Descriptors) -> None:
    arguments = arguments_of(kind, image, descriptors)

    assert "-S" in arguments
    assert tee(arguments) == {
        "qom-type": "sev-guest", "id": "tee", "cbitpos": 51, "reduced-phys-bits": 1, "policy": policy,
        "kernel-hashes": True, "dh-cert-file": str(image.directory / "owner.cert"),
        "session-file": str(image.directory / "session"),
    }  # fmt: skip
    assert option(arguments, "-cpu") == "EPYC-v4"


def test_a_tdx_guest_is_launched_for_its_manifest(image: Image, descriptors: Descriptors) -> None:
    arguments = arguments_of("tdx", image, descriptors)

    assert base64.b64decode(tee(arguments)["mrconfigid"]) == MANIFEST.digest384()
    assert "kernel-irqchip=split" in option(arguments, "-machine")
    assert option(arguments, "-bios") == str(image.firmware)


@pytest.mark.parametrize("kind", KINDS)
def test_no_hardware_guest_has_a_simulated_processor_or_a_network(
    kind: str, image: Image, descriptors: Descriptors
) -> None:
    arguments = arguments_of(kind, image, descriptors)

    assert not any("enarx.tsm" in one for one in arguments)
    assert not any(one.startswith(("-net", "-drive", "-blockdev")) for one in arguments)
    assert arguments[:2] == ["-nodefaults", "-no-user-config"]
    assert arguments.count("-accel") == 1


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


@pytest.mark.parametrize("size", [0, HOST_DATA_BYTES - 1, HOST_DATA_BYTES + 1, CONFIG_ID_BYTES])
def test_host_data_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError) as caught:
        Snp(51, bytes(size))
    assert caught.value.code == "host-data"


@pytest.mark.parametrize("size", [0, HOST_DATA_BYTES, CONFIG_ID_BYTES - 1, CONFIG_ID_BYTES + 1])
def test_a_config_id_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError) as caught:
        Tdx(Path("firmware"), bytes(size))
    assert caught.value.code == "mr-config-id"


@pytest.mark.parametrize("position", [-1, 0, 31, 64])
def test_a_c_bit_outside_of_addresses_is_refused(position: int) -> None:
    for make in (lambda: Snp(position), lambda: Sev(position, Path("a"), Path("b"), 1)):
        with pytest.raises(UsageError) as caught:
            make()
        assert caught.value.code == "c-bit"


def test_an_id_block_that_the_firmware_would_refuse_is_refused_before() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    block = IdBlock(bytes(48))
    auth = authorize(block, key)

    Snp(51, id_block=block, id_auth=auth)
    with pytest.raises(AuthenticityError):
        Snp(51, id_block=replace(block, guest_svn=1), id_auth=auth)
    with pytest.raises(UsageError) as caught:
        Snp(51, policy=0xB0000, id_block=block, id_auth=auth)
    assert caught.value.code == "id-block-policy"
    for half in ({"id_block": block}, {"id_auth": auth}):
        with pytest.raises(UsageError) as caught:
            replace(Snp(51), **half)
        assert caught.value.code == "id-block"
