"""Packages in a process Keep on the simulated processor: plain and encrypted, before a real Steward."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from enarx.host.contract import Ending, Package
from enarx.host.launch import Host
from enarx.host.process import KeepProcess
from tests import programs
from tests.archives import Part, pack
from tests.e2e.attested import SECRET, Tenant, hostile_launch, manifest_of, tenant
from tests.e2e.command import STDIO
from tests.keep.sealing import seal

KEY, OTHER_KEY = secrets.token_bytes(32), secrets.token_bytes(32)
CONFIG = STDIO + '[secret_env]\nPASSWORD = "password"\n'
FILES: list[Part] = [("files", None), ("files/page", b"a page of the package")]


def parts(module: bytes, config: str = CONFIG) -> list[Part]:
    return [("Enarx.toml", config.encode()), ("main.wasm", module), *FILES]


PLAIN = pack(parts(programs.ENVIRON))
ENCRYPTED = seal(PLAIN, KEY)
SEALED_FOR_ANOTHER = seal(PLAIN, secrets.token_bytes(32))


@dataclass(frozen=True)
class Launched:
    ending: Ending
    output: str


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    accepted = (PLAIN, ENCRYPTED, SEALED_FOR_ANOTHER, with_args("page"), with_args("secrets/package-key"))
    keys = {"package-key": KEY, "another-key": OTHER_KEY}
    with tenant(tmp_path_factory.mktemp("tenant"), *accepted, secrets=keys) as found:
        yield found


def with_args(path: str) -> bytes:
    """An encrypted package that shows the file ``path`` of its first preopened directory that has it."""
    config = f'args = ["{path}"]\n{STDIO}'
    files = FILES if path == "page" else []
    return seal(pack([("Enarx.toml", config.encode()), ("main.wasm", programs.CAT_FILE), *files]), KEY)


def deploy(ours: Tenant, data: bytes, capfd: pytest.CaptureFixture[str], *, handed: bytes | None = None) -> Launched:
    launched = manifest_of(Package([("package", "", data)]), ours.steward)
    ending = hostile_launch(ours.home, launched, Package([("package", "", handed or data)]))
    return Launched(ending, capfd.readouterr().out)


@pytest.mark.parametrize("data", [PLAIN, ENCRYPTED], ids=["plain", "encrypted"])
def test_package_runs_with_the_secret_that_its_config_asks_for(
    data: bytes, honest: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    done = deploy(honest, data, capfd)
    assert (done.ending.status, done.ending.message) == (0, "")
    assert f"PASSWORD={SECRET}" in done.output
    assert "FD_COUNT=3" in done.output


def test_encrypted_package_has_its_files(honest: Tenant, capfd: pytest.CaptureFixture[str]) -> None:
    done = deploy(honest, with_args("page"), capfd)
    assert (done.ending.status, done.ending.message, done.output) == (0, "", "a page of the package")


def test_workload_does_not_see_the_key_of_its_package(honest: Tenant, capfd: pytest.CaptureFixture[str]) -> None:
    done = deploy(honest, with_args("secrets/package-key"), capfd)
    assert done.ending.status != 0
    assert done.output == ""


def test_package_runs_without_a_steward_too(capfd: pytest.CaptureFixture[str]) -> None:
    data = pack(parts(programs.HELLO, STDIO))
    ending = Host(KeepProcess(), None, lambda line: None).run(Package([("package", "", data)]))
    assert (ending.status, ending.message, capfd.readouterr().out) == (0, "", "ready\n")


# --- what must not run


def test_encrypted_package_without_a_steward_stays_shut(capfd: pytest.CaptureFixture[str]) -> None:
    ending = Host(KeepProcess(), None, lambda line: None).run(Package([("package", "", ENCRYPTED)]))
    assert (ending.status, ending.code, capfd.readouterr().out) == (1, "package-key", "")
    assert "--steward" in ending.hint


def test_package_of_another_key_stays_shut(honest: Tenant, capfd: pytest.CaptureFixture[str]) -> None:
    done = deploy(honest, SEALED_FOR_ANOTHER, capfd)
    assert (done.ending.status, done.ending.code, done.output) == (1, "package-key", "")


def test_package_that_fits_the_name_but_not_the_digest_is_refused(
    honest: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    done = deploy(honest, PLAIN, capfd, handed=pack(parts(programs.HELLO)))
    assert (done.ending.status, done.ending.code, done.output) == (1, "handover-package", "")


def test_key_requested_by_a_keep_that_runs_another_package_is_not_released(
    honest: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    """Encrypted with the very key, but not what the policy names: the Steward refuses, and the key stays with it."""
    done = deploy(honest, seal(pack(parts(programs.HELLO)), KEY), capfd)
    assert (done.ending.status, done.ending.code, done.output) == (1, "steward-refused", "")
    assert "workload" in done.ending.message


@pytest.mark.parametrize("change", [0, 20, 100, -1], ids=["magic", "header", "first chunk", "last byte"])
def test_flipped_bit_in_a_package_on_its_way_is_refused(
    change: int, honest: Tenant, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = bytearray(ENCRYPTED)
    changed[change] ^= 1
    done = deploy(honest, ENCRYPTED, capfd, handed=bytes(changed))
    assert (done.ending.status, done.ending.code, done.output) == (1, "handover-package", "")
