"""The client's part: is it a Keep that a policy accepts, and with the workload that it means, who shows this chain?

Bytes in, verdict out; the connection is ``enarx.tenant.peer``'s. Whoever completes a TLS handshake with a chain holds
the key of its leaf. The leaf carries evidence over that key, so the processor's vendor says in which guest the key is,
without the Steward. Whose workload runs there comes from one of these, the first that there is:

1. the manifest, given by the client: its digest must be what the guest was launched with;
2. the policy, when it names whole manifests (``[workload.NAME] manifest``, or ``host_data``);
3. the Steward, when the client trusts its CA: it certified this launch for one of its workloads.

The CA that is trusted is the one that the client names, or that an attested manifest pins. Without either, names and
revocation of the certificate are nobody's word, and the verdict says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from enarx.errors import EvidenceError
from enarx.evidence import snp
from enarx.evidence.appraisal import Rule, judge, refusal
from enarx.evidence.binding import report_data
from enarx.evidence.certificate import parse_public_key
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.signature import PYCA, EcKey, Verifier
from enarx.evidence.snp.enarx import parse_evidence, parse_manifest_digest
from enarx.evidence.snp.roots import AMD_ROOTS
from enarx.manifest import Manifest
from enarx.manifest import parse as read_manifest
from enarx.tenant.judgement import (
    Launched,
    appraise_enrolled,
    appraise_guest,
    authenticate_enrolled,
    judge_key,
    judge_launch,
)
from enarx.tenant.keepchain import KeepChain, check_path, check_revocation, read_chain
from enarx.tenant.policy import Policy
from enarx.tenant.signature.signers import Presented
from enarx.tenant.workloads import judge_workload, written

FORMAT: Final = "enarx-keep-verdict/1"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a client demands, and what it was given along.

    ``manifest`` is that of the launch, in its canonical encoding; ``authority`` the SHA-256 of the trusted CA's
    SubjectPublicKeyInfo; ``chain`` and ``crls`` are of the processor's vendor, and ``crls`` of the Steward as well;
    ``signatures`` are of the package, for a policy that asks who signed it.
    """

    policy: Policy
    manifest: bytes | None = None
    authority: bytes | None = None
    chain: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    signatures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    """Whose certificate it is: the evidence in it, and the key that the evidence is over (DER SubjectPublicKeyInfo)."""

    report: snp.Report | EnrolledKeep
    spki: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every rule that was judged, in order, and the error when one did not hold.

    ``authority`` says whether names and issuer of the certificate were checked, ``workload`` is the name in the policy
    (empty when the policy has none for it), ``facts`` are what evidence and certificate say; ``guest`` is there when
    the evidence is genuine, to compare fresh evidence with.
    """

    rules: tuple[Rule, ...]
    error: EvidenceError | None
    simulated: bool
    authority: bool
    workload: str
    facts: Mapping[str, Any]
    guest: Guest | None = field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        return self.error is None

    def as_json(self) -> Mapping[str, Any]:
        """The verdict as plain values, in the stable format ``FORMAT``."""
        error = self.error
        return {
            "format": FORMAT,
            "accepted": self.accepted,
            "code": error.code if error else "accepted",
            "simulated": self.simulated,
            "authority_checked": self.authority,
            "workload": self.workload,
            "facts": dict(self.facts),
            "rules": [rule.as_json() for rule in self.rules],
            "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
        }


def trusted(expected: Expectation) -> bytes | None:
    """The CA that the client names, or that the manifest pins which it brought."""
    if expected.authority is None and expected.manifest is not None:
        steward = read_manifest(expected.manifest).steward
        return bytes.fromhex(steward.ca.removeprefix("sha256:")) if steward is not None else None
    return expected.authority


def trust_of(policy: Policy, verifier: Verifier = PYCA, *, cache_entries: int = 0) -> snp.Trust:
    """AMD's roots and those of the simulators that the policy names; ``cache_entries`` as for `snp.Trust`."""
    return snp.Trust((*AMD_ROOTS, *policy.simulated_roots), verifier, cache_entries=cache_entries)


def verify(
    shown: Sequence[bytes],
    host: str | None,
    expected: Expectation,
    now: datetime,
    *,
    verifier: Verifier = PYCA,
    trust: snp.Trust | None = None,
) -> Verdict:
    """Judge the chain that a peer showed (DER, leaf first) for ``host`` as of ``now``.

    Never raises for what the peer showed: read the verdict. Without a ``host`` the certificate may be for any name.
    ``trust`` is that of a caller who judges often by one policy, as `trust_of` makes it.
    """
    case = _Case(host, expected, now, verifier, trust or trust_of(expected.policy, verifier))
    try:
        case.run(shown)
        failures = [rule for rule in case.rules if not rule.passed]
        error: EvidenceError | None = refusal(failures) if failures else None
    except EvidenceError as raised:
        error = raised
        if all(rule.passed for rule in case.rules):
            case.rules.append(Rule(raised.code, False, "acceptable", raised.message, case.stage, raised.hint))
    return Verdict(tuple(case.rules), error, case.simulated, case.authority, case.workload, case.facts, case.guest)


@dataclass(slots=True)
class _Case:
    """One chain on its way through the steps; ``stage`` says which, for an error that no rule stands for."""

    host: str | None
    expected: Expectation
    now: datetime
    verifier: Verifier
    trust: snp.Trust
    rules: list[Rule] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    simulated: bool = False
    authority: bool = False
    workload: str = ""
    stage: str = "certificate"
    guest: Guest | None = None

    def run(self, shown: Sequence[bytes]) -> None:
        chain = read_chain(shown)
        self._describe(chain)
        report = self._evidence(chain)
        self.stage = "manifest"
        digest = parse_manifest_digest(chain.manifest)
        self.facts["manifest"] = written(digest)
        judge_launch(digest, report, self.rules, source="the certificate, digest of the manifest")
        manifest = self._manifest(report)
        self._authority(chain, manifest)
        self._workload(manifest, digest, report)

    def _describe(self, chain: KeepChain) -> None:
        leaf = chain.leaf
        self.facts |= {
            "key": written(hashlib.sha256(chain.spki).digest()),
            "serial": f"{leaf.serial_number:032x}",
            "names": list(chain.names),
            "not_before": leaf.not_valid_before_utc.isoformat(),
            "not_after": leaf.not_valid_after_utc.isoformat(),
        }

    def _evidence(self, chain: KeepChain) -> Launched:
        """Genuine, accepted by the policy, and over the key of the certificate."""
        self.stage = "authentication"
        report = self._enrolled(chain) if chain.technology == "sev" else self._reported(chain)
        key = parse_public_key(chain.spki)
        curve = key.curve if isinstance(key, EcKey) else None
        judge_key(chain.spki, curve, report, self.rules, whose="certificate")
        return report

    def _enrolled(self, chain: KeepChain) -> Launched:
        """A SEV launch that an approver vouches for: one that the policy names, or the CA that the client trusts."""
        policy = self.expected.policy
        data, authority = report_data(chain.spki), trusted(self.expected)
        keep = authenticate_enrolled(
            chain.evidence, data, policy, authority, self.now, verifier=self.verifier, trail=self.rules
        )
        proof, launch = keep.proof, keep.value.launch
        self.simulated = proof.simulated
        self.facts |= {
            "measurement": launch.digest.hex(),
            "approved": keep.value.approved.isoformat(),
            "root": proof.root,
            "signer": proof.signer,
            "product": proof.product,
        }
        self.guest = Guest(keep.value, chain.spki)
        self.stage = "policy"
        appraise_enrolled(keep, policy, self.rules)
        return keep.value

    def _reported(self, chain: KeepChain) -> Launched:
        evidence = parse_evidence(chain.evidence)
        report = snp.parse(evidence.report)
        self.facts["measurement"] = report.measurement.hex()
        policy = self.expected.policy
        lists = dict.fromkeys((*(one.crl for one in evidence.crls), *self.expected.crls))
        authentic = snp.authenticate(
            report,
            snp.Collateral(evidence.vcek, self.expected.chain, tuple(lists)),
            self.now,
            trust=self.trust,
            trail=self.rules,
        )
        proof = authentic.proof
        self.simulated = proof.simulated
        self.facts |= {"root": proof.root, "signer": proof.signer, "product": proof.product}
        self.guest = Guest(report, chain.spki)
        self.stage = "policy"
        appraise_guest(authentic, policy, self.rules)
        return report

    def _manifest(self, report: Launched) -> Manifest | None:
        """The client's own copy, once the guest is proved to have been launched with it."""
        given = self.expected.manifest
        if given is None:
            return None
        manifest = read_manifest(given)  # which accepts the canonical encoding alone
        digest = hashlib.sha256(given).digest()
        judge(
            self.rules,
            "manifest",
            report.host_data == digest,
            written(digest),
            written(report.host_data),
            source="the manifest that was given",
            hint="this Keep runs something else, or was launched otherwise, than the manifest says",
            code="manifest-mismatch",
        )
        return manifest if report.host_data == digest else None

    def _authority(self, chain: KeepChain, manifest: Manifest | None) -> None:
        """The certificate's issuer, names and revocation, where the client knows whom to believe."""
        self.stage = "certificate"
        pins = {self.expected.authority} if self.expected.authority is not None else set[bytes]()
        if manifest is not None and manifest.steward is not None:
            pins.add(bytes.fromhex(manifest.steward.ca.removeprefix("sha256:")))
        leaf = chain.leaf
        valid = leaf.not_valid_before_utc <= self.now <= leaf.not_valid_after_utc
        judge(
            self.rules,
            "certificate-validity",
            valid,
            f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
            source="certificate",
            hint="the Keep did not renew its certificate, or a clock is wrong",
            code="certificate-expired" if self.now > leaf.not_valid_after_utc else "certificate-not-yet-valid",
        )
        if not valid:
            return
        for pin in sorted(pins):
            check_path(chain, pin, self.host, self.now)
            self.rules.append(Rule("certificate-authority", True, written(pin), "issued under it", "client, manifest"))
        if pins:
            listed = check_revocation(chain, self.expected.crls, self.now)
            seen = "not on the Steward's current list" if listed else "no list of the Steward's was given"
            self.rules.append(Rule("certificate-revocation", True, "not revoked", seen, "revocation lists"))
            self.authority = True

    def _workload(self, manifest: Manifest | None, digest: bytes, report: Launched) -> None:
        """Whose workload it is, by the first of the three who knows."""
        policy = self.expected.policy
        if manifest is not None:
            if policy.workloads:
                presented = Presented(self.expected.signatures, policy.sigstore, self.verifier)
                found, _ = judge_workload(manifest, policy.workloads, self.rules, presented)
                self.workload = found.name if found else ""
            return
        table = policy.simulated if self.simulated else policy.snp
        if not isinstance(report, snp.Report):
            table = None  # [sev] has no host_data: the manifest is in the approval
        named = next((one.name for one in policy.workloads if written(digest) in one.manifests), "")
        self.workload = named
        source, passed = "built-in", True
        if named:
            source = f"policy workload.{named}"
        elif table is not None and table.host_data:
            source = f"{table.source} host_data"  # where it was judged
        elif self.authority and self.expected.authority is not None:
            source = "the Steward, which certified it"
        else:
            passed = False
        judge(
            self.rules,
            "workload",
            passed,
            "a launch that the client knows",
            written(report.host_data),
            source=source,
            hint="give the manifest (`enarx manifest` makes it), or the CA of the Steward that is trusted to have "
            "judged it, or state its digest in the policy: [workload.NAME] manifest",
            code="workload-unknown",
        )
