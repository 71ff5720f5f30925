"""TLS echo: a WebAssembly guest in a Keep against the same server in plain Python, with the same client."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from bench.figure import Better, Figure
from bench.measure import quartiles, take_turns
from bench.workspace import ROOT, BenchError, guest, output_of, run_enarx
from enarx.keep.identity import self_signed

ROUNDS: Final = 21
SECONDS: Final = 0.3
"""Length of one measurement."""
BAR: Final = 0.9
SMALL: Final = 64
LARGE: Final = 256 << 10
"""Message sizes, in bytes."""
CASES: Final = ((SMALL, 1, "one"), (SMALL, 8, "many"), (LARGE, 1, "one"), (LARGE, 8, "many"))
"""Message size, connections, and how the servers are written: one blocking connection, or many under poll."""
_PEER: Final = "Python ssl, same structure"
_CONFIG: Final = """\
files = [
    { kind = "null" }, { kind = "stdout" }, { kind = "stderr" },
    { kind = "listen", name = "echo", prot = "tls", addr = "127.0.0.1", port = 0 },
]
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port, and the process that does the work."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. ``server_us`` and ``client_us`` are CPU time per request."""

    rate: float
    server_us: float
    client_us: float
    cipher: tuple[str, ...]


def run() -> list[Figure]:
    """Requests per second in a Keep as a multiple of those outside, for each case."""
    return [_case(size, connections, mode) for size, connections, mode in CASES]


def _case(size: int, connections: int, mode: str) -> Figure:
    with _keep_server(size, mode) as keep, _python_server(size, mode) as python:
        samples = take_turns(
            ROUNDS,
            {
                "keep": partial(_measure, keep, size, connections),
                "python": partial(_measure, python, size, connections),
            },
        )
    ciphers = {sample.cipher for of in samples.values() for sample in of}
    if len(ciphers) != 1:
        raise BenchError(f"the servers agreed on different ciphers: {ciphers}")
    rates = {name: [sample.rate for sample in of] for name, of in samples.items()}
    medians = {name: statistics.median(of) for name, of in rates.items()}
    lower, upper = quartiles([keep / python for keep, python in zip(rates["keep"], rates["python"], strict=True)])
    details = {"lower_quartile_x": lower, "upper_quartile_x": upper}
    for name, rate in medians.items():
        details[f"{name}_per_s"] = rate
        details[f"{name}_MB_per_s"] = rate * size / 1e6
        details[f"{name}_server_cpu_us"] = statistics.median(sample.server_us for sample in samples[name])
        details[f"{name}_client_cpu_us"] = statistics.median(sample.client_us for sample in samples[name])
        details[f"{name}_server_busy"] = details[f"{name}_server_cpu_us"] * rate / 1e6
    label = "64 B, requests/s" if size == SMALL else "256 KiB, MB/s"
    title = f"TLS echo of {label}, {connections} connection{'s' if connections > 1 else ''}"
    return Figure(title, medians["keep"] / medians["python"], "x", Better.HIGHER, _PEER, BAR, details)


def _measure(server: Server, size: int, connections: int) -> Sample:
    arguments = map(str, (server.port, size, connections, SECONDS, server.pid))
    result = json.loads(output_of([sys.executable, "-m", "bench.tls_client", *arguments]))
    per_request = 1e6 / result["requests"]
    return Sample(
        result["requests"] / result["seconds"],
        result["server_cpu"] * per_request,
        result["client_cpu"] * per_request,
        tuple(map(str, result["cipher"])),
    )


@contextlib.contextmanager
def _keep_server(size: int, mode: str) -> Iterator[Server]:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(_CONFIG)
        config.flush()
        command = run_enarx("--verbose", "--wasmcfgfile", config.name, guest("echo"), "--", str(size), mode)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "listening on" in line:
                    yield Server(int(line.rpartition(":")[2]), _child_of(process.pid))
                    return
            raise BenchError("the Keep did not start to listen")
        finally:
            process.terminate()
            process.communicate()


def _child_of(pid: int) -> int:
    """The Keep's process."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text("ascii").split()
    ]
    if len(children) != 1:
        raise BenchError(f"`enarx run` has {len(children)} child processes")
    return children[0]


@contextlib.contextmanager
def _python_server(size: int, mode: str) -> Iterator[Server]:
    """The peer, with a certificate made like the Keep's."""
    identity = self_signed(datetime.now(UTC))
    with tempfile.NamedTemporaryFile("wb", suffix=".pem") as certificate:
        certificate.write(identity.private_key_pem + identity.certificate_pem)
        certificate.flush()
        command = [sys.executable, str(ROOT / "bench" / "tls_server.py"), certificate.name, str(size), mode]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.terminate()
            process.communicate()
