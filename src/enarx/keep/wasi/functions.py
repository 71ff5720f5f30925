"""The list of functions that a workload may import."""

from __future__ import annotations

from enarx.keep.engine import HostFunction
from enarx.keep.wasi.abi import MODULE, SIGNATURES
from enarx.keep.wasi.context import Context
from enarx.keep.wasi.fd import FdCalls
from enarx.keep.wasi.path import PathCalls
from enarx.keep.wasi.poll import PollCalls
from enarx.keep.wasi.proc import ProcessCalls
from enarx.keep.wasi.sock import SockCalls


def functions(context: Context) -> list[HostFunction]:
    """Every function of ``wasi_snapshot_preview1``, bound to one workload's context."""
    groups = (ProcessCalls(context), FdCalls(context), PathCalls(context), SockCalls(context), PollCalls(context))
    calls = {name: getattr(group, name) for group in groups for name in dir(group) if name in SIGNATURES}
    return [
        HostFunction(MODULE, name, params, calls[name], returns=name != "proc_exit")
        for name, params in SIGNATURES.items()
    ]
