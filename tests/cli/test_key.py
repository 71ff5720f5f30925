"""``enarx key sev``: keys that only their owner reads, digests, and endorsements of ID keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sevsnpmeasure.id_block import load_private_key_from_pem_file, pub_to_digest

from enarx.cli.main import main
from enarx.evidence.snp.idblock import Endorsement, IdBlock, authorize, verify
from tests.cli.command import error_code


def run(*arguments: str) -> int:
    return main(["key", *arguments])


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    loaded = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


@pytest.fixture
def id_key(tmp_path: Path) -> Path:
    path = tmp_path / "id.key"
    assert run("sev", "create", "--out", str(path)) == 0
    return path


@pytest.fixture
def author_key(tmp_path: Path) -> Path:
    path = tmp_path / "author.key"
    assert run("sev", "create", "--out", str(path)) == 0
    return path


def test_new_key_is_p384_in_pkcs8_and_readable_by_its_owner_only(id_key: Path) -> None:
    assert id_key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert isinstance(private_key(id_key).curve, ec.SECP384R1)
    assert stat.S_IMODE(id_key.stat().st_mode) == 0o600


def test_new_key_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run("sev", "create", "--out", str(tmp_path / "key"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_existing_file_is_never_overwritten(id_key: Path, tmp_path: Path) -> None:
    before = id_key.read_bytes()
    assert error_code("key", "sev", "create", "--out", str(id_key)) == "file-exists"
    assert id_key.read_bytes() == before
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert error_code("key", "sev", "create", "--out", str(link)) == "file-exists"
    assert not (tmp_path / "elsewhere").exists()


def test_key_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert error_code("key", "sev", "create", "--out", str(tmp_path / "key")) == "file-unwritable"
    assert list(tmp_path.iterdir()) == []
    assert error_code("key", "sev", "create", "--out", str(tmp_path / "missing" / "key")) == "file-unwritable"


def test_key_goes_to_stdout_without_a_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run("sev", "create")
    assert isinstance(load_pem_private_key(capfdbinary.readouterr().out, None), ec.EllipticCurvePrivateKey)


def test_digest_is_that_of_the_published_tool_for_either_half(
    id_key: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    expected = pub_to_digest(load_private_key_from_pem_file(str(id_key))).hex().encode()
    run("sev", "digest", str(id_key))
    assert capfdbinary.readouterr().out == expected
    public = tmp_path / "id.pub"
    public.write_bytes(private_key(id_key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    run("sev", "digest", str(public), "--out", str(tmp_path / "digest"))
    assert (tmp_path / "digest").read_bytes() == expected


def test_signature_of_an_id_key_is_the_blob_that_a_launch_takes(id_key: Path, author_key: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    arguments = ("sev", "sign", "--author-key", str(author_key), "--id-key", str(id_key), "--out", str(blob))
    assert run(*arguments) == run(*arguments) == 0  # a result, not a key: written again
    data = blob.read_bytes()
    assert len(data) == 1540
    block = IdBlock(bytes(48))
    verify(block, authorize(block, private_key(id_key), Endorsement.from_bytes(data)))
    assert {path.name for path in tmp_path.iterdir()} == {"blob", "id.key", "author.key"}


def write_key(path: Path, loaded: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def test_files_that_hold_no_usable_key_are_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert error_code("key", "sev", "digest", str(path)) == "file-unreadable"
    path.write_bytes(b"")
    assert error_code("key", "sev", "digest", str(path)) == "key-file"
    path.write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert error_code("key", "sev", "digest", str(path)) == "key-file"
    path.write_bytes(bytes((64 << 10) + 1))
    assert error_code("key", "sev", "digest", str(path)) == "file-size"
    write_key(path, ec.generate_private_key(ec.SECP256R1()))
    assert error_code("key", "sev", "digest", str(path)) == "key-curve"
    write_key(path, rsa.generate_private_key(65537, 2048))
    assert error_code("key", "sev", "digest", str(path)) == "key-file"
    write_key(path, ec.generate_private_key(ec.SECP384R1()), b"secret")
    assert error_code("key", "sev", "digest", str(path)) == "key-file"
    public = rsa.generate_private_key(65537, 2048).public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert error_code("key", "sev", "digest", str(path)) == "key-file"


def test_public_half_cannot_sign(id_key: Path, tmp_path: Path) -> None:
    public = tmp_path / "pub"
    public.write_bytes(private_key(id_key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    out = str(tmp_path / "out")
    assert (
        error_code("key", "sev", "sign", "--author-key", str(public), "--id-key", str(id_key), "--out", out)
        == "key-file"
    )
    assert not Path(out).exists()
