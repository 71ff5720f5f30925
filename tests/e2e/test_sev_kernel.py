"""What was injected, by the way that it takes on hardware: OVMF's secret area, Linux efi_secret, the Keep.

Run where the kernel of our own has been built, into build/kernel: Debian's has no efi_secret. SIMULATED SEV firmware
launches the image and opens the approver's packet; then a machine without SEV starts from the same files, with what
that firmware would have put into its memory: the table of hashes, without which OVMF boots nothing, and the secrets.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from enarx.host.image.build import Kernel, build
from enarx.host.image.fetch import Inputs, default_cache
from enarx.host.image.kernel import own_record
from enarx.host.image.layout import file_digest, open_image
from enarx.host.image.lock import read_lock
from enarx.host.kinds.vm import sev_contents
from enarx.host.qemu.machine import Machine
from enarx.host.sev.approver import HttpApprover
from enarx.host.sev.simulated import launch
from enarx.simulator.sev_firmware import SevFirmware
from enarx.simulator.sev_platform import open_identity
from enarx.simulator.sev_qemu import SimulatedQemu
from tests import programs
from tests.e2e.command import enarx, module
from tests.e2e.sevlaunch import SECRET, SevTenant, sev_tenant
from tests.e2e.test_own_kernel import BUILT
from tests.e2e.vms import hostile_qemu, run_vm, vm_environment
from tests.tenant.sevlaunches import AREA

pytestmark = pytest.mark.timeout(900)

HASHES_AT = 0x810C00
"""Where the AmdSev build of OVMF looks for the hashes, and `AREA` where it has the secret area."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with the kernel of our own."""
    if not BUILT.exists() or file_digest(BUILT) != own_record().vmlinuz:
        pytest.skip("the kernel on record is not built here (enarx image kernel -o build/kernel)")
    lock, image = read_lock(None).for_kernel("own"), tmp_path_factory.mktemp("own") / "image"
    build(lock, Inputs(default_cache()), image, Kernel(BUILT.read_bytes(), {}, own_record().made_with), "own")
    return image


def approved_area(tenant: SevTenant, image: Path, path: Path, argument: str) -> tuple[bytes, bytes]:
    """The hashes and the secret area of an approved launch of the image, for this workload."""
    contents, out = sev_contents(open_image(image), Machine())(), tenant.home / "manifest.json"
    options = ("--steward", tenant.steward, "--steward-ca", tenant.pin, "--out", out)
    done = enarx("manifest", path, *options, "--", argument, cwd=tenant.home)
    assert done.returncode == 0, done.stderr.decode()
    platform = SevFirmware(open_identity(tenant.home / ".local/share/enarx/simulator-sev"))
    approver = HttpApprover.at(tenant.approver, bytes.fromhex(tenant.pin.removeprefix("sha256:")))
    return contents.data[1], launch(SimulatedQemu(platform), approver, contents, out.read_bytes(), ())


def test_keep_reads_its_credential_from_the_secret_area_by_efi_secret(own: Path, tmp_path: Path) -> None:
    contents = sev_contents(open_image(own), Machine())()
    digest = hashlib.sha256(b"".join((*contents.data, *contents.vmsas))).hexdigest()
    with sev_tenant(tmp_path, programs.CAT_FILE, digests=[digest]) as tenant:
        path = module(tmp_path, programs.CAT_FILE)
        placed = zip((HASHES_AT, AREA[0]), approved_area(tenant, own, path, "secrets/password"), strict=True)
        edit = f'arguments += ["-bios", "{own}/OVMF.fd"]\n'
        for address, data in placed:
            file = tmp_path / f"{address:x}"
            file.write_bytes(data)
            edit += f'arguments += ["-device", "loader,file={file},addr={address:#x},force-raw=on"]\n'
        env = vm_environment(tmp_path, own) | {"PATH": hostile_qemu(tmp_path, edit)}
        options = ("--steward", tenant.steward, "--steward-ca", tenant.pin, "--verbose", "--require-sandbox")
        done = run_vm(path, "--", "secrets/password", home=tmp_path, image=own, options=options, env=env)
        assert (done.returncode, done.stdout.decode()) == (0, SECRET), done.stderr.decode()
        assert "evidence: approved at launch by the tenant" in done.stderr.decode()
        entry = tenant.log()[-1]
        # The machine says nothing of a simulator; who approved it does.
        assert (entry["technology"], entry["simulated"], entry["facts"]["measurement"]) == ("sev", True, digest)
