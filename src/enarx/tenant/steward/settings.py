"""Where a Steward finds its policy, its CA and its database. Light, so that starting several workers is."""

from __future__ import annotations

from dataclasses import dataclass

from enarx.evidence.signature import PYCA, Verifier
from enarx.tenant.policy import Policy, parse_policy
from enarx.tenant.policytables import no_files
from enarx.tenant.steward.files import read_policy
from enarx.tenant.steward.store import Store, connect


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a Steward finds what it needs: ``config`` is None for no policy, ``names`` are added to the policy's."""

    config: str | None
    certificate: str
    key: str
    database: str
    names: tuple[str, ...] = ()
    fast: bool = False

    def policy(self) -> Policy:
        """Read the policy file; ConfigError."""
        if self.config is None:
            return parse_policy(b"", "no policy", no_files)
        return read_policy(self.config)

    def verifier(self) -> Verifier:
        """How signatures are verified; ConfigError when the fast way was asked for and is not installed."""
        if not self.fast:
            return PYCA
        from enarx.evidence.awslc import AwsLcVerifier

        return AwsLcVerifier()

    def open(self) -> Store:
        """Open the database; ConfigError, StoreError."""
        return connect(self.database)
