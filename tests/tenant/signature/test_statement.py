"""What is signed: one encoding for one package, and media types that the bytes themselves confirm."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.manifest import Manifest, Workload
from enarx.mediatype import PACKAGE as PACKAGE_TYPE
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.signature.statement import Statement, parse

DIGEST = "sha256:" + "ab" * 32


def test_a_statement_is_canonical_json() -> None:
    statement = Statement(DIGEST, PACKAGE_TYPE)
    assert statement.encode() == rfc8785.dumps({"mediaType": PACKAGE_TYPE, "digest": DIGEST})
    assert parse(statement.encode()) == statement


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps({"digest": DIGEST, "mediaType": MODULE_TYPE}).encode(),  # with spaces
        json.dumps({"mediaType": MODULE_TYPE, "digest": DIGEST}, separators=(",", ":")).encode(),
        Statement(DIGEST, MODULE_TYPE).encode() + b"\n",
        Statement(DIGEST, MODULE_TYPE).encode().replace(b"wasm", b"\\u0077asm"),
        Statement(DIGEST, MODULE_TYPE).encode().replace(b"}", b',"more":1}'),
        Statement(DIGEST, MODULE_TYPE).encode().replace(b"{", b'{"digest":"x",', 1),
        Statement(DIGEST, MODULE_TYPE).encode().replace(b"ab", b"AB"),
        b'{"digest":1,"mediaType":2}',
        b'{"digest":"' + DIGEST.encode() + b'","mediaType":"Application/WASM"}',
        b'{"digest":"' + DIGEST.encode() + b'\\n","mediaType":"application/wasm"}',
    ],
)
def test_any_other_encoding_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(payload)
    assert caught.value.code == "statement"


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_statement_holds_what_a_manifest_can(digest: str, kind: str) -> None:
    for one in (Workload(digest, MODULE_TYPE), Workload(DIGEST, kind), Workload(DIGEST, f"a/{kind}")):
        try:
            Manifest(workload=one)
        except MalformedError:
            with pytest.raises(MalformedError):
                Statement(one.digest, one.media_type)
        else:
            statement = Statement(one.digest, one.media_type)
            assert parse(statement.encode()) == statement
