"""Docker's and Podman's credential files, and the helpers that they name."""

from __future__ import annotations

import base64
import json
import os
import select
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx.errors import RegistryError
from enarx.registry import Credentials, DockerCredentials
from enarx.registry.credentials import AUTH_FILE_MAX_BYTES, CREDENTIAL_MAX_CHARS, HUB_KEY
from enarx.registry.helper import HELPER_MAX_BYTES, ask_helper

HOST, REPOSITORY = "registry.example:5000", "team/app"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def find(
    directory: Path, config: Any, host: str = HOST, repository: str = REPOSITORY, **environment: str
) -> Credentials | None:
    """What is found with ``config`` as Docker's configuration, and ``directory`` in PATH."""
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    (directory / "config.json").write_bytes(data)
    path = f"{directory}:{os.environ['PATH']}"
    return DockerCredentials({"PATH": path, "DOCKER_CONFIG": str(directory), **environment})(host, repository)


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


# --- Where the file is


def test_docker_config_is_looked_for_in_the_home(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("a:b")}}}))
    assert DockerCredentials({"HOME": str(tmp_path)})(HOST, REPOSITORY) == Credentials("a", "b")


def test_the_file_that_podman_is_told_of_goes_first(tmp_path: Path) -> None:
    other = tmp_path / "auth.json"
    other.write_text(json.dumps({"auths": {HOST: {"auth": encoded("podman:p")}}}))
    config = {"auths": {HOST: {"auth": encoded("docker:d")}}}
    assert find(tmp_path, config) == Credentials("docker", "d")
    assert find(tmp_path, config, REGISTRY_AUTH_FILE=str(other)) == Credentials("podman", "p")


@pytest.mark.parametrize("environment", [{}, {"HOME": "/nonexistent"}, {"DOCKER_CONFIG": "/nonexistent"}])
def test_without_a_file_there_are_no_credentials(environment: dict[str, str]) -> None:
    assert DockerCredentials(environment)(HOST, REPOSITORY) is None


@pytest.mark.parametrize("kind", ["directory", "pipe", "nul"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    name = str(tmp_path / kind) if kind != "nul" else f"{tmp_path}/\0"
    with pytest.raises(RegistryError) as caught:
        DockerCredentials({"REGISTRY_AUTH_FILE": name})(HOST, REPOSITORY)
    assert caught.value.code == "registry-auth-file"


# --- What is in it


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("user:pass:word")}, Credentials("user", "pass:word")),
        ({"auth": encoded("user:password") + ""}, Credentials("user", "password")),
        ({"auth": encoded("user:padded\0\0")}, Credentials("user", "padded")),
        ({"auth": encoded("üser:pässword")}, Credentials("üser", "pässword")),
        ({"username": "user", "password": "password"}, Credentials("user", "password")),
        ({"auth": encoded("user:"), "identitytoken": "abc"}, Credentials("user", identity_token="abc")),
        ({"identitytoken": "abc"}, Credentials(identity_token="abc")),
        ({"registrytoken": "abc"}, Credentials(registry_token="abc")),
        ({}, None),
        ({"email": "x@example"}, None),
        ({"auth": ""}, None),
        ({"auth": None}, None),
    ],
)
def test_entries_are_read(tmp_path: Path, entry: dict[str, Any], expected: Credentials | None) -> None:
    assert find(tmp_path, {"auths": {HOST: entry}, "detachKeys": "ctrl-e"}) == expected


@pytest.mark.parametrize(
    "config",
    [
        b"", b"[]", b"{", b'{"auths":{"x":{}},"auths":{}}',
        {"auths": {HOST: "text"}}, {"auths": {HOST: {"auth": 5}}}, {"auths": {HOST: {"auth": "%%%"}}},
        {"auths": {HOST: {"auth": encoded("nocolon")}}},
        {"auths": {HOST: {"auth": base64.b64encode(b"\xff:\xfe").decode()}}},
        {"auths": {HOST: {"identitytoken": "two words"}}}, {"auths": {HOST: {"registrytoken": "x\r\nHost: y"}}},
        {"auths": {HOST: {"registrytoken": "ü"}}}, {"auths": {HOST: {"password": "x" * (CREDENTIAL_MAX_CHARS + 1)}}},
        b" " * (AUTH_FILE_MAX_BYTES + 1),
    ],
)  # fmt: skip
def test_a_file_that_is_not_understood_is_refused_without_a_word_of_what_is_in_it(tmp_path: Path, config: Any) -> None:
    with pytest.raises(RegistryError) as caught:
        find(tmp_path, config)
    assert caught.value.code == "registry-auth-file"
    assert caught.value.__cause__ is None
    assert not any(secret in caught.value.message for secret in ("nocolon", "two words", "%%%", "xxx"))


def test_the_most_specific_entry_counts(tmp_path: Path) -> None:
    config = {
        "auths": {
            HOST: {"auth": encoded("host:h")},
            f"{HOST}/team": {"auth": encoded("team:t")},
            f"{HOST}/team/app": {"auth": encoded("app:a")},
            f"{HOST}/te": {"auth": encoded("no:n")},
        }
    }
    assert find(tmp_path, config, repository="team/app") == Credentials("app", "a")
    assert find(tmp_path, config, repository="team/other") == Credentials("team", "t")
    assert find(tmp_path, config, repository="other") == Credentials("host", "h")


@pytest.mark.parametrize("key", [f"https://{HOST}", f"https://{HOST}/", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_old_keys_are_known(tmp_path: Path, key: str) -> None:
    assert find(tmp_path, {"auths": {key: {"auth": encoded("a:b")}}}) == Credentials("a", "b")


def test_the_hub_is_called_what_docker_calls_it(tmp_path: Path) -> None:
    assert find(tmp_path, {"auths": {HUB_KEY: {"auth": encoded("a:b")}}}, "docker.io") == Credentials("a", "b")


@pytest.mark.parametrize(
    "key",
    ["registry.example", "registry.example:5001", "example:5000", f"{HOST}.evil.example", f"evil.{HOST}", "*", ""],
)
def test_credentials_of_another_registry_are_not_taken(tmp_path: Path, key: str) -> None:
    assert find(tmp_path, {"auths": {key: {"auth": encoded("a:b")}}}) is None


# --- Helpers

ANSWER = '{"ServerURL":"x","Username":"user","Secret":"from the helper"}'


def test_a_helper_is_asked_for_the_host(tmp_path: Path) -> None:
    helper(tmp_path, "store", f'test "$1" = get && test "$(cat)" = {HOST} && echo \'{ANSWER}\'')
    assert find(tmp_path, {"credsStore": "store"}) == Credentials("user", "from the helper")
    assert find(tmp_path, {"credHelpers": {HOST: "store"}}) == Credentials("user", "from the helper")


def test_the_helper_of_the_host_goes_before_the_store_and_both_before_the_file(tmp_path: Path) -> None:
    helper(tmp_path, "one", 'echo \'{"Username":"one","Secret":"1"}\'')
    helper(tmp_path, "two", 'echo \'{"Username":"two","Secret":"2"}\'')
    config = {"auths": {HOST: {"auth": encoded("file:f")}}, "credsStore": "two", "credHelpers": {HOST: "one"}}
    assert find(tmp_path, config) == Credentials("one", "1")
    del config["credHelpers"]
    assert find(tmp_path, config) == Credentials("two", "2")


def test_the_file_counts_where_the_helper_has_nothing(tmp_path: Path) -> None:
    helper(tmp_path, "none", "echo 'credentials not found in native keychain'; exit 1")
    config = {"auths": {HOST: {"auth": encoded("file:f")}}, "credsStore": "none"}
    assert find(tmp_path, config) == Credentials("file", "f")
    assert find(tmp_path, {"credsStore": "none"}) is None


def test_a_helper_may_have_an_identity_token(tmp_path: Path) -> None:
    helper(tmp_path, "token", 'echo \'{"Username":"<token>","Secret":"abc"}\'')
    assert find(tmp_path, {"credsStore": "token"}) == Credentials(identity_token="abc")


def test_a_helper_that_reads_nothing_is_no_trouble(tmp_path: Path) -> None:
    helper(tmp_path, "deaf", f"exec 0<&-; echo '{ANSWER}'")
    assert find(tmp_path, {"credsStore": "deaf"}) == Credentials("user", "from the helper")


@pytest.mark.parametrize(
    "name", ["../x", "x/y", "", ".", "-x", "x y", "x;id", "$(id)", "x\n", "x\0y", "a" * 65, 5, ["x"], True]
)
def test_what_is_no_name_of_a_helper_is_never_run(tmp_path: Path, name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("docker-credential-..", "docker-credential-x"):  # where such a name would lead
        (tmp_path / folder).mkdir()
        for file in ("x", "y"):
            (tmp_path / folder / file).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran; echo '{ANSWER}'\n")
            (tmp_path / folder / file).chmod(0o755)
    if name:
        with pytest.raises(RegistryError) as caught:
            find(tmp_path, {"credsStore": name})
        assert caught.value.code == "registry-helper"
        assert "not the name of a helper" in caught.value.message
    else:
        assert find(tmp_path, {"credsStore": name}) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "script",
    [
        "exit 0", "exit 3", "kill -9 $$", "echo no json", "echo '{}'", 'echo \'{"Username":5,"Secret":"x"}\'',
        'echo \'{"Username":"x"}\'', "echo 'another error'; exit 1",
        'echo \'{"Secret":"a","Secret":"b","Username":"c"}\'',
        f"head -c {HELPER_MAX_BYTES + 1} /dev/zero", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
    ],
)  # fmt: skip
def test_a_helper_that_does_not_answer_properly_is_refused(tmp_path: Path, script: str) -> None:
    helper(tmp_path, "bad", f"echo secret-on-stderr >&2; {script}")
    with pytest.raises(RegistryError) as caught:
        find(tmp_path, {"credsStore": "bad"})
    assert caught.value.code == "registry-helper"
    assert "secret" not in caught.value.message.replace("Secret", "")


def test_a_helper_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        find(tmp_path, {"credsStore": "absent"})
    assert "docker-credential-absent" in caught.value.message


def test_a_helper_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """What it started holds a pipe open for writing: reading says when nobody does any more."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    helper(tmp_path, "slow", f"sleep 1000 > {fifo} & wait")
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(RegistryError) as caught:
            ask_helper("slow", "x", {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, 2.0)
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        try:
            assert os.read(reading, 1) == b""
        except BlockingIOError:  # somebody does still, who is being ended
            assert poll.poll(60_000)
            assert os.read(reading, 1) == b""
    finally:
        os.close(reading)
    assert caught.value.code == "registry-helper"
    assert "2 seconds" in caught.value.message


def test_a_helper_gets_no_shell(tmp_path: Path) -> None:
    helper(tmp_path, "echo", f"cat > {tmp_path}/input; echo '{ANSWER}'")
    ask_helper("echo", "$(id);`id`", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (tmp_path / "input").read_text() == "$(id);`id`"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just(HOST), inner, max_size=3),
    max_leaves=8,
)
_ENTRY = st.dictionaries(st.sampled_from(["auth", "username", "password", "identitytoken", "registrytoken"]), _JSON)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["auths", "credHelpers", "other"]),
        _JSON | st.dictionaries(st.just(HOST), _JSON | _ENTRY),
        max_size=3,
    )
)
def test_any_configuration_is_read_or_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    try:
        found = find(tmp_path, config)
    except RegistryError as error:
        assert error.code in ("registry-auth-file", "registry-helper")
    else:
        assert found is None or isinstance(found, Credentials)
