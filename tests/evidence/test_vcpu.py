"""vCPU models and their CPUID signatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure import vcpu_types

from enarx.errors import UsageError
from enarx.evidence.vcpu import (
    MAX_FAMILY,
    MAX_MODEL,
    MAX_SIGNATURE,
    MAX_STEPPING,
    VCPU_TYPES,
    cpu_signature,
    vcpu_signature,
)


def test_every_type_of_the_published_calculator_has_the_same_signature() -> None:
    assert {name: VCPU_TYPES.get(name) for name in vcpu_types.CPU_SIGS} == vcpu_types.CPU_SIGS


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("EPYC-v5", 0x800F12),
        ("EPYC-Rome-v5", 0x830F10),
        ("EPYC-Milan-v3", 0xA00F11),
        ("EPYC-Genoa-v2", 0xA10F10),
        ("EPYC-Turin", 0xB00F00),
        ("EPYC-Turin-v1", 0xB00F00),
        ("EPYC-IBPB", 0x800F12),
    ],
)
def test_signatures_of_models_by_name(name: str, signature: int) -> None:
    assert vcpu_signature(name) == signature


@pytest.mark.parametrize("name", ["", "EPYC-v6", "epyc", "EPYC-Venice", "host"])
def test_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        vcpu_signature(name)
    assert caught.value.code == "vcpu-type"
    assert "EPYC-Milan-v2" in caught.value.hint


@given(st.integers(15, MAX_FAMILY), st.integers(0, MAX_MODEL), st.integers(0, MAX_STEPPING))
def test_signature_equals_the_published_calculator(family: int, model: int, stepping: int) -> None:
    signature = cpu_signature(family, model, stepping)
    assert signature == vcpu_types.cpu_sig(family, model, stepping)
    assert signature <= MAX_SIGNATURE


@pytest.mark.parametrize("numbers", [(-1, 0, 0), (271, 0, 0), (25, 256, 0), (25, 0, 16), (6, 16, 0), (25, -1, 0)])
def test_numbers_that_no_signature_carries_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        cpu_signature(*numbers)
    assert caught.value.code == "vcpu-signature"
