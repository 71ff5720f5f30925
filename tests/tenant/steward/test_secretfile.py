"""A secret is added to a policy whole, or policy and secrets stay as they were."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from enarx.errors import ConfigError
from enarx.tenant.steward import secretfile
from enarx.tenant.steward.files import read_policy
from enarx.tenant.steward.secretfile import add_secret
from tests.tenant.keeps import policy_text

DIGEST = "sha256:" + "cd" * 32


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    place = tmp_path / "steward.toml"
    place.write_text(policy_text())
    return place


def state(policy: Path) -> dict[str, bytes]:
    return {str(one.relative_to(policy.parent)): one.read_bytes() for one in policy.parent.rglob("*") if one.is_file()}


def test_secret_is_released_to_a_workload_of_the_policy(policy: Path) -> None:
    add_secret(policy, "db", b"value", ["web"])
    (secret,) = read_policy(policy).secrets
    assert (secret.name, secret.value, sorted(secret.workloads), secret.simulated) == ("db", b"value", ["web"], False)
    assert stat.S_IMODE((policy.parent / "secrets" / "db").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["api", "a.b", "x-1_y"])
def test_workload_comes_with_the_secret(policy: Path, name: str) -> None:
    add_secret(policy, "key", b"value", [name, "web"], simulated=True, new_workload=(name, DIGEST))
    read = read_policy(policy)
    found = {one.name: one for one in read.workloads}
    assert found[name].digests == frozenset({DIGEST})
    assert found[name].configs == frozenset()
    assert read.secrets[0].simulated


@pytest.mark.parametrize(
    ("name", "value", "workload", "digest", "code"),
    [
        ("old", b"v", "web", None, "secret-exists"),
        ("new", b"v", "nobody", None, "secret-name"),
        ("../x", b"v", "web", None, "secret-name"),
        ('x"\nvalue = "y', b"v", "web", None, "secret-name"),
        ("new", b"", "web", None, "secret-size"),
        ("new", bytes(65537), "web", None, "secret-size"),
        ("new", b"v", 'a"]', DIGEST, "secret-name"),
        ("new", b"v", "api", "sha256:short", "policy-value"),
        ("new", b"v", "web", DIGEST, "config-syntax"),
        ("new", b"v", "api", "sha256:" + "ab" * 32, "policy-contradiction"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    policy: Path, name: str, value: bytes, workload: str, digest: str | None, code: str
) -> None:
    add_secret(policy, "old", b"old", ["web"])
    before = state(policy)
    with pytest.raises(ConfigError) as caught:
        add_secret(policy, name, value, [workload], new_workload=(workload, digest) if digest else None)
    assert caught.value.code == code
    assert state(policy) == before


def test_failure_to_replace_the_policy_changes_nothing(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(policy)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError) as caught:
        add_secret(policy, "new", b"value", ["web"])
    monkeypatch.undo()
    assert caught.value.code == "file-unwritable"
    assert state(policy) == before


def test_place_that_is_no_stewards_is_a_clear_error(tmp_path: Path) -> None:
    for place, code in ((tmp_path / "missing" / "x", "file-unreadable"), (tmp_path / "x", "file-unreadable")):
        with pytest.raises(ConfigError) as caught:
            add_secret(place, "new", b"value", ["web"])
        assert caught.value.code == code
        assert caught.value.hint
    (tmp_path / "steward.toml").write_text(policy_text())
    (tmp_path / secretfile.FOLDER).write_text("not a directory")
    with pytest.raises(ConfigError) as caught:
        add_secret(tmp_path / "steward.toml", "new", b"value", ["web"])
    assert caught.value.hint


def test_two_at_once_lose_nothing(policy: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_secret, args=(policy, f"s{i}", b"v", ["web"])) for i in range(4)]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert [one.exitcode for one in processes] == [0] * 4
    assert {one.name for one in read_policy(policy).secrets} == {f"s{i}" for i in range(4)}
