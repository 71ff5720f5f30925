"""Coverage-guided fuzzing of everything that reads SEV-SNP evidence: reports, tables, certificates, lists, policies.

Run with ``python -m fuzz.snp CORPUS -runs=N``, or all targets with ``make fuzz``; see ``fuzz.harness``. What can be
encoded again must encode to the bytes it was read from.
"""

from __future__ import annotations

from collections.abc import Iterable

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx.errors import EnarxError
    from enarx.evidence import bundle, certificate, chain, der, name
    from enarx.evidence.binding import snp_evidence
    from enarx.evidence.signature import Scheme
    from enarx.evidence.snp import certtable, endorsement, policyfile, report, semver
    from enarx.evidence.snp.authenticate import authenticate
    from enarx.evidence.snp.enarx import parse_evidence, parse_manifest, parse_manifest_digest
    from enarx.evidence.snp.trust import Collateral

from fuzz.harness import Reader, Seed, expect, fuzz
from tests.evidence.snp.forge import NOW, Machine, Vendor

MACHINE = Machine(Vendor())
TRUST = MACHINE.vendor.trust(cache_entries=1)


def read_report(data: bytes) -> None:
    parsed = report.parse(data)
    expect(parsed.encode() == data)
    parsed.reserved()
    str(parsed.reported_tcb)


def read_patched_report(data: bytes) -> None:
    """Reports of the right size and version, so that the length check does not stop everything."""
    version = report.VERSIONS[data[0] % len(report.VERSIONS)] if data else report.VERSIONS[0]
    read_report(version.to_bytes(4, "little") + data[1:].ljust(report.REPORT_BYTES, b"\0")[: report.REPORT_BYTES - 4])


def verify_report(data: bytes) -> None:
    """Under the root of the seeds: nothing but the bytes that were signed is accepted."""
    parsed = report.parse(data)
    authenticate(parsed, MACHINE.collateral, NOW, trust=TRUST)
    expect(data[: report.SIGNED_BYTES] == GENUINE[: report.SIGNED_BYTES])


def verify_endorsement(data: bytes) -> None:
    """A certificate in place of the VCEK: nothing but the one that was issued is accepted."""
    authenticate(MACHINE_REPORT, Collateral(data), NOW, trust=TRUST)
    expect(data == MACHINE.certificate)


def read_table(data: bytes) -> None:
    parsed = certtable.parse(data)
    expect(len(parsed.entries) <= certtable.TABLE_MAX_ENTRIES)
    expect(dict(certtable.parse(certtable.encode(parsed.entries.items())).entries) == dict(parsed.entries))
    parsed.names()


def read_certificate(data: bytes) -> None:
    parsed = certificate.parse_certificate(data)
    name.common_name(parsed.subject)
    name.distinguished_name(parsed.issuer)
    for use in (lambda: chain.authority(parsed, Scheme.RSA_PSS_SHA384), lambda: endorsement.read_endorsement(parsed)):
        try:
            use()
        except EnarxError:
            continue


def read_crl(data: bytes) -> None:
    expect(len(certificate.parse_crl(data).revoked) <= certificate.CRL_MAX_ENTRIES)


def read_bundle(data: bytes) -> None:
    expect(1 <= len(bundle.split_certificates(data)) <= bundle.BUNDLE_MAX_CERTIFICATES)


def read_pem_crl(data: bytes) -> None:
    bundle.unwrap_pem(data, "X509 CRL")


def read_enarx_evidence(data: bytes) -> None:
    parsed = parse_evidence(data)
    expect(data == snp_evidence(parsed.report, parsed.vcek, [(one.url, one.crl) for one in parsed.crls]))


def read_manifest_extensions(data: bytes) -> None:
    for read in (parse_manifest, parse_manifest_digest):
        try:
            expect(data.endswith(read(data)))
        except EnarxError:
            continue


def read_policy(data: bytes) -> None:
    expect(policyfile.parse_policy(data).names_the_guest())


def read_snp_table(data: bytes) -> None:
    policyfile.parse_policy(b"[snp]\n" + data)


def read_requirement(data: bytes) -> None:
    semver.parse_requirement(data.decode("utf-8", "replace")).matches((1, 51, 0))


MACHINE_REPORT = MACHINE.report()
GENUINE = MACHINE_REPORT.encode()
READERS: tuple[Reader, ...] = (
    read_report,
    read_patched_report,
    verify_report,
    verify_endorsement,
    read_table,
    read_certificate,
    read_crl,
    read_bundle,
    read_pem_crl,
    read_enarx_evidence,
    read_manifest_extensions,
    read_policy,
    read_snp_table,
    read_requirement,
)


def seeds() -> Iterable[Seed]:
    """Well-formed inputs of every kind."""
    machine, encoded = MACHINE, GENUINE
    cloud = Machine(machine.vendor, vlek=True)
    crl = machine.vendor.crl(1, 2, 0x20001)
    table = certtable.encode([(certtable.VCEK_GUID, machine.certificate), (certtable.ASK_GUID, machine.vendor.ask)])
    policy = (
        '[snp]\nmeasurement = "' + "ab" * 48 + '"\nvmpl = [0, 1]\nabi = ">=1.51"\nproduct = "Milan"\n'
        "[snp.guest_policy]\nsmt = true\n[snp.minimum_tcb.reported]\nsnp = 24\n"
    ).encode()
    return (
        (read_report, encoded),
        (read_patched_report, encoded[3:]),
        (verify_report, encoded),
        (verify_endorsement, machine.certificate),
        (read_table, table),
        (read_certificate, machine.certificate),
        (read_certificate, cloud.certificate),
        (read_certificate, machine.vendor.ask),
        (read_certificate, machine.vendor.ark),
        (read_crl, crl),
        (read_bundle, machine.vendor.ask + machine.vendor.ark),
        (read_enarx_evidence, snp_evidence(encoded, machine.certificate, [("https://example.com/crl", crl)])),
        (read_manifest_extensions, der.encode(der.OCTET_STRING, bytes(32))),
        (read_policy, policy),
        (read_snp_table, policy.partition(b"\n")[2]),
        (read_requirement, b">=1.49, <1.55"),
    )


if __name__ == "__main__":
    fuzz(READERS, seeds)
