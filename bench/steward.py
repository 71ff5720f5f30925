"""The Steward: time of one attestation on loopback, and attestations a second, on SQLite and on PostgreSQL.

A real service in processes of its own, TLS 1.3, requests of sixteen different Keeps over kept connections; the load
comes from a process of its own on the same machine and is part of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from bench.figure import Better, Figure
from tests.tenant.keeps import Keep, policy_text
from tests.tenant.steward.databases import postgresql, programs
from tests.tenant.steward.running import prepare, running

KEEPS: Final = 16
ALONE: Final = 200
"""Requests that are measured one after the other (count)."""
SECONDS: Final = 6.0
"""How long the load lasts (seconds)."""
CONNECTIONS: Final = 16
WORKERS: Final = 2
ALONE_BAR_MS: Final = 10.0
P99_BAR_MS: Final = 100.0
SQLITE_BAR: Final = 400.0
POSTGRESQL_BAR: Final = 300.0
SECRET: Final = (
    '[[secret]]\nname = "s"\nvalue = "32 bytes of a secret for a Keep"\nworkloads = ["web"]\nsimulated = true\n'
)


def run() -> list[Figure]:
    """Latency and throughput; PostgreSQL only where it is installed."""
    figures = _measure("SQLite", None, SQLITE_BAR)
    try:
        programs()
    except BaseException:  # noqa: BLE001 - pytest's Skipped, which is not an Exception
        print("bench: PostgreSQL is not installed (Debian package postgresql-15)", file=sys.stderr)
        return figures
    with postgresql() as url:
        return figures + _measure("PostgreSQL", url, POSTGRESQL_BAR)


def _measure(name: str, database: str | None, bar: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="enarx-bench-") as made:
        directory = prepare(Path(made), policy_text("[service]\nrate = 0\n", SECRET))
        for number in range(KEEPS):
            (directory / f"body{number}").write_bytes(Keep(key=ec.generate_private_key(ec.SECP384R1())).body())
        options = ["--workers", str(WORKERS), *(("--database", database) if database else ())]
        with running(directory, *options) as steward:
            alone = _load(directory, steward.port, 1, 60.0, ALONE)
            loaded = _load(directory, steward.port, CONNECTIONS, SECONDS, 1_000_000)
    elapsed = loaded.pop()
    alone.pop()
    alone.sort()
    loaded.sort()
    details = {"p50_ms": _at(loaded, 0.5), "p99_ms": _at(loaded, 0.99), "requests_count": float(len(loaded))}
    peer = f"{WORKERS} workers, load on the same machine"
    return [
        Figure(
            f"steward attest, {name}",
            statistics.median(alone) * 1000,
            "ms",
            Better.LOWER,
            "one connection",
            ALONE_BAR_MS,
            {"p99_ms": _at(alone, 0.99), "least_ms": alone[0] * 1000},
        ),
        Figure(f"steward throughput, {name}", len(loaded) / elapsed, "/s", Better.HIGHER, peer, bar, details),
        Figure(f"steward p99 under load, {name}", details["p99_ms"], "ms", Better.LOWER, peer, P99_BAR_MS),
    ]


def _at(times: list[float], fraction: float) -> float:
    return times[min(len(times) - 1, int(len(times) * fraction))] * 1000


def _load(directory: Path, port: int, connections: int, seconds: float, most: int) -> list[float]:
    """Times of the requests (seconds), and last how long it all took."""
    command = [
        sys.executable,
        "-m",
        "bench.steward",
        str(directory),
        str(port),
        str(connections),
        str(seconds),
        str(most),
    ]
    done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + 60)
    found: list[float] = json.loads(done.stdout)
    return found


async def _generate(directory: Path, port: int, connections: int, seconds: float, most: int) -> list[float]:
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    bodies = [(directory / f"body{number}").read_bytes() for number in range(KEEPS)]
    times: list[float] = []
    begun = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        while len(times) < most and time.perf_counter() < begun + seconds:
            body = bodies[number % KEEPS]
            number += 1
            since = time.perf_counter()
            writer.write(
                b"POST /v1/attest HTTP/1.1\r\nHost: steward\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            answer = await reader.readexactly(size)
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(answer.decode())
            times.append(time.perf_counter() - since)
        writer.close()

    await asyncio.gather(*map(client, range(connections)))
    return [*times, time.perf_counter() - begun]


def _main() -> None:
    directory, port, connections, seconds, most = sys.argv[1:]
    times = asyncio.run(_generate(Path(directory), int(port), int(connections), float(seconds), int(most)))
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    _main()
