"""A Keep as a process of this machine, and its SIMULATED secure processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx.host.kinds import Plan, Processor, Started, refuse_hardware_options, refuse_machine_options
from enarx.host.process import COMMAND, KeepProcess, code_directories

if TYPE_CHECKING:
    from enarx.host.sev.simulated import Contents
    from enarx.simulator.processor import Launch


def start(plan: Plan) -> Started:
    """Start one. Raises HostError or UsageError."""
    refuse_machine_options("process", plan)
    refuse_hardware_options("process", plan.hardware)
    keep = KeepProcess(measured=plan.host_data is not None)
    if keep.channel is None:
        return Started(keep, keep.pid)
    processor: Processor
    if plan.approval is not None:
        from enarx.host.sev.simulated import SimulatedSevLaunch

        processor = SimulatedSevLaunch(keep.channel, plan.approval.approver, sev_contents, plan.approval.launched)
    else:
        from enarx.host.attested import SimulatedLaunch

        processor = SimulatedLaunch(keep.channel, plan.now(), plan.lies, plan.say, measure)
    return Started(keep, keep.pid, processor)


def measure(launch: Launch) -> None:
    """Have the code of a process Keep measured, as it is installed here."""
    from enarx.evidence.gctx import PageType
    from enarx.simulator.process_keep import KEEP_GPA, measure_process_keep

    launch.update(PageType.NORMAL, KEEP_GPA, measure_process_keep(code_directories(), COMMAND).pages)


def sev_contents() -> Contents:
    """The same for SIMULATED SEV firmware: the listing of the code. A process has no registers to protect."""
    from enarx.host.sev.simulated import Contents
    from enarx.simulator.process_keep import measure_process_keep

    return Contents((measure_process_keep(code_directories(), COMMAND).pages,))
