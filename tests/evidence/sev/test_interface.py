"""The names that the package offers, and what it needs to be imported."""

from __future__ import annotations

import subprocess
import sys

from enarx.evidence import sev


def test_every_offered_name_is_there() -> None:
    assert len(set(sev.__all__)) == len(sev.__all__)
    for name in sev.__all__:
        assert callable(getattr(sev, name)) or isinstance(getattr(sev, name), tuple) or name == "Certificate"


def test_import_loads_nothing_of_the_other_rooms_of_the_house() -> None:
    program = (
        "import sys, enarx.evidence.sev\n"
        "print([name for name in sys.modules if name.startswith('enarx.') and not name.startswith('enarx.evi') "
        "and name != 'enarx.errors'], 'cryptography.x509' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
