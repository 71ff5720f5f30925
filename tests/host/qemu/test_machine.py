"""What a user may choose of a virtual machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import UsageError
from enarx.host.qemu.machine import (
    MAX_CPUS,
    MAX_MEMORY_MIB,
    MIN_MEMORY_MIB,
    Machine,
    parse_cpus,
    parse_memory,
)


@pytest.mark.parametrize(
    ("text", "mebibytes"), [("512M", 512), ("2G", 2048), ("1t", 1 << 20), ("256MiB", 256), ("1GB", 1024), ("1g", 1024)]
)
def test_sizes_of_memory_are_read(text: str, mebibytes: int) -> None:
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize("text", ["", "512", "0M", "-1G", "1K", "1.5G", " 1G", "1G ", "\u0661G", "9" * 11 + "M", "G"])
def test_what_is_no_size_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_memory(text)
    assert caught.value.code == "vm-memory"


@pytest.mark.parametrize("memory", [MIN_MEMORY_MIB - 1, MAX_MEMORY_MIB + 1])
def test_memory_out_of_bounds_is_refused(memory: int) -> None:
    Machine(memory=MIN_MEMORY_MIB)
    Machine(memory=MAX_MEMORY_MIB)
    with pytest.raises(UsageError) as caught:
        Machine(memory=memory)
    assert caught.value.code == "vm-memory"


@pytest.mark.parametrize("cpus", [0, MAX_CPUS + 1])
def test_a_number_of_vcpus_out_of_bounds_is_refused(cpus: int) -> None:
    Machine(cpus=MAX_CPUS)
    with pytest.raises(UsageError) as caught:
        Machine(cpus=cpus)
    assert caught.value.code == "vm-cpus"


@given(st.text(max_size=8))
def test_any_text_is_a_number_of_vcpus_or_refused(text: str) -> None:
    try:
        assert str(parse_cpus(text)) == text.lstrip("0") or not text.strip("0")
    except UsageError as error:
        assert error.code == "vm-cpus"
