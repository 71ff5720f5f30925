"""Sealing by the tenant and opening by the Keep against bare AES-256-GCM: the same bytes, one process, in turns.

Bare is one call of ``cryptography`` for each MiB in memory, and nothing else: no key to derive, no header, no order of
chunks. Figures are medians over the rounds of bare time to ours.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.figure import Better, Figure
from bench.measure import take_turns
from enarx.envelope import DEFAULT_CHUNK_BYTES, nonce, parse_header
from enarx.keep.opening import find_key, unseal
from enarx.tenant.package.seal import seal

ROUNDS = 11
PACKAGE_BYTES = 64 << 20
OPENING_BAR = 0.8
"""Least ratio of bare time to ours."""


def seconds(call: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return timed


def run() -> list[Figure]:
    """The figures of encrypted packages."""
    key, plain = os.urandom(32), os.urandom(PACKAGE_BYTES)
    pieces = [plain[at : at + DEFAULT_CHUNK_BYTES] for at in range(0, len(plain), DEFAULT_CHUNK_BYTES)]
    sealed = b"".join(seal(pieces, len(plain), key))
    header = parse_header(sealed)
    keys = find_key(header, {"key": key})
    received = bytearray(sealed)
    if unseal(received, header, keys) != plain:
        raise RuntimeError("what was sealed is not what was opened")
    cipher = AESGCM(key)
    encrypted = [cipher.encrypt(nonce(i, False), piece, None) for i, piece in enumerate(pieces)]

    def bare_seal() -> None:
        for i, piece in enumerate(pieces):
            cipher.encrypt(nonce(i, False), piece, None)

    def bare_open() -> None:
        for i, piece in enumerate(encrypted):
            cipher.decrypt(nonce(i, False), piece, None)

    def ours_seal() -> None:
        for _ in seal(pieces, len(plain), key):
            pass

    def ours_open() -> float:
        """As the Keep does it: in the memory that the package was received in."""
        received[:] = sealed
        return seconds(lambda: unseal(received, header, keys))()

    calls = {"bare_seal": bare_seal, "seal": ours_seal, "bare_open": bare_open}
    times = take_turns(ROUNDS, {name: seconds(call) for name, call in calls.items()} | {"open": ours_open})
    return [
        _figure(name, times[f"bare_{name}"], times[name], bar) for name, bar in (("seal", None), ("open", OPENING_BAR))
    ]


def _figure(name: str, bare: list[float], ours: list[float], bar: float | None) -> Figure:
    # Per round, where both ran under the same load: a burst of work elsewhere then moves the ratio little.
    ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
    mib = PACKAGE_BYTES >> 20
    details = {"bare_mib_s": mib / statistics.median(bare), f"{name}_mib_s": mib / statistics.median(ours)}
    return Figure(f"package_{name}", ratio, "x", Better.HIGHER, "bare AES-256-GCM", bar, details)
