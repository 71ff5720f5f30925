"""Whether what the host handed over is what the Keep was launched with.

Two steps, in this order. First the manifest: its digest must be the HOST_DATA of the Keep's own evidence, compared
before one byte of the manifest is parsed. Then every object, against the manifest, as it arrives and before it is used.
What the host cannot change unseen is then: the workload, its configuration, CA files, layers, arguments, environment,
the Steward and the allow-list, and the order of all of these.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from enarx import archive, envelope
from enarx.envelope import is_encrypted
from enarx.errors import AuthenticityError, EvidenceError
from enarx.keep.attester import RawEvidence
from enarx.keep.tdxquote import read_quote
from enarx.manifest import Manifest, digest_of
from enarx.manifest import parse as parse_manifest

HOST_DATA: Final = slice(0xC0, 0xE0)
"""Where an SNP report has HOST_DATA (56860 table 23)."""
WASM: Final = "application/wasm"
WORKLOADS: Final = {WASM: "module", archive.MEDIA_TYPE: "package", envelope.MEDIA_TYPE: "package"}
"""What a workload may be, by its media type: the kind of object that it is handed over as."""

PROVES_ITSELF: Final = frozenset(("signature", "certificates"))
"""Kinds of object that no manifest names: the Steward checks signatures and certificates, the Keep passes them on."""

Announced = Sequence[tuple[str, str, int]]
"""What the launch announces, in order: kind, name, bytes."""


def check_manifest(evidence: RawEvidence, manifest: bytes) -> Manifest:
    """The manifest, once its digest is found in the evidence.

    SEV-SNP has its SHA-256 in HOST_DATA, TDX its SHA-384 in MRCONFIGID: each field is as long as that hash. A
    SEV guest's credential has the SHA-256 of the manifest that was approved.
    AuthenticityError (``manifest-not-attested``) when the host handed over another one than it launched with;
    EvidenceError (``manifest-technology``) for evidence that has no place for it; MalformedError.
    """
    if evidence.technology == "snp":
        launched, found = evidence.report[HOST_DATA], hashlib.sha256(manifest).digest()
    elif evidence.technology == "tdx" and (quote := read_quote(evidence.report)) is not None:
        launched, found = quote.config_id, hashlib.sha384(manifest).digest()
    elif evidence.technology == "sev":
        launched, found = evidence.manifest_digest, hashlib.sha256(manifest).digest()
    else:
        raise EvidenceError(
            f"a manifest cannot be checked against this {evidence.technology} evidence",
            code="manifest-technology",
            hint="launch on SEV-SNP, SEV or TDX, or with a simulated processor",
        )
    if not hmac.compare_digest(launched, found):
        raise AuthenticityError(
            "the manifest is not the one that this Keep was launched with: its digest is not in the Keep's evidence",
            code="manifest-not-attested",
            hint="the host changed the manifest after the launch, or launched with another; trust it with nothing",
        )
    return parse_manifest(manifest)


class Handover:
    """Checks one launch against its manifest: the announcement when made, then each object by its number.

    ``objects`` leaves out the manifest itself. Raises AuthenticityError (``handover-...``).
    """

    def __init__(
        self, manifest: Manifest, args: Sequence[str], env: Sequence[tuple[str, str]], objects: Announced
    ) -> None:
        if manifest.workload.media_type not in WORKLOADS:
            known = ", ".join(WORKLOADS)
            raise _differs("media-type", f"its workload is of type {manifest.workload.media_type}, none of {known}")
        if tuple(args) != manifest.args:
            raise _differs("args", "the arguments are not those of the manifest")
        if tuple(env) != manifest.env:
            raise _differs("env", "the environment is not that of the manifest")
        self._media_type = manifest.workload.media_type
        self._digests = _expected(manifest, objects)
        self._objects = objects
        self._next = 0

    def check(self, index: int, data: bytes | bytearray | memoryview) -> None:
        """The object number ``index`` has come: they come in order, each once."""
        if index != self._next or index >= len(self._digests):
            raise _differs("order", f"object {index} comes where number {self._next} is due")
        kind, name, _ = self._objects[index]
        if kind not in PROVES_ITSELF and not hmac.compare_digest(digest_of(data), self._digests[index]):
            raise _differs(kind, f"the {kind} {name!r} is not the one that the manifest names")
        if kind == "package" and is_encrypted(data) != (self._media_type == envelope.MEDIA_TYPE):
            raise _differs("media-type", f"the package is not of the type {self._media_type}")
        self._next += 1

    def finish(self) -> None:
        """Everything that the manifest names has come."""
        if self._next != len(self._digests):
            raise _differs("order", f"{len(self._digests) - self._next} objects of the manifest did not come")


def _expected(manifest: Manifest, objects: Announced) -> list[str]:
    """The digest of each announced object: config first, one workload, all else in the order of the manifest."""
    kinds = [kind for kind, _, _ in objects]
    workload = WORKLOADS[manifest.workload.media_type]
    if kinds.count(workload) != 1 or kinds.count("config") != (manifest.config is not None):
        raise _differs("objects", f"there must be one {workload}, and a config only if the manifest names one")
    if manifest.config is not None and (kinds[0] != "config" or workload == "package"):
        raise _differs("objects", "the config does not come first, or comes beside a package that has its own")
    announced = [
        (kind, name) for kind, name, _ in objects if kind not in PROVES_ITSELF and kind not in (workload, "config")
    ]
    if announced != [(file.kind, file.name) for file in manifest.files]:
        raise _differs("objects", "the files are not those of the manifest, in its order")
    files = iter(manifest.files)
    digests: list[str] = []
    for kind in kinds:
        if kind == "config" and manifest.config is not None:
            digests.append(manifest.config)
        elif kind in PROVES_ITSELF:
            digests.append("")
        else:
            digests.append(manifest.workload.digest if kind == workload else next(files).digest)
    return digests


def _differs(code: str, what: str) -> AuthenticityError:
    return AuthenticityError(
        f"the host handed over something else than the manifest says: {what}",
        code=f"handover-{code}",
        hint="nothing of it was run; the manifest in the evidence says what this Keep was launched for",
    )
