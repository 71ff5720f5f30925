"""The enumerations of SEV certificates (SEV API 55766, appendix B.1 and C.1)."""

from __future__ import annotations

from enum import IntEnum


class Usage(IntEnum):
    """What a key is for (appendix C.1, USAGE enumeration; ARK and ASK from appendix B.1)."""

    ARK = 0x0000
    ASK = 0x0013
    INVALID = 0x1000
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


class Algorithm(IntEnum):
    """Algorithm of a key or signature (appendix C.1, ALGO enumeration)."""

    INVALID = 0x000
    RSA_SHA256 = 0x001
    ECDSA_SHA256 = 0x002
    ECDH_SHA256 = 0x003
    RSA_SHA384 = 0x101
    ECDSA_SHA384 = 0x102
    ECDH_SHA384 = 0x103


class Curve(IntEnum):
    """Curve of an elliptic-curve key (appendix C.3.2, CURVE)."""

    P256 = 1
    P384 = 2


PLATFORM_USAGES = frozenset({Usage.OCA, Usage.PEK, Usage.PDH, Usage.CEK})
CA_USAGES = frozenset({Usage.ARK, Usage.ASK})
RSA_ALGORITHMS = frozenset({Algorithm.RSA_SHA256, Algorithm.RSA_SHA384})
ECDSA_ALGORITHMS = frozenset({Algorithm.ECDSA_SHA256, Algorithm.ECDSA_SHA384})
ECDH_ALGORITHMS = frozenset({Algorithm.ECDH_SHA256, Algorithm.ECDH_SHA384})
