"""Push, pull, resolve and attach against Debian's docker-registry."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from enarx.errors import RegistryError, UsageError
from enarx.mediatype import ENCRYPTED, PACKAGE, WASM
from enarx.registry import Attached, Reference, Store
from enarx.registry.layout import (
    DSSE,
    PACKAGE_TYPE,
    SIGNATURE_MEDIA_TYPES,
    SIGNATURE_TYPE,
    SIGSTORE_BUNDLE,
    WASM_CONFIG,
)
from enarx.registry.manifest import INDEX, MANIFEST, Descriptor, Manifest
from enarx.registry.push import Content
from tests.registry.common import client, content, reference
from tests.registry.running import Running

MODULE = b"\0asm\1\0\0\0"


def fetch(running: Running, path: str) -> bytes:
    request = urllib.request.Request(f"http://{running.host}/v2/{path}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        found: bytes = response.read()
        return found


@pytest.mark.parametrize("media_type", [PACKAGE, ENCRYPTED])
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_what_is_pushed_is_pulled(
    plain_registry: Running, store: Store, tmp_path: Path, size: int, media_type: str
) -> None:
    package, where = content(tmp_path, size), reference(plain_registry.host)
    with client() as registry:
        pushed = registry.push_package(where, package, media_type)
        pulled = registry.pull(where, store)
    assert pulled.path.read_bytes() == package.read_bytes()
    assert pulled.manifest.digest == pushed.digest
    assert pulled.reference == where.at(pushed.digest)
    assert pulled.artifact_type == PACKAGE_TYPE
    assert pulled.layer == Descriptor(media_type, f"sha256:{hashlib.sha256(package.read_bytes()).hexdigest()}", size)


def test_the_manifest_is_an_oci_artifact_with_the_empty_config(plain_registry: Running, tmp_path: Path) -> None:
    where = reference(plain_registry.host)
    package = content(tmp_path, 10)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
    manifest = json.loads(fetch(plain_registry, f"{where.repository}/manifests/v1"))
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.enarx.package.v1",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {
                "mediaType": PACKAGE,
                "digest": f"sha256:{hashlib.sha256(package.read_bytes()).hexdigest()}",
                "size": 10,
            }
        ],
    }


def test_a_module_is_in_the_layout_of_the_cncf(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, module = reference(plain_registry.host), tmp_path / "m.wasm"
    module.write_bytes(MODULE)
    with client() as registry:
        registry.push_wasm(where, module)
        pulled = registry.pull(where, store)
    assert pulled.path.read_bytes() == MODULE
    assert (pulled.layer.media_type, pulled.artifact_type) == (WASM, WASM_CONFIG)
    manifest = json.loads(fetch(plain_registry, f"{where.repository}/manifests/v1"))
    assert "artifactType" not in manifest
    assert manifest["config"]["mediaType"] == "application/vnd.wasm.config.v0+json"
    config = json.loads(fetch(plain_registry, f"{where.repository}/blobs/{manifest['config']['digest']}"))
    digest = f"sha256:{hashlib.sha256(MODULE).hexdigest()}"
    assert config == {
        "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip1", "layerDigests": [digest],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architecture": "wasm", "os": "wasip2", "layerDigests": ["LAYER"]}, "registry-wasm"),
        ({"architecture": "amd64", "os": "wasip1", "layerDigests": ["LAYER"]}, "registry-wasm"),
        ({"architecture": "wasm", "os": "wasip1", "layerDigests": []}, "registry-wasm"),
        ({"architecture": "wasm", "os": "wasip1", "layerDigests": ["LAYER", "LAYER"]}, "registry-wasm"),
    ],
)
def test_a_module_whose_config_is_about_something_else_is_refused(
    plain_registry: Running, store: Store, config: dict[str, object], code: str
) -> None:
    where = reference(plain_registry.host)
    digest = f"sha256:{hashlib.sha256(MODULE).hexdigest()}"
    data = json.dumps(config).replace("LAYER", digest).encode()
    with client() as registry, Content(data, WASM_CONFIG) as described, Content(MODULE, WASM) as layer:
        manifest = Manifest(WASM_CONFIG, described.descriptor, (layer.descriptor,))
        registry.push(where, manifest, [described, layer])
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.code == code


def test_pushing_the_same_again_changes_nothing(plain_registry: Running, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 5000)
    moved: list[str] = []
    with client() as registry:
        first = registry.push_package(where, package, PACKAGE)
    with client(progress=lambda what, done, total: moved.append(f"{what} {done}/{total}")) as registry:
        assert registry.push_package(where, package, PACKAGE) == first
    assert [one for one in moved if one.endswith("/5000")] == [f"push {digest_of_file(package)} 5000/5000"]


def digest_of_file(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_tag_is_resolved_to_the_digest_of_the_bytes(plain_registry: Running, tmp_path: Path) -> None:
    where = reference(plain_registry.host)
    with client() as registry:
        pushed = registry.push_package(where, content(tmp_path, 10), PACKAGE)
        assert registry.resolve(where) == pushed
        assert registry.resolve(where.at(pushed.digest)) == pushed
    stored = fetch(plain_registry, f"{where.repository}/manifests/v1")
    assert pushed.digest == f"sha256:{hashlib.sha256(stored).hexdigest()}"


def test_a_digest_is_what_counts_where_the_tag_says_something_else(
    plain_registry: Running, store: Store, tmp_path: Path
) -> None:
    where = reference(plain_registry.host)
    with client() as registry:
        old = content(tmp_path, 10, "old")
        first = registry.push_package(where, old, PACKAGE)
        registry.push_package(where, content(tmp_path, 10, "new"), PACKAGE)
        assert registry.pull(where.at(first.digest), store).path.read_bytes() == old.read_bytes()


def test_a_reference_without_a_digest_is_refused_where_one_is_required(
    plain_registry: Running, store: Store, tmp_path: Path
) -> None:
    where = reference(plain_registry.host)
    with client() as registry:
        pushed = registry.push_package(where, content(tmp_path, 10), PACKAGE)
        with pytest.raises(UsageError) as caught:
            registry.pull(where, store, require_digest=True)
        assert caught.value.code == "digest-required"
        assert registry.pull(where.at(pushed.digest), store, require_digest=True).manifest == pushed


def test_what_is_pinned_and_stored_needs_no_registry(store: Store, tmp_path: Path, plain_registry: Running) -> None:
    where = reference(plain_registry.host)
    package = content(tmp_path, 1000)
    with client() as registry:
        pinned = where.at(registry.push_package(where, package, PACKAGE).digest)
        registry.pull(pinned, store)
    shutil.rmtree(plain_registry.directory / "data/docker/registry/v2/repositories" / where.repository)
    with client() as registry:
        assert registry.pull(pinned, store).path.read_bytes() == package.read_bytes()


def test_a_stored_blob_that_was_damaged_is_fetched_again(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 5000)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
        path = registry.pull(where, store).path
        damaged = bytearray(path.read_bytes())
        damaged[2500] ^= 1
        path.write_bytes(damaged)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()


def test_what_is_not_there_is_named(plain_registry: Running, store: Store) -> None:
    with client() as registry, pytest.raises(RegistryError) as caught:
        registry.pull(reference(plain_registry.host), store)
    assert caught.value.code == "registry-manifest-missing"
    assert "MANIFEST_UNKNOWN" in caught.value.message


def test_a_blob_that_the_registry_lost_is_named(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 5000)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
        plain_registry.blob_path(digest_of_file(package)).unlink()
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.code == "registry-blob-missing"


def test_a_blob_that_was_changed_on_the_registrys_disk_is_refused(
    plain_registry: Running, store: Store, tmp_path: Path
) -> None:
    where, package = reference(plain_registry.host), content(tmp_path, 5000)
    with client() as registry:
        registry.push_package(where, package, PACKAGE)
        data = bytearray(package.read_bytes())
        data[4999] ^= 0x80
        plain_registry.blob_path(digest_of_file(package)).write_bytes(data)
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.code == "registry-wrong-content"
    assert not list(store.directory.glob("*/*" + digest_of_file(package)[10:]))


def test_an_image_is_no_package(plain_registry: Running, store: Store) -> None:
    where = reference(plain_registry.host)
    kind = "application/vnd.oci.image.config.v1+json"
    layers = "application/vnd.oci.image.layer.v1.tar+gzip"
    with client() as registry, Content(b"{}", kind) as config, Content(b"layer", layers) as layer:
        registry.push(where, Manifest(kind, config.descriptor, (layer.descriptor,)), [config, layer])
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.code == "registry-artifact"


@pytest.mark.parametrize("count", [0, 2])
def test_a_package_has_one_layer(plain_registry: Running, store: Store, count: int) -> None:
    where = reference(plain_registry.host)
    with (
        client() as registry,
        Content(b"{}", "application/vnd.oci.empty.v1+json") as config,
        Content(b"layer", PACKAGE) as layer,
    ):
        manifest = Manifest(PACKAGE_TYPE, config.descriptor, (layer.descriptor,) * count)
        registry.push(where, manifest, [config, layer])
        with pytest.raises(RegistryError) as caught:
            registry.pull(where, store)
    assert caught.value.code == "registry-artifact"


def test_a_push_to_a_digest_that_it_does_not_have_is_refused(plain_registry: Running, tmp_path: Path) -> None:
    where = reference(plain_registry.host).at("sha256:" + "0" * 64)
    with client() as registry, pytest.raises(UsageError):
        registry.push_package(where, content(tmp_path, 10), PACKAGE)


def test_signatures_are_found_beside_the_package(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    """docker-registry 2.8 has no Referrers API: they are listed under the fallback tag."""
    where = reference(plain_registry.host)
    with client() as registry:
        pushed = registry.push_package(where, content(tmp_path, 10), PACKAGE)
        pinned = where.at(pushed.digest)
        assert registry.attached(pinned, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES, store) == []
        first = Attached(DSSE, b'{"payload":"one"}')
        second = [Attached(DSSE, b'{"payload":"two"}'), Attached(SIGSTORE_BUNDLE, b'{"payload":"three"}')]
        registry.attach(where, SIGNATURE_TYPE, [first])
        registry.attach(pinned, SIGNATURE_TYPE, second)
        registry.attach(pinned, SIGNATURE_TYPE, second)  # a signature that is there already
        registry.attach(pinned, "application/vnd.example.note", [Attached("text/plain", b"no signature")])
        assert registry.attached(pinned, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES, store) == [first, *second]
        assert registry.attached(pinned, SIGNATURE_TYPE, [SIGSTORE_BUNDLE]) == second[1:]
    index = json.loads(fetch(plain_registry, f"{where.repository}/manifests/{pushed.digest.replace(':', '-')}"))
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [one["artifactType"] for one in index["manifests"]] == [SIGNATURE_TYPE] * 2 + [
        "application/vnd.example.note"
    ]
    manifest = json.loads(fetch(plain_registry, f"{where.repository}/manifests/{index['manifests'][0]['digest']}"))
    assert manifest["subject"] == {"mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size}


def test_a_signature_that_was_changed_on_the_registrys_disk_is_refused(plain_registry: Running, tmp_path: Path) -> None:
    where = reference(plain_registry.host)
    signature = json.dumps({"payload": where.repository}).encode()
    with client() as registry:
        pinned = where.at(registry.push_package(where, content(tmp_path, 10), PACKAGE).digest)
        registry.attach(pinned, SIGNATURE_TYPE, [Attached(DSSE, signature)])
        path = plain_registry.blob_path(f"sha256:{hashlib.sha256(signature).hexdigest()}")
        path.write_bytes(signature.replace(b"payload", b"PAYLOAD"))
        with pytest.raises(RegistryError) as caught:
            registry.attached(pinned, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES)
    assert caught.value.code == "registry-wrong-digest"


def test_a_signature_that_is_listed_but_is_about_something_else_is_left_out(
    plain_registry: Running, tmp_path: Path
) -> None:
    where = reference(plain_registry.host)
    with client() as registry:
        other = registry.push_package(where, content(tmp_path, 10, "other"), PACKAGE)
        registry.attach(where.at(other.digest), SIGNATURE_TYPE, [Attached(DSSE, b"{}")])
        pushed = registry.push_package(where, content(tmp_path, 10), PACKAGE)
        listed = fetch(plain_registry, f"{where.repository}/manifests/{other.digest.replace(':', '-')}")
        request = urllib.request.Request(
            f"http://{where.host}/v2/{where.repository}/manifests/{pushed.digest.replace(':', '-')}",
            data=listed, method="PUT", headers={"Content-Type": "application/vnd.oci.image.index.v1+json"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=60).close()
        assert registry.attached(where.at(pushed.digest), SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES) == []


def test_a_fallback_tag_that_is_no_list_is_refused(plain_registry: Running, tmp_path: Path) -> None:
    where = reference(plain_registry.host)
    with client() as registry:
        pushed = registry.push_package(where, content(tmp_path, 10), PACKAGE)
        tag = pushed.digest.replace(":", "-")
        registry.push_package(Reference(where.host, where.repository, tag), tmp_path / "package", PACKAGE)
        with pytest.raises(RegistryError) as caught:
            registry.attached(where.at(pushed.digest), SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES)
    assert caught.value.code == "registry-referrers"


def test_progress_is_told_from_beginning_to_end(plain_registry: Running, store: Store, tmp_path: Path) -> None:
    where, size = reference(plain_registry.host), 3_500_000
    package = content(tmp_path, size)
    told: list[tuple[str, int, int]] = []
    with client(progress=lambda *one: told.append(one)) as registry:
        registry.push_package(where, package, PACKAGE)
        registry.pull(where, store)
    for verb in ("push", "pull"):
        done = [one[1] for one in told if one[0] == f"{verb} {digest_of_file(package)}"]
        assert done == sorted(done)
        assert len(done) >= 4
        assert done[-1] == size
    assert {total for what, _, total in told if digest_of_file(package) in what} == {size}
