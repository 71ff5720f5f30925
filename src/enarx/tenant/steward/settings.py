"""Where a Steward finds its policy, its CA and its database. Light, so that starting several workers is."""

from __future__ import annotations

from dataclasses import dataclass

from enarx.evidence.signature import PYCA, Verifier
from enarx.tenant.policy import Policy
from enarx.tenant.steward.files import read_policy
from enarx.tenant.steward.store import Store, connect


@dataclass(frozen=True, slots=True)
class Settings:
    """Files and database; ``names`` go into its TLS certificate beside the policy's, ``fast`` asks for AWS-LC."""

    config: str
    certificate: str
    key: str
    database: str
    names: tuple[str, ...] = ()
    fast: bool = False

    def policy(self) -> Policy:
        """Read the policy file; ConfigError."""
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
