"""Coverage-guided fuzzing of both ends of a link over bytes, and of the frames between a host and a Keep.

Run with ``python -m fuzz.mux CORPUS -runs=N``, or all targets with ``make fuzz``; see ``fuzz.harness``. An end is given
whatever the other one could send, behind a HELLO in good form; how much of it it keeps is checked as it goes along.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx.mux.incoming import Incoming
    from enarx.mux.transit import HELLO, MAGIC, SESSION_BYTES, Transit
    from enarx.wire import BYTE_LINK, FLAG_FD, HEADER, MAX_PAYLOAD, VERSION, Decoder, Type, encode_fields, parse_fields

from fuzz.harness import Reader, Seed, expect, fuzz
from tests.mux.test_hostile import Enemy, credit, frame, incoming

PIECE = 64
"""What an end is given at once, in bytes, so that frames are cut."""


def attack(side: str, data: bytes) -> None:
    """Send an end whatever there is, with a client at each stream that it opens."""
    enemy = Enemy(side)
    try:
        if side == "host":
            enemy.open_at_host().sendall(b"what a client says")
        for start in range(0, len(data), PIECE):
            enemy.send(data[start : start + PIECE])
            streams = enemy.end._table.by_socket.values()
            expect(all(len(stream.pending) <= stream.window for stream in streams))
    finally:
        enemy.close()


def attack_keep(data: bytes) -> None:
    attack("keep", data)


def attack_host(data: bytes) -> None:
    attack("host", data)


def read_frames(data: bytes) -> None:
    """Cut in two anywhere, the same frames come of it."""
    whole = _parts(Incoming(), data)
    place = data[0] if data else 0
    in_two = Incoming()
    expect(whole == _parts(in_two, data[:place]) + _parts(in_two, data[place:]))


def _parts(reader: Incoming, data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Frames of what was read; DATA of one stream, which comes in parts as it arrives, byte by byte."""
    found: list[tuple[int, int, int, bytes]] = []
    for kind, ident, flags, payload in reader.feed(memoryview(data)):
        expect(len(payload) <= MAX_PAYLOAD + 4)
        found += [(kind, ident, flags, bytes([one])) for one in payload] if kind is Type.DATA else []
        found += [] if kind is Type.DATA else [(kind, ident, flags, bytes(payload))]
    return found


def read_link(data: bytes) -> None:
    """The frames above, as `Host` and a Keep's `Link` see them."""
    for one in Decoder().feed(data, []):
        expect(one.type not in BYTE_LINK and len(one.payload) <= MAX_PAYLOAD)
        if one.type is not Type.BLOB:
            parse_fields(one.type, one.payload)


def greet(data: bytes) -> None:
    """A HELLO with whatever comes before, in and behind it."""
    for leads in (True, False):
        transit = Transit(leads=leads)
        rest = transit._look_for_hello(memoryview(data))
        expect(len(rest) <= len(data) and len(transit._greeting) <= len(data))


READERS: tuple[Reader, ...] = (attack_keep, attack_host, read_frames, read_link, greet)


def seeds() -> Iterable[Seed]:
    """Well-formed inputs of every kind."""
    data = frame(Type.DATA, 1, b"bytes of a stream")
    ends = frame(Type.FINISH, 1) + frame(Type.CLOSED, 1)
    count = struct.pack(">Q", 3)
    own = (credit(1, 100), credit(0, 100), frame(Type.ACK, 0, count), ends)
    asks = encode_fields(Type.STDIO, 1, name="stdout")
    exits = encode_fields(Type.EXIT, 0, status=0, code="", message="", hint="")
    brought = HEADER.pack(VERSION, Type.OPENED, FLAG_FD, 0, 1, 15) + b"\0\0\0\1" + b'{"name":""}'
    return (
        *((attack_keep, incoming(1) + data + one) for one in own),
        (attack_keep, brought + data),
        *((attack_host, data + one) for one in own),
        (attack_host, asks + exits),
        (read_frames, incoming(1) + data + ends),
        (read_link, asks + exits),
        (greet, HELLO.pack(MAGIC, bytes(SESSION_BYTES), 0) + data),
    )


if __name__ == "__main__":
    fuzz(READERS, seeds)
