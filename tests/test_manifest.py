"""The manifest: one encoding each, nothing unknown in it, and refusals that say who refuses."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enarx.config import KIB
from enarx.config import parse as parse_config
from enarx.errors import ConfigError, MalformedError, StreamError
from enarx.manifest import (
    LIMIT_BOUNDS,
    MAX_ARGS,
    MAX_BYTES,
    MAX_FILES,
    MAX_STREAMS,
    Allow,
    Manifest,
    ManifestFile,
    ManifestLimits,
    StewardPin,
    Workload,
    digest_of,
    endpoint,
    parse,
)

MODULE = digest_of(b"\0asm\1\0\0\0")
ZERO = "sha256:" + 64 * "0"

SMALL = Manifest(Workload(MODULE))
FULL = Manifest(
    Workload(MODULE),
    config=digest_of(b""),
    files=(ManifestFile("ca", "ca.pem", ZERO), ManifestFile("layer", "/", ZERO)),
    args=("--name", 'Zoë "the\\first"\n\x1f\x7f\u2028'),
    env=(("LANG", "C"), ("EMPTY", "")),
    steward=StewardPin("https://attest.example.com/keep", ZERO),
    allow=Allow((443, 8443), ("db.example.com:5432", "[2001:db8::1]:443", "192.0.2.1:80")),
    limits=ManifestLimits(64 * KIB, 0, 16, None, 1 << 20),
)

# Written by hand from RFC 8785 (sorted keys, no spaces, the shortest escapes), not by the code under test.
SMALL_BYTES = (
    b'{"allow":null,"args":[],"config":null,"env":[],"files":[],"limits":null,"steward":null,"version":1,'
    b'"workload":{"digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476",'
    b'"mediaType":"application/wasm"}}'
)
FULL_BYTES = (
    b'{"allow":{"connect":["db.example.com:5432","[2001:db8::1]:443","192.0.2.1:80"],"listen":[443,8443]},'
    b'"args":["--name","Zo\xc3\xab \\"the\\\\first\\"\\n\\u001f\x7f\xe2\x80\xa8"],'
    b'"config":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",'
    b'"env":[["LANG","C"],["EMPTY",""]],'
    b'"files":[{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","kind":"ca",'
    b'"name":"ca.pem"},{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000",'
    b'"kind":"layer","name":"/"}],'
    b'"limits":{"deadline":null,"descriptors":16,"filesystem":0,"memory":65536,"module":1048576},'
    b'"steward":{"ca":"sha256:0000000000000000000000000000000000000000000000000000000000000000",'
    b'"url":"https://attest.example.com/keep"},"version":1,'
    b'"workload":{"digest":"sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476",'
    b'"mediaType":"application/wasm"}}'
)


@pytest.mark.parametrize(("manifest", "encoding"), [(SMALL, SMALL_BYTES), (FULL, FULL_BYTES)])
def test_golden_encodings(manifest: Manifest, encoding: bytes) -> None:
    assert manifest.encode() == encoding
    assert parse(encoding) == manifest


def test_golden_digests() -> None:
    assert SMALL.digest().hex() == "8fddc23bee227f41f37fa16c40ef9e87217575a1a9b973227f535cf78a4ebee6"
    assert FULL.digest().hex() == "439e12ce100f95007ae6f68bcfaa8f66cfbcfb3f993ee54e7c3ae3fb70d481de"
    assert SMALL.digest384() == hashlib.sha384(SMALL_BYTES).digest()


def changed(*path: str | int, to: object, of: Manifest = FULL) -> bytes:
    """The encoding of ``of`` with one value replaced (and otherwise canonical)."""
    value: Any = json.loads(of.encode())
    at = value
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def refused(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        parse(data)
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("version",), 2, "manifest-version"),
        (("version",), True, "manifest-version"),
        (("version",), 1.0, "manifest-version"),
        (("surprise",), 1, "manifest-keys"),
        (("workload", "size"), 1, "manifest-keys"),
        (("workload",), None, "manifest-keys"),
        (("workload", "digest"), MODULE.upper(), "manifest-digest"),
        (("workload", "digest"), MODULE[:-1], "manifest-digest"),
        (("workload", "digest"), MODULE + "\n", "manifest-digest"),
        (("workload", "digest"), "sha512:" + 128 * "0", "manifest-digest"),
        (("workload", "digest"), None, "manifest-digest"),
        (("workload", "mediaType"), "application/WASM", "manifest-media-type"),
        (("workload", "mediaType"), "wasm", "manifest-media-type"),
        (("workload", "mediaType"), ["application/wasm"], "manifest-text"),
        (("config",), "", "manifest-digest"),
        (("config",), False, "manifest-digest"),
        (("files",), {}, "manifest-type"),
        (("files", 0, "kind"), "module", "manifest-file"),
        (("files", 0, "kind"), ["ca"], "manifest-file"),
        (("files", 0, "name"), "", "manifest-file"),
        (("files", 0, "name"), "a" * 4097, "manifest-file"),
        (("files", 0, "name"), "a\0b", "manifest-text"),
        (("files", 0, "name"), 7, "manifest-text"),
        (("files", 0, "digest"), 7, "manifest-digest"),
        (("files", 1), {"kind": "ca", "name": "ca.pem", "digest": MODULE}, "manifest-file"),
        (("files", 1), [], "manifest-keys"),
        (("args",), "text", "manifest-type"),
        (("args", 0), 1, "manifest-text"),
        (("args", 0), None, "manifest-text"),
        (("args", 0), "\0", "manifest-text"),
        (("args",), [""] * (MAX_ARGS + 1), "manifest-too-many"),
        (("env",), [["A", "B"]] * (MAX_ARGS + 1), "manifest-too-many"),
        (("env", 0), ["A"], "manifest-env"),
        (("env", 0), ["A", "B", "C"], "manifest-env"),
        (("env", 0), "AB", "manifest-type"),
        (("env", 0), ["", "B"], "manifest-env"),
        (("env", 0), ["A=", "B"], "manifest-env"),
        (("env", 0), ["FD_COUNT", "3"], "manifest-env"),
        (("env", 0), [["A"], "B"], "manifest-text"),
        (("env", 0), ["A", {}], "manifest-text"),
        (("steward",), "https://attest.example.com", "manifest-keys"),
        (("steward", "ca"), None, "manifest-digest"),
        (("steward", "url"), None, "manifest-text"),
        (("steward", "url"), "http://attest.example.com", "manifest-steward"),
        (("steward", "url"), "HTTPS://attest.example.com", "manifest-steward"),
        (("steward", "url"), "https://", "manifest-steward"),
        (("steward", "url"), "https:///path", "manifest-steward"),
        (("steward", "url"), "https://a@attest.example.com", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com?x", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com#x", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com:0", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com:65536", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com/a b", "manifest-steward"),
        (("steward", "url"), "https://attest.example.com/\n", "manifest-steward"),
        (("steward", "url"), "https://attést.example.com", "manifest-steward"),
        (("steward", "url"), "https://[::1", "manifest-steward"),
        (("steward", "url"), "https://a/" + 2048 * "a", "manifest-steward"),
        (("allow",), [], "manifest-keys"),
        (("allow", "listen"), 443, "manifest-type"),
        (("allow", "listen"), [65536], "manifest-range"),
        (("allow", "listen"), [-1], "manifest-range"),
        (("allow", "listen"), [True], "manifest-range"),
        (("allow", "listen"), ["443"], "manifest-range"),
        (("allow", "listen"), [[443]], "manifest-range"),
        (("allow", "listen"), [443, 443], "manifest-allow"),
        (("allow", "listen"), list(range(MAX_STREAMS + 1)), "manifest-too-many"),
        (("allow", "connect"), ["a:1", "a:1"], "manifest-allow"),
        (("allow", "connect"), ["A:1"], "manifest-allow"),
        (("allow", "connect"), ["a.:1"], "manifest-allow"),
        (("allow", "connect"), ["a"], "manifest-allow"),
        (("allow", "connect"), [":1"], "manifest-allow"),
        (("allow", "connect"), ["a:0"], "manifest-allow"),
        (("allow", "connect"), ["a:01"], "manifest-allow"),
        (("allow", "connect"), ["a:65536"], "manifest-allow"),
        (("allow", "connect"), ["a b:1"], "manifest-allow"),
        (("allow", "connect"), ["::1:443"], "manifest-allow"),
        (("allow", "connect"), ["[0::1]:443"], "manifest-allow"),
        (("allow", "connect"), ["[192.0.2.1]:443"], "manifest-allow"),
        (("allow", "connect"), ["a" * 256 + ":1"], "manifest-allow"),
        (("allow", "connect"), [1], "manifest-text"),
        (("limits",), {}, "manifest-keys"),
        (("limits", "memory"), None, "manifest-range"),
        (("limits", "memory"), 1.5, "manifest-range"),
        (("limits", "deadline"), False, "manifest-range"),
    ],
)  # fmt: skip
def test_value_that_is_not_acceptable_is_refused(path: tuple[str | int, ...], value: object, code: str) -> None:
    assert refused(changed(*path, to=value)) == code


@pytest.mark.parametrize("key", LIMIT_BOUNDS)
def test_limits_are_accepted_up_to_their_bounds_and_not_beyond(key: str) -> None:
    low, high = LIMIT_BOUNDS[key]
    for value in (low, high):
        assert FULL.limits and getattr(parse(changed("limits", key, to=value)).limits, key) == value
    for value in (low - 1, high + 1):
        assert refused(changed("limits", key, to=value)) == "manifest-range"


def test_bounds_of_limits_are_those_of_the_config() -> None:
    for key, bounds in LIMIT_BOUNDS.items():
        for value, fits in zip((bounds[0] - 1, *bounds, bounds[1] + 1), (False, True, True, False), strict=True):
            text = f"[limits]\n{key} = {value / 1000 if key == 'deadline' else value}\n"
            try:
                parse_config(text)
            except ConfigError:
                assert not fits, text
            else:
                assert fits, text


@pytest.mark.parametrize("key", json.loads(FULL_BYTES))
def test_missing_key_is_refused(key: str) -> None:
    value = json.loads(FULL_BYTES)
    del value[key]
    assert refused(json.dumps(value).encode()) == "manifest-keys"


@pytest.mark.parametrize(
    "data",
    [
        SMALL_BYTES + b"\n",
        SMALL_BYTES.replace(b'"args":[]', b'"args": []'),
        SMALL_BYTES.replace(b'"args":[],', b'"args":[],"args":[],'),
        SMALL_BYTES.replace(b'"args":[]', b'"args":["\\u0041"]'),
        SMALL_BYTES.replace(b'"args":[]', b'"args":["\\/"]'),
        SMALL_BYTES.replace(b'"args":[]', b'"args":["\\u000a"]'),
        SMALL_BYTES.replace(b'"args":[]', b'"args":["\\u001F"]'),
        SMALL_BYTES.replace(b'{"allow":null,', b"{")[:-1] + b',"allow":null}',
    ],
    ids=["newline", "space", "key twice", "escape", "solidus", "long escape", "upper case escape", "key order"],
)
def test_second_encoding_of_the_same_manifest_is_refused(data: bytes) -> None:
    assert refused(data) == "manifest-not-canonical"


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"\xff", b"[" * 100_000, b"1" * 5000, b'"', b"NaN", SMALL_BYTES[:-1], b"\xef\xbb\xbf{}"],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_not_a_manifest_is_refused(data: bytes) -> None:
    assert refused(data) in ("manifest-json", "manifest-keys")


def test_text_that_has_no_utf8_is_refused() -> None:
    assert refused(SMALL_BYTES.replace(b'"args":[]', b'"args":["\\ud800"]')) == "manifest-text"


def test_size_is_bounded_when_read_and_when_made() -> None:
    room = MAX_BYTES - len(replace(SMALL, args=("",)).encode())
    largest = replace(SMALL, args=("a" * room,)).encode()
    assert len(largest) == MAX_BYTES
    assert parse(largest).encode() == largest
    assert refused(largest + b" ") == "manifest-too-long"
    with pytest.raises(MalformedError, match="1048577 bytes"):
        replace(SMALL, args=("a" * (room + 1),))


def test_files_are_bounded() -> None:
    files = tuple(ManifestFile("layer", str(index), ZERO) for index in range(MAX_FILES + 1))
    assert parse(replace(SMALL, files=files[:-1]).encode()).files == files[:-1]
    with pytest.raises(MalformedError, match="more than 61 files"):
        replace(SMALL, files=files)


def test_refused_stream_says_who_refuses_and_what_is_permitted() -> None:
    FULL.check_listen(443)
    FULL.check_connect("DB.example.com.", 5432)
    FULL.check_connect("2001:DB8:0::1", 443)
    with pytest.raises(StreamError, match="manifest refuses to listen on port 80,") as caught:
        FULL.check_listen(80)
    assert caught.value.code == "manifest-listen"
    assert "443, 8443" in caught.value.hint
    with pytest.raises(StreamError, match=r"manifest refuses to connect to evil\.example\.com:5432,") as caught:
        FULL.check_connect("evil.example.com", 5432)
    assert caught.value.code == "manifest-connect"
    with pytest.raises(StreamError):
        FULL.check_connect("db.example.com", 5433)


def test_without_an_allow_list_all_is_permitted_and_with_an_empty_one_nothing() -> None:
    SMALL.check_listen(1)
    SMALL.check_connect("anywhere", 1)
    closed = replace(SMALL, allow=Allow())
    with pytest.raises(StreamError) as caught:
        closed.check_listen(1)
    assert "none" in caught.value.hint
    with pytest.raises(StreamError) as caught:
        closed.check_connect("anywhere", 1)
    assert "none" in caught.value.hint


texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
digests = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("FD_"))
hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True),
    st.ip_addresses().map(str),
)
ports = st.integers(1, 65535)
limits = st.builds(
    ManifestLimits,
    **{
        key: st.integers(*bounds) if key != "deadline" else st.none() | st.integers(*bounds)
        for key, bounds in LIMIT_BOUNDS.items()
    },
)
manifests = st.builds(
    Manifest,
    st.builds(Workload, digests, st.sampled_from(["application/wasm", "application/vnd.oci.image.manifest.v1+json"])),
    st.none() | digests,
    st.lists(
        st.builds(ManifestFile, st.sampled_from(["ca", "layer"]), texts.filter(bool), digests),
        max_size=4,
        unique_by=lambda file: (file.kind, file.name),
    ).map(tuple),
    st.lists(texts, max_size=4).map(tuple),
    st.lists(st.tuples(names, texts), max_size=4).map(tuple),
    st.none() | st.builds(StewardPin, st.just("https://attest.example.com"), digests),
    st.none()
    | st.builds(
        Allow,
        st.lists(st.integers(0, 65535), max_size=4, unique=True).map(tuple),
        st.lists(st.builds(endpoint, hosts, ports), max_size=4, unique=True).map(tuple),
    ),
    st.none() | limits,
)


@given(manifests)
def test_every_manifest_survives_its_encoding(manifest: Manifest) -> None:
    encoding = manifest.encode()
    assert parse(encoding) == manifest
    assert manifest.digest() == hashlib.sha256(encoding).digest()


@given(manifests, st.data())
def test_one_changed_byte_is_refused_or_another_manifest(manifest: Manifest, data: st.DataObject) -> None:
    encoding = bytearray(manifest.encode())
    at = data.draw(st.integers(0, len(encoding) - 1))
    encoding[at] ^= data.draw(st.integers(1, 255))
    try:
        found = parse(bytes(encoding))
    except MalformedError:
        return
    assert found != manifest
    assert found.digest() != manifest.digest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(FULL_BYTES))), json_values)
def test_any_value_anywhere_is_accepted_as_it_is_or_refused(key: str, value: object) -> None:
    data = changed(key, to=value) if not _has_surrogate(value) else b""
    try:
        found = parse(data)
    except MalformedError:
        return
    assert found.encode() == data


def _has_surrogate(value: object) -> bool:
    return any(0xD800 <= ord(char) <= 0xDFFF for char in json.dumps(value, ensure_ascii=False))


@given(st.binary(max_size=200))
@example(b'{"version":1}')
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    refused(data)


@given(hosts, ports)
def test_endpoint_is_its_own_normal_form(host: str, port: int) -> None:
    text = endpoint(host, port)
    head, _, tail = text.rpartition(":")
    assert endpoint(head.strip("[]"), int(tail)) == text == endpoint(host.upper(), port)
