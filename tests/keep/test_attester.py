"""The best way to evidence that a machine offers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enarx.errors import EvidenceError
from enarx.keep.attester import SEV_GUEST, TSM_ROOT, SevGuestAttester, TsmAttester, find_attester


def test_configfs_is_preferred_to_the_device(tmp_path: Path) -> None:
    assert isinstance(find_attester(str(tmp_path), os.devnull), TsmAttester)
    assert isinstance(find_attester(str(tmp_path / "absent"), os.devnull), SevGuestAttester)
    with pytest.raises(EvidenceError) as caught:
        find_attester(str(tmp_path / "absent"), str(tmp_path / "absent"))
    assert caught.value.code == "attester-unavailable"


def test_real_kernel_without_a_tee_is_recognised() -> None:
    if Path(TSM_ROOT).is_dir() or Path(SEV_GUEST).exists():
        pytest.skip("this machine has a TEE driver")
    with pytest.raises(EvidenceError) as caught:
        find_attester()
    assert caught.value.code == "attester-unavailable"
