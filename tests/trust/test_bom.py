"""Bills of materials: components land on the layer that they are of, and nothing hostile gets further."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import MalformedError
from enarx.tenant.package import components
from enarx.trust.bom import BOM_MAX_BYTES, COMPONENTS_MAX, DEPTH_MAX, read_bom
from enarx.trust.model import FACTS_MAX, Layer, Source

DIGEST = "ab" * 32
HASHES = [{"alg": "SHA-256", "content": DIGEST}]


def bill(*listed: Any) -> bytes:
    return json.dumps({"bomFormat": "CycloneDX", "components": listed}).encode()


def component(name: str, kind: str = "library", **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "version": "1.0", "hashes": HASHES} | more


@pytest.mark.parametrize(
    ("listed", "layer"),
    [
        (component("vmlinuz", "file"), Layer.GUEST_OS),
        (component("OVMF.fd", "file"), Layer.GUEST_OS),
        (component("linux-image-6.12-cloud-amd64", "operating-system"), Layer.GUEST_OS),
        (component("ovmf-amdsev", "firmware"), Layer.GUEST_OS),
        (component("libc6", purl="pkg:deb/debian/libc6@2.36"), Layer.USERLAND),
        (component("wasmtime", purl="pkg:pypi/wasmtime@50.0.1"), Layer.MIDDLEWARE),
        (component("enarx", "application"), Layer.MIDDLEWARE),
        (component("main.wasm", "application", **{"bom-ref": "package/main.wasm"}), Layer.APPLICATION),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_a_component_is_of_its_layer(listed: dict[str, Any], layer: Layer) -> None:
    found = read_bom(bill(listed)).facts
    assert list(found) == [layer]
    (fact,) = found[layer]
    assert (fact.name, fact.source) == (listed["name"], Source.SBOM)
    assert fact.value == f"1.0 sha256:{DIGEST}"


def test_the_keep_of_this_installation_is_read() -> None:
    bom = read_bom(bill(components.keep()))
    names = {fact.name for fact in bom.facts[Layer.MIDDLEWARE]}
    assert {"enarx-keep", "enarx", "wasmtime", "cryptography"} <= names
    assert "CPython" in {fact.name for fact in bom.facts[Layer.USERLAND]}
    assert all("sha256:" in fact.value for fact in bom.facts[Layer.MIDDLEWARE] if fact.name == "enarx")
    assert bom.files > 3


def test_what_was_needed_for_building_alone_is_left_out() -> None:
    assert read_bom(bill(component("binutils", scope="excluded"))).facts == {}


def test_files_within_a_component_are_counted_and_not_listed() -> None:
    inner = [component(f"file {number}", "file") for number in range(7)]
    bom = read_bom(bill(component("wasmtime", purl="pkg:pypi/wasmtime@1", components=inner)))
    assert [fact.name for fact in bom.facts[Layer.MIDDLEWARE]] == ["wasmtime"]
    assert bom.files == 8


def nested(depth: int) -> dict[str, Any]:
    return component("x", components=[nested(depth - 1)] if depth > 1 else [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"bomFormat": "SPDX"}).encode(),
        json.dumps({"bomFormat": "CycloneDX", "components": "text"}).encode(),
        json.dumps({"bomFormat": "CycloneDX", "components": {"a": 1}}).encode(),
        bill("text"),
        bill(nested(DEPTH_MAX + 2)),
        bill(*[{}] * (COMPONENTS_MAX + 1)),
        b" " * (BOM_MAX_BYTES + 1),
    ],
    ids=["empty", "binary", "list", "object", "deep", "spdx", "text", "mapping", "member", "nested", "many", "long"],
)
def test_what_is_no_bill_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        read_bom(data)
    assert caught.value.code == "sbom"


def test_bills_up_to_the_limits_are_read() -> None:
    assert read_bom(bill(nested(DEPTH_MAX))).files == DEPTH_MAX
    bom = read_bom(bill(*[{}] * COMPONENTS_MAX))
    assert len(bom.facts[Layer.USERLAND]) <= FACTS_MAX + 1


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(("type", "name", "version", "hashes", "components", "properties", "scope", "purl", "alg")),
        inner, max_size=6,
    ),
    max_leaves=30,
)  # fmt: skip


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    data = json.dumps({"bomFormat": "CycloneDX", "components": value}).encode()
    try:
        bom = read_bom(data)
    except MalformedError as error:
        assert error.code == "sbom"
    else:
        assert all(fact.value.isprintable() for facts in bom.facts.values() for fact in facts)
