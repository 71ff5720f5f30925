"""Keeps on secure processors: what is refused before anything is started, and what QEMU says when it is started."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.cli.main import main
from enarx.cli.sign import signature_file
from enarx.errors import EnarxError, HostError, MalformedError, UsageError
from enarx.evidence.snp import certtable
from enarx.evidence.snp.idblock import IdAuth, IdBlock, authorize
from enarx.host.image.layout import Image, open_image
from enarx.host.kinds import Approval, Hardware, Plan, start_of
from enarx.host.kinds.platform import checked
from enarx.host.kinds.sev import ask_capabilities
from enarx.host.kinds.snp import (
    SIGNATURE_FILE_MAX_BYTES,
    TABLE_MAX_BYTES,
    expected_digest,
    read_certificates,
    read_id_block,
)
from enarx.host.platform.kvm import read_kvm
from enarx.host.platform.machine import Machine as Platform
from enarx.host.platform.qemufacts import ask_qemu
from enarx.host.qemu.machine import Machine
from enarx.host.qemu.program import NAME
from enarx.host.sev.launch import Session, Technology
from enarx.host.sev.monitor import Capabilities
from tests.cli.command import error_code
from tests.evidence.ovmf_images import ovmf_image
from tests.host.platform import machines

KINDS = ("snp", "sev", "sev-es", "tdx")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return open_image(machines.image(tmp_path / "image", ovmf_image(pages=16)))


def never() -> NoReturn:
    raise AssertionError("the package is read before it is known whether it can be launched")


def plan(image: Image | None = None, **changes: object) -> Plan:
    said: list[str] = []
    made = Plan(
        lambda: datetime.now(UTC), said.append, said.append, never, image=None if image is None else image.directory,
        config_id=never,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def signed(image: Image) -> tuple[IdBlock, IdAuth]:
    block = IdBlock(expected_digest(image, Machine()))
    return block, authorize(block, ec.generate_private_key(ec.SECP384R1()))


def code_of(work: Callable[[], object], error: type[EnarxError] = UsageError) -> str:
    with pytest.raises(error) as caught:
        work()
    assert caught.value.hint
    return caught.value.code


@pytest.fixture
def epyc(
    image: Image, tmp_path: Path, require_tool: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Image:
    """An EPYC host as far as anybody can look, with this machine's QEMU and without its processor."""
    qemu = ask_qemu(str(require_tool(NAME, "qemu-system-x86")))
    if "sev-snp-guest" not in qemu.objects or read_kvm(Platform()).makes("snp"):
        pytest.skip("QEMU is too old, or could start the guest")
    tree = machines.epyc_snp()
    tree.files["/proc/self/limits"] = "Max locked memory  unlimited  unlimited  bytes"
    machine = tree.write(tmp_path / "machine")
    monkeypatch.setattr("enarx.host.platform.survey.ask_qemu", lambda _path: qemu)
    for module in ("snp", "sev"):
        name = f"enarx.host.kinds.{module}.checked"
        monkeypatch.setattr(name, lambda kind, plan, memory: checked(kind, plan, memory, machine))
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_the_processor_starts_nothing_and_reads_nothing(kind: str, image: Image) -> None:
    if read_kvm(Platform()).makes(kind):
        pytest.skip("this machine has it")

    with pytest.raises(HostError) as caught:
        start_of(kind)(plan(image))

    assert caught.value.code == "platform-unsuitable"
    assert "CPU, " in caught.value.message
    assert "enarx platform info" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_says_what_is_missing(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if read_kvm(Platform()).makes(kind):
        pytest.skip("this machine has it")
    (tmp_path / "app.wasm").write_bytes(b"\0asm\x01\0\0\0")

    status = main(["run", "--backend", kind, "--image", str(tmp_path / "none"), str(tmp_path / "app.wasm")])

    text = capfd.readouterr().err
    assert status == 1
    assert f'Keep backend "{kind}" is not available on this platform, and nothing was started' in text
    assert f"there is no image in {tmp_path / 'none'}" in text
    assert "Code: platform-unsuitable" in text


def test_what_qemu_says_of_a_guest_that_it_cannot_start_is_shown(epyc: Image) -> None:
    started = start_of("snp")(plan(epyc, host_data=lambda: bytes(32)))
    keep = started.keep
    with keep.link:
        assert keep.link.recv(1) == b""  # it ends with QEMU
    error = keep.obituary()

    assert error.code == "keep-died"
    assert "qemu-system-x86_64: " in error.message
    assert "KVM" in error.message
    assert not Path(f"/proc/{started.pid}").exists()


def test_an_id_block_of_another_launch_is_refused_with_both_digests(epyc: Image, tmp_path: Path) -> None:
    block = IdBlock(bytes(48))
    auth = authorize(block, ec.generate_private_key(ec.SECP384R1()))
    (tmp_path / "signature.json").write_text(signature_file(block, auth))

    with pytest.raises(UsageError) as caught:
        start_of("snp")(plan(epyc, hardware=Hardware(id_block=tmp_path / "signature.json")))

    assert caught.value.code == "id-block-digest"
    assert expected_digest(epyc, Machine()).hex() in caught.value.message
    assert bytes(48).hex() in caught.value.message


def test_an_id_block_is_read_from_a_signature_file_or_from_its_bytes(image: Image, tmp_path: Path) -> None:
    block, auth = signed(image)
    (tmp_path / "signature.json").write_text(signature_file(block, auth))
    (tmp_path / "block").write_bytes(block.to_bytes())
    (tmp_path / "auth").write_bytes(auth.to_bytes())

    assert read_id_block(Hardware(id_block=tmp_path / "signature.json")) == (block, auth)
    assert read_id_block(Hardware(id_block=tmp_path / "block", id_auth=tmp_path / "auth")) == (block, auth)
    assert read_id_block(Hardware()) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[]", b"null", b'{"sev": 1}', b'{"sev": {"id_block": [256], "id_auth": []}}',
        b'{"sev": {"id_block": "x", "id_auth": "y"}}', b'{"sev": {"id_block": [1], "id_auth": [1]}}',
        b"\xff" * 97, b"[" * 5000,
    ],
)  # fmt: skip
def test_a_file_that_is_no_signature_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "signature").write_bytes(text)

    assert code_of(lambda: read_id_block(Hardware(id_block=tmp_path / "signature")), MalformedError) == "id-block"


def test_half_of_an_id_block_is_refused(image: Image, tmp_path: Path) -> None:
    (tmp_path / "block").write_bytes(signed(image)[0].to_bytes())
    (tmp_path / "long").write_bytes(bytes(SIGNATURE_FILE_MAX_BYTES + 1))

    assert code_of(lambda: read_id_block(Hardware(id_block=tmp_path / "block"))) == "id-block"
    assert code_of(lambda: read_id_block(Hardware(id_auth=tmp_path / "block"))) == "id-block"
    assert code_of(lambda: read_id_block(Hardware(id_block=tmp_path / "none"))) == "launch-file"
    assert code_of(lambda: read_id_block(Hardware(id_block=tmp_path / "long"))) == "launch-file-size"


def test_a_certificate_table_is_read_and_anything_else_refused(tmp_path: Path) -> None:
    table = certtable.encode(((certtable.VCEK_GUID, b"certificate"),))
    (tmp_path / "table").write_bytes(table)
    (tmp_path / "wrong").write_bytes(b"certificate")
    (tmp_path / "long").write_bytes(bytes(TABLE_MAX_BYTES + 1))

    assert read_certificates(tmp_path / "table") == table
    assert code_of(lambda: read_certificates(tmp_path / "wrong"), MalformedError)
    assert code_of(lambda: read_certificates(tmp_path / "long")) == "launch-file-size"
    assert code_of(lambda: read_certificates(tmp_path / "none")) == "launch-file"


@pytest.mark.parametrize(
    ("kind", "hardware"),
    [
        ("process", Hardware(firmware=Path("f"))),
        ("process", Hardware(id_block=Path("f"))),
        ("vm", Hardware(id_auth=Path("f"))),
        ("vm", Hardware(certificates=Path("f"))),
        ("snp", Hardware(firmware=Path("f"))),
        ("tdx", Hardware(id_block=Path("f"))),
        ("tdx", Hardware(certificates=Path("f"))),
        ("sev", Hardware(id_block=Path("f"))),
        ("sev-es", Hardware(firmware=Path("f"))),
    ],
)
def test_an_option_of_another_kind_is_refused(kind: str, hardware: Hardware) -> None:
    with pytest.raises(UsageError, match=f"is not for a {kind} Keep"):
        start_of(kind)(plan(hardware=hardware))


class Approver:
    """A tenant's approver that begins every launch; none here is ever measured."""

    def __init__(self, policy: int) -> None:
        self.policy = policy
        self.seen: list[object] = []

    def begin(
        self, technology: Technology, certificates: bytes, manifest: bytes, signatures: Sequence[bytes]
    ) -> Session:
        self.seen += [technology, certificates, manifest]
        return Session("launch", self.policy, b"certificate", b"session")

    def finish(self, launch: str, firmware: tuple[int, int, int], measurement: bytes) -> NoReturn:
        raise AssertionError("a launch that cannot be measured here")


PLATFORM = Capabilities(b"P" * 2084, b"C" * 3 * 2084, b"", cbitpos=51, reduced_phys_bits=1)


def approved(policy: int) -> tuple[Approver, Approval]:
    approver = Approver(policy)
    return approver, Approval(approver, lambda: (b"manifest", ()))


@pytest.mark.parametrize(("kind", "policy"), [("sev", 0x1), ("sev-es", 0x5)])
def test_a_sev_launch_begins_at_its_approver_and_leaves_nothing_when_qemu_refuses(
    kind: str, policy: int, epyc: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enarx.host.kinds.sev.ask_capabilities", lambda _program: PLATFORM)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    approver, approval = approved(policy)

    with pytest.raises(HostError) as caught:
        start_of(kind)(plan(epyc, approval=approval))

    assert caught.value.code == "keep-died"
    assert "qemu-system-x86_64: " in caught.value.message
    assert "KVM" in caught.value.message or "cbitpos check failed" in caught.value.message
    assert approver.seen == [kind, PLATFORM.pdh + PLATFORM.chain, b"manifest"]
    assert not list(tmp_path.glob("enarx-*"))


@pytest.mark.parametrize(("kind", "policy"), [("sev", 0x5), ("sev-es", 0x1)])
def test_a_session_for_the_other_kind_starts_nothing(
    kind: str, policy: int, epyc: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enarx.host.kinds.sev.ask_capabilities", lambda _program: PLATFORM)

    with pytest.raises(HostError) as caught:
        start_of(kind)(plan(epyc, approval=approved(policy)[1]))
    assert caught.value.code == "sev-policy"


def test_a_sev_launch_without_an_approver_is_refused(epyc: Image) -> None:
    assert code_of(lambda: start_of("sev")(plan(epyc))) == "approver-missing"


@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_an_approver_of_a_guest_that_proves_itself_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="--approver is for launches of SEV"):
        start_of(kind)(plan(approval=approved(1)[1]))


def test_qemu_says_that_this_platform_has_no_sev(require_tool: Callable[[str, str], Path]) -> None:
    if read_kvm(Platform()).makes("sev"):
        pytest.skip("this machine has it")
    qemu = str(require_tool(NAME, "qemu-system-x86"))

    with pytest.raises(HostError) as caught:
        ask_capabilities(qemu)

    assert caught.value.code == "sev-capabilities"
    assert "SEV is not enabled" in caught.value.message or "KVM" in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_processor_cannot_be_told_to_misbehave(kind: str) -> None:
    with pytest.raises(UsageError, match="SIMULATED"):
        start_of(kind)(plan(lies="debug"))


def test_certificates_without_a_steward_are_refused(tmp_path: Path) -> None:
    (tmp_path / "app.wasm").write_bytes(b"")

    assert error_code("run", "--backend", "snp", "--certificates", "table", str(tmp_path / "app.wasm")) == "usage"


def test_signature_files_of_enarx_sign_are_those_that_are_read(image: Image, tmp_path: Path) -> None:
    key, out = tmp_path / "id.key", tmp_path / "signature.json"
    assert main(["key", "sev", "create", "--out", str(key)]) == 0
    digest = expected_digest(image, Machine()).hex()
    assert main(["sign", "--sev-id-key", str(key), "--launch-digest", digest, "--out", str(out)]) == 0

    block, auth = read_id_block(Hardware(id_block=out))

    assert block is not None and auth is not None
    assert block.launch_digest.hex() == digest
    assert json.loads(out.read_text())["sev"]["id_block"] == list(block.to_bytes())
