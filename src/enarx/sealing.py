"""How a Steward seals secrets to a Keep: the one definition for both ends.

HPKE (RFC 9180), base mode, HKDF-SHA384, AES-256-GCM, with ``enarx.evidence.binding.secret_info`` as ``info``. The key
encapsulation is to the attested key, on P-384: alone, or together with ML-KEM-1024 (draft-ietf-hpke-pq), so that what
is recorded today is not read by whoever breaks elliptic curves one day. For that a Keep whose cryptography has ML-KEM
adds such a key to its certification request, which the attested key signs; a Steward whose cryptography has it uses it.
Either end may lack it: then it is P-384 alone, which each sealed secret says.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from enarx.evidence.binding import MANIFEST_OID

SEALING_KEY_OID: Final = f"{MANIFEST_OID.rpartition('.')[0]}.3"
"""Extension of a certification request: OCTET STRING of an ML-KEM-1024 public key (FIPS 203)."""
SEALING_KEY_BYTES: Final = 1568
"""Size of that key (bytes; FIPS 203 table 3)."""

P384: Final = "P-384"
"""DHKEM(P-384, HKDF-SHA384) (RFC 9180 7.1)."""
HYBRID: Final = "MLKEM1024-P384"
"""ML-KEM-1024 and P-384 together (draft-ietf-hpke-pq)."""
ENCAPSULATION_BYTES: Final[Mapping[str, int]] = MappingProxyType({P384: 97, HYBRID: 1665})
"""Size of the encapsulated key (bytes): an uncompressed point, for the hybrid behind an ML-KEM-1024 ciphertext."""
