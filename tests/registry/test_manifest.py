"""Manifests and indexes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import RegistryError
from enarx.mediatype import PACKAGE
from enarx.registry.layout import (
    EMPTY_DESCRIPTOR,
    PACKAGE_TYPE,
    WASM_CONFIG,
    check_wasm_config,
    package_manifest,
    wasm_config,
    wasm_manifest,
    workload_layer,
)
from enarx.registry.manifest import (
    ANNOTATIONS_MAX,
    INDEX,
    LAYERS_MAX,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)

DIGEST = "sha256:" + "ab" * 32
LAYER = Descriptor(PACKAGE, DIGEST, 5)


def document(**changes: Any) -> bytes:
    """A good manifest with changes; ``None`` removes a field."""
    base: dict[str, Any] = json.loads(package_manifest(LAYER).encode())
    for name, value in changes.items():
        if value is None:
            del base[name]
        else:
            base[name] = value
    return json.dumps(base).encode()


def descriptor(**changes: Any) -> dict[str, Any]:
    return {**LAYER.as_json(), **changes}


def test_a_manifest_is_read_as_it_was_written() -> None:
    subject = Descriptor(MANIFEST, DIGEST, 7)
    manifest = Manifest(PACKAGE_TYPE, EMPTY_DESCRIPTOR, (LAYER,), subject, {"a": "b"})
    assert parse_manifest(manifest.encode()) == manifest
    assert parse_manifest(document()) == package_manifest(LAYER)


def test_equal_manifests_have_equal_bytes() -> None:
    one = package_manifest(LAYER, {"b": "1", "a": "2"}).encode()
    assert one == package_manifest(LAYER, {"a": "2", "b": "1"}).encode()
    assert b" " not in one


def test_a_manifest_without_an_artifact_type_has_that_of_its_config() -> None:
    found = parse_manifest(document(artifactType=None))
    assert isinstance(found, Manifest)
    assert found.artifact_type == EMPTY_DESCRIPTOR.media_type


def test_a_document_without_a_media_type_is_what_its_fields_say() -> None:
    assert isinstance(parse_manifest(document(mediaType=None)), Manifest)
    assert isinstance(parse_manifest(b'{"schemaVersion":2,"manifests":[]}'), Index)


def test_fields_that_are_not_known_are_left_alone() -> None:
    assert parse_manifest(document(somebody="else")) == package_manifest(LAYER)
    with_data = document(layers=[descriptor(data="AAAA", urls=["https://elsewhere.example/"])])
    assert parse_manifest(with_data) == package_manifest(LAYER)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe{}", b"{}", b"\xef\xbb\xbf{}",
        document(schemaVersion=None), document(schemaVersion=1), document(schemaVersion="2"),
        document(schemaVersion=True),
        document(mediaType=INDEX), document(mediaType="application/json"), document(mediaType=5),
        document(manifests=[]), document(config=None), document(config=[]), document(layers=None),
        document(layers={}), document(layers=["x"]), document(layers=[descriptor(digest="sha256:ab")]),
        document(layers=[descriptor(digest="sha256:" + "AB" * 32)]),
        document(layers=[descriptor(digest="sha512:" + "ab" * 64)]),
        document(layers=[descriptor(digest=5)]), document(layers=[descriptor(size=-1)]),
        document(layers=[descriptor(size=2**63)]),
        document(layers=[descriptor(size=5.0)]), document(layers=[descriptor(size="5")]),
        document(layers=[descriptor(size=True)]),
        document(layers=[descriptor(mediaType="x")]), document(layers=[descriptor(mediaType="a/b\n")]),
        document(layers=[descriptor(mediaType="a/" + "b" * 128)]), document(layers=[descriptor(mediaType=None)]),
        document(artifactType=""), document(artifactType=5), document(subject={}), document(subject="x"),
        document(annotations=[]), document(annotations={"a": 5}),
        document(annotations={str(n): "" for n in range(ANNOTATIONS_MAX + 1)}),
        document(layers=[LAYER.as_json()] * (LAYERS_MAX + 1)),
        document()[:-1] + b',"schemaVersion":2}',
        document()[:-1] + b',"x":{"a":1,"a":2}}',
        document()[:-1] + b',"x":NaN}',
        document()[:-1] + b',"x":Infinity}',
        document()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        document()[:-1] + b',"x":' + b"9" * 5000 + b"}",
        document() + b" " * (MANIFEST_MAX_BYTES - len(document()) + 1),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_manifest(data)
    assert caught.value.code == "registry-manifest"


def test_the_largest_of_everything_is_read() -> None:
    full = document(layers=[LAYER.as_json()] * LAYERS_MAX, annotations={str(n): "" for n in range(ANNOTATIONS_MAX)})
    assert parse_manifest(full + b" " * (MANIFEST_MAX_BYTES - len(full)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELD = st.sampled_from(["schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"])


@given(st.dictionaries(_FIELD, _JSON, min_size=1, max_size=3))
def test_a_manifest_with_anything_in_its_fields_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = parse_manifest(json.dumps({**json.loads(document()), **changes}).encode())
    except RegistryError as error:
        assert error.message.isascii()
    else:
        assert parse_manifest(found.encode()) == found


@given(
    st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "artifactType", "annotations"]), _JSON, min_size=1)
)
def test_an_index_with_anything_in_its_entries_is_read_or_refused(changes: dict[str, Any]) -> None:
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**LAYER.as_json(), **changes}]}).encode()
    try:
        found = parse_manifest(data)
    except RegistryError as error:
        assert error.message.isascii()
    else:
        assert parse_manifest(found.encode()) == found


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse_manifest(data)
    except RegistryError as error:
        assert error.code == "registry-manifest"


def test_the_layer_of_a_module_is_told_by_its_config() -> None:
    layer = Descriptor("application/wasm", DIGEST, 8)
    config = wasm_config(layer)
    check_wasm_config(config, layer)
    assert workload_layer(wasm_manifest(config, layer)) == layer
    typed = Manifest("application/vnd.somebody.wasm", wasm_manifest(config, layer).config, (layer,))
    assert workload_layer(typed) == layer  # other tools name a type besides


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest("application/vnd.example", EMPTY_DESCRIPTOR, (LAYER,)),
        Manifest(PACKAGE_TYPE, EMPTY_DESCRIPTOR, ()),
        Manifest(PACKAGE_TYPE, EMPTY_DESCRIPTOR, (LAYER, LAYER)),
        Manifest(PACKAGE_TYPE, EMPTY_DESCRIPTOR, (Descriptor("application/wasm", DIGEST, 5),)),
        Manifest(WASM_CONFIG, Descriptor(WASM_CONFIG, DIGEST, 5), (LAYER,)),
        Manifest(PACKAGE_TYPE, Descriptor(WASM_CONFIG, DIGEST, 5), (LAYER,)),
    ],
)
def test_what_has_not_the_shape_of_a_workload_is_refused(manifest: Manifest) -> None:
    with pytest.raises(RegistryError) as caught:
        workload_layer(manifest)
    assert caught.value.code == "registry-artifact"


@given(st.binary(max_size=100) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_config_of_a_module_is_right_or_refused(data: bytes) -> None:
    with pytest.raises(RegistryError):
        check_wasm_config(data, LAYER)
