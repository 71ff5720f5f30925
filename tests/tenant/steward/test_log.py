"""The chain of the log: whatever is changed in it shows, at the entry where it was changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError
from enarx.tenant.steward.ca import Issued
from enarx.tenant.steward.decide import decide
from enarx.tenant.steward.ear import Position
from enarx.tenant.steward.log import GENESIS, Row, decision_entry, entry_hash, revocation_entry, verify
from tests.tenant.keeps import NOW, Keep, authority, judge, policy


def chained(*bodies: str) -> list[Row]:
    rows: list[Row] = []
    previous = GENESIS
    for sequence, body in enumerate(bodies, 1):
        digest = entry_hash(sequence, previous, body)
        rows.append(Row(sequence, previous.hex(), digest.hex(), body))
        previous = digest
    return rows


ROWS = chained("one", "two", "three", "four")


def test_an_honest_log_verifies_and_an_empty_one_too() -> None:
    assert verify(ROWS) == Position(4, ROWS[-1].hash)
    assert verify([]) == Position(0, GENESIS.hex())


def test_the_hash_is_the_one_that_is_documented() -> None:
    import hashlib

    message = b"enarx steward log v1\0" + (1).to_bytes(8, "big") + bytes(32) + b"one"
    assert ROWS[0].hash == hashlib.sha256(message).hexdigest()


@pytest.mark.parametrize(
    ("tampered", "entry"),
    [
        ([ROWS[0], replace(ROWS[1], body="2"), *ROWS[2:]], 2),
        ([ROWS[0], ROWS[2], ROWS[3]], 2),
        ([ROWS[0], ROWS[2], ROWS[1], ROWS[3]], 2),
        ([*ROWS[:2], ROWS[1], *ROWS[2:]], 3),
        (ROWS[1:], 1),
        ([replace(ROWS[0], hash="0" * 64), *ROWS[1:]], 1),
        ([ROWS[0], chained("x", "two")[1], *ROWS[2:]], 2),
    ],
)
def test_a_changed_missing_moved_or_repeated_entry_is_named(tampered: list[Row], entry: int) -> None:
    with pytest.raises(AuthenticityError, match=f"entry {entry}") as caught:
        verify(tampered)
    assert caught.value.code == "log-broken"


def test_a_rewritten_or_shortened_log_does_not_reach_a_noted_position() -> None:
    noted = Position(3, ROWS[2].hash)
    assert verify(ROWS, expected=noted).sequence == 4
    with pytest.raises(AuthenticityError) as caught:
        verify(ROWS[:2], expected=noted)
    assert caught.value.code == "log-truncated"
    with pytest.raises(AuthenticityError) as caught:
        verify(chained("one", "two", "3", "four"), expected=noted)
    assert caught.value.code == "log-broken"


@given(st.integers(0, 3), st.sampled_from(["previous", "hash", "body"]), st.text(max_size=70))
def test_no_change_of_a_row_goes_unseen(index: int, field: str, value: str) -> None:
    changed = [*ROWS]
    changed[index] = replace(ROWS[index], **{field: value})  # type: ignore[arg-type]
    if changed != ROWS:
        with pytest.raises(AuthenticityError):
            verify(changed)


def test_entries_say_what_was_decided_and_hold_no_names_or_secrets() -> None:
    secret = '[[secret]]\nname="database-password"\nvalue="hunter2"\nworkloads=["web"]\nsimulated=true\n'
    certificate = '[certificate]\ndns=["private.example"]\n'
    decision = decide(Keep().request(), judge(secret, certificate), NOW)
    issued = Issued(b"der", "ab" * 16, NOW)
    body = decision_entry(decision, issued, policy().digest, "attest", NOW).body
    found = json.loads(body)
    assert found["outcome"] == "issued"
    assert found["serial"] == "ab" * 16
    assert found["secrets"] == 1
    assert found["facts"]["measurement"] == "ab" * 48
    assert found["time"].endswith("Z")
    for name in ("database-password", "hunter2", "private.example", "steward.example"):
        assert name not in body
    refused = decide(Keep().request(manifest=b"x"), judge(), NOW)
    assert json.loads(decision_entry(refused, None, b"\0" * 32, "attest", NOW).body)["failed"] == ["manifest-mismatch"]


def test_a_revocation_is_an_entry_and_a_change() -> None:
    entry = revocation_entry("cd" * 16, "superseded", NOW)
    assert json.loads(entry.body)["event"] == "revocation"
    assert entry.revocation is not None
    assert entry.revocation.serial == "cd" * 16
    assert authority().spki_digest.hex() not in entry.body
