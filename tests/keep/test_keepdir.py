"""What a workload finds about itself below /keep, in the form in which layers are unpacked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.keepdir import GUEST_PATH, LIMIT_BYTES, archive, files
from enarx.keep.layer import unpack
from enarx.keep.steward import EAR_MAX_CHARS, SECRET_MAX_BYTES, SECRETS_MAX
from enarx.keep.wasi.tree import Directory, File, FileSystem
from enarx.manifest import MAX_BYTES


def tree_of(content: dict[str, bytes], limit: int = LIMIT_BYTES) -> dict[str, bytes]:
    """What is below the root after unpacking, read back from the nodes themselves."""
    system = FileSystem(limit, lambda: 7)
    root = system.new_root()
    unpack(archive(content), system, root)
    found: dict[str, bytes] = {}

    def walk(directory: Directory, prefix: str) -> None:
        for name, node in directory.entries.items():
            if isinstance(node, Directory):
                walk(node, f"{prefix}{name}/")
            else:
                assert isinstance(node, File)
                assert node.mtim == 0
                found[prefix + name] = bytes(node.data)

    walk(root, "")
    return found


def test_certified_keep_shows_certificate_result_manifest_and_secrets() -> None:
    secrets = {"b.key": b"\0\1", "a": b""}
    content = files(b"PEM", ear="a.b.c", manifest=b"{}", secrets=secrets)
    expected = {"certificate.pem": b"PEM", "ear.jwt": b"a.b.c", "manifest.json": b"{}"}
    assert content == expected | {"secrets/a": b"", "secrets/b.key": b"\0\1"}
    assert tree_of(content) == content
    assert GUEST_PATH == "/keep"


def test_keep_that_certifies_itself_shows_its_certificate_alone() -> None:
    assert files(b"PEM") == {"certificate.pem": b"PEM"}


def test_largest_grant_fits() -> None:
    secrets = {f"{number:0128}": bytes(SECRET_MAX_BYTES) for number in range(SECRETS_MAX)}
    content = files(bytes(6 * 90_000), ear="a" * EAR_MAX_CHARS, manifest=bytes(MAX_BYTES), secrets=secrets)
    assert tree_of(content) == content


def test_archive_is_the_same_each_time() -> None:
    content = files(b"PEM", secrets={"b": b"1", "a": b"2"})
    assert archive(content) == archive(files(b"PEM", secrets={"a": b"2", "b": b"1"}))


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True), st.binary(max_size=64), max_size=6
    )
)
def test_any_secrets_are_unpacked_as_they_are(secrets: dict[str, bytes]) -> None:
    content = files(b"PEM", secrets=secrets)
    assert tree_of(content) == content


def test_nothing_in_it_is_a_private_key() -> None:
    from enarx.keep.certified import Certified
    from tests.keep.tenants import NOW, Authority

    certified = Certified((Authority().der,), NOW, NOW)
    assert b"PRIVATE" not in archive(files(certified.pem()))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_contents_of_any_size_against_blocks_are_whole(size: int) -> None:
    content = {"secrets/x": b"a" * size}
    assert tree_of(content) == content
