"""``enarx package`` as a user runs it."""

from __future__ import annotations

import argparse
import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from enarx.cli import package
from enarx.cli.main import main
from enarx.tenant.steward.files import read_policy
from tests import programs
from tests.archives import pack
from tests.cli.command import error_code
from tests.support import ROOT
from tests.tenant.keeps import policy_text
from tests.tenant.package import envelopes
from tests.tenant.package.modules import HELLO, workload

CONFIG = r"""
steward = "https://steward.example.com"
args = ["--verbose", "\u001b[2J"]
[[files]]
kind = "null"
[[files]]
kind = "stdout"
[[files]]
kind = "listen"
name = "web"
port = 0
client_ca = [\"\"\"PEM\"\"\"]
[[files]]
kind = "listen"
name = "plain"
prot = "tcp"
addr = "127.0.0.1"
port = 80
[[files]]
kind = "connect"
host = "db.example.com"
port = 5432
[[files]]
kind = "connect"
host = "log.example.com"
prot = "tcp"
[env]
GREETING = "hello\u001b"
[secret_env]
PASSWORD = "db-password"
[limits]
memory = "64 MiB"
deadline = "90s"
""".replace(r"\"", '"').replace("PEM", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    workload(tmp_path / "app", {"site/index": b"<p>", "a": b"1"}, config=CONFIG)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["package", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(line.isprintable() for line in out.splitlines())
    return out


def values(out: str) -> dict[str, str]:
    """The labelled lines of what ``build`` prints."""
    return {line[:13].strip(): line[13:] for line in out.splitlines() if line[:1] != " "}


def test_build_prints_digest_and_media_type(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = values(printed(capsys, "build", "app", "-o", "app.package"))
    data = (here / "app.package").read_bytes()
    assert found == {
        "package": f"app.package, {len(data)} bytes",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "media type": "application/vnd.enarx.package.v1+tar",
    }
    assert printed(capsys, "digest", "app.package") == found["digest"] + "\n"


def test_build_with_a_key_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "plain")
    found = values(printed(capsys, "build", "app", "-o", "sealed", "--encrypt", "--key-file", "key"))
    key, data = (here / "key").read_bytes(), (here / "sealed").read_bytes()
    assert found["media type"] == "application/vnd.enarx.package.v1.encrypted"
    assert found["key"] == "key"
    assert found["key id"] == data[24:56].hex() == envelopes.hkdf(key, data[56:88], b"enarx package key id v1").hex()
    assert stat.S_IMODE((here / "key").stat().st_mode) == 0o600
    assert data == envelopes.seal((here / "plain").read_bytes(), key, data[56:88], 1 << 20)


def test_a_key_file_is_never_overwritten(here: Path) -> None:
    (here / "key").write_bytes(b"precious")
    (here / "out").write_bytes(b"the package before")
    assert error_code("package", "build", "app", "-o", "out", "--encrypt", "--key-file", "key") == "file-exists"
    assert (here / "key").read_bytes() == b"precious"
    assert (here / "out").read_bytes() == b"the package before"
    assert sorted(one.name for one in here.iterdir()) == ["app", "key", "out"]


def test_a_key_without_its_package_is_not_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert error_code("package", "build", "app", "-o", "out", "--encrypt", "--key-file", "key") == "file-unwritable"
    assert [one.name for one in here.iterdir()] == ["app"]


def test_key_and_package_at_one_place_are_refused(here: Path) -> None:
    arguments = ("package", "build", "app", "--encrypt", "-o")
    assert error_code(*arguments, "out", "--key-file", "./out") == "package-output"
    assert error_code(*arguments, "out", "--key-file", "app/files/key") == "package-output"
    assert error_code(*arguments, "app/out", "--key-file", "key") == "package-output"
    assert [one.name for one in here.iterdir()] == ["app"]


def test_build_for_a_steward(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "steward").mkdir()
    (here / "steward" / "steward.toml").write_text(policy_text())
    steward = ("--encrypt", "--steward", "steward", "--workload", "shop")
    found = values(printed(capsys, "build", "app", "-o", "out", *steward, "--simulated"))
    policy = read_policy(here / "steward" / "steward.toml")
    (secret,) = policy.secrets
    assert secret.simulated
    assert secret.name in found["key"]
    assert {one.name: one.digests for one in policy.workloads}["shop"] == frozenset({found["digest"]})
    assert "added" in found["workload"]
    (here / "key").write_bytes(secret.value)
    assert "Contents" in printed(capsys, "inspect", "out", "--key-file", "key")
    again = values(printed(capsys, "build", "app", "-o", "out2", *steward))
    assert again["digest"] in again["to do"]
    assert len(read_policy(here / "steward" / "steward.toml").secrets) == 2


def test_a_steward_that_cannot_take_the_key_gets_no_package(here: Path) -> None:
    arguments = ("package", "build", "app", "-o", "out", "--encrypt", "--steward", "steward", "--workload")
    assert error_code(*arguments, "shop") == "file-unreadable"
    (here / "steward").mkdir()
    (here / "steward" / "steward.toml").write_text(policy_text())
    assert error_code(*arguments, "no name") == "secret-name"
    assert sorted(one.name for one in here.iterdir()) == ["app", "steward"]
    assert (here / "steward" / "steward.toml").read_text() == policy_text()


@pytest.mark.parametrize(
    "options",
    [
        ["--key-file", "k"],
        ["--simulated"],
        ["--steward", "s", "--workload", "w"],
        ["--encrypt"],
        ["--encrypt", "--key-file", "k", "--steward", "s", "--workload", "w"],
        ["--encrypt", "--steward", "s"],
        ["--encrypt", "--key-file", "k", "--workload", "w"],
        ["--encrypt", "--key-file", "k", "--simulated"],
    ],
)
def test_options_that_do_not_belong_together_are_refused(here: Path, options: list[str]) -> None:
    assert error_code("package", "build", "app", "-o", "out", *options) == "usage"
    assert [one.name for one in here.iterdir()] == ["app"]


def test_build_without_output_and_unknown_mode_are_usage_errors(here: Path) -> None:
    assert error_code("package", "build", "app") == "usage"
    assert error_code("package", "nothing") == "usage"
    assert error_code("package", "build", "", "-o", "x") == "usage"


def test_inspect_says_in_plain_words_what_the_workload_may_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "out")
    text = printed(capsys, "inspect", "out")
    for expected in (
        "out\n  a package, not encrypted: whoever has it can read it\n",
        "\nContents\n  Enarx.toml  ",
        "files/      2 files, 4 bytes\n    /a, 1 bytes\n    /site/index, 3 bytes\n",
        '\nArguments\n  "--verbose"\n  "\\u001b[2J"\n',
        "2: listens at :: port any free port, TLS that ends in the Keep, and clients must show a certificate from the ",
        "3: listens at 127.0.0.1 port 80, NOT encrypted: the host reads and changes it\n",
        "4: connects to db.example.com port 5432, TLS that begins in the Keep, to a server with a certificate from ",
        "5: connects to log.example.com port 80, NOT encrypted",
        "0: null",
        "1: stdout is for the host to read\n",
        "its root directory / is a copy of files/",
        'GREETING = "hello\\u001b"\n',
        "the variable PASSWORD is the Steward's secret db-password\n",
        "asks the Steward at https://steward.example.com\n",
        "memory       64 MiB\n",
        "time         90 seconds\n",
        "wasi_snapshot_preview1: args_get, ",
        "Would a Keep run it?\n  yes\n",
    ):
        assert expected in text


def test_inspect_of_a_bare_module(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "app.wasm").write_bytes(HELLO)
    text = printed(capsys, "inspect", "app.wasm")
    for expected in (
        "not a package",
        "none: it can reach nothing",
        "no directory of its own",
        "names no Steward",
        "none in the",
    ):
        assert expected in text


def test_inspect_says_why_a_keep_would_not_run_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = programs.assemble('(module (import "env" "f" (func)) (func (export "_start")))')
    (here / "odd").write_bytes(pack([("Enarx.toml", b"x = 1"), ("main.wasm", module)]))
    text = printed(capsys, "inspect", "odd")
    assert "NO: Enarx.toml:1:1: unknown key" in text
    assert "NO: the module imports `env::f`" in text
    found = json.loads(printed(capsys, "inspect", "odd", "--json"))
    assert [one["code"] for one in found["problems"]] == ["config-unknown-key", "wasm-import", "workload-memory"]
    assert found["config"] is None
    (here / "odd").write_bytes(pack([("main.wasm", b"text")]))
    assert json.loads(printed(capsys, "inspect", "odd", "--json"))["imports"] is None
    assert "NO: " in printed(capsys, "inspect", "odd")


def test_inspect_of_an_encrypted_package(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "out", "--encrypt", "--key-file", "key")
    text = printed(capsys, "inspect", "out")
    assert "encrypted" in text
    assert "Contents" not in text
    assert "Contents" in printed(capsys, "inspect", "out", "--key-file", "key")
    closed = json.loads(printed(capsys, "inspect", "out", "--json"))
    assert (closed["encrypted"], closed["contents"], closed["problems"]) == (True, None, None)
    data = bytearray((here / "out").read_bytes())
    data[200] ^= 1
    (here / "out").write_bytes(data)
    assert "whether they are what was encrypted" in printed(capsys, "inspect", "out")
    assert error_code("package", "inspect", "out", "--key-file", "key") == "package-sealed"
    (here / "other").write_bytes(bytes(32))
    assert error_code("package", "inspect", "out", "--key-file", "other") == "package-key"
    (here / "other").write_bytes(bytes(31))
    assert error_code("package", "inspect", "out", "--key-file", "other") == "package-key-size"
    (here / "other").write_bytes(bytes(33))
    assert error_code("package", "inspect", "out", "--key-file", "other") == "file-size"


def test_inspect_says_whose_signatures_are_beside_a_package(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "out")
    assert "\nSignatures\n  none beside it\n" in printed(capsys, "inspect", "out")
    assert main(["key", "package", "create", "--out", "key.pem"]) == 0
    printed(capsys, "sign", "out", "--key", "key.pem")
    text = printed(capsys, "inspect", "out")
    (claim,) = json.loads(printed(capsys, "inspect", "out", "--json"))["signatures"]
    assert (claim["kind"], claim["fits"]) == ("dsse", True)
    assert f"\nSignatures\n  by {claim['key_ids'][0]}; NOT CHECKED\n" in text
    (here / "other.wasm").write_bytes(HELLO)
    (here / "other.wasm.sig").write_bytes((here / "out.sig").read_bytes())
    assert "a signature of ANOTHER package" in printed(capsys, "inspect", "other.wasm")
    (here / "out.sig").write_text("{}")
    (here / "out.sigstore.json").write_text('{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}')
    text = printed(capsys, "inspect", "out")
    assert "something that is no signature" in text
    assert "a sigstore bundle; NOT CHECKED" in text


def test_json_has_every_value_under_a_stable_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "out")
    found = json.loads(printed(capsys, "inspect", "out", "--json"))
    assert list(found) == [
        "format", "digest", "media_type", "size", "encrypted", "key_id", "chunk_bytes", "content_bytes", "signatures",
        "contents", "config", "imports", "memory_bytes", "problems",
    ]  # fmt: skip
    assert found["format"] == "enarx-package/1"
    assert [one["path"] for one in found["contents"]][:2] == ["Enarx.toml", "main.wasm"]
    assert found["config"]["secret_env"] == {"PASSWORD": "db-password"}
    assert [one["kind"] for one in found["config"]["files"]] == [
        "null", "stdout", "listen", "listen", "connect", "connect",
    ]  # fmt: skip
    assert found["config"]["limits"]["memory"] == 64 << 20
    assert found["config"]["present"] is True
    assert found["problems"] == []


def test_long_lists_are_shown_in_part(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload(here / "many", {f"f{i:03}": b"" for i in range(25)})
    printed(capsys, "build", "many", "-o", "out")
    assert "and 5 more; --json lists them all" in printed(capsys, "inspect", "out")
    assert len(json.loads(printed(capsys, "inspect", "out", "--json"))["contents"]) == 28


def test_sbom_goes_where_it_should(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "build", "app", "-o", "out", "--encrypt", "--key-file", "key")
    assert printed(capsys, "sbom", "out", "-o", "bill.json", "--key-file", "key") == ""
    found = json.loads((here / "bill.json").read_text())
    assert "files/site/index" in {one["name"] for one in found["components"]}
    assert error_code("package", "sbom", "out", "-o", "missing/bill.json") == "file-unwritable"


@pytest.mark.parametrize("mode", ["inspect", "digest", "sbom"])
def test_what_is_no_package_is_a_clear_error(here: Path, mode: str) -> None:
    (here / "text").write_text("hello")
    assert error_code("package", mode, "text") == "package-not-archive"
    assert error_code("package", mode, "missing") == "file-unreadable"
    assert error_code("package", mode, "app") == "file-unreadable"
    assert error_code("package", mode, "") == "usage"
    if mode != "inspect":  # which fetches it
        assert error_code("package", mode, "oci://example.com/app:1") == "package-reference"
    assert error_code("package", "inspect", "oci://") == "reference"
    assert error_code("package", "inspect", "ftp://example.com/app") == "scheme"


def test_examples_can_be_packed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = (ROOT / "src/enarx/data/https-page.wasm").read_bytes()
    config = (ROOT / "examples/https-page/Enarx.toml").read_text()
    workload(here / "page", module=module, config=config)
    printed(capsys, "build", "page", "-o", "out")
    assert "Would a Keep run it?\n  yes" in printed(capsys, "inspect", "out")


def test_registering_the_command_loads_nothing_heavy() -> None:
    script = "import sys, argparse, enarx.cli.package as p; p.add_parser(argparse.ArgumentParser().add_subparsers());"
    script += (
        "print(sorted({'cryptography', 'wasmtime', 'enarx.tenant', 'enarx.keep', 'enarx.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_module_of_modes_adds_some() -> None:
    parser = argparse.ArgumentParser()
    package.add_parser(parser.add_subparsers())
    for mode in (["build", "x", "-o", "y"], ["inspect", "x"], ["digest", "x"], ["sbom", "x"]):
        assert callable(parser.parse_args(["package", *mode]).run)
