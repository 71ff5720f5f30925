"""Authentication against docker-registry (htpasswd, tokens, TLS), and registries that want to be told too much."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import RegistryError
from enarx.mediatype import PACKAGE
from enarx.registry import Access, Credentials, Registry, Store, parse_reference
from enarx.registry.endpoint import Endpoint
from enarx.registry.transport import Http
from tests.registry.certificates import authority, make_authority
from tests.registry.common import Waits, client, content, reference
from tests.registry.fake import FakeRegistry, UploadRegistry
from tests.registry.running import PASSWORD, USER, Running, htpasswd, registry
from tests.registry.serving import Exchange, serving
from tests.registry.tokens import IDENTITY_TOKEN, token_server

GOOD = Credentials(USER, PASSWORD)
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("htpasswd")
    with registry(directory, tls=True, auth=htpasswd(directory)) as running:
        yield running


def check(running: Running, credentials: Credentials | None, store: Store, directory: Path) -> None:
    """Push and pull."""
    where, package = reference(running.host), content(directory, 5000)
    with Registry(Access(running.ca), lambda host, repository: credentials, patience=Waits().patience()) as registry:
        registry.push_package(where, package, PACKAGE)
        assert registry.pull(where, store).path.read_bytes() == package.read_bytes()


def refused(running: Running, credentials: Credentials | None, directory: Path, ca: Path | None = None) -> str:
    access = Access(ca or running.ca)
    with client(access, lambda *_: credentials) as registry_client, pytest.raises(RegistryError) as caught:
        registry_client.push_package(reference(running.host), content(directory, 10), PACKAGE)
    return caught.value.code


# --- docker-registry with a password file, over TLS


def test_password_is_presented_over_tls(with_password: Running, store: Store, tmp_path: Path) -> None:
    check(with_password, GOOD, store, tmp_path)


@pytest.mark.parametrize(
    ("credentials", "code"),
    [(None, "registry-unauthorized"), (Credentials(USER, "wrong"), "registry-denied")],
)
def test_password_that_is_missing_or_wrong(
    with_password: Running, tmp_path: Path, credentials: Credentials | None, code: str
) -> None:
    assert refused(with_password, credentials, tmp_path) == code


def test_certificate_of_a_ca_that_was_not_named_is_refused(with_password: Running, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("another CA").pem)
    assert refused(with_password, GOOD, tmp_path, other) == "registry-certificate"


def test_certificate_of_another_host_is_refused(store: Store, tmp_path: Path) -> None:
    """127.0.0.2 is on the loopback, and not in the certificate."""
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    with (
        serving(FakeRegistry(b"x"), tmp_path, "127.0.0.2") as server,
        client(Access(tmp_path / "ca.pem")) as registry_client,
        pytest.raises(RegistryError) as caught,
    ):
        registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    assert caught.value.code == "registry-certificate"
    assert server.seen == []


def test_plain_http_to_a_registry_with_tls_says_what_to_do(with_password: Running, store: Store) -> None:
    with client() as registry, pytest.raises(RegistryError) as caught:
        registry.pull(parse_reference(f"oci://{with_password.host}/a/b"), store)
    assert "--ca-bundle" in caught.value.hint


def test_tls_to_a_registry_without_says_so(plain_registry: Running, store: Store, with_password: Running) -> None:
    with client(Access(with_password.ca)) as registry, pytest.raises(RegistryError) as caught:
        registry.pull(parse_reference(f"oci://{plain_registry.host}/a/b"), store)
    assert caught.value.code == "registry-tls"


def test_plain_http_that_is_named_goes_before_the_ca(
    plain_registry: Running, store: Store, with_password: Running, tmp_path: Path
) -> None:
    where = reference(plain_registry.host)
    with client(Access(with_password.ca, [plain_registry.host])) as registry:
        registry.push_package(where, content(tmp_path, 10), PACKAGE)


@pytest.mark.parametrize(
    "text", ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_bundle_without_a_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.pem").write_text(text)
    with pytest.raises(RegistryError) as caught:
        Access(tmp_path / "bundle.pem")
    assert caught.value.code == "ca-bundle"


def test_credentials_are_looked_up_only_when_they_are_asked_for(
    plain_registry: Running, with_password: Running, tmp_path: Path
) -> None:
    asked: list[str] = []

    def lookup(host: str, repository: str) -> Credentials:
        asked.append(f"{host} {repository}")
        return GOOD

    with client(lookup=lookup) as registry:
        registry.push_package(reference(plain_registry.host), content(tmp_path, 10), PACKAGE)
    assert asked == []
    where = reference(with_password.host)
    with client(Access(with_password.ca), lookup) as registry:
        registry.push_package(where, content(tmp_path, 10), PACKAGE)
    assert asked == [f"{where.host} {where.repository}"]


# --- docker-registry with a token server


def test_tokens_are_got_with_a_password_for_what_is_needed(store: Store, tmp_path: Path) -> None:
    with token_server(tmp_path) as (tokens, auth), registry(tmp_path, tls=True, auth=auth) as running:
        where, package = reference(running.host), content(tmp_path, 5000)
        with client(Access(running.ca), lambda *_: GOOD) as registry_client:
            registry_client.push_package(where, package, PACKAGE)
            assert tokens.scopes == [f"repository:{where.repository}:pull,push"]  # one token for all requests
        with client(Access(running.ca), lambda *_: GOOD) as registry_client:
            assert registry_client.pull(where, store).path.read_bytes() == package.read_bytes()
            assert tokens.scopes[1:] == [f"repository:{where.repository}:pull"]
    assert set(tokens.presented) == {f"Basic {BASIC}"}


def test_tokens_are_got_with_an_identity_token(store: Store, tmp_path: Path) -> None:
    with token_server(tmp_path) as (tokens, auth), registry(tmp_path, tls=True, auth=auth) as running:
        check(running, Credentials(identity_token=IDENTITY_TOKEN), store, tmp_path)
        assert refused(running, Credentials(identity_token="another"), tmp_path) == "registry-denied"
    assert set(tokens.presented) == {""}


def test_tokens_are_got_by_nobody_in_particular_for_what_is_public(store: Store, tmp_path: Path) -> None:
    anonymous = frozenset({"pull"})
    with (
        token_server(tmp_path, anonymous=anonymous) as (_, auth),
        registry(tmp_path, tls=True, auth=auth) as running,
    ):
        where, package = reference(running.host), content(tmp_path, 5000)
        with client(Access(running.ca), lambda *_: GOOD) as pusher:
            pusher.push_package(where, package, PACKAGE)
        with client(Access(running.ca)) as puller:
            assert puller.pull(where, store).path.read_bytes() == package.read_bytes()
        assert refused(running, None, tmp_path) == "registry-unauthorized"


def test_a_registry_token_is_presented_as_it_is(store: Store, tmp_path: Path) -> None:
    with token_server(tmp_path) as (tokens, auth), registry(tmp_path, tls=True, auth=auth) as running:
        where, package = reference(running.host), content(tmp_path, 10)
        with client(Access(running.ca), lambda *_: GOOD) as pusher:
            pusher.push_package(where, package, PACKAGE)
        given = Credentials(registry_token=tokens.tokens[-1])
        with client(Access(running.ca), lambda *_: given) as puller:
            assert puller.pull(where, store).path.read_bytes() == package.read_bytes()
        assert refused(running, Credentials(registry_token="stale"), tmp_path) == "registry-denied"


def test_a_token_that_has_expired_is_renewed(tmp_path: Path) -> None:
    """The registry does not accept the first token any more: another is asked for, once."""
    fake = UploadRegistry()
    issued: list[str] = []

    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/token"):
            issued.append(f"token{len(issued)}")
            return exchange.answer(200, json.dumps({"access_token": issued[-1], "expires_in": 3600}).encode())
        if exchange.headers.get("Authorization") != f"Bearer token{1 if len(fake.blobs) else 0}":
            exchange.body()
            challenge = f'Bearer realm="{server.url}/token",service="s",scope="ignored"'
            return exchange.answer(401, WWW_Authenticate=challenge)
        return fake(exchange)

    with serving(behaviour) as server, client(lookup=lambda *_: GOOD) as registry_client:
        registry_client.push_package(parse_reference(f"oci://{server.host}/a/b"), content(tmp_path, 1000), PACKAGE)
    assert issued == ["token0", "token1"]
    assert len(fake.blobs) == 2


def test_the_scope_that_the_registry_names_is_not_asked_for(tmp_path: Path, store: Store) -> None:
    """A registry could have a token for another repository fetched for it."""
    asked: list[str] = []

    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/token"):
            asked.append(exchange.path)
            return exchange.answer(200, b'{"token":"t"}')
        if exchange.headers.get("Authorization") is None:
            challenge = f'Bearer realm="{server.url}/token",scope="repository:secret/repository:pull,push"'
            return exchange.answer(401, WWW_Authenticate=challenge)
        return FakeRegistry(b"x" * 20_000)(exchange)

    with serving(behaviour) as server, client() as registry_client:
        registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    assert asked == ["/token?client_id=enarx&scope=repository%3Aa%2Fb%3Apull"]


# --- Where credentials do not go


def test_credentials_do_not_follow_a_redirect_to_another_host(store: Store, tmp_path: Path) -> None:
    fake = FakeRegistry(b"y" * 20_000)
    with serving(fake) as elsewhere:
        redirecting = FakeRegistry(
            fake.package, blob_answer=lambda e: e.answer(307, Location=f"{elsewhere.url}{e.path}")
        )

        def behaviour(exchange: Exchange) -> None:
            if exchange.headers.get("Authorization") != f"Basic {BASIC}":
                return exchange.answer(401, WWW_Authenticate='Basic realm="x"')
            return redirecting(exchange)

        with serving(behaviour) as server, client(lookup=lambda *_: GOOD) as registry_client:
            registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
            assert server.authorizations[-1] == f"Basic {BASIC}"
    assert elsewhere.seen
    assert set(elsewhere.authorizations) == {None}


def test_credentials_do_not_come_back_after_a_redirect_away_and_back(store: Store) -> None:
    fake = FakeRegistry(b"y" * 20_000)
    with serving(lambda e: e.answer(307, Location=f"{server.url}/back{e.path}")) as elsewhere:

        def behaviour(exchange: Exchange) -> None:
            if exchange.path.startswith("/back"):
                return fake.honest_blob(exchange)
            if exchange.headers.get("Authorization") is None:
                return exchange.answer(401, WWW_Authenticate='Basic realm="x"')
            if exchange.path.endswith(fake.layer.digest):
                return exchange.answer(307, Location=f"{elsewhere.url}{exchange.path}")
            return fake(exchange)

        with serving(behaviour) as server, client(lookup=lambda *_: GOOD) as registry_client:
            registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
            assert server.authorizations[-1] is None


def test_a_challenge_of_another_host_is_not_answered(store: Store) -> None:
    """A store of blobs that asks for a password does not get the registry's."""
    with serving(lambda e: e.answer(401, WWW_Authenticate='Basic realm="x"')) as elsewhere:
        fake = FakeRegistry(b"y" * 20_000, blob_answer=lambda e: e.answer(307, Location=f"{elsewhere.url}/blob"))
        with (
            serving(fake) as server,
            client(lookup=lambda *_: GOOD) as registry_client,
            pytest.raises(RegistryError) as caught,
        ):
            registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
        assert caught.value.code == "registry-denied"
        assert elsewhere.authorizations == [None]


def test_an_upload_at_another_host_gets_no_credentials(tmp_path: Path) -> None:
    fake = UploadRegistry()
    with serving(fake) as elsewhere:

        def behaviour(exchange: Exchange) -> None:
            if exchange.headers.get("Authorization") is None:
                exchange.body()
                return exchange.answer(401, WWW_Authenticate='Basic realm="x"')
            if exchange.command == "POST":
                fake.uploads["0"] = bytearray()
                return exchange.answer(202, Location=f"{elsewhere.url}/v2/uploads/0")
            return fake(exchange)

        with serving(behaviour) as server, client(lookup=lambda *_: GOOD) as registry_client:
            registry_client.push_package(parse_reference(f"oci://{server.host}/a/b"), content(tmp_path, 10), PACKAGE)
        assert set(elsewhere.authorizations) == {None}
    assert len(fake.blobs) == 2


def test_tls_is_not_given_up_for_a_redirect(store: Store, tmp_path: Path) -> None:
    fake = FakeRegistry(b"y" * 20_000)
    with serving(fake) as plain:
        fake_tls = FakeRegistry(fake.package, blob_answer=lambda e: e.answer(307, Location=f"{plain.url}{e.path}"))
        code = refusal_over_tls(fake_tls, tmp_path, store, [plain.host])
        assert code == "registry-insecure"
        assert plain.seen == []


def test_tls_is_not_given_up_for_an_upload(store: Store, tmp_path: Path) -> None:
    fake = UploadRegistry()
    with (
        serving(fake) as plain,
        serving(
            lambda e: e.answer(404) if e.command == "HEAD" else e.answer(202, Location=f"{plain.url}/u"), tmp_path
        ) as server,
    ):
        (tmp_path / "ca.pem").write_bytes(authority().pem)
        with (
            client(Access(tmp_path / "ca.pem", [plain.host])) as registry_client,
            pytest.raises(RegistryError) as caught,
        ):
            registry_client.push_package(parse_reference(f"oci://{server.host}/a/b"), content(tmp_path, 10), PACKAGE)
        assert caught.value.code == "registry-insecure"
        assert plain.seen == []


def refusal_over_tls(behaviour: object, directory: Path, store: Store, plain: list[str], lookup: object = None) -> str:
    (directory / "ca.pem").write_bytes(authority().pem)
    with serving(behaviour, directory) as server:  # type: ignore[arg-type]
        access = Access(directory / "ca.pem", plain)
        with client(access, lookup) as registry_client, pytest.raises(RegistryError) as caught:  # type: ignore[arg-type]
            registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    return caught.value.code


def test_a_token_server_without_tls_gets_no_credentials(store: Store, tmp_path: Path) -> None:
    with serving(lambda e: e.answer(200, b'{"token":"t"}')) as plain:
        challenge = f'Bearer realm="{plain.url}/token",service="s"'
        code = refusal_over_tls(
            lambda e: e.answer(401, WWW_Authenticate=challenge), tmp_path, store, [plain.host], lambda *_: GOOD
        )
        assert code == "registry-insecure"
        assert plain.seen == []


def fail(behaviour: object, store: Store, credentials: Credentials | None = GOOD) -> RegistryError:
    with (
        serving(behaviour) as server,  # type: ignore[arg-type]
        client(lookup=lambda *_: credentials) as registry_client,
        pytest.raises(RegistryError) as caught,
    ):
        registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)
    return caught.value


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        ("", "registry-challenge"),
        ("Negotiate", "registry-challenge"),
        ('Digest realm="x", nonce="y"', "registry-challenge"),
        ("Bearer", "registry-url"),
        ('Bearer realm="x"', "registry-url"),
        ('Bearer realm="http://auth.example/token"', "registry-insecure"),
        ('Bearer realm="file:///etc/passwd"', "registry-url"),
        ('Bearer realm="https://u:p@auth.example/token"', "registry-url"),
        ('Bearer realm="unclosed', "registry-challenge"),
        ("Bearer " + "x" * 20_000, "registry-challenge"),
    ],
)
def test_a_challenge_that_cannot_be_answered_is_refused(store: Store, challenge: str, code: str) -> None:
    assert fail(lambda e: e.answer(401, WWW_Authenticate=challenge), store).code == code


def token_answer(answer: object, store: Store) -> RegistryError:
    """The error of a pull where the token server behaves like that."""

    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/token"):
            return answer(exchange)  # type: ignore[operator, no-any-return]
        host = exchange.headers["Host"]
        return exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="s"')

    return fail(behaviour, store)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "registry-token"),
        (b"[]", "registry-token"),
        (b"{}", "registry-token"),
        (b'{"token":5}', "registry-token"),
        (b'{"token":""}', "registry-token"),
        (b'{"token":"a b"}', "registry-token"),
        (b'{"token":"a\\r\\nX-Header: b"}', "registry-token"),
        ('{"token":"\u00fc"}'.encode(), "registry-token"),
        (b'{"token":"a","token":"b"}', "registry-token"),
        (b'{"token":"' + b"a" * 70_000 + b'"}', "registry-too-large"),
        (b'{"token":"good but not accepted"}', "registry-token"),
        (b'{"token":"good-but-not-accepted"}', "registry-denied"),
    ],
)
def test_a_token_server_with_a_bad_answer_is_refused(store: Store, body: bytes, code: str) -> None:
    assert token_answer(lambda e: e.answer(200, body), store).code == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (302, "registry-token"), (307, "registry-token"), (404, "registry-token"), (401, "registry-denied"),
        (403, "registry-denied"), (400, "registry-denied"), (503, "registry-unreachable"),
    ],
)  # fmt: skip
def test_a_token_server_that_refuses(store: Store, status: int, code: str) -> None:
    seen: list[str | None] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange.headers.get("Authorization"))
        exchange.answer(status, Location="/token/elsewhere")

    assert token_answer(answer, store).code == code
    assert len(seen) == (6 if status == 503 else 1)  # a redirect is not followed


@pytest.mark.parametrize(
    "answer",
    [
        '{"token":"t"}',
        '{"token":"t","expires_in":-5}',
        '{"token":"t","expires_in":"x"}',
        '{"token":"t","expires_in":1e99}',
        '{"token":"t","expires_in":true}',
        '{"access_token":"t","expires_in":99999999999999999999}',
    ],
)
def test_a_token_with_an_odd_lifetime_is_used(store: Store, answer: str) -> None:
    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/token"):
            return exchange.answer(200, answer.encode())
        if exchange.headers.get("Authorization") != "Bearer t":
            host = exchange.headers["Host"]
            return exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{host}/token"')
        return FakeRegistry(b"z" * 20_000)(exchange)

    with serving(behaviour) as server, client() as registry_client:
        registry_client.pull(parse_reference(f"oci://{server.host}/a/b"), store)


# --- What is never shown


def everything_shown(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """All that a program could print or log of an error: message, representation, traceback, causes, log."""
    chain, texts = error, [caplog.text]
    while True:
        texts += [str(chain), repr(chain), repr(vars(chain)), *traceback.format_exception(chain)]
        following = chain.__cause__ or chain.__context__
        if following is None:
            return "\n".join(texts)
        chain = following


def test_a_registry_that_says_our_secrets_back_to_us_does_not_get_them_shown(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def behaviour(exchange: Exchange) -> None:
        authorization = exchange.headers.get("Authorization")
        if authorization is None:
            return exchange.answer(401, WWW_Authenticate='Basic realm="x"')
        message = f"\x1b[31mwho is {authorization} with {PASSWORD}?"
        body = json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()
        return exchange.answer(403, body)

    with caplog.at_level(logging.DEBUG):
        error = fail(behaviour, store)
    shown = everything_shown(error, caplog)
    assert "who is" in error.message
    assert "***" in error.message
    assert "\x1b" not in error.message
    assert PASSWORD not in shown
    assert BASIC not in shown


def test_a_token_is_not_shown_either(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/token"):
            return exchange.answer(200, b'{"token":"very-secret-token"}')
        authorization = exchange.headers.get("Authorization")
        if authorization is None:
            host = exchange.headers["Host"]
            return exchange.answer(401, WWW_Authenticate=f'Bearer realm="http://{host}/token"')
        body = json.dumps({"errors": [{"code": "DENIED", "message": authorization}]}).encode()
        return exchange.answer(403, body)

    with caplog.at_level(logging.DEBUG):
        shown = everything_shown(fail(behaviour, store), caplog)
    assert "very-secret-token" not in shown
    assert PASSWORD not in shown
    assert BASIC not in shown


def test_long_and_malformed_errors_are_shown_in_part(store: Store) -> None:
    long = json.dumps({"errors": [{"code": "X" * 300, "message": 5}, 7, {"detail": "y"}]}).encode()
    message = fail(lambda e: e.answer(403, long), store).message
    assert "X" * 200 + "..." in message
    assert len(message) < 400
    assert "answers 403" in fail(lambda e: e.answer(403, b"{" * 1000), store).message
    assert "answers 403" in fail(lambda e: e.answer(403, bytes(100_000)), store).message


def test_credentials_have_no_representation() -> None:
    given = Credentials("user-name", "pass-word", "identity-token", "registry-token")
    for text in (repr(given), str(given), f"{given}", repr([given])):
        assert not any(secret in text for secret in ("user-name", "pass-word", "identity", "registry-token"))


def test_the_whole_of_a_failed_authentication_shows_nothing(
    with_password: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Credentials(USER, "hunter2-hunter2")
    with (
        caplog.at_level(logging.DEBUG),
        client(Access(with_password.ca), lambda *_: wrong) as registry_client,
        pytest.raises(RegistryError) as caught,
    ):
        registry_client.push_package(reference(with_password.host), content(tmp_path, 10), PACKAGE)
    assert "hunter2" not in everything_shown(caught.value, caplog)


def test_the_hub_has_its_own_hosts() -> None:
    assert str(Endpoint("docker.io", Http(Access()), None).base) == "https://registry-1.docker.io/v2/"
