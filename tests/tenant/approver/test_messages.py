"""What hosts send to an approver: read strictly, bounded, and refused with words."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.evidence.sev.certs import MAX_CHAIN_BYTES
from enarx.tenant.approver.messages import read_launch, read_measurement
from enarx.tenant.signature.signers import OBJECTS_MAX

LAUNCH = {"technology": "sev-es", "certificates": "QUJD", "manifest": "e30=", "signatures": ["c2ln"]}
MEASUREMENT = {"launch": "00ff", "firmware": [1, 55, 21], "measurement": b64encode(bytes(48)).decode()}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from((*LAUNCH, *MEASUREMENT)), inner),
    max_leaves=12,
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_requests_are_read() -> None:
    found = read_launch(encoded(LAUNCH))
    assert (found.technology, found.certificates, found.manifest, found.signatures) == (
        "sev-es",
        b"ABC",
        b"{}",
        (b"sig",),
    )
    name, measured = read_measurement(encoded(MEASUREMENT))
    assert (name, measured.firmware, measured.measurement) == ("00ff", (1, 55, 21), bytes(48))


@pytest.mark.parametrize(
    "change",
    [
        {"technology": "snp"}, {"technology": 3}, {"certificates": "?"}, {"certificates": None}, {"more": 1},
        {"certificates": b64encode(bytes(MAX_CHAIN_BYTES + 1)).decode()}, {"manifest": "A" * 3_000_000},
        {"signatures": ["c2ln"] * (OBJECTS_MAX + 1)}, {"signatures": "c2ln"}, {"signatures": ["A" * 100_000]},
    ],
)  # fmt: skip
def test_launch_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as raised:
        read_launch(encoded(LAUNCH | change))
    assert raised.value.code == "request-malformed"
    assert raised.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"launch": ""}, {"launch": "x" * 129}, {"launch": 3}, {"firmware": [1, 55]}, {"firmware": [1, 55, 256]},
        {"firmware": [1, 55, -1]}, {"firmware": [1, 55, True]}, {"firmware": [1, 55, 2.0]}, {"firmware": "1.55"},
        {"measurement": b64encode(bytes(47)).decode()}, {"measurement": b64encode(bytes(49)).decode()}, {"more": 1},
        {"measurement": ""},
    ],
)  # fmt: skip
def test_measurement_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as raised:
        read_measurement(encoded(MEASUREMENT | change))
    assert raised.value.code == "request-malformed"


@given(st.one_of(st.binary(max_size=64), JSON.map(encoded)))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for read in (read_launch, read_measurement):
        try:
            read(body)
        except MalformedError as error:
            assert error.code == "request-malformed"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_launch(b"[" * 100_000)
