"""The look at the machine that comes before every launch on a secure processor: what is missing, before anything is."""

from __future__ import annotations

from enarx.host.kinds import Plan
from enarx.host.platform.facts import Facts
from enarx.host.platform.machine import Machine
from enarx.host.platform.survey import gather, require


def checked(kind: str, plan: Plan, memory_mib: int, machine: Machine | None = None) -> Facts:
    """What is known of this machine, if it can start a Keep of this ``kind``.

    HostError (``platform-unsuitable``) names everything that it lacks.
    """
    facts = gather(
        machine or Machine(),
        image=None if plan.image is None else str(plan.image),
        firmware=None if plan.hardware.firmware is None else str(plan.hardware.firmware),
        memory_mib=memory_mib,
    )
    require(kind, facts)
    return facts
