"""Referrers where a registry has the API, and where its list is hostile."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from enarx.errors import RegistryError
from enarx.registry import Attached, Descriptor, parse_reference
from enarx.registry.digest import digest_of
from enarx.registry.layout import DSSE, EMPTY_DESCRIPTOR, SIGNATURE_MEDIA_TYPES, SIGNATURE_TYPE, attached_manifest
from enarx.registry.manifest import INDEX, MANIFEST, Index
from enarx.registry.referrers import PAGES_MAX, REFERRERS_MAX
from tests.registry.common import client
from tests.registry.serving import Exchange, serving

SUBJECT = Descriptor(MANIFEST, "sha256:" + "5" * 64, 100)
SIGNATURE = b'{"payload":"signed"}'
LAYER = Descriptor(DSSE, digest_of(SIGNATURE), len(SIGNATURE))
SIGNED = attached_manifest(SIGNATURE_TYPE, SUBJECT, [LAYER]).encode()
LISTED = Descriptor(MANIFEST, digest_of(SIGNED), len(SIGNED), SIGNATURE_TYPE)


def numbered(count: int, artifact_type: str = SIGNATURE_TYPE) -> list[Descriptor]:
    return [Descriptor(MANIFEST, f"sha256:{number:064x}", 5, artifact_type) for number in range(count)]


class Fake:
    """A registry with the Referrers API, whose list ``page`` makes."""

    def __init__(self, page: Callable[[Exchange], None]) -> None:
        self.page = page
        self.written: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        last = exchange.path.rpartition("/")[2]
        if "/referrers/" in exchange.path:
            self.page(exchange)
        elif exchange.command in ("PUT", "POST", "PATCH"):
            self.written.append(exchange.path)
            exchange.body()
            exchange.answer(201)
        elif exchange.command == "HEAD":
            exchange.answer(200, Content_Length="")
        elif last == digest_of(SIGNED):
            exchange.answer(200, SIGNED, Content_Type=MANIFEST)
        elif last == LAYER.digest:
            exchange.answer(200, SIGNATURE)
        else:
            exchange.answer(404)


def find(fake: Fake) -> list[Attached]:
    with serving(fake) as server, client() as registry:
        where = parse_reference(f"oci://{server.host}/a/b@{SUBJECT.digest}")
        return registry.attached(where, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES)


def refusal(fake: Fake) -> str:
    with pytest.raises(RegistryError) as caught:
        find(fake)
    return caught.value.code


def test_the_api_is_asked_first() -> None:
    index = Index((LISTED, *numbered(5, "application/vnd.example.other"))).encode()
    assert find(Fake(lambda e: e.answer(200, index, Content_Type=INDEX))) == [Attached(DSSE, SIGNATURE)]


def test_pages_are_followed() -> None:
    def page(exchange: Exchange) -> None:
        if exchange.path.endswith("?next"):
            exchange.answer(200, Index((LISTED,)).encode())
        else:
            link = f'<{exchange.path}?next>; rel="next"'
            exchange.answer(200, Index(tuple(numbered(2, "a/b"))).encode(), Link=link)

    assert find(Fake(page)) == [Attached(DSSE, SIGNATURE)]


def test_pages_without_end_are_left() -> None:
    fake = Fake(lambda e: e.answer(200, Index(()).encode(), Link=f'<{e.path}?again>; rel="next"'))
    with serving(fake) as server, client() as registry, pytest.raises(RegistryError) as caught:
        registry.attached(
            parse_reference(f"oci://{server.host}/a/b@{SUBJECT.digest}"), SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES
        )
    assert caught.value.code == "registry-referrers"
    assert len(server.seen) == PAGES_MAX


def test_a_page_elsewhere_is_not_fetched_without_tls() -> None:
    link = '<http://registry.example/next>; rel="next"'
    assert refusal(Fake(lambda e: e.answer(200, Index(()).encode(), Link=link))) == "registry-insecure"


def test_more_signatures_than_anybody_makes_are_refused() -> None:
    full = Index(tuple(numbered(REFERRERS_MAX + 1))).encode()
    assert refusal(Fake(lambda e: e.answer(200, full))) == "registry-referrers"


def test_a_listed_manifest_that_is_not_there_is_named() -> None:
    assert refusal(Fake(lambda e: e.answer(200, Index(tuple(numbered(1))).encode()))) == "registry-manifest-missing"


@pytest.mark.parametrize("body", [SIGNED, b"", b"[]", b"<html>"])
def test_a_list_that_is_none_is_refused(body: bytes) -> None:
    assert refusal(Fake(lambda e: e.answer(200, body))) in ("registry-referrers", "registry-manifest")


@pytest.mark.parametrize("status", [400, 404, 405, 406])
def test_without_the_api_the_tag_is_asked_for(status: int) -> None:
    fake = Fake(lambda e: e.answer(status))
    with serving(fake) as server, client() as registry:
        where = parse_reference(f"oci://{server.host}/a/b@{SUBJECT.digest}")
        assert registry.attached(where, SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES) == []
        assert server.seen[-1] == f"GET /v2/a/b/manifests/sha256-{'5' * 64}"


def test_a_signature_larger_than_any_is_not_fetched() -> None:
    large = attached_manifest(SIGNATURE_TYPE, SUBJECT, [Descriptor(DSSE, LAYER.digest, (1 << 20) + 1)]).encode()
    listed = Descriptor(MANIFEST, digest_of(large), len(large), SIGNATURE_TYPE)
    fake = Fake(lambda e: e.answer(200, Index((listed,)).encode()))

    def behaviour(exchange: Exchange) -> None:
        if exchange.path.endswith(digest_of(large)):
            exchange.answer(200, large)
        else:
            fake(exchange)

    with serving(behaviour) as server, client() as registry, pytest.raises(RegistryError) as caught:
        registry.attached(
            parse_reference(f"oci://{server.host}/a/b@{SUBJECT.digest}"), SIGNATURE_TYPE, SIGNATURE_MEDIA_TYPES
        )
    assert caught.value.code == "registry-too-large"


def test_a_registry_with_the_api_needs_no_tag() -> None:
    """It lists what has a subject by itself."""
    fake = Fake(lambda e: e.answer(200, Index(()).encode()))
    subject = json.dumps({"schemaVersion": 2, "config": EMPTY_DESCRIPTOR.as_json(), "layers": []}).encode()

    def behaviour(exchange: Exchange) -> None:
        if exchange.command == "GET" and exchange.path.endswith("/manifests/v1"):
            exchange.answer(200, subject)
        else:
            fake(exchange)

    with serving(behaviour) as server, client() as registry:
        made = registry.attach(
            parse_reference(f"oci://{server.host}/a/b:v1"), SIGNATURE_TYPE, [Attached(DSSE, SIGNATURE)]
        )
    assert fake.written == [f"/v2/a/b/manifests/{made.digest}"]


def test_a_list_that_never_keeps_what_is_added_is_given_up() -> None:
    fake = Fake(lambda e: e.answer(404))
    subject = json.dumps({"schemaVersion": 2, "config": EMPTY_DESCRIPTOR.as_json(), "layers": []}).encode()

    def behaviour(exchange: Exchange) -> None:
        if exchange.command == "GET" and exchange.path.endswith("/manifests/v1"):
            exchange.answer(200, subject)
        elif exchange.command == "GET" and "/manifests/sha256-" in exchange.path:
            exchange.answer(200, Index(()).encode())
        else:
            fake(exchange)

    with serving(behaviour) as server, client() as registry, pytest.raises(RegistryError) as caught:
        registry.attach(parse_reference(f"oci://{server.host}/a/b:v1"), SIGNATURE_TYPE, [Attached(DSSE, SIGNATURE)])
    assert caught.value.code == "registry-referrers"
