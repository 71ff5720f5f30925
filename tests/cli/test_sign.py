"""``enarx sign``: the signature file of a launch."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sevsnpmeasure.id_block import snp_calc_id_block

import enarx
from enarx.cli.main import main
from enarx.evidence.snp.idblock import IdAuth, IdBlock, endorse, verify
from enarx.evidence.snp.measure import launch_digest
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import Vcpus
from tests.cli.command import error_code
from tests.evidence.ovmf_images import ovmf_image

DIGEST = bytes(range(48))
ID_KEY = ec.generate_private_key(ec.SECP384R1())
AUTHOR_KEY = ec.generate_private_key(ec.SECP384R1())


def run(*arguments: str) -> int:
    return main(["sign", *arguments])


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Paths of the ID key, the author key and the author's signature of the ID key."""
    for name, key in (("id", ID_KEY), ("author", AUTHOR_KEY)):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "blob").write_bytes(endorse(AUTHOR_KEY, ID_KEY.public_key()).to_bytes())
    return {name: str(tmp_path / name) for name in ("id", "author", "blob")}


def signed(path: Path) -> tuple[IdBlock, IdAuth]:
    document = json.loads(path.read_bytes())
    assert document["version"] == enarx.__version__
    assert document["sgx"] == []
    block = IdBlock.from_bytes(bytes(document["sev"]["id_block"]))
    auth = IdAuth.from_bytes(bytes(document["sev"]["id_auth"]))
    verify(block, auth)
    return block, auth


def test_signature_file_with_an_author(keys: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "signature"
    arguments = ("--sev-id-key", keys["id"], "--launch-digest", DIGEST.hex(), "--out", str(out))
    run(*arguments, "--sev-id-key-signature", keys["blob"], "--guest-svn", "2", "--policy", "0x3001f")
    block, with_blob = signed(out)
    assert block == IdBlock(DIGEST, guest_svn=2, policy=0x3001F)
    run(*arguments, "--sev-author-key", keys["author"], "--family-id", "01" * 16, "--image-id", "02" * 16)
    block, with_key = signed(out)
    assert block == IdBlock(DIGEST, b"\1" * 16, b"\2" * 16)
    assert with_blob.endorsement is not None
    assert with_key.endorsement is not None
    assert with_blob.endorsement.author_key == with_key.endorsement.author_key


def test_signature_file_without_an_author(keys: dict[str, str], tmp_path: Path) -> None:
    run("--sev-id-key", keys["id"], "--launch-digest", DIGEST.hex(), "--out", str(tmp_path / "out"))
    assert signed(tmp_path / "out")[1].endorsement is None


def test_launch_is_measured_from_its_files(keys: dict[str, str], tmp_path: Path) -> None:
    image = ovmf_image()
    (tmp_path / "ovmf").write_bytes(image)
    launch = ("--ovmf", str(tmp_path / "ovmf"), "--vcpus", "2", "--vcpu-type", "EPYC-Turin")
    run("--sev-id-key", keys["id"], *launch, "--out", str(tmp_path / "out"))
    expected = launch_digest(image, Vcpus(2, vcpu_signature("EPYC-Turin")))
    assert signed(tmp_path / "out")[0].launch_digest == expected


def test_qemu_properties_have_the_form_of_the_published_tool(
    keys: dict[str, str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    expected = snp_calc_id_block(DIGEST, keys["id"], keys["author"]) + "\n"
    arguments = ("--sev-id-key", keys["id"], "--launch-digest", DIGEST.hex(), "--output-format", "qemu")
    run(*arguments, "--sev-id-key-signature", keys["blob"])
    printed = capfdbinary.readouterr().out.decode()
    ours, theirs = printed.split("\n"), expected.split("\n")
    assert ours[1:] == theirs[1:]
    for line in (ours[0], theirs[0]):
        block, auth = (base64.b64decode(part.partition("=")[2]) for part in line.split(","))
        verify(IdBlock.from_bytes(block), IdAuth.from_bytes(auth))
    assert ours[0].split(",")[0] == theirs[0].split(",")[0]
    run(*arguments)
    assert "author_key" not in capfdbinary.readouterr().out.decode()


def test_mistakes_are_named(keys: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    key = ("--sev-id-key", keys["id"], "--out", str(out))
    digest = ("--launch-digest", DIGEST.hex())
    short = tmp_path / "short"
    short.write_bytes(Path(keys["blob"]).read_bytes()[:-1])
    other = tmp_path / "other"
    other.write_bytes(endorse(AUTHOR_KEY, AUTHOR_KEY.public_key()).to_bytes())
    for arguments, code in (
        (digest, "sign-key"),
        (key, "sign-launch"),
        ((*key, *digest, "--ovmf", "f", "--vcpus", "1"), "sign-launch"),
        ((*key, "--ovmf", "f"), "vcpu-count"),
        ((*key, *digest, "--sgx-key", "f"), "sign-sgx"),
        (("exec.elf", *key, *digest), "sign-binary"),
        ((*key, *digest, "--guest-svn", "-1"), "id-block-field"),
        ((*key, *digest, "--sev-id-key-signature", str(short)), "id-key-signature"),
        ((*key, *digest, "--sev-id-key-signature", str(other)), "id-key-signature"),
        ((*key, *digest, "--sev-id-key-signature", str(tmp_path / "missing")), "file-unreadable"),
    ):
        assert error_code("sign", *arguments) == code
        assert not out.exists()
