"""References: what is one, and what only looks like one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import UsageError
from enarx.registry import Reference, parse_reference
from enarx.registry.reference import REFERENCE_MAX_CHARS

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://registry.example/app", Reference("registry.example", "app", "latest")),
        ("oci://registry.example/a/b/c:1.0", Reference("registry.example", "a/b/c", "1.0")),
        ("oci://localhost:5000/app:v1", Reference("localhost:5000", "app", "v1")),
        ("oci://127.0.0.1:5000/a__b/c-d.e--f:_x", Reference("127.0.0.1:5000", "a__b/c-d.e--f", "_x")),
        ("oci://[::1]:5000/app", Reference("[::1]:5000", "app", "latest")),
        ("oci://[2001:DB8::1]/app", Reference("[2001:db8::1]", "app", "latest")),
        (f"oci://Registry.Example/app@{DIGEST}", Reference("registry.example", "app", "", DIGEST)),
        (f"oci://registry.example/app:v1@{DIGEST}", Reference("registry.example", "app", "v1", DIGEST)),
        ("oci://registry.example/app:" + "t" * 128, Reference("registry.example", "app", "t" * 128)),
        ("oci://short/app", Reference("short", "app", "latest")),
        ("oci://registry.example/" + "a" * 255, Reference("registry.example", "a" * 255, "latest")),
    ],
)
def test_reference_is_read(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app",
        "registry.example/app",
        "docker://registry.example/app",
        "OCI://registry.example/app",
        "oci://",
        "oci:///app",
        "oci://registry.example",
        "oci://registry.example/",
        "oci://registry.example:/app",
        "oci://registry.example:0/app",
        "oci://registry.example:05/app",
        "oci://registry.example:65536/app",
        "oci://registry.example:x/app",
        "oci://user@registry.example/app",
        "oci://user:password@registry.example/app",
        "oci://under_score.example/app",
        "oci://-x.example/app",
        "oci://x-.example/app",
        "oci://x..example/app",
        "oci://.example/app",
        "oci://example./app",
        "oci://[::1/app",
        "oci://::1/app",
        "oci://[fe80::1%eth0]/app",
        "oci://[127.0.0.1]/app",
        "oci://bücher.example/app",
        "oci://registry.example/App",
        "oci://registry.example//app",
        "oci://registry.example/app/",
        "oci://registry.example/../app",
        "oci://registry.example/./app",
        "oci://registry.example/-app",
        "oci://registry.example/a___b",
        "oci://registry.example/a..b",
        "oci://registry.example/app?x=y",
        "oci://registry.example/app#x",
        "oci://registry.example/app%2f",
        "oci://registry.example/app\n",
        "oci://registry.example/ app",
        "oci://registry.example/app:",
        "oci://registry.example/app:.x",
        "oci://registry.example/app:x/y",
        "oci://registry.example/app:" + "t" * 129,
        "oci://registry.example/" + "a" * 256,
        "oci://registry.example/app@",
        "oci://registry.example/app@sha256:1234",
        f"oci://registry.example/app@{DIGEST.upper()}",
        f"oci://registry.example/app@{DIGEST}0",
        f"oci://registry.example/app@{DIGEST}@{DIGEST}",
        "oci://registry.example/app@sha512:" + "0" * 128,
        "oci://registry.example/app@md5:" + "0" * 32,
        f"oci://registry.example/@{DIGEST}",
        "oci://" + "a" * REFERENCE_MAX_CHARS,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.code == "reference"
    assert caught.value.hint
    assert caught.value.message.isascii()


def test_what_a_digest_names_does_not_depend_on_the_tag() -> None:
    assert parse_reference(f"oci://h/r:v1@{DIGEST}").target == DIGEST
    assert parse_reference("oci://h/r:v1").target == "v1"
    assert parse_reference("oci://h/r:v1").at(DIGEST) == parse_reference(f"oci://h/r:v1@{DIGEST}")


_PART = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_HOST = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?(\.[a-z]{2,5}){0,2}(:[1-9][0-9]{0,3})?", fullmatch=True)
_TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
_DIGEST = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(_HOST, st.lists(_PART, min_size=1, max_size=4), _TAG, st.one_of(st.just(""), _DIGEST))
def test_every_reference_is_what_it_is_written_as(host: str, parts: list[str], tag: str, digest: str) -> None:
    reference = Reference(host, "/".join(parts), tag, digest)
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_read_or_refused(text: str, prefixed: bool) -> None:
    try:
        reference = parse_reference(f"oci://h/{text}" if prefixed else text)
    except UsageError as error:
        assert error.message.isprintable()
    else:
        assert parse_reference(str(reference)) == reference
        assert re.fullmatch(r"[a-z0-9._/-]+", reference.repository)
        assert ".." not in reference.repository
