"""``enarx package sign`` and ``verify``, ``enarx key package``, as a user runs them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import stat
import sys
from pathlib import Path

import pytest

from enarx.cli.main import main
from enarx.cli.packagesign import READ_BYTES
from enarx.mediatype import PACKAGE as PACKAGE_TYPE
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.signature import dsse
from enarx.tenant.signature.keys import parse_private, parse_public
from enarx.tenant.signature.statement import PAYLOAD_TYPE, parse
from tests.cli.command import error_code
from tests.tenant.signature.sigstore_forge import ISSUER, WORKFLOW, forge

MODULE = b"\0asm\1\0\0\0"


def enarx(*arguments: str | Path) -> int:
    return main([str(one) for one in arguments])


def code(*arguments: str | Path) -> str:
    return error_code(*map(str, arguments))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a module and two keys of different types, entered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.wasm").write_bytes(MODULE)
    with contextlib.redirect_stdout(io.StringIO()):
        for name, kind in (("a", "ed25519"), ("b", "p384")):
            assert enarx("key", "package", "create", "--type", kind, "--out", f"{name}.key") == 0
            assert enarx("key", "package", "public", f"{name}.key", "--out", f"{name}.pub") == 0
    return tmp_path


def test_a_key_is_private_new_and_named_by_its_digest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enarx("key", "package", "create", "--out", "new.key") == 0
    digest = capsys.readouterr().out.strip()
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    assert stat.S_IMODE((place / "new.key").stat().st_mode) == 0o600
    assert enarx("key", "package", "public", "new.key", "--out", "new.pub") == 0
    for half in ("new.key", "new.pub"):
        assert enarx("key", "package", "digest", half) == 0
        assert capsys.readouterr().out.strip() == digest
    before = (place / "new.key").read_bytes()
    assert code("key", "package", "create", "--out", "new.key") == "file-exists"
    assert (place / "new.key").read_bytes() == before
    assert code("key", "package", "create", "--type", "rsa", "--out", "x") == "usage"


def test_the_public_half_goes_to_stdout(place: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert enarx("key", "package", "public", "a.key") == 0
    assert capfdbinary.readouterr().out == (place / "a.pub").read_bytes()
    assert enarx("key", "package", "public", "a.pub") == 0
    assert capfdbinary.readouterr().out == (place / "a.pub").read_bytes()


def test_a_signature_is_written_beside_the_package_and_verified(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enarx("package", "sign", "app.wasm", "--key", "a.key") == 0
    envelope = dsse.parse((place / "app.wasm.sig").read_bytes())
    assert envelope.payload_type == PAYLOAD_TYPE
    statement = parse(envelope.payload)
    assert statement.digest == f"sha256:{hashlib.sha256(MODULE).hexdigest()}"
    assert statement.media_type == MODULE_TYPE
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub") == 0
    assert f"signed by a.pub, {parse_public((place / 'a.pub').read_bytes())}" in capsys.readouterr().out
    assert enarx("package", "verify", "app.wasm", "--key", "b.pub", "--key", "a.pub") == 0
    assert code("package", "verify", "app.wasm", "--key", "b.pub") == "signature-mismatch"


def test_a_package_is_read_in_pieces(place: Path) -> None:
    whole = MODULE + os.urandom(READ_BYTES) * 2 + b"end"
    (place / "app.wasm").write_bytes(whole)
    assert enarx("package", "sign", "app.wasm", "--key", "a.key") == 0
    statement = parse(dsse.parse((place / "app.wasm.sig").read_bytes()).payload)
    assert statement.digest == f"sha256:{hashlib.sha256(whole).hexdigest()}"


def test_verify_ends_with_status_4_when_it_is_not_authentic(place: Path) -> None:
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub") == 4  # there is no signature
    enarx("package", "sign", "app.wasm", "--key", "b.key")
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub") == 4
    (place / "app.wasm").write_bytes(MODULE + b"\0")
    assert enarx("package", "verify", "app.wasm", "--key", "b.pub") == 4
    (place / "app.wasm").write_bytes(MODULE)
    (place / "app.wasm.sig").write_bytes(b"junk")
    assert enarx("package", "verify", "app.wasm", "--key", "b.pub") == 4
    (place / "empty.sig").write_bytes(b"")
    assert enarx("package", "verify", "app.wasm", "--key", "b.pub", "--signature", "empty.sig") == 4


def test_a_second_signature_joins_the_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        assert enarx("package", "sign", "app.wasm", "--key", f"{name}.key") == 0
    assert len(dsse.parse((place / "app.wasm.sig").read_bytes()).signatures) == 2
    both = ("package", "verify", "app.wasm", "--key", "a.pub", "--key", "b.pub")
    assert enarx(*both, "--threshold", "2") == 0
    capsys.readouterr()
    before = (place / "app.wasm.sig").read_bytes()
    for name in ("a", "b"):
        assert enarx("package", "sign", "app.wasm", "--key", f"{name}.key") == 0
        assert "already" in capsys.readouterr().out
    assert (place / "app.wasm.sig").read_bytes() == before
    same = ("package", "verify", "app.wasm", "--key", "a.pub", "--key", "a.pub", "--threshold", "2")
    assert code(*same) == "usage"  # one key is one signer


def test_a_signature_of_another_package_is_never_overwritten(place: Path) -> None:
    assert enarx("package", "sign", "app.wasm", "--key", "a.key") == 0
    before = (place / "app.wasm.sig").read_bytes()
    (place / "app.wasm").write_bytes(MODULE + b"\0")
    assert code("package", "sign", "app.wasm", "--key", "a.key") == "signature-other"
    for junk in (b"junk", b"{}", b"x" * 100_000):
        (place / "other.sig").write_bytes(junk)
        assert code("package", "sign", "app.wasm", "--key", "a.key", "-o", "other.sig") in (
            "dsse-json",
            "dsse-keys",
            "file-size",
        )
        assert (place / "other.sig").read_bytes() == junk
    assert (place / "app.wasm.sig").read_bytes() == before
    assert sorted(path.name for path in place.iterdir() if path.name.startswith(".")) == []


def test_an_envelope_that_is_full_is_left_as_it_is(place: Path) -> None:
    for number in range(dsse.SIGNATURES_MAX):
        assert enarx("key", "package", "create", "--out", f"{number}.key") == 0
        assert enarx("package", "sign", "app.wasm", "--key", f"{number}.key") == 0
    before = (place / "app.wasm.sig").read_bytes()
    assert code("package", "sign", "app.wasm", "--key", "a.key") == "dsse-signatures"
    assert (place / "app.wasm.sig").read_bytes() == before


def test_a_digest_is_signed_without_the_package(place: Path) -> None:
    digest = f"sha256:{hashlib.sha256(MODULE).hexdigest()}"
    sign = ("package", "sign", digest, "--key", "a.key")
    assert code(*sign, "-o", "app.sig") == "media-type"
    assert code(*sign, "--media-type", MODULE_TYPE) == "signature-file"
    assert code(*sign, "--media-type", "Application/WASM", "-o", "app.sig") == "media-type"
    assert enarx(*sign, "--media-type", MODULE_TYPE, "-o", "app.sig") == 0
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub", "--signature", "app.sig") == 0
    verify = ("package", "verify", digest, "--media-type", MODULE_TYPE, "--key", "a.pub")
    assert enarx(*verify, "--signature", "app.sig") == 0
    assert code(*verify) == "signature-file"


def test_the_media_type_is_part_of_what_is_signed(place: Path) -> None:
    assert enarx("package", "sign", "app.wasm", "--key", "a.key", "--media-type", PACKAGE_TYPE) == 0
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub") == 4
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub", "--media-type", PACKAGE_TYPE) == 0
    (place / "text").write_text("neither module nor package")
    assert code("package", "sign", "text", "--key", "a.key") == "media-type"


def test_files_that_cannot_be_used_are_named(place: Path) -> None:
    os.mkfifo(place / "pipe")
    for path in ("missing", ".", "pipe", "nul\0byte"):
        assert code("package", "sign", path, "--key", "a.key") == "file-unreadable"
    (place / "a.key").chmod(0o640)
    assert code("package", "sign", "app.wasm", "--key", "a.key") == "file-permissions"
    (place / "a.key").chmod(0o600)
    assert code("package", "sign", "app.wasm", "--key", "missing") == "file-unreadable"
    assert code("package", "sign", "app.wasm", "--key", "app.wasm") in ("key-file", "file-permissions")
    (place / "a.pub").chmod(0o600)
    assert code("package", "sign", "app.wasm", "--key", "a.pub") == "key-file"
    assert code("package", "verify", "app.wasm", "--key", "a.key") == "key-file"
    assert code("package", "verify", "app.wasm", "--key", "missing") == "file-unreadable"
    assert code("package", "verify", "app.wasm", "--key", "a.pub", "--signature", "missing") == "file-unreadable"
    assert code("package", "verify", "app.wasm") == "usage"
    assert code("package", "verify", "app.wasm", "--key", "a.pub", "--threshold", "0") == "usage"
    assert code("package", "verify", "app.wasm", "--key", "a.pub", "--signature", *["x"] * 1) == "file-unreadable"
    assert code("package", "sign", "app.wasm", "--key", "b.key", "-o", "missing/x.sig") == "file-unwritable"
    many = [one for _ in range(9) for one in ("--signature", "a.pub")]
    assert code("package", "verify", "app.wasm", "--key", "a.pub", *many) == "signatures"


def test_a_passphrase_in_a_file_protects_a_key(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("word", b"correct horse\n"), ("wrong", b"battery staple\n"), ("empty", b"\n")):
        (place / name).write_bytes(text)
        (place / name).chmod(0o600)
    create = ("key", "package", "create", "--out")
    assert enarx(*create, "c.key", "--passphrase-file", "word") == 0
    digest = capsys.readouterr().out
    pem = (place / "c.key").read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert parse_private(pem, lambda: b"correct horse").public.id == digest.strip()
    sign = ("package", "sign", "app.wasm", "--key", "c.key", "--passphrase-file")
    assert code(*sign, "wrong") == "key-passphrase"
    assert enarx(*sign, "word") == 0
    assert enarx("key", "package", "digest", "c.key", "--passphrase-file", "word") == 0
    assert code(*create, "d.key", "--passphrase-file", "empty") == "key-passphrase"
    (place / "word").chmod(0o644)
    assert code(*sign, "word") == "file-permissions"
    assert code(*create, "d.key", "--passphrase-file", "word") == "file-permissions"
    assert not (place / "d.key").exists()


def on_terminal(arguments: list[str], typed: list[bytes]) -> tuple[int, bytes]:
    """Status and output of a command on a terminal of its own, whose prompts are answered in turn."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "enarx.cli.main", *arguments])
    shown = b""
    answers = iter(typed)
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
        if shown.endswith(b": "):
            os.write(terminal, next(answers) + b"\n")
            shown += b"\n"
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


def test_a_passphrase_is_asked_for_on_the_terminal_and_not_shown(place: Path) -> None:
    create = ["key", "package", "create", "--out", "c.key", "--passphrase"]
    status, shown = on_terminal(create, [b"secret", b"sekret"])
    assert status == 2
    assert b"differ" in shown
    assert not (place / "c.key").exists()
    status, shown = on_terminal(create, [b"secret", b"secret"])
    assert status == 0, shown
    sign = ["package", "sign", "app.wasm", "--key", "c.key"]
    status, shown = on_terminal(sign, [b"secret"])
    assert status == 0, shown
    assert b"Passphrase of c.key: " in shown
    assert b"secret" not in shown
    assert on_terminal(sign, [b"wrong"])[0] == 2


def test_without_a_terminal_an_encrypted_key_is_an_error_and_no_hang(place: Path) -> None:
    import subprocess

    (place / "word").write_bytes(b"secret")
    (place / "word").chmod(0o600)
    assert enarx("key", "package", "create", "--out", "c.key", "--passphrase-file", "word") == 0
    done = subprocess.run(
        [sys.executable, "-m", "enarx.cli.main", "package", "sign", "app.wasm", "--key", "c.key"],
        input=b"secret\n",
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"Code: key-passphrase" in done.stderr
    assert b"--passphrase-file" in done.stderr


def test_a_disk_that_is_full_leaves_the_old_signature(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enarx("package", "sign", "app.wasm", "--key", "a.key") == 0
    before = (place / "app.wasm.sig").read_bytes()

    def refuse(descriptor: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", refuse)
    assert code("package", "sign", "app.wasm", "--key", "b.key") == "file-unwritable"
    assert (place / "app.wasm.sig").read_bytes() == before
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


def test_a_sigstore_bundle_is_verified_by_identity(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "root.json").write_bytes(forge().trusted_root())
    made = forge().message(hashlib.sha256(MODULE).digest())
    (place / "app.wasm.sigstore.json").write_text(json.dumps(made))
    verify = ("package", "verify", "app.wasm", "--trusted-root", "root.json", "--identity")
    assert enarx(*verify, f"{WORKFLOW}={ISSUER}") == 0
    assert f"signed by {WORKFLOW}={ISSUER}" in capsys.readouterr().out
    assert enarx(*verify, f"{WORKFLOW}=https://other.example") == 4
    assert enarx(*verify, f"{WORKFLOW}={ISSUER}", "--key", "a.pub", "--threshold", "2") == 4
    enarx("package", "sign", "app.wasm", "--key", "a.key")
    assert enarx(*verify, f"{WORKFLOW}={ISSUER}", "--key", "a.pub", "--threshold", "2") == 0
    assert enarx("package", "verify", "app.wasm", "--key", "a.pub") == 0
    assert "not counted: signature 2: a sigstore bundle" in capsys.readouterr().out
    assert code(*verify, WORKFLOW) == "usage"
    assert code("package", "verify", "app.wasm", "--identity", f"x={ISSUER}") == "usage"
    assert code("package", "verify", "app.wasm", "--key", "a.pub", "--trusted-root", "root.json") == "usage"
    (place / "root.json").write_bytes(b"{}")
    assert code(*verify, f"{WORKFLOW}={ISSUER}") == "sigstore-root"
