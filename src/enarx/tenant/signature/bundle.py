"""sigstore bundles, verified offline with the library ``sigstore`` (optional extra) under a trusted root that is given.

What is believed, and what the library checks: a certificate of the root's authorities, in its certificate transparency
log, valid when the signature was logged; the log's signed entry for exactly this signature, with its proof of
inclusion. What is checked here: whose certificate it is, and that what was signed is the package.

Nothing is fetched: no TUF repository, no log, no authority is ever asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import AuthenticityError, ConfigError
from enarx.tenant.signature import strictjson
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import Bundle

TRUSTED_ROOT_MAX_BYTES: Final = 256 * 1024
"""Largest trusted root (bytes); that of the public sigstore has 7 KiB."""
MEDIA_TYPE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"
IN_TOTO_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPES: Final = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
PREDICATE_TYPES: Final = ("https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1")
"""Statements by which somebody owns a package: "I sign it", "I built it". Others may say that it must not be run."""

_SHOWN_CHARS: Final = 160


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody as sigstore knows them: the subject of a certificate and who vouched for it, compared as a whole."""

    identity: str
    issuer: str

    @property
    def id(self) -> str:
        """How logs and results name it: a digest, for they hold no names."""
        return f"sigstore:{hashlib.sha256(json.dumps([self.issuer, self.identity]).encode()).hexdigest()}"

    def __str__(self) -> str:
        return "a sigstore identity"  # verdicts are told to the host, which need not know whom a policy trusts


class Sigstore:
    """A trusted root made ready to verify under. May be used by several threads."""

    def __init__(self, trusted_root: bytes) -> None:
        """Read ``trusted_root.json``; ConfigError (``sigstore-unavailable``, ``sigstore-root``)."""
        try:
            from sigstore.models import TrustedRoot
            from sigstore.verify import Verifier
            from sigstore_models.trustroot import v1
        except ImportError as error:
            raise ConfigError(
                "a sigstore identity is named and the library sigstore is not installed",
                code="sigstore-unavailable",
                hint="pip install 'enarx[sigstore]', or name keys",
            ) from error
        try:
            root = TrustedRoot(v1.TrustedRoot.from_json(trusted_root))
            for authority in root.get_timestamp_authorities():
                authority.certificates(allow_expired=True)
            self._verifier = Verifier(trusted_root=root)
        except Exception as error:  # pydantic's, cryptography's and the library's own, all about the file
            raise ConfigError(
                f"this is not a trusted root of sigstore: {_short(error)}",
                code="sigstore-root",
                hint="give trusted_root.json of the sigstore that you use, as its TUF repository has it",
            ) from error

    def signer(self, data: bytes, statement: Statement, accepted: Sequence[Identity]) -> Identity:
        """Which of ``accepted`` made the bundle in ``data``, over the package of ``statement``; AuthenticityError."""
        from sigstore.models import Bundle

        asked = _OneOf(accepted)
        try:
            strictjson.loads(data)
            bundle = Bundle.from_json(data)
            self._verify(bundle, statement, asked)
        except AuthenticityError:
            raise
        except Exception as error:  # whatever a hostile bundle makes the library raise is a refusal
            raise _refused(f"does not verify: {_short(error)}") from error
        if asked.found is None:
            raise _refused("was verified without an identity")
        return asked.found

    def _verify(self, bundle: Bundle, statement: Statement, asked: _OneOf) -> None:
        from sigstore.hashes import Hashed
        from sigstore_models.common.v1 import HashAlgorithm

        digest = statement.digest.removeprefix("sha256:")
        if bundle._inner.dsse_envelope is None:  # no public name tells the two kinds apart
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest))
            self._verifier.verify_artifact(hashed, bundle, asked)
            return
        kind, payload = self._verifier.verify_dsse(bundle, asked)
        if kind == PAYLOAD_TYPE:
            if payload != statement.encode():
                raise _refused("is over another package")
        elif kind == IN_TOTO_TYPE:
            _check_in_toto(strictjson.loads(payload), digest)
        else:
            raise _refused("has a payload that says nothing of a package")


class _OneOf:
    """The identities that are accepted, as a policy of the library; ``found`` is the first that a certificate is of."""

    def __init__(self, accepted: Sequence[Identity]) -> None:
        self._accepted = accepted
        self.found: Identity | None = None

    def verify(self, cert: Certificate) -> None:
        """See ``sigstore.verify.policy.VerificationPolicy``."""
        from sigstore.errors import VerificationError
        from sigstore.verify import policy

        for one in self._accepted:
            try:
                policy.Identity(identity=one.identity, issuer=one.issuer).verify(cert)
            except VerificationError:
                continue
            self.found = one
            return
        raise _refused("is of another identity")


def _check_in_toto(value: Any, digest: str) -> None:
    """An in-toto statement (v1, 2.2) by which its signer owns the package with this SHA-256."""
    if not isinstance(value, dict) or value.get("_type") not in STATEMENT_TYPES:
        raise _refused("is not an in-toto statement of a version that is read")
    if value.get("predicateType") not in PREDICATE_TYPES:
        raise _refused("says something else of the package than that it was signed or built")
    subjects = value.get("subject")
    found = [one.get("digest") for one in subjects if isinstance(one, dict)] if isinstance(subjects, list) else []
    if not any(isinstance(one, dict) and one.get("sha256") == digest for one in found):
        raise _refused("is over another package")


def _refused(what: str) -> AuthenticityError:
    return AuthenticityError(
        f"the sigstore bundle {what}",
        code="sigstore-bundle",
        hint="sign the package's own bytes: cosign sign-blob --bundle FILE.sigstore.json FILE",
    )


def _short(error: Exception) -> str:
    """The beginning of somebody else's message, which may quote hostile bytes."""
    line = " ".join(str(error).split())[:_SHOWN_CHARS]
    return "".join(c if c.isprintable() else "?" for c in line) or type(error).__name__
