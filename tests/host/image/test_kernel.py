"""The kernel of our own: what its digest is of, when it is built, and that it must come out as recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError, HostError
from enarx.host.image import kernel, kernelbuild
from enarx.host.image.fetch import Inputs
from enarx.host.image.kernel import Builder, Record, format_record, inputs_digest, own_record, parse_record, source
from enarx.host.image.kernelbuild import Product, Toolchain
from enarx.host.image.lock import Lock, read_lock

TOOLS = Toolchain("a compiler 1", "a linker 2", "a compressor 3")
PRODUCT = Product(b"vmlinuz" * 99, b"CONFIG_X=y\n", b"0 T start\n")

digests = st.binary(min_size=32, max_size=32).map(lambda data: f"sha256:{data.hex()}")
words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1).filter(str.isprintable)


def test_the_record_is_of_the_sources_the_configuration_and_the_recipe_in_this_tree() -> None:
    assert kernel.is_recorded(read_lock(None)), (
        "what the kernel is built from has changed: `enarx image kernel --check -o build/kernel` builds it, and "
        "build/kernel/kernel.lock is then the record to put beside kernel.py"
    )


def test_the_recorded_kernel_is_small() -> None:
    assert own_record().size <= 0.45 * 11_653_632  # Debian's cloud kernel of the same version


def test_whatever_a_kernel_is_built_from_is_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = source(read_lock(None))
    seen = {
        inputs_digest(sources, TOOLS),
        inputs_digest(replace(sources, sha256="0" * 64), TOOLS),
        inputs_digest(sources, replace(TOOLS, compiler="another")),
        inputs_digest(sources, replace(TOOLS, linker="another")),
        inputs_digest(sources, replace(TOOLS, compressor="another")),
    }
    for name in ("own_config", "own_patch", "recipe"):
        with monkeypatch.context() as patched:
            patched.setattr(kernelbuild, name, lambda: b"another")
            seen.add(inputs_digest(sources, TOOLS))
    with monkeypatch.context() as patched:
        patched.setitem(kernelbuild.ENVIRONMENT, "KBUILD_BUILD_USER", "another")
        seen.add(inputs_digest(sources, TOOLS))
    assert len(seen) == 9


def test_where_a_package_is_fetched_from_is_not_in_the_digest() -> None:
    sources = source(read_lock(None))
    assert inputs_digest(sources, TOOLS) == inputs_digest(replace(sources, url="http://elsewhere/x.deb"), TOOLS)


def test_an_image_has_one_kernel_and_names_no_other() -> None:
    lock = read_lock(None)
    assert [deb.use for deb in lock.for_kernel("own").debs if deb.use in ("kernel", "source")] == ["source"]
    assert [deb.use for deb in lock.for_kernel("stock").debs if deb.use in ("kernel", "source")] == ["kernel"]


def test_a_lock_file_without_sources_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        source(read_lock(None).for_kernel("stock"))
    assert caught.value.code == "lock-incomplete"


@given(digests, digests, words, words, words, st.integers(min_value=1, max_value=1 << 40))
def test_a_record_is_read_as_it_was_written(
    inputs: str, vmlinuz: str, compiler: str, linker: str, compressor: str, size: int
) -> None:
    record = Record(inputs, Toolchain(compiler, linker, compressor), vmlinuz, size)
    assert parse_record(format_record(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("format = 1", "format = 2"),
        lambda text: text.replace('inputs = "sha256:', 'inputs = "sha512:'),
        lambda text: text.replace('vmlinuz = "sha256:', 'vmlinuz = "'),
        lambda text: text.replace("bytes = ", "bytes = -"),
        lambda text: text.replace("bytes = 5", "bytes = true"),
        lambda text: text.replace("bytes = 5", ""),
        lambda text: text.replace('compiler = "', "compiler = 4 # "),
        lambda text: text + "more = 1\n",
        lambda text: text[:-12],
        lambda text: "[" * 5000,
    ],
)
def test_another_record_is_refused(change: Callable[[str], str]) -> None:
    text = format_record(Record(f"sha256:{'1' * 64}", TOOLS, f"sha256:{'2' * 64}", 5))
    with pytest.raises(ConfigError) as caught:
        parse_record(change(text))
    assert caught.value.code == "lock-value"


# --- building, once


class Bench:
    """Stands where sources are unpacked and compiled: says what it was asked for and returns what it is told to."""

    def __init__(self) -> None:
        self.places: list[Path] = []
        self.products: list[Product] = [PRODUCT]

    def build(self, package: Path, directory: Path, name: str, jobs: int) -> Product:
        assert package.read_bytes() == b"sources"
        assert jobs == 3
        self.places.append(directory)
        return self.products[min(len(self.places), len(self.products)) - 1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    one = Bench()
    monkeypatch.setattr(kernelbuild, "build", one.build)
    monkeypatch.setattr(kernelbuild, "toolchain", lambda: TOOLS)
    return one


@pytest.fixture
def lock() -> Lock:
    whole = read_lock(None)
    sources = replace(source(whole), sha256="3c1f2c8b8b9f9d1c4d7c0d4f62b0b1b3ad3c0c30dd0f0c8d0bcd0aa9a8e0a0b1")
    return replace(whole, debs=tuple(sources if deb.use == "source" else deb for deb in whole.debs))


@pytest.fixture
def builder(lock: Lock, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    inputs = Inputs(tmp_path / "inputs")
    package = tmp_path / "package.deb"
    package.write_bytes(b"sources")
    monkeypatch.setattr(inputs, "file", lambda _wanted: package)
    return Builder(lock, inputs, 3)


def test_the_same_inputs_are_built_once(builder: Builder, bench: Bench, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, second = builder.kernel(cache), builder.kernel(cache)
    assert len(bench.places) == 1
    assert first == second
    assert first.product == PRODUCT
    assert not first.recorded
    assert [path.name for path in cache.iterdir()] == [first.record.inputs.removeprefix("sha256:")]


@pytest.mark.parametrize("name", [kernel.VMLINUZ, kernel.CONFIG, kernel.SYMBOLS, kernel.DIGESTS])
def test_what_is_broken_in_the_cache_is_built_again(builder: Builder, bench: Bench, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    entry = cache / builder.kernel(cache).record.inputs.removeprefix("sha256:")
    data = (entry / name).read_bytes()
    (entry / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert builder.kernel(cache).product == PRODUCT
    assert len(bench.places) == 2
    (entry / name).unlink()
    assert builder.kernel(cache).product == PRODUCT
    assert len(bench.places) == 3
    builder.kernel(cache)
    assert len(bench.places) == 3


def test_a_kernel_that_is_not_as_recorded_is_refused_and_not_kept(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = builder.kernel(tmp_path / "cache").record
    monkeypatch.setattr(kernel, "own_record", lambda: good)
    assert builder.kernel(tmp_path / "cache").recorded
    monkeypatch.setattr(kernel, "own_record", lambda: replace(good, vmlinuz=f"sha256:{'0' * 64}"))
    for cache in (tmp_path / "cache", tmp_path / "another"):
        with pytest.raises(HostError) as caught:
            builder.kernel(cache)
        assert caught.value.code == "kernel-differs"
        assert good.vmlinuz in caught.value.message
    assert list((tmp_path / "another").iterdir()) == []


def test_a_check_builds_twice_in_different_places(builder: Builder, bench: Bench, tmp_path: Path) -> None:
    assert builder.check(tmp_path / "work").product == PRODUCT
    first, second = bench.places
    assert len(str(first)) != len(str(second))
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("part", ["vmlinuz", "config", "symbols"])
def test_a_check_finds_the_smallest_difference(builder: Builder, bench: Bench, tmp_path: Path, part: str) -> None:
    bench.products.append(replace(PRODUCT, **{part: getattr(PRODUCT, part) + b"\0"}))
    with pytest.raises(HostError) as caught:
        builder.check(tmp_path / "work")
    assert caught.value.code == "kernel-differs"


def test_a_cache_that_cannot_be_made_is_an_error_and_no_build(builder: Builder, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError) as caught:
        builder.kernel(tmp_path / "file" / "cache")
    assert caught.value.code == "image-cache"
    assert bench.places == []


def test_a_kernel_is_written_with_its_record(builder: Builder, tmp_path: Path) -> None:
    made = builder.kernel(tmp_path / "cache")
    out = tmp_path / "out"
    out.mkdir()
    kernel.write(made, out)
    assert {path.name for path in out.iterdir()} == {kernel.VMLINUZ, kernel.CONFIG, kernel.SYMBOLS, kernel.RECORD}
    assert (out / kernel.VMLINUZ).read_bytes() == PRODUCT.vmlinuz
    assert parse_record((out / kernel.RECORD).read_text()) == made.record
