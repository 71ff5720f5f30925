"""What references mean, and what files are taken for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx import archive, envelope
from enarx.errors import EnarxError, HostError, UsageError
from enarx.host.fetch import (
    MAX_REFERENCE_CHARS,
    MAX_SIGNATURE_BYTES,
    SLUG,
    Fetched,
    FileFetcher,
    absolute,
    begins_as,
    check_reference,
    parse_file,
    scheme_of,
)
from enarx.host.filebytes import parts_of
from enarx.manifest import digest_of
from enarx.mediatype import WASM
from tests.archives import MODULE, pack
from tests.descriptors import nothing_left_open
from tests.keep.sealing import seal

SCHEMES = ("file", "oci", "https", SLUG)
PLAIN = pack([("main.wasm", MODULE)])
CONFIGURED = pack([("Enarx.toml", b""), ("main.wasm", MODULE)])


@pytest.mark.parametrize(
    ("reference", "scheme"),
    [
        ("file:///x", "file"), ("FILE:///x", "file"), ("file:x", "file"), ("oci://host/repo", "oci"),
        ("https://h/", "https"), ("http:h", "http"), ("x-y.z+1:/a", "x-y.z+1"), ("data:,x", SLUG),
        ("user/repo:1.0.0", SLUG),
        ("host:8080/user/repo:1.0.0", SLUG), ("a:b", SLUG), ("/x", SLUG), ("./x:/y", SLUG), ("1a://x", SLUG),
        ("", SLUG),
    ],
)  # fmt: skip
def test_what_can_be_a_base_is_a_url_and_the_rest_are_slugs(reference: str, scheme: str) -> None:
    assert scheme_of(reference) == scheme


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("", "no reference"), ("x" * (MAX_REFERENCE_CHARS + 1), "no reference"), ("file:///a\0b", "no reference"),
        ("file:///\udcff", "no reference"), ("ftp://x/y", "unsupported scheme: ftp"),
        ("user/repo", "Missing `:` in tag specification: user/repo"),
        ("repo:1.0.0", "Missing `/` in repository specification: repo"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_refused(reference: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_reference(reference, SCHEMES)
    assert caught.value.hint


@pytest.mark.parametrize("right", [True, False])
def test_a_file_can_be_pinned_and_must_be_where_that_is_required(right: bool, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(PLAIN)
    digest = digest_of(PLAIN if right else MODULE)
    pinned = f"{(tmp_path / 'app').as_uri()}#{digest.replace(':', '=')}"
    with nothing_left_open():
        if right:
            FileFetcher(require_digest=True).fetch(pinned).close()
        else:
            with pytest.raises(HostError) as caught:
                FileFetcher().fetch(pinned)
            assert caught.value.code == "file-wrong-content"
        for url in ((tmp_path / "app").as_uri(), tmp_path.as_uri()):
            with pytest.raises(UsageError) as refused:
                FileFetcher(require_digest=True).fetch(url)
            assert refused.value.code == "digest-required"
        with pytest.raises(UsageError, match="a directory has no digest"):
            FileFetcher().fetch(f"{tmp_path.as_uri()}#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", "/a/b"), ("file://localhost/a", "/a"), ("file:/a", "/a"), ("file://./a", "./a"),
        ("file://../a", "../a"), ("file:///a%20%25%23%3F", "/a %#?"), ("file:///%C3%A4", "/\u00e4"),
        ("file:///\u00e4", "/\u00e4"),
    ],
)  # fmt: skip
def test_the_path_of_a_url(url: str, path: str) -> None:
    assert parse_file(url) == (Path(path), "")
    assert parse_file(f"{url}#sha256={'a' * 64}") == (Path(path), f"sha256:{'a' * 64}")


@pytest.mark.parametrize(
    "url",
    ["file:", "file://", "file://host/a", "file://host", "file:///a?b", "file:///a#b", "file:///a#sha256=0", "file:///a#",
     "file:///%00", "file:///%ff",
     "file://[/a", "file://.../a"],
)  # fmt: skip
def test_what_names_no_file_of_this_machine_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_file(url)
    assert caught.value.code == "reference"


@given(st.text(max_size=60))
def test_any_reference_is_one_or_an_error(reference: str) -> None:
    try:
        scheme = check_reference(reference, SCHEMES)
        if scheme == "file":
            parse_file(reference)
    except EnarxError as error:
        assert error.exit_status == 2


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=40))
def test_every_path_has_a_url(name: str) -> None:
    path = Path("/", name)
    pinned = f"{path.as_uri()}#sha256={'a' * 64}"
    assert parse_file(absolute(pinned)) == (Path(os.path.abspath(path)), f"sha256:{'a' * 64}")


def test_a_reference_is_kept_so_that_it_means_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("file://./a%20b") == (tmp_path / "a b").as_uri()
    assert absolute("oci://host/repo:tag") == "oci://host/repo:tag"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (MODULE, WASM), (b"\0asm", WASM), (PLAIN, archive.MEDIA_TYPE), (CONFIGURED, archive.MEDIA_TYPE),
        (seal(PLAIN), envelope.MEDIA_TYPE), (b"", None), (b"\0as", None), (b"ENARXPK", None),
        (PLAIN[:511], None), (pack([("main.wasmx", MODULE)]), None), (pack([("files", None)]), None),
        (PLAIN.replace(b"ustar", b"uster"), None),
    ],
)  # fmt: skip
def test_what_a_file_is_shows_in_its_first_block(content: bytes, media_type: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert begins_as(tmp_path / "file") == media_type


def fetched(path: Path) -> tuple[Fetched, list[tuple[str, str, bytes]]]:
    """What is fetched, and its objects read."""
    with nothing_left_open():
        found = FileFetcher().fetch(path.as_uri())
        objects = [(kind, name, b"".join(parts_of(data))) for kind, name, data in found.objects]
        found.close()
    return found, objects


@pytest.mark.parametrize(("content", "kind"), [(MODULE, "module"), (PLAIN, "package"), (seal(PLAIN), "package")])
def test_a_file_is_one_object_with_its_signatures(content: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "app"
    path.write_bytes(content)
    (tmp_path / "app.sig").write_bytes(b"one")
    (tmp_path / "app.sigstore.json").write_bytes(b"two")
    (tmp_path / "other.sig").write_bytes(b"of another")
    found, objects = fetched(path)
    assert found.digest == digest_of(content)
    signatures = [("signature", "app.sig", b"one"), ("signature", "app.sigstore.json", b"two")]
    name = "main.wasm" if kind == "module" else ""
    assert objects == [(kind, name, content), *signatures]


def test_a_directory_is_its_config_its_module_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").write_bytes(MODULE)
    (tmp_path / "Enarx.toml").write_bytes(b"args = []\n")
    (tmp_path / "README").write_bytes(b"not a part of it")
    found, objects = fetched(tmp_path)
    assert (found.digest, found.media_type) == (digest_of(MODULE), WASM)
    assert objects == [("config", "Enarx.toml", b"args = []\n"), ("module", "main.wasm", MODULE)]
    (tmp_path / "files").mkdir()
    (tmp_path / "main.wasm.sig").write_bytes(b"one")
    _, objects = fetched(tmp_path)
    assert [(kind, name) for kind, name, _ in objects] == [
        ("config", "Enarx.toml"), ("module", "main.wasm"), ("layer", "/"), ("signature", "main.wasm.sig"),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [MAX_SIGNATURE_BYTES, MAX_SIGNATURE_BYTES + 1])
def test_signatures_are_bounded(size: int, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(PLAIN)
    (tmp_path / "app.sig").write_bytes(bytes(size))
    if size <= MAX_SIGNATURE_BYTES:
        assert len(fetched(tmp_path / "app")[1]) == 2
        return
    with nothing_left_open(), pytest.raises(HostError) as caught:
        FileFetcher().fetch((tmp_path / "app").as_uri())
    assert caught.value.code == "file-too-large"


@pytest.mark.parametrize("bad", ["nothing", "empty", "not_wasm", "link", "no_config", "config_is_a_directory", "long"])
def test_where_there_is_nothing_of_ours_it_says_so(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "app"
    makes: dict[str, Any] = {
        "nothing": lambda: None,
        "empty": path.touch,
        "not_wasm": lambda: path.write_bytes(b"#!/bin/sh\n"),
        "link": lambda: path.symlink_to(tmp_path / "gone"),
        "no_config": path.mkdir,
        "config_is_a_directory": lambda: (path / "Enarx.toml").mkdir(parents=True),
        "long": lambda: None,
    }
    makes[bad]()
    if bad in ("no_config", "config_is_a_directory"):
        (path / "main.wasm").write_bytes(MODULE)
    name = "x" * 300 if bad == "long" else "app"
    with nothing_left_open(), pytest.raises(HostError, match="no Enarx package or WASM module found at") as caught:
        FileFetcher().fetch((tmp_path / name).as_uri())
    assert caught.value.code == "package-not-found"


def test_a_config_that_is_wrong_is_an_error_before_anything_is_launched(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").write_bytes(MODULE)
    (tmp_path / "Enarx.toml").write_bytes(b"[[files]]\nkind = 1\n")
    with nothing_left_open(), pytest.raises(EnarxError) as caught:
        FileFetcher().fetch(tmp_path.as_uri())
    assert caught.value.code.startswith("config")
