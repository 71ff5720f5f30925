"""Owned platforms: an owner certificate authority (OCA), and the platform's PEK signed by it.

Source: SEV API 55766, 5.6 (PEK_CSR), 5.7 (PEK_CERT_IMPORT) and appendix C. The owner keeps the OCA key, signs the
request that PEK_CSR exports, and gives both certificates to PEK_CERT_IMPORT, where the firmware adds the CEK's
signature. A tenant can then tell platforms of this owner from all others (``appraise.Policy.owners``).
"""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import AuthenticityError, MalformedError
from enarx.evidence.sev import signing
from enarx.evidence.sev.certs import UNSIGNED, SevCertificate
from enarx.evidence.sev.kinds import ECDSA_ALGORITHMS, Algorithm, Usage
from enarx.evidence.sev.refusals import reserved
from enarx.evidence.signature import PYCA


def create_oca(
    key: ec.EllipticCurvePrivateKey,
    algorithm: Algorithm = Algorithm.ECDSA_SHA256,
    api: tuple[int, int] = (0, 0),
) -> SevCertificate:
    """A self-signed OCA certificate for a P-384 or P-256 key.

    ``algorithm`` is ECDSA_SHA256 or ECDSA_SHA384; ``api`` stays zero for certificates that no firmware made (appendix
    C.1). Raises MalformedError for another curve or algorithm.
    """
    bare = SevCertificate(
        api_major=api[0],
        api_minor=api[1],
        usage=Usage.OCA,
        algorithm=algorithm,
        key_blob=signing.key_blob(key.public_key()),
    )
    return replace(bare, signatures=(signing.sign(bare.body, key, Usage.OCA, algorithm), UNSIGNED))


def sign_pek(request: SevCertificate, oca: SevCertificate, oca_key: ec.EllipticCurvePrivateKey) -> SevCertificate:
    """The PEK certificate for a request from PEK_CSR, signed by the OCA in its first slot.

    Raises MalformedError for a request that is not an unsigned PEK with a usable key, AuthenticityError when
    ``oca_key`` is not the key of ``oca`` or ``oca`` is not an OCA.
    """
    if request.usage is not Usage.PEK or any(slot.present for slot in request.signatures):
        raise MalformedError(
            f"this is {'a signed' if request.signatures[0].present else 'an unsigned'} {request.usage.name} "
            "certificate, not a PEK signing request",
            code="sev-not-a-csr",
            hint="export the request with PEK_CSR, on a platform that nobody owns yet",
        )
    if request.algorithm not in ECDSA_ALGORITHMS:
        raise MalformedError(
            f"the PEK key is for {request.algorithm.name}, which does not sign certificates",
            code="unsupported-algorithm",
            hint="export the request with PEK_CSR",
        )
    signing.verifying_key(request, PYCA)
    if any(request.reserved) or any(request.ecc_key.reserved):
        raise reserved("the request")
    if oca.usage is not Usage.OCA or oca.key_blob != signing.key_blob(oca_key.public_key()):
        raise AuthenticityError(
            "the key is not that of the OCA certificate",
            code="sev-oca-key",
            hint="give the private key that the OCA certificate was created with",
        )
    return replace(request, signatures=(signing.sign(request.body, oca_key, Usage.OCA, oca.algorithm), UNSIGNED))
