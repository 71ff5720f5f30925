"""What the host hands over, against the manifest: anything missing, added, changed or out of order stops the Keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive, envelope
from enarx.errors import AuthenticityError
from enarx.keep.handover import Announced, Handover
from enarx.manifest import Manifest, ManifestFile, Workload, digest_of

CONFIG, CA, MODULE, LAYER = b"[env]\n", b"-----BEGIN", b"\0asm", b"tar"
MANIFEST = Manifest(
    Workload(digest_of(MODULE)),
    config=digest_of(CONFIG),
    files=(ManifestFile("ca", "ca.pem", digest_of(CA)), ManifestFile("layer", "/", digest_of(LAYER))),
    args=("--fast",),
    env=(("LANG", "C"),),
)
OBJECTS = [
    ("config", "Enarx.toml", CONFIG),
    ("ca", "ca.pem", CA),
    ("module", "main.wasm", MODULE),
    ("layer", "/", LAYER),
]


def announced(objects: list[tuple[str, str, bytes]]) -> Announced:
    return [(kind, name, len(data)) for kind, name, data in objects]


def hand_over(objects: list[tuple[str, str, bytes]], manifest: Manifest = MANIFEST) -> None:
    handover = Handover(manifest, list(manifest.args), list(manifest.env), announced(objects))
    for index, (_, _, data) in enumerate(objects):
        handover.check(index, bytearray(data))
    handover.finish()


def refused(objects: list[tuple[str, str, bytes]], manifest: Manifest = MANIFEST) -> str:
    with pytest.raises(AuthenticityError) as caught:
        hand_over(objects, manifest)
    assert caught.value.hint
    return caught.value.code


ARCHIVE, SEALED = b"\0" * 600, envelope.MAGIC + b"..."
TYPES = {ARCHIVE: archive.MEDIA_TYPE, SEALED: envelope.MEDIA_TYPE}
packages = pytest.mark.parametrize("data", [ARCHIVE, SEALED], ids=["plain", "encrypted"])


def packaged(data: bytes) -> Manifest:
    return Manifest(Workload(digest_of(data), TYPES[data]))


@packages
def test_package_is_accepted_alone_and_with_signatures_of_it(data: bytes) -> None:
    hand_over([("package", "", data)], packaged(data))
    hand_over([("package", "", data), ("signature", "a", b"any"), ("signature", "b", b"thing")], packaged(data))
    hand_over([("signature", "", b"first"), ("package", "", data)], packaged(data))
    hand_over([("package", "", data), ("certificates", "", b"table")], packaged(data))


@packages
def test_other_package_than_the_manifest_names_is_refused(data: bytes) -> None:
    assert refused([("package", "", data + b"!")], packaged(data)) == "handover-package"


@packages
def test_package_of_another_type_than_the_manifest_says_is_refused(data: bytes) -> None:
    other = archive.MEDIA_TYPE if data == SEALED else envelope.MEDIA_TYPE
    assert refused([("package", "", data)], Manifest(Workload(digest_of(data), other))) == "handover-media-type"


@packages
def test_package_comes_with_nothing_that_it_has_itself(data: bytes) -> None:
    manifest = packaged(data)
    assert refused([("config", "Enarx.toml", CONFIG), ("package", "", data)], manifest) == "handover-objects"
    configured = replace(manifest, config=digest_of(CONFIG))
    assert refused([("config", "Enarx.toml", CONFIG), ("package", "", data)], configured) == "handover-objects"
    assert refused([("module", "main.wasm", data)], manifest) == "handover-objects"
    assert refused([("package", "", data), ("module", "main.wasm", MODULE)], manifest) == "handover-objects"
    assert refused([("package", "", data), ("package", "", data)], manifest) == "handover-objects"
    assert refused([("package", "", data)], Manifest(Workload(digest_of(data)))) == "handover-objects"


def test_what_the_manifest_names_is_accepted() -> None:
    hand_over(OBJECTS)
    hand_over([OBJECTS[0], OBJECTS[2], OBJECTS[1], OBJECTS[3]])  # where the module comes does not matter
    hand_over([("module", "anything.wasm", MODULE)], Manifest(Workload(digest_of(MODULE))))


@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_package_swapped_by_the_host_is_refused(index: int) -> None:
    kind, name, data = OBJECTS[index]
    objects = [*OBJECTS]
    objects[index] = (kind, name, data + b"!")
    assert refused(objects) == f"handover-{kind}"


@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_object_that_is_left_out_is_refused_when_announced(index: int) -> None:
    assert refused(OBJECTS[:index] + OBJECTS[index + 1 :]) == "handover-objects"


@pytest.mark.parametrize(
    "extra",
    [
        ("layer", "/etc", b"tar"),
        ("ca", "other.pem", CA),
        ("module", "m", MODULE),
        ("config", "c", CONFIG),
        ("?", "", b""),
    ],
    ids=lambda extra: extra[0],
)
def test_object_that_nobody_named_is_refused_when_announced(extra: tuple[str, str, bytes]) -> None:
    assert refused([*OBJECTS, extra]) == "handover-objects"


def test_objects_in_another_order_or_place_are_refused() -> None:
    config, ca, module, layer = OBJECTS
    for objects in ([ca, config, module, layer], [config, layer, module, ca], [module, config, ca, layer]):
        assert refused(objects) == "handover-objects"
    assert refused([config, ("ca", "moved.pem", CA), module, layer]) == "handover-objects"
    assert refused([config, ca, module, ("layer", "/moved", LAYER)]) == "handover-objects"


def test_config_without_one_in_the_manifest_is_refused() -> None:
    assert refused(OBJECTS, replace(MANIFEST, config=None)) == "handover-objects"
    assert refused(OBJECTS[1:]) == "handover-objects"


@pytest.mark.parametrize("args", [[], ["--slow"], ["--fast", "--fast"], ["--fast", ""]])
def test_other_arguments_are_refused(args: list[str]) -> None:
    with pytest.raises(AuthenticityError) as caught:
        Handover(MANIFEST, args, MANIFEST.env, announced(OBJECTS))
    assert caught.value.code == "handover-args"


@pytest.mark.parametrize("env", [[], [("LANG", "D")], [("LANG", "C"), ("LANG", "C")], [("lang", "C")]])
def test_other_environment_is_refused(env: list[tuple[str, str]]) -> None:
    with pytest.raises(AuthenticityError) as caught:
        Handover(MANIFEST, MANIFEST.args, env, announced(OBJECTS))
    assert caught.value.code == "handover-env"


def test_workload_of_another_media_type_is_refused() -> None:
    package = replace(MANIFEST, workload=Workload(digest_of(MODULE), "application/vnd.oci.image.manifest.v1+json"))
    assert refused(OBJECTS, package) == "handover-media-type"


def test_objects_come_each_once_and_in_order() -> None:
    handover = Handover(MANIFEST, MANIFEST.args, MANIFEST.env, announced(OBJECTS))
    with pytest.raises(AuthenticityError):
        handover.finish()
    with pytest.raises(AuthenticityError):
        handover.check(1, CA)
    handover.check(0, CONFIG)
    with pytest.raises(AuthenticityError):
        handover.check(0, CONFIG)
    with pytest.raises(AuthenticityError):
        handover.finish()
    for index in (1, 2, 3):
        handover.check(index, OBJECTS[index][2])
    handover.finish()
    with pytest.raises(AuthenticityError):
        handover.check(4, LAYER)


@given(st.permutations(OBJECTS), st.integers(0, 4))
def test_no_rearrangement_passes_but_that_of_the_module(objects: list[tuple[str, str, bytes]], count: int) -> None:
    chosen = objects[:count]
    others = [entry for entry in chosen if entry[0] != "module"]
    honest = len(chosen) == len(OBJECTS) and others == [OBJECTS[0], OBJECTS[1], OBJECTS[3]] and chosen[0] == OBJECTS[0]
    if honest:
        hand_over(chosen)
    else:
        refused(chosen)
