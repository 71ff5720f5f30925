"""The table of kernel hashes against the published calculator's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure.sev_hashes import SevHashes

from enarx.errors import UsageError
from enarx.evidence.hashtable import MAX_CMDLINE_BYTES, TABLE_BYTES, KernelHashes, cmdline_digest

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


@pytest.mark.parametrize("with_initrd", [True, False])
@pytest.mark.parametrize("cmdline", ["", "console=ttyS0 loglevel=7", "ä=ö"])
def test_table_equals_the_published_calculator(tmp_path: Path, cmdline: str, with_initrd: bool) -> None:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd")
    expected = SevHashes(str(kernel), str(initrd) if with_initrd else "", cmdline).construct_table()
    sha256 = {name: hashlib.sha256(name.encode()).digest() for name in ("kernel", "initrd")}
    if with_initrd:
        ours = KernelHashes(sha256["kernel"], sha256["initrd"], cmdline_digest(cmdline))
    else:
        ours = KernelHashes(sha256["kernel"], cmdline=cmdline_digest(cmdline))
    assert ours.table() == expected
    assert len(expected) == TABLE_BYTES


@given(text)
def test_cmdline_is_measured_with_its_nul(cmdline: str) -> None:
    assert cmdline_digest(cmdline) == hashlib.sha256(cmdline.encode() + b"\0").digest()


def test_bytes_of_an_argument_that_are_no_text_are_measured_as_they_are() -> None:
    argument = b"a=\xff".decode("utf-8", "surrogateescape")
    assert cmdline_digest(argument) == hashlib.sha256(b"a=\xff\0").digest()


@pytest.mark.parametrize("cmdline", ["a\0b", "\ud800", "x" * (MAX_CMDLINE_BYTES + 1)])
def test_cmdline_that_no_kernel_gets_is_refused(cmdline: str) -> None:
    with pytest.raises(UsageError) as caught:
        cmdline_digest(cmdline)
    assert caught.value.code == "cmdline"


def test_longest_cmdline_is_accepted() -> None:
    assert cmdline_digest("x" * MAX_CMDLINE_BYTES)


@pytest.mark.parametrize("field", ["kernel", "initrd", "cmdline"])
def test_digest_of_another_size_is_refused(field: str) -> None:
    digests = {"kernel": bytes(32), "initrd": bytes(32), "cmdline": bytes(32), field: bytes(48)}
    with pytest.raises(UsageError) as caught:
        KernelHashes(**digests)
    assert caught.value.code == "launch-digest-size"
