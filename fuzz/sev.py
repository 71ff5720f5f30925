"""Coverage-guided fuzzing of everything that reads SEV evidence: certificates, chains, launch structures, policies.

Run with ``python -m fuzz.sev CORPUS -runs=N``, or all targets with ``make fuzz``; see ``fuzz.harness``. What can be
encoded again must encode to the bytes it was read from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import atheris

with atheris.instrument_imports(include=["enarx"]):
    from enarx import enrolment
    from enarx.evidence.binding import sev_evidence
    from enarx.evidence.sev import certs, report, secret, signing
    from enarx.evidence.sev.appraise import policy_from_table
    from enarx.evidence.sev.approval import enrolment_key, is_signed, parse_approval
    from enarx.evidence.sev.authenticate import authenticate, sort_chain
    from enarx.evidence.sev.enrolled import parse_sev_evidence
    from enarx.evidence.sev.guest_policy import GuestPolicy
    from enarx.evidence.sev.kinds import ECDH_ALGORITHMS
    from enarx.evidence.signature import PYCA, Scheme
    from enarx.keep.secretarea import read_area
    from enarx.tenant.approver.messages import read_launch, read_measurement

from fuzz.harness import Reader, Seed, expect, fuzz
from tests.evidence.sev.platforms import make_platform
from tests.evidence.sev.test_enrolled import SIGNED

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PLATFORM = make_platform()


def read_sev_certificate(data: bytes) -> None:
    parsed = certs.parse_sev_certificate(data)
    expect(parsed.to_bytes() == data)
    if parsed.algorithm in ECDH_ALGORITHMS:
        signing.ecdh_key(parsed)
    else:
        signing.verifying_key(parsed, PYCA)


def read_ca_certificate(data: bytes) -> None:
    expect(certs.parse_ca_certificate(data).to_bytes() == data)


def read_chain(data: bytes) -> None:
    parsed = certs.parse_chain(data)
    expect(1 <= len(parsed) <= certs.MAX_CERTIFICATES)
    expect(b"".join(one.to_bytes() for one in parsed) == data)
    sort_chain(parsed)


def verify_chain(data: bytes) -> None:
    """Under the root of the seeds, so that what lies behind its signatures is reached."""
    authenticate(certs.parse_chain(data), NOW, (PLATFORM.root,))


def read_session(data: bytes) -> None:
    expect(report.Session.from_bytes(data).to_bytes() == data)


def read_launch_measurement(data: bytes) -> None:
    expect(report.LaunchMeasurement.from_bytes(data).to_bytes() == data)


def read_attestation_report(data: bytes) -> None:
    parsed = report.AttestationReport.from_bytes(data)
    expect(parsed.to_bytes() == data)
    list(parsed.policy.words())


def read_secret_header(data: bytes) -> None:
    expect(report.SecretHeader.from_bytes(data).to_bytes() == data)


def read_secret_table(data: bytes) -> None:
    found = secret.parse_table(data)
    expect(len(found) <= secret.MAX_SECRETS)
    if found:
        expect(secret.parse_table(secret.build_table(found)) == found)


def read_guest_policy(data: bytes) -> None:
    policy = GuestPolicy.from_bytes(data)
    expect(policy.to_bytes() == data)
    list(policy.words())


def read_policy(data: bytes) -> None:
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return
    expect(bool(policy_from_table(table).launch_digests))


def read_approval(data: bytes) -> None:
    found = parse_approval(data)
    expect(data.startswith(found.approval.body()))
    expect(not is_signed(found, PYCA) or found.signed == parse_approval(SIGNED).signed)
    PYCA.load(enrolment_key(found.approval), Scheme.ECDSA_SHA384)


def read_sev_evidence(data: bytes) -> None:
    found = parse_sev_evidence(data)
    expect(sev_evidence(found.approval, found.signature) == data)


def read_enrolment(data: bytes) -> None:
    expect(enrolment.decode(data).encode() == data)


def read_secret_area(data: bytes) -> None:
    found = read_area(data)
    expect({str(guid): value for guid, value in secret.parse_table(data).items()} == found)


def read_requests(data: bytes) -> None:
    read_launch(data)
    read_measurement(data)


READERS: tuple[Reader, ...] = (
    read_sev_certificate,
    read_ca_certificate,
    read_chain,
    verify_chain,
    read_session,
    read_launch_measurement,
    read_attestation_report,
    read_secret_header,
    read_secret_table,
    read_guest_policy,
    read_policy,
    read_approval,
    read_sev_evidence,
    read_enrolment,
    read_secret_area,
    read_requests,
)


def seeds() -> Iterable[Seed]:
    """Well-formed inputs of every kind."""
    encoded = [one.to_bytes() for one in PLATFORM.chain]
    large = make_platform("large", bits=4096)
    table = secret.build_table({UUID(int=1): b"secret", UUID(int=2): b""})
    policy = 'launch_digests = ["' + "ab" * 32 + '"]\nminimum_api = "1.51"\nproducts = ["Milan"]\ndebug = false\n'
    return (
        *((read_sev_certificate, one) for one in encoded[:4]),
        (read_ca_certificate, PLATFORM.ask.to_bytes()),
        (read_ca_certificate, large.ark.to_bytes()),
        (read_chain, b"".join(encoded)),
        (verify_chain, b"".join(encoded)),
        (read_session, bytes(range(128))),
        (read_launch_measurement, bytes(48)),
        (read_attestation_report, bytes(0xD0)),
        (read_secret_header, bytes(52)),
        (read_secret_table, table),
        (read_guest_policy, b"\x05\0\0\0"),
        (read_policy, policy.encode()),
        (read_approval, SIGNED),
        (read_sev_evidence, sev_evidence(SIGNED, bytes(104))),
        (read_enrolment, enrolment.Enrolment(bytes(32), bytes(48), SIGNED).encode()),
        (read_secret_area, table),
        (read_requests, b'{"technology":"sev","certificates":"","manifest":"e30=","signatures":[]}'),
    )


if __name__ == "__main__":
    fuzz(READERS, seeds)
