"""The errors and passed checks that the modules of SEV share, so that one fault has one code and one wording."""

from __future__ import annotations

from enarx.errors import AuthenticityError, CollateralError, MalformedError
from enarx.evidence.appraisal import Rule
from enarx.evidence.sev.kinds import Usage


def passed(name: str, seen: str) -> Rule:
    return Rule(name, True, seen, seen, "SEV certificate chain")


def forged(message: str) -> AuthenticityError:
    return AuthenticityError(
        message, code="bad-signature", hint="the certificates were altered or belong to different platforms"
    )


def untrusted(message: str, hint: str) -> AuthenticityError:
    return AuthenticityError(message, code="untrusted-chain", hint=hint)


def reserved(where: str) -> MalformedError:
    return MalformedError(
        f"reserved bytes of {where} are not zero",
        code="malformed",
        hint="the bytes were altered, or follow a later specification than this program knows",
    )


def missing(usage: Usage) -> CollateralError:
    return CollateralError(
        f"the chain has no {usage.name} certificate",
        code="sev-certificate-missing",
        hint="give PDH, PEK, OCA and CEK of the platform (PDH_CERT_EXPORT; the CEK from AMD's key server)",
    )
