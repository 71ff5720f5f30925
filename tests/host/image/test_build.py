"""Images that are built: the same bytes everywhere, within their budget, and described truly."""

from __future__ import annotations

import json
import shutil
import stat
import struct
import subprocess
import tomllib
from pathlib import Path

import cbor2
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from enarx.errors import HostError
from enarx.evidence.reference import parse_reference_values
from enarx.host.image import build, layout
from enarx.host.image.collect import Piece
from enarx.host.image.fetch import Inputs, default_cache
from enarx.host.image.reference import MODELS, VCPUS_MAX
from tests import images, support

INITRD_MAX_BYTES = 60_000_000
INITRD_MAX_FILES = 300
TRUSTED_MAX_BYTES = 76_000_000
"""The budget. More is more to trust: raise a figure only with a reason."""


@pytest.fixture(scope="module")
def image() -> layout.Image:
    return layout.open_image(images.stock_image())


@pytest.fixture(scope="module")
def members(image: layout.Image) -> dict[str, tuple[int, bytes]]:
    return images.read_newc(image.initrd.read_bytes())


def test_two_builds_in_different_places_are_the_same_bytes(image: layout.Image, tmp_path: Path) -> None:
    """Another directory, time zone, umask, locale, home and hash seed; the downloads are shared."""
    other = tmp_path / "elsewhere" / "image"
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "77",
        "TMPDIR": str(tmp_path), "SOURCE_DATE_EPOCH": "1",
    }  # fmt: skip
    options: list[str | Path] = ["-o", other, "--lock", images.lock_file(), "--cache-dir", default_cache()]
    done = subprocess.run(
        [support.command(), "image", "build", *options], env=environment, cwd=tmp_path, umask=0o077,
        capture_output=True, timeout=images.BUILD_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    names = sorted(path.name for path in image.directory.iterdir())
    assert sorted(path.name for path in other.iterdir()) == names
    for name in names:
        assert (other / name).read_bytes() == (image.directory / name).read_bytes(), name


def test_an_image_is_what_its_description_says(image: layout.Image, members: dict[str, tuple[int, bytes]]) -> None:
    layout.verify(image)
    assert image.kind == "stock"
    described = tomllib.loads((image.directory / layout.DESCRIPTION).read_text())
    others = {layout.SBOM, layout.REFERENCE_VALUES, layout.CORIM}
    assert set(described["files"]) == set(image.digests) == {*layout.LAUNCHED, *others}
    for name, facts in described["files"].items():
        assert (image.directory / name).stat().st_size == facts["bytes"]
    launched = sum((image.directory / name).stat().st_size for name in layout.LAUNCHED)
    files = [name for name, (mode, _) in members.items() if stat.S_ISREG(mode)]
    assert described["trusted"] == {"bytes": launched, "files": len(files)}
    locked = {(one.name, one.version, f"sha256:{one.sha256}") for one in images.locked().inputs}
    assert locked <= {(one["name"], one["version"], one["sha256"]) for one in described["input"]}


def test_an_image_stays_within_its_budget(image: layout.Image, members: dict[str, tuple[int, bytes]]) -> None:
    described = tomllib.loads((image.directory / layout.DESCRIPTION).read_text())
    assert image.initrd.stat().st_size <= INITRD_MAX_BYTES
    assert described["trusted"]["files"] <= INITRD_MAX_FILES
    assert described["trusted"]["bytes"] <= TRUSTED_MAX_BYTES


def test_initial_ram_disk_has_the_listed_files_the_drivers_and_nothing_else(
    members: dict[str, tuple[int, bytes]],
) -> None:
    files = {name for name, (mode, _) in members.items() if stat.S_ISREG(mode)}
    assert files == build.listed() | {f"lib/modules/{name}.ko" for name in build.MODULES}
    assert {name for name, (mode, _) in members.items() if stat.S_ISCHR(mode)} == {"dev/console"}
    assert not [name for name, (mode, _) in members.items() if mode & 0o222 and not stat.S_ISCHR(mode)]
    assert not [name for name, (mode, _) in members.items() if mode & (stat.S_ISUID | stat.S_ISGID)]


def test_modules_are_compiled_and_name_their_place_in_the_image(members: dict[str, tuple[int, bytes]]) -> None:
    unchecked = struct.pack("<I", 1)  # PEP 552: hash-based, and nobody looks for a source
    compiled = {name: data for name, (_, data) in members.items() if name.endswith(".pyc")}
    assert {data[4:8] for data in compiled.values()} == {unchecked}
    assert len({data[:4] for data in compiled.values()}) == 1
    for name, data in compiled.items():
        assert f"/{name.removesuffix('c')}".encode() in data, name
        assert b"/tmp/" not in data.replace(b'"/tmp"', b"") or name.endswith(("sandbox.pyc", "tarfile.pyc")), name


def test_libraries_are_stripped(members: dict[str, tuple[int, bytes]], require_tool: object, tmp_path: Path) -> None:
    readelf = support.require_tool("readelf", "binutils")
    for name, (_, data) in members.items():
        if data.startswith(b"\x7fELF") and not name.endswith(".ko"):
            path = tmp_path / "library"
            path.write_bytes(data)
            sections = subprocess.run([readelf, "-SW", path], capture_output=True, text=True, check=True).stdout
            assert ".symtab" not in sections, name
            assert ".debug_info" not in sections, name


def test_reference_values_are_what_measuring_the_files_gives(image: layout.Image) -> None:
    found = parse_reference_values((image.directory / layout.REFERENCE_VALUES).read_bytes())
    assert len(found) == len(set(found)) == 1 + 2 * len(MODELS) * VCPUS_MAX
    files = [f"--ovmf={image.firmware}", f"--kernel={image.kernel}", f"--initrd={image.initrd}"]
    chosen: dict[tuple[str, str, int], str] = {
        (one.technology, one.model, one.vcpus): one.measurement.hex() for one in found
    }
    for technology, mode, model, vcpus in (
        ("sev", "sev", "", 0),
        ("snp", "snp", "EPYC-Milan", 1),
        ("snp", "snp", "EPYC", VCPUS_MAX),
        ("sev-es", "seves", "EPYC-Turin", 2),
    ):
        way = [f"--vcpus={vcpus}", f"--vcpu-type={model}"] if model else []
        command = [str(support.INSTALLED), "measure", mode, *files, f"--append={image.cmdline}", *way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == chosen[technology, model, vcpus]


def test_reference_values_agree_with_the_published_calculator(image: layout.Image) -> None:
    from sevsnpmeasure import guest, vcpu_types, vmm_types
    from sevsnpmeasure.sev_mode import SevMode

    found: dict[tuple[str, str, int], bytes] = {
        (one.technology, one.model, one.vcpus): one.measurement
        for one in parse_reference_values((image.directory / layout.REFERENCE_VALUES).read_bytes())
    }
    for mode, technology, model in ((SevMode.SEV_SNP, "snp", "EPYC-Genoa"), (SevMode.SEV, "sev", "")):
        expected = guest.calc_launch_digest(
            mode, 3, vcpu_types.CPU_SIGS["EPYC-Genoa"], str(image.firmware), str(image.kernel), str(image.initrd),
            image.cmdline, 1, vmm_type=vmm_types.VMMType.QEMU,
        )  # fmt: skip
        assert expected == found[technology, model, 3 if model else 0]


def test_corim_has_the_same_values(image: layout.Image) -> None:
    corim = cbor2.loads((image.directory / layout.CORIM).read_bytes())
    assert corim.tag == 501
    found = parse_reference_values((image.directory / layout.REFERENCE_VALUES).read_bytes())
    assert len(corim.value[1]) == len(found)
    for tag, one in zip(corim.value[1], found, strict=True):
        assert tag.tag == 506
        comid = cbor2.loads(tag.value)
        way = f"{one.technology}/{one.model}/{one.vcpus}" if one.vcpus else one.technology
        assert comid[1][0] == f"{corim.value[0]}/{way}"
        ((environment, ((measurement),)),) = comid[4][0]
        assert environment == {0: {1: "AMD", 2: {"snp": "SEV-SNP", "sev-es": "SEV-ES", "sev": "SEV"}[one.technology]}}
        assert measurement == {1: {2: [[7 if one.technology == "snp" else 1, one.measurement]]}}


def test_bill_of_materials_is_valid_and_has_every_file(
    image: layout.Image, members: dict[str, tuple[int, bytes]]
) -> None:
    text = (image.directory / layout.SBOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    inputs = {one["name"]: one for one in bill["components"]}
    assert {one.name for one in images.locked().inputs} <= set(inputs)
    listed = {file["name"] for one in inputs.values() for file in one.get("components", ())}
    assert listed == {name for name, (mode, _) in members.items() if stat.S_ISREG(mode)}
    for tool in images.locked().of_use("tool"):
        assert inputs[tool.name]["scope"] == "excluded"


def test_an_image_takes_the_place_of_another_and_of_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "image"
    target.mkdir()
    with build._replacing(target) as draft:
        (draft / layout.DESCRIPTION).write_text("first")
    with build._replacing(target) as draft:
        (draft / layout.DESCRIPTION).write_text("second")
    assert (target / layout.DESCRIPTION).read_text() == "second"
    with pytest.raises(RuntimeError), build._replacing(target) as draft:
        (draft / layout.DESCRIPTION).write_text("third")
        raise RuntimeError
    assert (target / layout.DESCRIPTION).read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "novel.txt").write_text("unpublished")
    with pytest.raises(HostError) as caught, build._replacing(tmp_path / "documents"):
        pass
    assert caught.value.code == "image-directory"
    assert (tmp_path / "documents" / "novel.txt").exists()


def test_a_disk_that_is_full_leaves_the_image_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "image"
    shutil.copytree(images.stock_image(), target)
    with pytest.raises(HostError) as caught, build._replacing(target) as draft:
        (draft / "vmlinuz").write_text("half")
        raise OSError(28, "No space left on device")
    assert (caught.value.code, "No space left" in caught.value.message) == ("image-directory", True)
    layout.verify(layout.open_image(target))
    assert list(tmp_path.iterdir()) == [target]


def test_a_listed_file_that_no_input_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.require_inputs()
    monkeypatch.setattr(build, "listed", lambda: frozenset({"usr/lib/python3.11/no_such_module.pyc"}))
    monkeypatch.setattr(build, "collect", lambda *_: {"usr/bin/x": Piece(b"", "x")})
    kernel = build.Kernel(b"", {})
    with pytest.raises(HostError) as caught:
        build.build(images.locked(), Inputs(default_cache()), tmp_path / "image", kernel)
    assert (caught.value.code, "no_such_module" in caught.value.message) == ("image-list", True)
    assert list(tmp_path.iterdir()) == []


def test_command_lines_leave_nothing_to_the_host() -> None:
    for kind, line in build.COMMAND_LINES.items():
        assert len(line.encode()) <= layout.MAX_BYTES[layout.CMDLINE], kind
        assert line.isascii()
        words, _, arguments = line.partition(" -- ")
        assert "panic=-1" in words.split()
        assert "rdinit=/usr/bin/python3.11" in words.split()
        assert arguments.split()[0] == "-I"
        assert arguments.endswith("/enarx/keep/init.pyc")
