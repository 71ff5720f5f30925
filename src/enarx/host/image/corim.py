"""The same reference values as a CoRIM, for verifiers of other makes. Unsigned: whoever vouches for an image signs it.

Each launch is a CoMID of its own, whose tag identity says which it is, with one reference triple: a class of vendor
"AMD" and the technology as model, and the launch digest. So a verifier accepts evidence that matches any of them.

Source: draft-ietf-rats-corim-09, sections 4.1 and 5.1; digest algorithms from the IANA registry "Named Information".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from enarx.errors import HostError
from enarx.evidence.reference import LaunchValue

_CORIM: Final = 501  # tagged-unsigned-corim-map
_COMID: Final = 506  # tagged-concise-mid-tag, over its bytes
_ALGORITHM: Final = {48: 7, 32: 1}  # SHA-384, SHA-256
_MODEL: Final = {"snp": "SEV-SNP", "sev-es": "SEV-ES", "sev": "SEV"}
_VENDOR: Final = "AMD"


def format_corim(launches: Iterable[LaunchValue], name: str) -> bytes:
    """The CoRIM (deterministic CBOR) of the image ``name``, which is its identifier. HostError (``host-install``)."""
    try:
        import cbor2
    except ModuleNotFoundError as error:
        raise HostError(
            "the Python package cbor2 is missing", code="host-install", hint="install Enarx again: pip install enarx"
        ) from error
    tags = [cbor2.CBORTag(_COMID, cbor2.dumps(_comid(one, name), canonical=True)) for one in launches]
    return cbor2.dumps(cbor2.CBORTag(_CORIM, {0: name, 1: tags}), canonical=True)


def _comid(launch: LaunchValue, name: str) -> dict[int, Any]:
    way = f"{launch.technology}/{launch.model}/{launch.vcpus}" if launch.vcpus else launch.technology
    environment = {0: {1: _VENDOR, 2: _MODEL[launch.technology]}}
    digests = [[_ALGORITHM[len(launch.measurement)], launch.measurement]]
    return {1: {0: f"{name}/{way}", 1: 0}, 4: {0: [[environment, [{1: {2: digests}}]]]}}
