"""What begins as a module, a package or an encrypted package, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive, envelope
from enarx.mediatype import ENCRYPTED, HEAD_BYTES, PACKAGE, WASM, media_type_of
from tests.archives import pack

MODULE = b"\0asm\1\0\0\0"


@pytest.mark.parametrize("parts", [[("main.wasm", MODULE)], [("Enarx.toml", b""), ("main.wasm", MODULE)]])
def test_package_is_told_by_its_first_block(parts: list[tuple[str, bytes | None]]) -> None:
    data = pack(parts)
    assert media_type_of(data[:HEAD_BYTES]) == media_type_of(data) == PACKAGE == archive.MEDIA_TYPE


def test_modules_and_encrypted_packages_are_told_by_their_magic() -> None:
    assert media_type_of(MODULE) == WASM
    assert media_type_of(envelope.MAGIC + bytes(88)) == ENCRYPTED == envelope.MEDIA_TYPE


@pytest.mark.parametrize(
    "head", [b"", b"\0", bytes(512), b"PK\3\4", pack([("main.wasm", MODULE)])[:262], b"\0as", pack([("other", b"")])]
)
def test_anything_else_is_none_of_them(head: bytes) -> None:
    assert media_type_of(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_no_bytes_are_of_two_kinds(rest: bytes) -> None:
    block = pack([("main.wasm", b"")])
    for magic, kind in ((b"\0asm", WASM), (envelope.MAGIC, ENCRYPTED)):
        assert media_type_of(magic + rest) == kind
        assert media_type_of(magic + block[len(magic) :]) == kind
