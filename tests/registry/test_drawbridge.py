"""The formats of a Drawbridge."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import RegistryError, UsageError
from enarx.registry.drawbridge import Checker, Meta, parse_content_digest, parse_directory, parse_entry, parse_slug
from tests.registry import drawbridges

DIGESTS = drawbridges.digests(b"content")
EXPECTED = {name: base64.b64decode(value) for name, value in DIGESTS.items()}


@pytest.mark.parametrize(
    ("slug", "url"),
    [
        ("user/repo:1.0.0", "https://store.profian.com/api/v0.1.0/user/repo/_tag/1.0.0"),
        (
            "127.0.0.1:8443/User1/my-repo:0.1.2-rc.1+b",
            "https://127.0.0.1:8443/api/v0.1.0/User1/my-repo/_tag/0.1.2-rc.1+b",
        ),
        ("store.example/u/r:10.20.30", "https://store.example/api/v0.1.0/u/r/_tag/10.20.30"),
        ("[::1]:8443/u/r:1.0.0", "https://[::1]:8443/api/v0.1.0/u/r/_tag/1.0.0"),
    ],
)
def test_slug_is_read(slug: str, url: str) -> None:
    assert str(parse_slug(slug)) == url


@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ("user/repo", "Missing `:` in tag specification: user/repo"),
        ("", "Missing `:` in tag specification: "),
        ("repo:1.0.0", "Missing `/` in repository specification: repo"),
        ("user:1.0.0", "Missing `/` in repository specification: user"),
    ],
)
def test_what_is_missing_is_said_as_it_always_was(slug: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_slug(slug)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "slug",
    [
        "user/repo:v1.0.0", "user/repo:1.0", "user/repo:01.0.0", "user/repo:1.0.0-01", "user/repo:latest", "user/repo:",
        "us-er/repo:1.0.0", "user/re_po:1.0.0", "/repo:1.0.0", "user/:1.0.0", "a/b/user/repo:1.0.0",
        "h@x/user/repo:1.0.0",
        "h:0/user/repo:1.0.0", "h:99999/user/repo:1.0.0", "[x]/user/repo:1.0.0", "h?q/user/repo:1.0.0",
        "../user/repo:1.0.0",
        "user/repo:1.0.0\n", "üser/repo:1.0.0", "/user/repo:1.0.0", "a" * 600 + "/repo:1.0.0",
    ],
)  # fmt: skip
def test_what_is_no_slug_is_refused(slug: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_slug(slug)
    assert caught.value.code == "slug"


@given(st.text(max_size=40))
def test_any_slug_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"user/{text}:1.0.0", f"{text}/user/repo:1.0.0", f"user/repo:{text}"):
        try:
            url = parse_slug(candidate)
        except UsageError:
            continue
        assert url.scheme == "https"
        assert url.target.startswith("/api/v0.1.0/")


# --- Digests


def test_content_digest_is_read() -> None:
    header = drawbridges.content_digest(b"content")
    assert parse_content_digest([header]) == EXPECTED
    assert parse_content_digest(header.upper().split(",")[:0] + header.split(",")) == EXPECTED
    name, _, value = header.split(",")[0].partition("=")
    assert parse_content_digest([f" {name.upper()}={value} "]) == {"sha-224": EXPECTED["sha-224"]}
    assert parse_content_digest([]) == {}


@pytest.mark.parametrize(
    "header",
    [
        "", "sha-256", "sha-256=abc", "sha-256=::", f"sha-256={DIGESTS['sha-256']}", "sha-256=:AAAA:", "md5=:AAAA:",
        f"sha-256=:{DIGESTS['sha-256']}:,", f"sha-256=:{DIGESTS['sha-256']}:,sha-256=:{DIGESTS['sha-256']}:",
        f"sha-256=:{DIGESTS['sha-256'].rstrip('=')}:", f"sha-256=:{DIGESTS['sha-512']}:",
        "sha-256=:" + "A" * 5000 + ":",
        f"sha-512/256=:{DIGESTS['sha-256']}:",
    ],
)  # fmt: skip
def test_what_is_no_content_digest_is_refused(header: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_content_digest([header])
    assert caught.value.code == "drawbridge-digest"


@given(st.lists(st.text(st.sampled_from("sha-256=:A/+, é"), max_size=30), max_size=3))
def test_any_content_digest_is_read_or_refused(headers: list[str]) -> None:
    try:
        parse_content_digest(headers)
    except RegistryError as error:
        assert error.code == "drawbridge-digest"


@pytest.mark.parametrize("algorithm", drawbridges.ALGORITHMS)
def test_every_digest_that_is_listed_is_checked(algorithm: str) -> None:
    wrong = {**EXPECTED, algorithm: bytes(len(EXPECTED[algorithm]))}
    checker = Checker(wrong, 7)
    checker.update(b"content")
    with pytest.raises(RegistryError) as caught:
        checker.check("x")
    assert caught.value.message.startswith("hash mismatch")
    right = Checker(EXPECTED, 7)
    right.update(b"con")
    right.update(memoryview(b"tent"))
    right.check("x")
    with pytest.raises(RegistryError):
        Checker(EXPECTED, 8).check("x")


# --- Entries and directories


def test_the_published_directory_has_its_published_length() -> None:
    """The directory of enarx's tests/client: this Enarx.toml, of 79 bytes, and a module whose length has five digits.

    Its 707 bytes are in the published test; the module itself is not here, so its digests are those of another.
    """
    config = '[[files]]\nkind = "stdin"\n\n[[files]]\nkind = "stdout"\n\n[[files]]\nkind = "stderr"\n'
    assert len(config) == 79
    lengths = {
        len(drawbridges.directory({"main.wasm": bytes(size), "Enarx.toml": config.encode()}))
        for size in (10_000, 99_999)
    }
    assert lengths == {707}


def test_a_directory_is_read_as_it_is_written() -> None:
    files = {"main.wasm": b"\0asm", "Enarx.toml": b"", "notes": b"x"}
    found = parse_directory(drawbridges.directory(files))
    assert list(found) == ["Enarx.toml", "main.wasm", "notes"]
    assert [one.media_type for one in found.values()] == [
        "application/toml",
        "application/wasm",
        "application/octet-stream",
    ]
    assert found["main.wasm"].length == 4


def test_an_entry_may_have_fields_of_its_own() -> None:
    entry = {**drawbridges.meta(b"content", "text/plain"), "author": {"name": "somebody"}}
    assert parse_entry(drawbridges.encode(entry)) == Meta(EXPECTED, 7, "text/plain")


@pytest.mark.parametrize(
    "change",
    [
        {"digest": {}}, {"digest": []}, {"digest": {"md5": "AAAA"}}, {"digest": {"sha-256": 5}},
        {"digest": {"sha-256": "x"}},
        {"length": -1}, {"length": 2**63}, {"length": "7"}, {"length": 7.0}, {"length": True}, {"type": 5},
        {"type": None},
    ],
)  # fmt: skip
def test_a_malformed_entry_is_refused(change: dict[str, Any]) -> None:
    entry = {**drawbridges.meta(b"content", "text/plain"), **change}
    with pytest.raises(RegistryError):
        parse_entry(drawbridges.encode(entry))
    with pytest.raises(RegistryError):
        parse_directory(drawbridges.encode({"main.wasm": entry}))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a/b":{}}', b'{"":{}}', b'{"main.wasm":5}', b'{"a":{},"a":{}}'])
def test_what_is_no_directory_is_refused(data: bytes) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_directory(data)
    assert caught.value.code == "drawbridge-entry"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["digest", "length", "type", "other"]), _JSON, max_size=3), st.text(max_size=5))
def test_any_entry_is_read_or_refused(change: dict[str, Any], name: str) -> None:
    entry = {**drawbridges.meta(b"content", "text/plain"), **change}
    for parse, document in ((parse_entry, entry), (parse_directory, {name: entry})):
        try:
            parse(json.dumps(document).encode())
        except RegistryError as error:
            assert error.code in ("drawbridge-entry", "drawbridge-digest")
