"""Coverage-guided fuzzing of everything that reads SEV-SNP evidence: reports, tables, certificates, lists, policies.

Run with ``python -m fuzz.snp CORPUS -runs=N`` (libFuzzer's options; needs the package ``atheris``). The first byte of
an input chooses the parser, the rest is what it reads. Anything that leaves a parser other than the errors of
``enarx.errors`` ends the run, and so does a value that does not encode to the bytes it was read from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx.errors import EnarxError
    from enarx.evidence import bundle, certificate, chain
    from enarx.evidence.signature import Scheme
    from enarx.evidence.snp import certtable, endorsement, policyfile, report, semver

from tests.evidence.snp.forge import Machine, Vendor


class BrokenPromiseError(Exception):
    """A reader returned something that it promises not to return."""


def expect(promise: bool) -> None:
    """Raise BrokenPromiseError, which ends the run, unless the promise was kept."""
    if not promise:
        raise BrokenPromiseError


def read_report(data: bytes) -> None:
    parsed = report.parse(data)
    expect(parsed.encode() == data)
    parsed.reserved()
    str(parsed.reported_tcb)


def read_patched_report(data: bytes) -> None:
    """Reports of the right size and version, so that the length check does not stop everything."""
    version = report.VERSIONS[data[0] % len(report.VERSIONS)] if data else report.VERSIONS[0]
    read_report(version.to_bytes(4, "little") + data[1:].ljust(report.REPORT_BYTES, b"\0")[: report.REPORT_BYTES - 4])


def read_table(data: bytes) -> None:
    parsed = certtable.parse(data)
    expect(len(parsed.entries) <= certtable.TABLE_MAX_ENTRIES)
    expect(dict(certtable.parse(certtable.encode(parsed.entries.items())).entries) == dict(parsed.entries))
    parsed.names()


def read_certificate(data: bytes) -> None:
    parsed = certificate.parse_certificate(data)
    certificate.common_name(parsed.subject)
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


def read_policy(data: bytes) -> None:
    expect(policyfile.parse_policy(data).names_the_guest())


def read_snp_table(data: bytes) -> None:
    policyfile.parse_policy(b"[snp]\n" + data)


def read_requirement(data: bytes) -> None:
    semver.parse_requirement(data.decode("utf-8", "replace")).matches((1, 51, 0))


READERS: tuple[Callable[[bytes], None], ...] = (
    read_report,
    read_patched_report,
    read_table,
    read_certificate,
    read_crl,
    read_bundle,
    read_pem_crl,
    read_policy,
    read_snp_table,
    read_requirement,
)


def one_input(data: bytes) -> None:
    """Read one input; only our own errors are expected."""
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except EnarxError:
        return


def write_seeds(corpus: Path) -> None:
    """Well-formed inputs of every kind, so that the fuzzer starts behind the first checks."""
    machine = Machine(Vendor())
    cloud = Machine(machine.vendor, vlek=True)
    encoded = machine.report_bytes()
    table = certtable.encode([(certtable.VCEK_GUID, machine.certificate), (certtable.ASK_GUID, machine.vendor.ask)])
    policy = (
        '[snp]\nmeasurement = "' + "ab" * 48 + '"\nvmpl = [0, 1]\nabi = ">=1.51"\nproduct = "Milan"\n'
        "[snp.guest_policy]\nsmt = true\n[snp.minimum_tcb.reported]\nsnp = 24\n"
    ).encode()
    seeds = (
        (0, encoded),
        (1, encoded[3:]),
        (2, table),
        (3, machine.certificate),
        (3, cloud.certificate),
        (3, machine.vendor.ask),
        (3, machine.vendor.ark),
        (4, machine.vendor.crl(1, 2, 0x20001)),
        (5, machine.vendor.ask + machine.vendor.ark),
        (7, policy),
        (8, policy.partition(b"\n")[2]),
        (9, b">=1.49, <1.55"),
    )
    corpus.mkdir(parents=True, exist_ok=True)
    for i, (reader, data) in enumerate(seeds):
        (corpus / f"seed-{i:02}").write_bytes(bytes((reader,)) + data)


def main() -> None:
    """Fuzz with libFuzzer's options; the first argument that is no option is the corpus."""
    corpus = next((Path(one) for one in sys.argv[1:] if not one.startswith("-")), None)
    if corpus is not None and not any(corpus.glob("seed-*")):
        write_seeds(corpus)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
