"""Hands the key of an encrypted package to a Steward: as a secret of the workload that the package is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enarx.manifest import Manifest
from enarx.manifest import Workload as ManifestWorkload
from enarx.tenant.package.build import Built
from enarx.tenant.steward.files import read_policy
from enarx.tenant.steward.secretfile import add_secret
from enarx.tenant.workloads import Workload


@dataclass(frozen=True, slots=True)
class Release:
    """What became of the policy: the secret's name, whether the workload is new to it, and what is left to be done."""

    secret: str
    added_workload: bool
    to_do: str


def release_key(policy_file: Path, package: Built, key: bytes, workload: str, *, simulated: bool) -> Release:
    """Add the ``key`` of an encrypted package to the policy, for ``workload``, which becomes this package if it is new.

    A workload that is there already is not changed: which versions may run is for the policy's owner to say.
    ConfigError; the policy is then as it was.
    """
    found = next((one for one in read_policy(policy_file).workloads if one.name == workload), None)
    secret = f"package-{(package.key_id or b'')[:8].hex()}"
    new = (workload, package.digest) if found is None else None
    add_secret(policy_file, secret, key, [workload], simulated=simulated, new_workload=new)
    return Release(secret, found is None, "" if found is None else _left_to_do(found, package))


def _left_to_do(workload: Workload, package: Built) -> str:
    table = f"[workload.{workload.name}]"
    if workload.manifests:
        return f"add the digest of this deployment's manifest to manifest of {table}"
    if not workload.is_meant_by(Manifest(ManifestWorkload(package.digest, package.media_type))):
        return f'add "{package.digest}" to digest of {table}, and remove what must not run any more'
    if workload.configs:
        return f"remove config from {table}: the Enarx.toml of a package is covered by its digest"
    return ""
