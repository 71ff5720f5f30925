"""``enarx evidence show``: what a file says, without believing any of it."""

from __future__ import annotations

import argparse
import json

from enarx.cli.evidence import EVIDENCE_MAX_BYTES
from enarx.cli.keyfile import read_input
from enarx.errors import EvidenceError, MalformedError

SEV_REPORT_BYTES = 208
"""Size of an attestation report of SEV (bytes)."""
_SEV_CERTIFICATE_VERSION = b"\1\0\0\0"
_SEV_SMALLEST = 576
"""Size of the smallest SEV certificate, the root of Naples without its signature (bytes)."""


def show(args: argparse.Namespace) -> int:
    """Print the file of ``args.file``, told by its bytes; 0, or MalformedError (UsageError: it cannot be read)."""
    data = read_input(args.file, EVIDENCE_MAX_BYTES, "evidence")
    kind, fields, text = describe(data)
    if args.json:
        print(json.dumps({"format": "enarx-evidence-show/1", "kind": kind, "fields": fields}))
    else:
        print(text)
    return 0


def describe(data: bytes) -> tuple[str, dict[str, object], str]:
    """What ``data`` is, its values under stable names, and a text for a person."""
    from enarx.cli import snpview
    from enarx.evidence.snp import certtable
    from enarx.evidence.snp.report import REPORT_BYTES, parse

    if is_sev(data):
        return _sev(data)
    if b"-----BEGIN X509 CRL-----" in data or is_crl(data):
        return _revocation_list(data)
    if data[:1] == b"\x30" or b"-----BEGIN CERTIFICATE-----" in data:
        return _certificates(data)
    if len(data) == REPORT_BYTES:
        report = parse(data)
        return "snp-report", snpview.report_fields(report), snpview.show_report(report)
    if looks_like_table(data):
        table = certtable.parse(data)
        sizes: dict[str, object] = {
            name: len(blob) for name, blob in zip(table.names(), table.entries.values(), strict=True)
        }
        return "snp-certificate-table", sizes, snpview.show_table(table)
    raise MalformedError(
        f"{len(data)} bytes that are neither a report ({REPORT_BYTES} bytes of SEV-SNP, {SEV_REPORT_BYTES} of SEV), a "
        "certificate, a revocation list nor a certificate table",
        code="evidence-unknown",
        hint="give the bare report, as the guest's firmware returned it",
    )


def is_sev(data: bytes) -> bool:
    """Whether this is one of SEV's own formats: certificates begin with version 1, reports have their length."""
    return len(data) == SEV_REPORT_BYTES or (data[:4] == _SEV_CERTIFICATE_VERSION and len(data) >= _SEV_SMALLEST)


def _sev(data: bytes) -> tuple[str, dict[str, object], str]:
    from enarx.cli import sevview
    from enarx.evidence.sev import AttestationReport, parse

    if len(data) == SEV_REPORT_BYTES:
        report = AttestationReport.from_bytes(data)
        return "sev-report", sevview.report_fields(report), sevview.show_report(report)
    certificates = parse(data)
    fields: dict[str, object] = {"certificates": [sevview.certificate_fields(one) for one in certificates]}
    return "sev-certificates", fields, sevview.show_certificates(certificates)


def looks_like_table(data: bytes) -> bool:
    """Whether this begins as a certificate table with an entry of a known kind does."""
    from enarx.evidence.snp import certtable

    known = (certtable.VCEK_GUID, certtable.VLEK_GUID, certtable.ASK_GUID, certtable.ARK_GUID, certtable.CRL_GUID)
    return any(data.startswith((guid.bytes, guid.bytes_le)) for guid in known)


def _certificates(data: bytes) -> tuple[str, dict[str, object], str]:
    """One certificate, or every one of a chain, in the order of the file."""
    from enarx.evidence.bundle import split_certificates

    shown = [_certificate(encoded) for encoded in split_certificates(data)]
    if len(shown) == 1:
        return shown[0]
    listed = [fields for _, fields, _ in shown]
    return "certificates", {"certificates": listed}, "\n\n".join(text for _, _, text in shown)


def _certificate(encoded: bytes) -> tuple[str, dict[str, object], str]:
    from enarx.cli import snpview
    from enarx.evidence.certificate import parse_certificate
    from enarx.evidence.chain import moment
    from enarx.evidence.name import common_name
    from enarx.evidence.snp.endorsement import Kind, read_endorsement

    certificate = parse_certificate(encoded)
    name = common_name(certificate.subject)
    not_before, not_after = moment(certificate.not_before), moment(certificate.not_after)
    fields: dict[str, object] = {
        "subject": name,
        "issuer": common_name(certificate.issuer),
        "serial": f"{certificate.serial:#x}",
        "not_before": not_before,
        "not_after": not_after,
        "sha256": certificate.sha256.hex(),
    }
    if name in {kind.value for kind in Kind}:
        try:
            endorsement = read_endorsement(certificate)
        except EvidenceError as error:
            fields["problem"] = error.message
            return "certificate", fields, snpview.show_fields("certificate", fields)
        fields |= snpview.endorsement_fields(endorsement)
        return "snp-endorsement", fields, snpview.show_endorsement(endorsement, not_before, not_after)
    return "certificate", fields, snpview.show_fields("certificate", fields)


def is_crl(data: bytes) -> bool:
    """Whether DER is a revocation list, whose signed part begins with the version 1 (a certificate's with a tag)."""
    return _signed_version(data) not in (None, 0)


def is_request(data: bytes) -> bool:
    """Whether DER is a certification request, whose signed part begins with the version 0."""
    return _signed_version(data) == 0


def _signed_version(data: bytes) -> int | None:
    """The INTEGER with which the first SEQUENCE inside a SEQUENCE begins; None when there is none."""
    from enarx.evidence import der

    try:
        outer = der.expect(data, 0, len(data), der.SEQUENCE)
        signed = der.expect(data, outer.start, outer.stop, der.SEQUENCE)
        return der.integer(data, der.expect(data, signed.start, signed.stop, der.INTEGER))
    except MalformedError:
        return None


def _revocation_list(data: bytes) -> tuple[str, dict[str, object], str]:
    from enarx.cli import snpview
    from enarx.evidence.bundle import unwrap_pem
    from enarx.evidence.certificate import parse_crl
    from enarx.evidence.chain import moment
    from enarx.evidence.name import common_name

    crl = parse_crl(unwrap_pem(data, "X509 CRL"))
    fields: dict[str, object] = {
        "issuer": common_name(crl.issuer),
        "number": crl.number,
        "this_update": moment(crl.this_update),
        "next_update": moment(crl.next_update),
        "revoked": {f"{serial:#x}": moment(since) for serial, since in crl.revoked.items()},
    }
    revoked = [f"serial {serial:#x} since {moment(since)}" for serial, since in crl.revoked.items()]
    return "crl", fields, snpview.show_fields("revocation list", {**fields, "revoked": "; ".join(revoked) or "nothing"})
