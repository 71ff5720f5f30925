"""Cases of technology ``snp``: reports, endorsement chains, ID keys, and launches that a document describes.

What a case asks follows from what its inputs are, told by their bytes and never by their names: a report is
authenticated, certificates without a report are verified as a chain, public keys get their firmware digests, a
document with launch parameters is measured. Only ``*-debug-policy`` is told by its name, as the format says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from enarx.cli.cases import (
    FAIL,
    OK,
    UNSUPPORTED,
    Case,
    CaseResult,
    Index,
    Load,
    dstack,
    idblock,
    inputs,
    verify_time,
)
from enarx.cli.showevidence import is_crl, is_request, looks_like_table
from enarx.cli.snpview import endorsement_fields, report_fields
from enarx.errors import AuthenticityError, CollateralError, EnarxError, MalformedError
from enarx.evidence.binding import SNP_EVIDENCE_OID, report_data
from enarx.evidence.bundle import split_certificates, unwrap_pem
from enarx.evidence.certificate import parse_certificate
from enarx.evidence.chain import moment, seconds
from enarx.evidence.name import common_name, distinguished_name
from enarx.evidence.signature import PYCA
from enarx.evidence.snp import certtable
from enarx.evidence.snp.abi import SIGNED_BY_VLEK
from enarx.evidence.snp.appraise import appraise
from enarx.evidence.snp.authenticate import authenticate
from enarx.evidence.snp.enarx import parse_evidence
from enarx.evidence.snp.endorsement import Kind, read_endorsement
from enarx.evidence.snp.keychain import verify_chain, verify_intermediate
from enarx.evidence.snp.policy import GuestPolicyRules, Policy
from enarx.evidence.snp.report import Report, parse
from enarx.evidence.snp.trust import AMD, Collateral
from enarx.tenant.steward.csr import parse_request, verify_request

DEBUG_POLICY = "-debug-policy"
_NO_DEBUG = Policy(
    any_measurement=True,
    vmpl=(0, 1, 2, 3),
    reserved=True,
    guest_policy=GuestPolicyRules(debug=False, migration=True, cxl=True),
    source="no debug",
)
_ENDORSEMENTS = frozenset(kind.value for kind in Kind)


@dataclass(slots=True)
class _Inputs:
    """The inputs of a case, sorted."""

    reports: list[bytes] = field(default_factory=list)
    endorsements: dict[str, bytes] = field(default_factory=dict)
    chain: list[bytes] = field(default_factory=list)
    bare: list[bytes] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)


def run(case: Case, load: Load, index: Index) -> CaseResult:
    """Judge one case of technology ``snp``; see ``enarx.cli.cases``."""
    del index
    sorted_inputs = _Inputs()
    given = [load(path) for path in inputs(case)]
    keys = [data for data in given if b"-----BEGIN PUBLIC KEY-----" in data]
    if keys:
        return idblock.judge(case, keys, [data for data in given if data not in keys])
    for data in given:
        _sort(data, sorted_inputs)
    now = verify_time(case, datetime.now(UTC))
    if sorted_inputs.documents:
        return _document(sorted_inputs)
    if sorted_inputs.reports:
        return _report(str(case.get("name", "")), sorted_inputs, now)
    return _certificates(sorted_inputs, now)


def _sort(data: bytes, into: _Inputs) -> None:
    if data.lstrip()[:1] in (b"{", b"["):
        into.documents.append(data)
    elif b"-----BEGIN X509 CRL-----" in data:
        into.crls.append(unwrap_pem(data, "X509 CRL"))
    elif b"-----BEGIN CERTIFICATE REQUEST-----" in data or is_request(data):
        _sort_request(unwrap_pem(data, "CERTIFICATE REQUEST"), into)
    elif b"-----BEGIN CERTIFICATE-----" in data or data[:1] == b"\x30":
        _sort_der(data, into)
    elif looks_like_table(data):
        table = certtable.parse(data)
        for blob in (table.vcek, table.vlek, *table.chain):
            if blob is not None:
                _sort_der(blob, into)
        into.crls.extend(table.crls)
    else:
        into.reports.append(data)


def _sort_request(data: bytes, into: _Inputs) -> None:
    """A Keep's certification request, signed by the key that its report is over, with what endorses the report."""
    request = parse_request(data)
    verify_request(request, PYCA)
    extension = request.extensions.get(SNP_EVIDENCE_OID)
    if extension is None:
        raise MalformedError("a request without SNP evidence", code="malformed", hint="mend the index")
    evidence = parse_evidence(extension.value)
    if parse(evidence.report).report_data != report_data(request.spki):
        raise AuthenticityError("the report is over another key", code="binding-mismatch", hint="mend the index")
    into.reports.append(evidence.report)
    _sort_der(evidence.vcek, into)
    into.crls.extend(one.crl for one in evidence.crls)


def _sort_der(data: bytes, into: _Inputs) -> None:
    if is_crl(data):
        into.crls.append(data)
        return
    found = split_certificates(data)
    for encoded in found:
        certificate = parse_certificate(encoded)
        name = common_name(certificate.subject)
        if name in _ENDORSEMENTS:
            into.endorsements[name] = encoded
        elif len(found) == 1 and certificate.issuer != certificate.subject:
            into.bare.append(encoded)
        else:
            into.chain.append(encoded)


def _report(name: str, given: _Inputs, now: datetime) -> CaseResult:
    if len(given.reports) != 1:
        raise MalformedError("more than one report", code="case-inputs", hint="mend the index")
    report = parse(given.reports[0])
    fields = report_fields(report)
    if not given.endorsements and not given.bare:
        return CaseResult(UNSUPPORTED, "no-endorsement", fields)
    try:
        authentic = authenticate(report, _collateral(report, given), now)
        if name.endswith(DEBUG_POLICY):
            appraise(authentic, _NO_DEBUG).require()
    except EnarxError as error:
        return CaseResult(FAIL, error.code, fields)
    return CaseResult(OK, fields=fields)


def _collateral(report: Report, given: _Inputs) -> Collateral:
    """The endorsement that the report asks for, or else whatever stands in its place: it is refused by its content."""
    wanted = Kind.VLEK if report.signing_key == SIGNED_BY_VLEK else Kind.VCEK
    first, *others = (*given.endorsements.values(), *given.bare)
    encoded = given.endorsements.get(wanted.value, first)
    chain = given.bare if given.endorsements else others
    return Collateral(encoded, (*chain, *given.chain), tuple(given.crls))


def _certificates(given: _Inputs, now: datetime) -> CaseResult:
    """Certificates without a report: an endorsement with its chain, or the intermediates of a chain."""
    at = seconds(now)
    subjects = list(given.endorsements.values()) or given.bare or [one for one in given.chain if not _self_issued(one)]
    if not subjects:
        raise CollateralError("no certificate to judge", code="collateral-missing", hint="mend the index")
    fields = _certificate_fields(subjects[0])
    chain = (*given.bare, *given.chain) if given.endorsements else tuple(given.chain)
    try:
        if given.endorsements:
            verify_chain(Collateral(subjects[0], chain, tuple(given.crls)), at, AMD)
        else:
            for encoded in subjects:
                made, root = verify_intermediate(encoded, given.crls, at, AMD, chain=chain)
                fields |= {"name": made.name, "root": root.ark.name}
    except EnarxError as error:
        return CaseResult(FAIL, error.code, fields)
    return CaseResult(OK, fields=fields)


def _certificate_fields(encoded: bytes) -> dict[str, object]:
    """What any certificate says, under the index's names: it calls the two ends of validity by long and short ones."""
    certificate = parse_certificate(encoded)
    not_before, not_after = moment(certificate.not_before), moment(certificate.not_after)
    try:
        platform = endorsement_fields(read_endorsement(certificate))
    except EnarxError:  # not a VCEK or VLEK, or one that is refused for what it lacks
        platform = {}
    return {
        **platform,
        "not_before": not_before,
        "not_after": not_after,
        "nb": not_before,
        "na": not_after,
        "cn": distinguished_name(certificate.subject),
        "iss": distinguished_name(certificate.issuer),
        "serial": f"{certificate.serial:#x}",
    }


def _self_issued(encoded: bytes) -> bool:
    certificate = parse_certificate(encoded)
    return certificate.issuer == certificate.subject


def _document(given: _Inputs) -> CaseResult:
    """Launch parameters in a document: measured, and compared with the report that comes with them."""
    launch = dstack.read(given.documents[0])
    measurement = launch.measurement()
    fields: dict[str, object] = {"launch_digest": measurement.hex(), "measurement": measurement.hex()}
    if launch.host_data is not None:
        fields["host_data"] = launch.host_data.hex()
    for encoded in given.reports:
        report = parse(encoded)
        if report.measurement != measurement:
            return CaseResult(FAIL, "measurement-mismatch", fields)
        if launch.host_data is not None and report.host_data != launch.host_data:
            return CaseResult(FAIL, "host-data-mismatch", fields)
    return CaseResult(OK, fields=fields)
