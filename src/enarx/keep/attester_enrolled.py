"""Evidence of a SEV or SEV-ES guest, which its processor makes no reports for: a credential, injected at launch.

The tenant's approver put it into the guest once it had verified what was launched (``enarx.enrolment``). Linux
``efi_secret`` shows it as a file, which is read once and unlinked: that overwrites it in the area that the firmware
filled. From then on it is in the Keep's own memory alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from enarx.enrolment import ENROLMENT_GUID, ENROLMENT_MAX_BYTES, Enrolment, decode
from enarx.errors import MalformedError
from enarx.evidence import binding
from enarx.keep.attesting import RawEvidence, cause_of, check_size, failed, unavailable
from enarx.keep.secretarea import read_area

SECRETS_ROOT: Final = "/sys/kernel/security/secrets/coco"
"""Where Linux shows what was injected (``Documentation/ABI/testing/securityfs-secrets-coco``)."""

_Take = Callable[[], bytes]
"""Gets the credential, once. EvidenceError (``attester-unavailable``) where nothing was injected."""


class EnrolledAttester:
    """Vouches for the caller's data with the credential that ``take`` gets, which is asked once."""

    def __init__(self, take: _Take) -> None:
        self._take = take
        self._enrolment: Enrolment | None = None

    def attest(self, report_data: bytes) -> RawEvidence:
        """See ``Attester.attest``. Raises EvidenceError, or MalformedError for a credential that cannot be read."""
        check_size(report_data)
        if self._enrolment is None:
            self._enrolment = decode(self._take())
        approval = self._enrolment.approval
        signature = _sign(self._enrolment, binding.sev_statement(report_data, approval))
        evidence = binding.sev_evidence(approval, signature)
        return RawEvidence("sev", evidence, manifest_digest=self._enrolment.manifest_digest)


def injected_file(root: str = SECRETS_ROOT) -> _Take:
    """The credential from the file that Linux shows under ``root``; the file is gone afterwards."""

    def take() -> bytes:
        path = f"{root}/{ENROLMENT_GUID}"
        if not os.path.isdir(root):  # as everywhere but in a SEV guest whose kernel has efi_secret
            raise unavailable(f"{root} does not exist")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise unavailable(f"{path} does not exist") from error
        except OSError as error:
            raise failed(f"{path}: {cause_of(error)}") from error
        try:
            data = _read(descriptor)
        except OSError as error:
            raise failed(f"{path}: {cause_of(error)}") from error
        finally:
            os.close(descriptor)
            wiped = _unlink(path)
        if wiped is not None:
            raise failed(f"{path} cannot be wiped: {cause_of(wiped)}") from wiped
        return data

    return take


def injected_area(area: _Take) -> _Take:
    """The credential out of a secret area as it is, which ``area`` gets."""

    def take() -> bytes:
        found = read_area(area()).get(ENROLMENT_GUID)
        if found is None:
            raise failed("what was injected into this guest is no credential of a Keep")
        return found

    return take


def _read(descriptor: int) -> bytes:
    """All of a file, and one byte more than it may have at most."""
    data = b""
    while len(data) <= ENROLMENT_MAX_BYTES:
        part = os.read(descriptor, ENROLMENT_MAX_BYTES + 1 - len(data))
        if not part:
            break
        data += part
    return data


def _unlink(path: str) -> OSError | None:
    try:
        os.unlink(path)
    except OSError as error:
        return error
    return None


def _sign(enrolment: Enrolment, statement: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = ec.derive_private_key(int.from_bytes(enrolment.key, "big"), ec.SECP384R1())
    except ValueError as error:
        raise MalformedError(
            "the injected credential has no key on P-384",
            code="enrolment-malformed",
            hint="launch with an approver of a fitting version (`enarx launch approve`)",
        ) from error
    return key.sign(statement, ec.ECDSA(hashes.SHA384()))
