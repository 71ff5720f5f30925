"""Cases about signed launches: public keys, whose digests firmware reports, and the ID block that they sign.

The first key is the ID key, the second the author key. Structures among the inputs are told by their sizes: an ID block
(96 bytes), ID authentication information (4096), signatures of the block and of the ID key (512 each, in this order).
``fields`` may hold the ID block in base64, or the launch digest of a block that is otherwise as ``enarx sign`` has it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enarx.cli.cases import OK, Case, CaseResult
from enarx.errors import AuthenticityError, MalformedError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from enarx.evidence.snp.idblock import IdAuth, IdBlock


def judge(case: Case, pems: Sequence[bytes], structures: Sequence[bytes]) -> CaseResult:
    """Digests of the keys, and whatever of block and authentication information follows from what is given."""
    from enarx.evidence.snp import idblock

    keys = [_public_key(pem) for pem in pems]
    fields: dict[str, object] = {}
    for name, key in zip(("id_key_digest", "author_key_digest"), keys, strict=False):
        digest = idblock.key_digest(key)
        fields |= {name: digest.hex(), f"{name}_b64": _text(digest)}
    block = _block(case.get("fields", {}), structures)
    if block is not None:
        fields |= {"launch_digest": block.launch_digest.hex(), "id_block_b64": _text(block.to_bytes())}
    auth = _authentication(keys, structures)
    if auth is not None:
        if block is not None:
            idblock.verify(block, auth)
        fields["id_auth_b64"] = _text(auth.to_bytes())
    return CaseResult(OK, fields=fields)


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key", code="malformed", hint="expected PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise MalformedError("not a key on P-384", code="unsupported-algorithm", hint="expected P-384")
    return key


def _block(fields: Mapping[str, Any], structures: Sequence[bytes]) -> IdBlock | None:
    from enarx.evidence.snp.idblock import ID_BLOCK_BYTES, IdBlock

    try:
        digest = bytes.fromhex(str(fields["launch_digest"])) if "launch_digest" in fields else None
        encoded = b64decode(str(fields["id_block_b64"]), validate=True) if "id_block_b64" in fields else None
    except (binascii.Error, ValueError) as error:
        raise UsageError("the ID block is not base64, or its digest not hex", code="case-fields") from error
    encoded = next((one for one in structures if len(one) == ID_BLOCK_BYTES), encoded)
    if encoded is None:
        return None if digest is None else IdBlock(digest)
    block = IdBlock.from_bytes(encoded)
    if digest is not None and digest != block.launch_digest:
        raise AuthenticityError(
            "the ID block is for another launch", code="measurement-mismatch", hint="make it for this launch digest"
        )
    return block


def _authentication(keys: Sequence[ec.EllipticCurvePublicKey], structures: Sequence[bytes]) -> IdAuth | None:
    from enarx.evidence.snp.idblock import ID_AUTH_BYTES, SIGNATURE_BYTES, Endorsement, IdAuth, encode_public_key

    whole = next((one for one in structures if len(one) == ID_AUTH_BYTES), None)
    if whole is not None:
        return IdAuth.from_bytes(whole)
    signatures = [one for one in structures if len(one) == SIGNATURE_BYTES]
    if not signatures or len(signatures) > len(keys):
        return None
    encoded = [encode_public_key(key) for key in keys]
    author = Endorsement(signatures[1], encoded[1]) if len(signatures) > 1 else None
    return IdAuth(signatures[0], encoded[0], author)


def _text(data: bytes) -> str:
    return b64encode(data).decode()
