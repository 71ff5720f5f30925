"""What is fetched from elsewhere, as objects for a Keep: with a real registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from enarx.errors import HostError, UsageError
from enarx.host.fetchremote import MAX_SIGNATURES, OciFetcher, Remote, _opened
from enarx.host.filebytes import parts_of
from enarx.manifest import digest_of
from enarx.mediatype import PACKAGE
from enarx.registry import Access, Attached, Reference, Registry, parse_reference
from enarx.registry.layout import DSSE, SIGNATURE_TYPE, SIGSTORE_BUNDLE
from enarx.registry.progress import silent
from tests.archives import MODULE, pack
from tests.descriptors import nothing_left_open
from tests.registry.running import Running, registry

PLAIN = pack([("main.wasm", MODULE)])


@pytest.fixture(scope="module")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def remote(said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setenv("ENARX_STORE_DIR", str(tmp_path / "store"))
    return Remote(Access(), lambda host, user: None, silent, said.append)


@pytest.fixture
def pushed(plain_registry: Running, tmp_path: Path) -> Reference:
    reference = parse_reference(f"oci://{plain_registry.host}/{tmp_path.name.lower().strip('_')}:1")
    (tmp_path / "app").write_bytes(PLAIN)
    with Registry() as client:
        return reference.at(client.push_package(reference, tmp_path / "app", PACKAGE).digest)


def fetched(remote: Remote, reference: Reference) -> list[tuple[str, str, bytes]]:
    with nothing_left_open():
        found = OciFetcher(remote).fetch(str(reference))
        objects = [(kind, name, b"".join(parts_of(data))) for kind, name, data in found.objects]
        found.close()
    assert (found.digest, found.media_type) == (digest_of(PLAIN), PACKAGE)
    assert found.resolved == str(reference)
    return objects


def sign(reference: Reference, *signatures: Attached) -> None:
    with Registry() as client:
        client.attach(reference, SIGNATURE_TYPE, signatures)


def test_a_package_comes_with_the_signatures_that_refer_to_it(remote: Remote, pushed: Reference) -> None:
    sign(pushed, Attached(DSSE, b"one"), Attached("text/plain", b"no signature"), Attached(SIGSTORE_BUNDLE, b"two"))
    assert fetched(remote, pushed) == [
        ("package", "", PLAIN), ("signature", DSSE, b"one"), ("signature", SIGSTORE_BUNDLE, b"two"),
    ]  # fmt: skip
    assert fetched(replace(remote, signatures=False), pushed) == [("package", "", PLAIN)]


def test_what_a_keep_would_not_pass_on_is_left_out_and_told(remote: Remote, pushed: Reference, said: list[str]) -> None:
    sign(pushed, Attached(DSSE, bytes(65 << 10)), *[Attached(DSSE, b"%d" % number) for number in range(9)])
    signatures = [data for kind, _, data in fetched(remote, pushed) if kind == "signature"]
    assert signatures == [b"%d" % number for number in range(MAX_SIGNATURES)]
    assert len(said) == 1


def test_signatures_that_cannot_be_had_are_told_and_left_to_the_steward(
    remote: Remote, pushed: Reference, said: list[str], plain_registry: Running
) -> None:
    sign(pushed, Attached(DSSE, b"gone"))
    plain_registry.blob_path(digest_of(b"gone")).unlink()
    assert [kind for kind, _, _ in fetched(remote, pushed)] == ["package"]
    assert len(said) == 1
    assert "signatures" in said[0]


def test_a_tag_is_refused_where_a_digest_is_required(remote: Remote, pushed: Reference) -> None:
    with nothing_left_open(), pytest.raises(UsageError) as caught:
        OciFetcher(replace(remote, require_digest=True)).fetch(str(replace(pushed, digest="")))
    assert caught.value.code == "digest-required"


def places(*paths: Path) -> tuple[Callable[[], Path], list[Path]]:
    """A fetch that finds each of the paths in turn, and those that are still to come."""
    left = list(paths)
    return lambda: left.pop(0), left


def test_what_others_remove_before_it_is_opened_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    fetch, left = places(tmp_path / "gone", tmp_path / "gone", tmp_path / "there")
    _, content = _opened(fetch, lambda path: (path, "sha256:x"))
    assert (content.head(1), content.digest(), left) == (b"x", "sha256:x", [])
    content.close()
    fetch, left = places(*[tmp_path / "gone"] * 9)
    with pytest.raises(HostError) as caught:
        _opened(fetch, lambda path: (path, "sha256:x"))
    assert (caught.value.code, len(left)) == ("store-bound", 6)
