"""Kinds of Keep by their names, and what each of them refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx.errors import HostError, UsageError
from enarx.host.kinds import KINDS, Plan, start_of
from enarx.host.kinds.vm import machine_of
from enarx.host.qemu.machine import Machine


def plan(**settings: object) -> Plan:
    return Plan(lambda: datetime.now(UTC), lambda line: None, lambda line: None, **settings)  # type: ignore[arg-type]


def test_every_kind_can_be_started() -> None:
    assert {"process", "vm"} <= set(KINDS)
    for kind in KINDS:
        assert callable(start_of(kind))


def test_unknown_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        start_of("sgx")
    assert caught.value.code == "backend-unknown"
    assert all(kind in caught.value.hint for kind in KINDS)


@pytest.mark.parametrize("options", [{"image": Path("/i")}, {"memory": 512}, {"cpus": 1}])
def test_process_takes_no_option_of_a_machine(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="is for a virtual machine"):
        start_of("process")(plan(**options))


def test_virtual_machine_without_an_image_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        start_of("vm")(plan(image=tmp_path / "none"))
    assert caught.value.code == "image-missing"
    assert "enarx image build" in caught.value.hint


def test_machine_is_the_one_that_is_asked_for() -> None:
    assert machine_of(plan()) == Machine(512, 1)
    assert machine_of(plan(memory=1024, cpus=4)) == Machine(1024, 4)
    with pytest.raises(UsageError):
        machine_of(plan(cpus=0))
