"""A document as dstack's hosts give it along: what a guest was launched with, in CBOR in base64 in JSON in JSON."""

from __future__ import annotations

import base64
import json


def cbor(value: object) -> bytes:
    def head(kind: int, size: int) -> bytes:
        return bytes((kind << 5 | 26,)) + size.to_bytes(4, "big")

    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value)) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    assert isinstance(value, dict)
    return head(5, len(value)) + b"".join(cbor(part) for pair in value.items() for part in pair)


MEASURED: dict[str, object] = {
    "cmdline": "console=ttyS0",
    "ovmf_hash": b"\2" * 48,
    "kernel_hash": b"\3" * 32,
    "initrd_hash": b"\4" * 32,
    "hashes_table_gpa": 0x810C00,
    "reset_eip": 0x80B004,
    "ovmf_sections": [
        {"gpa": 0x800000, "size": 0x9000, "type": 1},
        {"gpa": 0x80D000, "size": 0x1000, "type": 2},
        {"gpa": 0x80E000, "size": 0x1000, "type": 3},
        {"gpa": 0x810000, "size": 0x1000, "type": 16},
    ],
}


def launch_document(**changes: object) -> bytes:
    measured = MEASURED | changes
    stated = {
        "measurement": base64.b64encode(cbor(measured)).decode(),
        "vcpus": 2,
        "vcpu_type": "EPYC-v4",
        "guest_features": 1,
    }
    config = json.dumps({"before": {}, "sev_snp_measurement": json.dumps(stated), "mr_config": '{"version":3}'})
    return json.dumps({"attestation": (b"\0{framing" + config.encode() + b"}\xff").hex()}).encode()
