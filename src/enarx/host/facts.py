"""What is known of a detached Keep, in a file that its supervisor writes and that everybody of this user may read.

The file is only as true as whoever can write it: what decides whether a deployment lives is its lock, and before a
process is signalled, its start time is compared (`Process.open`).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from enarx.errors import MalformedError

VERSION: Final = 1
MAX_BYTES: Final = 256 << 10
"""Largest file of facts, in bytes: MAX_LISTENERS addresses, a reference and a message fit in."""
OUTCOMES: Final = ("", "exited", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine: its number, and when it started in clock ticks since boot. Both never occur twice."""

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> Process:
        """The process that has this number now. Raises OSError when there is none."""
        return Process(pid, _started(pid))

    def open(self) -> int | None:
        """A pidfd of this very process, or None when it is no more."""
        try:
            fd = os.pidfd_open(self.pid)
        except (OSError, OverflowError):
            return None
        with contextlib.suppress(OSError):
            if _started(self.pid) == self.started:  # while it is open, nobody else gets the number
                return fd
        os.close(fd)
        return None


def _started(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc(5), stat, field 22)."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        after_name = file.read(4096).rpartition(b")")[2].split()
    if len(after_name) < 20:
        raise ProcessLookupError(pid)
    return int(after_name[19])


@dataclass(frozen=True, slots=True)
class Facts:
    """One deployment. Times are ISO 8601 in UTC; what is not known yet is empty or None.

    ``machine`` and ``accelerator`` say what a virtual machine consists of, and what runs it and why; ``resolved`` is
    the reference that names its bytes and no others; ``evidence`` is a key of EVIDENCE_SOURCES;
    ``status``, ``code``, ``message`` and ``hint`` are how it ended.
    """

    name: str
    reference: str
    backend: str
    created: str
    supervisor: Process
    keep: Process | None = None
    machine: str = ""
    accelerator: str = ""
    resolved: str = ""
    digest: str = ""
    media_type: str = ""
    manifest: str = ""
    steward: str = ""
    steward_ca: str = ""
    evidence: str = ""
    listening: tuple[str, ...] = ()
    started: str = ""
    ended: str = ""
    outcome: str = ""
    status: int | None = None
    code: str = ""
    message: str = ""
    hint: str = ""

    def encode(self) -> bytes:
        """The content of the file."""
        return json.dumps({"version": VERSION} | asdict(self), indent=1).encode() + b"\n"


def parse(data: bytes) -> Facts:
    """Read a file of facts. MalformedError (``deployment-facts``) for anything else."""
    try:
        value: Any = json.loads(data.decode()) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        value = None
    known = {field.name for field in fields(Facts)}
    if isinstance(value, dict):
        value = {"machine": "", "accelerator": ""} | value  # which an earlier version did not note
    if not isinstance(value, dict) or value.pop("version", None) != VERSION or value.keys() != known:
        raise _malformed()
    numbers, lists = ("status",), ("listening",)
    for name, found in value.items():
        if name in ("supervisor", "keep"):
            value[name] = None if found is None and name == "keep" else _process(found)
        elif name in numbers:
            if found is not None and type(found) is not int:
                raise _malformed()
        elif name in lists:
            if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
                raise _malformed()
            value[name] = tuple(found)
        elif not isinstance(found, str):
            raise _malformed()
    if value["outcome"] not in OUTCOMES or bool(value["ended"]) != bool(value["outcome"]):
        raise _malformed()
    return Facts(**value)


def _process(value: Any) -> Process:
    if not isinstance(value, dict) or value.keys() != {"pid", "started"}:
        raise _malformed()
    if not all(type(number) is int and 0 < number < 1 << 63 for number in value.values()):
        raise _malformed()
    return Process(**value)


def _malformed() -> MalformedError:
    return MalformedError(
        "what was noted of the deployment cannot be read",
        code="deployment-facts",
        hint="`enarx stop` stops it all the same, and `enarx rm` removes what is left of it",
    )
