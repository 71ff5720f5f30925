"""Signatures over what Keeps run, and the tables of a policy that ask for them."""

from __future__ import annotations

import functools
import json

from enarx.manifest import Workload
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.signature.dsse import Envelope, Signature, pae
from enarx.tenant.signature.keys import Algorithm, PrivateKey, create
from enarx.tenant.signature.statement import PAYLOAD_TYPE, Statement
from tests.tenant.keeps import Keep, manifest
from tests.tenant.signature.sigstore_forge import ISSUER, WORKFLOW, forge

PACKAGE = "sha256:" + "5a" * 32
"""A package that no policy of the tests names by its digest."""
IDENTITY = f'{{ identity = "{WORKFLOW}", issuer = "{ISSUER}" }}'


@functools.cache
def key(name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    del name
    return create(algorithm)


def inline(name: str) -> str:
    """A public key as it stands in a policy."""
    return f'"""{key(name).public.pem().decode()}"""'


def signed_by(*names: str, workload: str = "web", more: str = "") -> str:
    listed = ", ".join(IDENTITY if name == "identity" else inline(name) for name in names)
    return f"[workload.{workload}]\nsigned_by = [{listed}]\n{more}\n"


def envelope(*names: str, digest: str = PACKAGE, media_type: str = MODULE_TYPE) -> bytes:
    payload = Statement(digest, media_type).encode()
    made = [Signature(key(name).sign(pae(PAYLOAD_TYPE, payload)), key(name).public.id) for name in names]
    return Envelope(PAYLOAD_TYPE, payload, tuple(made)).encode()


def bundle(digest: str = PACKAGE, identity: str = WORKFLOW) -> bytes:
    return json.dumps(forge().message(bytes.fromhex(digest.removeprefix("sha256:")), identity=identity)).encode()


def keep(digest: str = PACKAGE, media_type: str = MODULE_TYPE) -> Keep:
    """A Keep that runs the package."""
    return Keep(manifest=manifest(workload=Workload(digest, media_type)))
