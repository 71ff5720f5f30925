"""URLs that servers and people name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import RegistryError, UsageError
from enarx.registry.access import Access
from enarx.registry.urls import Url, is_loopback, parse_url, split_authority
from tests.registry.certificates import authority

HERE = parse_url("https://registry.example/v2/a/b?state=secret")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://registry.example", Url("https", "registry.example", 443, "/")),
        ("HTTPS://Registry.Example/A", Url("https", "registry.example", 443, "/A")),
        ("http://127.0.0.1:5000/v2/?a=b&c=%20", Url("http", "127.0.0.1", 5000, "/v2/?a=b&c=%20")),
        ("https://[::1]:8443/x", Url("https", "::1", 8443, "/x")),
        ("https://host_name.example?x=y", Url("https", "host_name.example", 443, "/?x=y")),
    ],
)
def test_url_is_read(text: str, expected: Url) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "registry.example", "//registry.example/", "ftp://x/", "file:///etc/passwd", "https://", "https:///x",
        "https://user@x/", "https://user:p@x/", "https://x:0/", "https://x:65536/", "https://x:y/", "https://x/#f",
        "https://x/#", "https://x/ y", "https://x/\ty", "https://x/\r\nHost: y", "https://x\\y/", "https://[::1/",
        "https://[::g]/", "https://[fe80::1%25x]/", "https://ü.example/", "https://x..y/", "javascript:alert(1)",
        'https://x/"', "https://x/<", "https://x/" + "a" * 8192,
    ],
)  # fmt: skip
def test_what_nobody_may_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_url(text)
    assert caught.value.code == "registry-url"


def test_what_is_shown_of_a_bad_url_has_neither_password_nor_query() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_url("https://user:password@x/?signature=secret")
    assert "password" not in caught.value.message
    assert "secret" not in caught.value.message


def test_what_is_shown_of_a_url_has_no_query() -> None:
    assert str(HERE) == "https://registry.example/v2/a/b"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x?y=z", "https://registry.example/v2/x?y=z"),
        ("c", "https://registry.example/v2/a/c"),
        ("https://other.example:8443/x", "https://other.example:8443/x"),
        ("//other.example/x", "https://other.example/x"),
        ("?digest=x", "https://registry.example/v2/a/b?digest=x"),
    ],
)
def test_locations_are_relative_to_where_they_come_from(location: str, expected: str) -> None:
    assert HERE.join(location) == parse_url(expected)


def test_parameters_are_added_to_those_that_are_there() -> None:
    assert (
        HERE.with_query(("digest", "sha256:1"), ("b", "c d")).target == "/v2/a/b?state=secret&digest=sha256%3A1&b=c+d"
    )
    assert parse_url("https://x/y").with_query(("a", "b")).target == "/y?a=b"


@given(st.text(max_size=40), st.sampled_from(["", "https://h/", "http://h", "https://"]))
def test_any_text_is_a_url_or_refused(text: str, prefix: str) -> None:
    try:
        url = parse_url(prefix + text)
    except RegistryError as error:
        assert error.message.isprintable()
    else:
        assert parse_url(f"{url.scheme}://{url.authority}{url.target}") == url
        assert url.target.startswith("/")
        assert not set(url.target) & set(" \r\n\t#")


@given(st.text(max_size=60))
def test_any_location_leads_to_a_url_or_is_refused(text: str) -> None:
    try:
        url = HERE.join(text)
    except RegistryError:
        return
    assert url.scheme in ("http", "https")
    assert not set(url.target) & set(" \r\n\t#")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", ("h", None)), ("h:1", ("h", 1)), ("[::1]:65535", ("[::1]", 65535)), ("h:65536", None), ("h:", None),
        ("", None), (":1", None), ("a b", None), ("::1", None), ("[x]", None), ("h/x", None), ("h:01", None),
    ],
)  # fmt: skip
def test_authority_is_split(text: str, expected: tuple[str, int | None] | None) -> None:
    assert split_authority(text) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.8.7", True), ("::1", True), ("localhost.example", False),
        ("127.0.0.1.example", False), ("0.0.0.0", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False),
        ("127.1", False),
    ],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("plain", "host", "port", "expected"),
    [
        ([], "registry.example", None, "https"),
        ([], "127.0.0.1", 5000, "http"),
        ([], "::1", 5000, "http"),
        (["registry.example"], "registry.example", None, "http"),
        (["registry.example"], "registry.example", 5000, "http"),
        (["Registry.Example:5000"], "registry.example", 5000, "http"),
        (["registry.example:5000"], "registry.example", 5001, "https"),
        (["registry.example:5000"], "registry.example", None, "https"),
        (["registry.example:80"], "registry.example", None, "http"),
        (["registry.example"], "other.example", None, "https"),
        (["[2001:db8::1]"], "2001:db8::1", 5000, "http"),
    ],
)
def test_plain_http_is_for_loopback_and_for_hosts_that_were_named(
    plain: list[str], host: str, port: int | None, expected: str
) -> None:
    assert Access(plain_http=plain).scheme(host, port) == expected


def test_who_names_a_ca_wants_tls_on_loopback_too(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    assert Access(tmp_path / "ca.pem").scheme("127.0.0.1", 5000) == "https"
    assert Access(tmp_path / "ca.pem", ["127.0.0.1:5000"]).scheme("127.0.0.1", 5000) == "http"


@pytest.mark.parametrize("name", ["", "http://x", "x/y", "x:y", "a b", "*"])
def test_what_is_named_for_plain_http_must_be_a_host(name: str) -> None:
    with pytest.raises(UsageError):
        Access(plain_http=[name])


@pytest.mark.parametrize(
    ("origin", "target", "allowed"),
    [
        ("https://a.example/", "https://b.example/", True),
        ("https://a.example/", "http://a.example/", False),
        ("https://a.example/", "http://plain.example/", False),
        ("https://a.example/", "http://127.0.0.1/", False),
        ("http://plain.example/", "http://plain.example/x", True),
        ("http://plain.example/", "https://b.example/", True),
        ("http://plain.example/", "http://b.example/", False),
        ("http://plain.example/", "http://127.0.0.1:80/", False),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/", True),
        ("http://127.0.0.1:5000/", "http://plain.example/", True),
        ("http://127.0.0.1:5000/", "http://169.254.169.254/latest/meta-data", False),
    ],
)
def test_where_one_may_be_sent(origin: str, target: str, allowed: bool) -> None:
    access = Access(plain_http=["plain.example"])
    if allowed:
        access.check(parse_url(target), parse_url(origin))
    else:
        with pytest.raises(RegistryError) as caught:
            access.check(parse_url(target), parse_url(origin))
        assert caught.value.code == "registry-insecure"
