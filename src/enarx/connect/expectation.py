"""What a client demands of a Keep, from the files and digests that a caller names."""

from __future__ import annotations

import os
from collections.abc import Sequence

from enarx.evidence.bundle import BUNDLE_MAX_BYTES, split_certificates, unwrap_pem
from enarx.evidence.certificate import CRL_MAX_BYTES
from enarx.manifest import MAX_BYTES
from enarx.tenant.authority import authority_bytes
from enarx.tenant.client import Expectation
from enarx.tenant.policy import Policy
from enarx.tenant.signature.signers import OBJECT_MAX_BYTES
from enarx.tenant.steward.files import read, read_policy

PathLike = str | os.PathLike[str]
Source = PathLike | bytes
"""A file by its path, or what is in it."""


def expectation(
    policy: Policy | PathLike,
    *,
    manifest: Source | None = None,
    ca: PathLike | bytes | None = None,
    chain: Source | None = None,
    crls: Sequence[Source] = (),
    signatures: Sequence[Source] = (),
) -> Expectation:
    """What the arguments of all attested clients come to.

    ``policy`` is a policy file, as a Steward has it; ``manifest`` the canonical manifest of the launch that is expected
    (``enarx manifest``); ``ca`` the Steward's CA that is trusted: its certificate in PEM, ``sha256:...`` of its key, or
    the 32 bytes of that digest. ``chain`` (ASK and ARK), ``crls`` and ``signatures`` (of the package) are as for
    ``enarx verify``. Raises ConfigError, UsageError or MalformedError for what cannot be read.
    """
    return Expectation(
        policy=policy if isinstance(policy, Policy) else read_policy(os.fspath(policy)),
        manifest=None if manifest is None else _bytes(manifest, MAX_BYTES),
        authority=ca if isinstance(ca, bytes | None) else authority_bytes("ca", os.fspath(ca)),
        chain=() if chain is None else split_certificates(_bytes(chain, BUNDLE_MAX_BYTES)),
        crls=tuple(unwrap_pem(_bytes(one, CRL_MAX_BYTES), "X509 CRL") for one in crls),
        signatures=tuple(_bytes(one, OBJECT_MAX_BYTES) for one in signatures),
    )


def _bytes(source: Source, limit: int) -> bytes:
    return source if isinstance(source, bytes) else read(os.fspath(source), limit)
