"""The tables of a policy for SEV and SEV-ES: which launches are approved, and whose approvals are believed.

::

    [sev]                  keys of enarx.evidence.sev.appraise (`launch_digests`, `minimum_api`, `require_es`, ...),
                           `include`: images whose launch digests are accepted as well (enarx.evidence.reference),
                           `approvers`: SHA-256 of the keys whose approvals are believed (default: the Steward's own
                           CA), `approval`: how long an approval lasts ("720h")
    [simulated_sev]        the same for simulated platforms, and `root`, a file that `enarx simulator sev-root` writes

The approver (``enarx launch approve``) and the Steward read the same tables: the first when the guest is launched, the
second whenever its Keep asks for a certificate, so that what a policy no longer accepts is not certified again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from enarx.errors import ConfigError
from enarx.evidence.reference import Technology, included
from enarx.evidence.sev.appraise import Policy, policy_from_table
from enarx.evidence.sev.roots import Root
from enarx.evidence.sev.simulated import simulated_root
from enarx.tenant.policytables import Tables

APPROVAL: Final = timedelta(days=30)
"""How long an approval lasts by default."""
APPROVAL_MAX: Final = timedelta(days=365)
TECHNOLOGIES: Final[tuple[Technology, ...]] = ("sev", "sev-es")
"""Launches of an image that a table includes; without ``require_es = false`` those of SEV are refused all the same."""
ROOT_MAX_BYTES: Final = 8 * 1024
"""Largest file with a simulated root (bytes)."""

_OWN: Final = ("include", "approvers", "approval", "root")

Read = Callable[[str, int, bool], bytes]


@dataclass(frozen=True, slots=True)
class SevRules:
    """A table as read. ``approvers`` (SHA-256 of SubjectPublicKeyInfos) is empty for the Steward's own CA alone.

    ``roots`` are those of simulated platforms: empty for ``[sev]``, which is for AMD's.
    """

    policy: Policy
    approvers: tuple[bytes, ...]
    approval: timedelta
    roots: tuple[Root, ...] = ()

    def accepts(self, authority: bytes | None) -> tuple[bytes, ...]:
        """Whose approvals are believed by a Steward with this CA."""
        if self.approvers or authority is None:
            return self.approvers
        return (authority,)


def read_sev(reader: Tables, name: str, table: Mapping[str, Any] | None, read: Read) -> SevRules | None:
    """Read ``[sev]`` or ``[simulated_sev]``; None where there is none. ConfigError says where in the file it is."""
    if table is None:
        return None
    document, path = reader.document, (name,)
    own = {key: value for key, value in table.items() if key in _OWN}
    rest = {key: value for key, value in table.items() if key not in _OWN}
    for key in ("launch_digests", "owners"):  # with or without the algorithm before it
        if isinstance(rest.get(key), list):
            rest[key] = [one.removeprefix("sha256:") if isinstance(one, str) else one for one in rest[key]]
    try:
        if "include" in own:
            found = included(own["include"], TECHNOLOGIES, lambda file, limit: read(file, limit, False))
            stated = rest.get("launch_digests", [])
            rest["launch_digests"] = [*stated, *(one.hex() for one in found)] if isinstance(stated, list) else stated
        policy = policy_from_table(rest, f"policy {name}")
    except ConfigError as error:
        raise document.error(path, error.code, error.message, error.hint) from error
    approval = APPROVAL
    if "approval" in own:
        approval = reader.duration((name, "approval"), own["approval"], APPROVAL_MAX)
    approvers = reader.digests((name, "approvers"), own["approvers"]) if "approvers" in own else ()
    return SevRules(policy, approvers, approval, _roots(reader, name, own, read))


def _roots(reader: Tables, name: str, own: Mapping[str, Any], read: Read) -> tuple[Root, ...]:
    document = reader.document
    if name == "sev":
        if "root" in own:
            hint = "name a simulated platform's root under [simulated_sev]; [sev] is for hardware"
            raise document.error((name, "root"), "policy-value", "[sev] has AMD's roots and no others", hint)
        return ()
    path = (name, "root")
    if "root" not in own:
        hint = 'root = "FILE": what `enarx simulator sev-root` writes'
        raise document.error((name,), "policy-value", "[simulated_sev] must name one simulated root", hint)
    try:
        return (simulated_root(read(reader.text(path, own["root"]), ROOT_MAX_BYTES, False)),)
    except ConfigError as error:
        raise document.error(path, error.code, error.message, error.hint) from error
