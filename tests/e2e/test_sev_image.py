"""The image of this tree on SIMULATED SEV-ES platforms: its reference values, and a Keep in it that is approved."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.evidence.reference import parse_reference_values
from enarx.host.image.layout import REFERENCE_VALUES, open_image
from enarx.host.kinds.vm import sev_contents
from enarx.host.qemu.machine import Machine
from enarx.host.sev.simulated import launch
from enarx.keep.secretarea import read_area
from tests import images, programs
from tests.e2e.command import module
from tests.e2e.sevlaunch import SECRET, sev_tenant
from tests.e2e.vms import own_image, run_vm, vm_environment
from tests.tenant.sevlaunches import DirectApprover, manifest, policy, qemu

MACHINE = Machine()


def expected(image: Path) -> str:
    """What the image's own reference values say of a SEV-ES guest with one vCPU of the model that VM Keeps have."""
    values = parse_reference_values((image / REFERENCE_VALUES).read_bytes())
    return next(
        one.measurement.hex() for one in values if (one.technology, one.model, one.vcpus) == ("sev-es", "EPYC", 1)
    )


@pytest.fixture(scope="module")
def stock() -> Path:
    return images.stock_image()


def test_what_the_firmware_measures_is_what_the_reference_values_say(stock: Path) -> None:
    contents = sev_contents(open_image(stock), MACHINE)()
    assert hashlib.sha256(b"".join((*contents.data, *contents.vmsas))).hexdigest() == expected(stock)
    area = launch(qemu(), DirectApprover(policy(expected(stock))), contents, manifest().encode(), ())
    assert len(read_area(area)) == 1


@pytest.mark.parametrize(("name", "offset"), [("vmlinuz", 9), ("initrd", 200), ("cmdline", 0), ("OVMF.fd", 64)])
def test_one_changed_byte_of_the_image_is_refused(stock: Path, tmp_path: Path, name: str, offset: int) -> None:
    contents = sev_contents(open_image(own_image(stock, tmp_path, name, offset)), MACHINE)()
    with pytest.raises(HostError) as raised:
        launch(qemu(), DirectApprover(policy(expected(stock))), contents, manifest().encode(), ())
    assert raised.value.code == "bad-measurement"


def test_keep_in_a_virtual_machine_is_approved_and_reads_its_secret(stock: Path, tmp_path: Path) -> None:
    image = own_image(stock, tmp_path)
    include = f'include = {{ file = "{stock / REFERENCE_VALUES}", vcpus = 1 }}\n'
    with sev_tenant(tmp_path, programs.CAT_FILE, table=include) as ours:
        path = module(tmp_path, programs.CAT_FILE)
        options = [*ours.options(), "--verbose"]
        done = run_vm(
            path, "--", "secrets/password", home=tmp_path, image=image, options=options,
            env=vm_environment(tmp_path, image),
        )  # fmt: skip
        assert (done.returncode, done.stdout.decode()) == (0, SECRET), done.stderr.decode()
        assert "evidence: SIMULATED: approved at launch" in done.stderr.decode()
        begun, approved = ours.decision(), ours.decision()
        assert (begun["facts"]["technology"], approved["verdict"]) == ("sev-es", "approved")
        assert approved["facts"]["launch_digest"] == expected(stock)
        assert ours.log()[-1]["facts"]["measurement"] == expected(stock)
