"""What is known of a deployment, and processes that are told apart by more than a number."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.host.connections import MAX_LISTENERS
from enarx.host.facts import MAX_BYTES, Facts, Process, parse
from tests.descriptors import nothing_left_open

FACTS = Facts("web", "file:///app.wasm", "process", "2026-01-01T00:00:00.000+00:00", Process(7, 9))
ENDED = replace(
    FACTS, keep=Process(8, 10), listening=("127.0.0.1:1",), ended="2026-01-02T00:00:00.000+00:00", outcome="exited",
    status=0,
)  # fmt: skip
TEXT = st.text(max_size=20)


@pytest.mark.parametrize("facts", [FACTS, ENDED])
def test_what_is_written_is_read(facts: Facts) -> None:
    assert parse(facts.encode()) == facts


@given(TEXT, TEXT, st.lists(TEXT, max_size=3), st.none() | st.integers())
def test_whatever_is_written_is_read(reference: str, message: str, listening: list[str], status: int | None) -> None:
    facts = replace(FACTS, reference=reference, message=message, listening=tuple(listening), status=status)
    assert parse(facts.encode()) == facts


def test_the_largest_that_are_written_are_not_too_large() -> None:
    endpoint = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
    facts = replace(
        ENDED, reference="\x7f\u0080" * 2048, message="\u0080" * 2048, hint="\u0080" * 2048,
        listening=(endpoint,) * MAX_LISTENERS,
    )  # fmt: skip
    assert len(facts.encode()) < MAX_BYTES // 2


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(ENDED.encode()) | fields).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b" " * (MAX_BYTES + 1), ENDED.encode() + b"x",
        changed(version=2), changed(version="1"), changed(more=1), changed(name=1), changed(status="0"),
        changed(status=True), changed(status=0.0), changed(listening="x"), changed(listening=[1]),
        changed(supervisor=None), changed(supervisor={"pid": 1}), changed(supervisor={"pid": 0, "started": 1}),
        changed(supervisor={"pid": True, "started": 1}), changed(keep={"pid": 1, "started": 1, "x": 1}),
        changed(keep=[1, 2]), changed(outcome="over"), changed(outcome=""), changed(ended=""), changed(keep=1 << 70),
    ],
)  # fmt: skip
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(data)
    assert caught.value.code == "deployment-facts"


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


def test_a_process_is_opened_while_it_is_there_and_not_afterwards() -> None:
    with nothing_left_open():
        with subprocess.Popen(["sleep", "1000"]) as child:
            process = Process.of(child.pid)
            fd = process.open()
            assert fd is not None
            assert not select.select([fd], [], [], 0)[0]
            child.kill()
            assert select.select([fd], [], [], 60)[0]
            os.close(fd)
        assert process.open() is None
    with pytest.raises(OSError, match="No such"):
        Process.of(child.pid)


def test_another_process_of_the_same_number_is_not_it() -> None:
    us = Process.of(os.getpid())
    assert replace(us, started=us.started - 1).open() is None
    assert Process(1 << 40, 1).open() is None
