"""The key of an encrypted package becomes a secret of the Steward, and only for what may have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx.errors import ConfigError
from enarx.manifest import Manifest, Workload
from enarx.tenant.package.build import build
from enarx.tenant.package.release import Release, release_key
from enarx.tenant.package.seal import new_key
from enarx.tenant.steward.files import read_policy
from tests.tenant.keeps import policy_text
from tests.tenant.package.modules import RULES, workload


def released(tmp_path: Path, policy: str, *, name: str = "app", simulated: bool = False) -> tuple[Release, bytes, str]:
    (tmp_path / "steward.toml").write_text(policy)
    key = new_key()
    with build(workload(tmp_path / "app"), tmp_path / "out", RULES, key=key) as package:
        release = release_key(tmp_path / "steward.toml", package, key, name, simulated=simulated)
        assert release.secret == f"package-{(package.key_id or b'').hex()[:16]}"
        digest, media_type = package.digest, package.media_type
    read = read_policy(tmp_path / "steward.toml")
    assert [(one.name, one.value, one.workloads) for one in read.secrets] == [(release.secret, key, frozenset({name}))]
    assert read.secrets[0].simulated is simulated
    if release.added_workload:
        (found,) = [one for one in read.workloads if one.name == name]
        assert found.is_meant_by(Manifest(Workload(digest, media_type)))
        assert not found.is_meant_by(Manifest(Workload("sha256:" + "00" * 32, media_type)))
    return release, key, digest


@pytest.mark.parametrize("simulated", [True, False])
def test_workload_that_the_policy_does_not_have_is_added(tmp_path: Path, simulated: bool) -> None:
    release, _, _ = released(tmp_path, policy_text(), simulated=simulated)
    assert release.added_workload
    assert release.to_do == ""


@pytest.mark.parametrize(
    ("table", "to_do"),
    [
        ('digest = ["sha256:%s"]' % ("ab" * 32), "remove what must not run any more"),
        ('digest = "any"', ""),
        ('digest = "any"\nconfig = ["sha256:%s"]' % ("cd" * 32), "remove config"),
        ('manifest = ["sha256:%s"]' % ("ab" * 32), "manifest of [workload.app]"),
    ],
)
def test_workload_that_is_there_is_not_changed_and_what_is_left_to_do_is_told(
    tmp_path: Path, table: str, to_do: str
) -> None:
    release, _, digest = released(tmp_path, policy_text(workload=f"[workload.app]\n{table}\n"))
    assert not release.added_workload
    assert to_do in release.to_do
    assert bool(to_do) is bool(release.to_do)
    assert (digest in release.to_do) == ("must not run" in release.to_do)
    assert f"[workload.app]\n{table}\n" in (tmp_path / "steward.toml").read_text()


@pytest.mark.parametrize("name", ["a b", "", "x/y", '"'])
def test_name_that_no_workload_has_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "steward.toml").write_text(policy_text())
    key = new_key()
    with build(workload(tmp_path / "app"), tmp_path / "out", RULES, key=key) as package, pytest.raises(ConfigError):
        release_key(tmp_path / "steward.toml", package, key, name, simulated=False)
    assert (tmp_path / "steward.toml").read_text() == policy_text()
