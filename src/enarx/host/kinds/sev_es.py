"""A Keep in a SEV-ES guest: as in one of SEV, with encrypted registers, which are measured too."""

from __future__ import annotations

from enarx.host.kinds import Plan, Started
from enarx.host.kinds.sev import launch


def start(plan: Plan) -> Started:
    """Start one. Raises HostError (``platform-unsuitable``) and starts nothing on a machine that cannot."""
    return launch("sev-es", plan)
