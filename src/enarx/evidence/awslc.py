"""Verification with AWS-LC through the optional package ``awscrt``: P-384 in less than half of the time.

Chosen by whoever constructs ``AwsLcVerifier``, never found by chance: two machines with different packages installed
must not differ in what they run. Whatever AWS-LC is not offered for here (RSA-PSS, other curves) goes to ``PYCA``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from enarx.errors import ConfigError
from enarx.evidence import der
from enarx.evidence.signature import PYCA, Curve, EcKey, PublicKey, Scheme, VerifyingKey

_DIGESTS = {Scheme.ECDSA_SHA256: hashlib.sha256, Scheme.ECDSA_SHA384: hashlib.sha384}
_CURVES = {Curve.P256: "1.2.840.10045.3.1.7", Curve.P384: "1.3.132.0.34"}


class AwsLcVerifier:
    """A ``Verifier`` on AWS-LC; ConfigError when ``awscrt`` is not installed (``pip install enarx[fast]``)."""

    def __init__(self) -> None:
        try:
            crypto = import_module("awscrt.crypto")
        except ImportError as error:
            raise ConfigError(
                "the fast verifier was asked for and awscrt is not installed",
                code="fast-unavailable",
                hint="pip install 'enarx[fast]', or use the default verifier",
            ) from error
        self._load: Callable[[bytes], Any] = crypto.EC.new_key_from_der_data

    def load(self, key: PublicKey, scheme: Scheme) -> VerifyingKey:
        """See ``Verifier.load``. The key is first loaded by ``PYCA``, which checks that it is on its curve."""
        checked = PYCA.load(key, scheme)
        if not isinstance(key, EcKey) or key.curve not in _CURVES or scheme not in _DIGESTS:
            return checked
        return partial(_verify, self._load(_subject_public_key_info(key)), _DIGESTS[scheme])


def _verify(key: Any, digest: Callable[[bytes], Any], signature: bytes, message: bytes) -> bool:
    return bool(key.verify(digest(message).digest(), signature))


def _subject_public_key_info(key: EcKey) -> bytes:
    size = key.curve.value
    algorithm = der.encode(
        der.SEQUENCE,
        der.encode(der.OID, der.encode_oid("1.2.840.10045.2.1"))
        + der.encode(der.OID, der.encode_oid(_CURVES[key.curve])),
    )
    point = b"\x00\x04" + key.x.to_bytes(size, "big") + key.y.to_bytes(size, "big")
    return der.encode(der.SEQUENCE, algorithm + der.encode(der.BIT_STRING, point))
