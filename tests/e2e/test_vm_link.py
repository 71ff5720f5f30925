"""The link of a VM Keep over its port, with a host in between that loses connections, floods and makes noise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import programs
from tests.e2e import portproxy
from tests.e2e.command import code_of, module
from tests.e2e.vms import hostile_qemu, run_vm, vm_environment

pytestmark = pytest.mark.timeout(900)


def test_streams_go_on_when_the_host_loses_its_connection_to_the_port(image: Path, tmp_path: Path) -> None:
    """Several times, in the midst of what goes both ways: every byte arrives, once and in order."""
    data = os.urandom(3_000_000)
    env = vm_environment(tmp_path, image) | {"PATH": hostile_qemu(tmp_path, portproxy.edit("cut", tmp_path / "cuts"))}
    done = run_vm(module(tmp_path, programs.CAT), home=tmp_path, image=image, env=env, data=data)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout == data
    assert (tmp_path / "cuts").read_text() == "cut\n" * portproxy.CUTS


@pytest.mark.parametrize(
    ("mode", "code", "text"),
    [
        ("noise to keep", "keep-died", "the guest powered off"),
        ("noise to host", "link-frame", "malformed frame"),
        ("flood keep", "keep-died", "the guest powered off"),
        ("flood host", "link-frame", "does not say HELLO"),
    ],
)
def test_noise_and_floods_on_the_port_end_the_keep_with_an_error(
    mode: str, code: str, text: str, image: Path, tmp_path: Path
) -> None:
    env = vm_environment(tmp_path, image) | {"PATH": hostile_qemu(tmp_path, portproxy.edit(mode, tmp_path / "cuts"))}
    done = run_vm(module(tmp_path, programs.CAT), home=tmp_path, image=image, env=env, data=bytes(1_000_000))
    assert (done.returncode, code_of(done.stderr)) == (1, code), done.stderr.decode()
    assert text in done.stderr.decode()
