"""The names that ``enarx.evidence.snp`` and ``enarx.evidence.sev`` offer, and what they need to be imported."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from enarx.evidence import sev, snp


@pytest.mark.parametrize("technology", [snp, sev], ids=["snp", "sev"])
def test_every_offered_name_is_there(technology: ModuleType) -> None:
    offered = technology.__all__
    assert {"parse", "authenticate", "appraise", "measure"} <= set(offered)
    assert len(set(offered)) == len(offered)
    for name in offered:
        assert getattr(technology, name) is not None
    with pytest.raises(AttributeError):
        _ = technology.no_such_name


@pytest.mark.parametrize("name", ["snp", "sev"])
def test_measuring_comes_with_the_technology_when_it_is_asked_for(name: str) -> None:
    program = (
        f"import sys; from enarx.evidence import {name} as technology\n"
        f"module = 'enarx.evidence.{name}.measure'\n"
        "print(module in sys.modules, callable(technology.measure.launch_digest), module in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True True"


@pytest.mark.parametrize("name", ["snp", "sev"])
def test_import_loads_nothing_of_the_other_rooms_of_the_house(name: str) -> None:
    program = (
        f"import sys, enarx.evidence.{name}\n"
        "print([name for name in sys.modules if name.startswith('enarx.') and not name.startswith('enarx.evi') "
        "and name != 'enarx.errors'], 'cryptography.x509' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
