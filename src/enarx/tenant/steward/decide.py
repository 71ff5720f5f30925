"""The decision on a request: a pure function of request, policy and time.

What a request says is read, then believed step by step: the CSR is signed by its own key; the evidence is authentic;
the policy accepts the guest; the evidence is over this very key and this very manifest; the manifest is a workload of
the policy. The first step that raises ends the decision; rules are all judged, also after one has failed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from enarx.errors import EvidenceError, MalformedError, PolicyError
from enarx.evidence import snp
from enarx.evidence.appraisal import Rule, judge, refusal
from enarx.evidence.authentic import Authentic
from enarx.evidence.binding import KVM_EVIDENCE_OID, MANIFEST_OID, report_data
from enarx.evidence.certificate import Extension
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.signature import PYCA, Verifier
from enarx.evidence.snp.enarx import SnpEvidence, parse_evidence, parse_manifest
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
from enarx.tenant.policy import Policy
from enarx.tenant.signature.signers import Presented
from enarx.tenant.steward.csr import CertificationRequest, parse_request, verify_request
from enarx.tenant.steward.decision import Decision, Grant, Request
from enarx.tenant.steward.extensions import EVIDENCE, evidence_extension, sealing_key
from enarx.tenant.workloads import Workload, judge_workload, written

_NOT_VERIFIED = ("sgx", "tdx")
"""Technologies whose evidence is known by name alone: nothing in it is read, and no policy can accept it."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy made ready to judge by: its roots, with verified chains remembered.

    ``authority`` is the SHA-256 of the SubjectPublicKeyInfo of the CA that will issue; a manifest that pins another
    Steward is refused. None leaves that unjudged (offline, without a CA at hand).
    """

    policy: Policy
    trust: snp.Trust
    verifier: Verifier
    authority: bytes | None = None


def make_judge(
    policy: Policy, *, verifier: Verifier = PYCA, authority: bytes | None = None, cache_entries: int = 1024
) -> Judge:
    """A ``Judge`` that believes AMD's roots, and a simulator's only if the policy names it."""
    roots = (*AMD_ROOTS, *policy.simulated_roots)
    return Judge(policy, snp.Trust(roots, verifier, cache_entries=cache_entries), verifier, authority)


def decide(request: Request, judge: Judge | Policy, now: datetime) -> Decision:
    """Judge one request as of ``now``. Never raises for what the request says: read the decision."""
    ready = judge if isinstance(judge, Judge) else make_judge(judge, cache_entries=0)
    case = _Case(request, ready, now)
    try:
        grant = case.run()
        failures = [rule for rule in case.rules if not rule.passed]
        error: EvidenceError | None = refusal(failures) if failures else None
    except EvidenceError as raised:
        grant, error = None, raised
        if all(rule.passed for rule in case.rules):
            case.rules.append(Rule(raised.code, False, "acceptable", raised.message, case.stage, raised.hint))
    return Decision(
        rules=tuple(case.rules),
        grant=grant if error is None else None,
        error=error,
        technology=case.technology,
        simulated=case.simulated,
        facts=case.facts,
    )


@dataclass(slots=True)
class _Case:
    """One request on its way through the steps; ``stage`` says which, for an error that no rule stands for."""

    request: Request
    judge: Judge
    now: datetime
    rules: list[Rule] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    technology: str = ""
    simulated: bool = False
    digest: bytes = b""
    stage: str = "certification request"

    def run(self) -> Grant | None:
        csr = parse_request(self.request.csr)
        self.facts["key"] = written(hashlib.sha256(csr.spki).digest())
        verify_request(csr, self.judge.verifier)
        self.rules.append(Rule("request-signature", True, "by its own key", "valid", "RFC 2986 4.2"))
        self.stage = "extensions"
        oid, extension = evidence_extension(csr)
        self.technology = EVIDENCE[oid]
        manifest = self._manifest(csr)
        if self.technology == "kvm":
            return self._kvm(csr, extension)
        if self.technology in _NOT_VERIFIED:
            raise PolicyError(
                f"{self.technology.upper()} evidence is not supported",
                code="technology-unsupported",
                hint="run the Keep on AMD SEV-SNP",
            )
        key = sealing_key(csr)
        self.stage = "evidence"
        keep: Authentic[snp.Report] | Authentic[EnrolledKeep]
        if self.technology == "sev":
            keep = self._enrolled(csr, extension.value)
            self.stage = "policy"
            appraise_enrolled(keep, self.judge.policy, self.rules)
        else:
            keep = self._authenticate(parse_evidence(extension.value))
            self.stage = "policy"
            appraise_guest(keep, self.judge.policy, self.rules)
        judge_key(csr.spki, csr.key.curve, keep.value, self.rules, whose="request")
        workload = self._judge_manifest(manifest, keep.value)
        return Grant(
            spki=csr.spki,
            evidence=(oid, extension.value),
            manifest_digest=self.digest or None,
            workload=workload.name if workload else "",
            not_after=keep.proof.not_after,
            secrets=tuple(
                secret
                for secret in self.judge.policy.secrets
                if workload and workload.name in secret.workloads and (secret.simulated or not self.simulated)
            ),
            sealing_key=key,
        )

    def _manifest(self, csr: CertificationRequest) -> Manifest | None:
        """The manifest, in the CSR, beside it, or in both places alike."""
        self.stage = "manifest"
        inside = csr.extensions.get(MANIFEST_OID)
        encoded = parse_manifest(inside.value) if inside else None
        if encoded is not None and self.request.manifest is not None and encoded != self.request.manifest:
            raise MalformedError(
                "the manifest in the CSR is not the one beside it",
                code="manifest-mismatch",
                hint="send the manifest that the Keep put into its CSR",
            )
        encoded = encoded if encoded is not None else self.request.manifest
        if encoded is None:
            if not self.request.compatible or self.judge.policy.workloads:
                raise PolicyError(
                    "the request has no manifest, so nothing says which workload the key is for",
                    code="manifest-missing",
                    hint="deploy with a manifest; the published Enarx, which has none, is served on POST / under a "
                    "policy without [workload]",
                )
            return None
        manifest = read_manifest(encoded)  # which accepts the canonical encoding alone
        self.digest = hashlib.sha256(encoded).digest()
        self.facts["manifest"] = written(self.digest)
        self.facts["workload"] = manifest.workload.digest
        return manifest

    def _authenticate(self, evidence: SnpEvidence) -> Authentic[snp.Report]:
        self.stage = "authentication"
        report = snp.parse(evidence.report)
        self.facts["measurement"] = report.measurement.hex()
        self.facts["report"] = hashlib.sha256(evidence.report).hexdigest()
        lists = dict.fromkeys((*(one.crl for one in evidence.crls), *self.request.crls))
        authentic = snp.authenticate(
            report,
            snp.Collateral(evidence.vcek, self.request.chain, tuple(lists)),
            self.now,
            trust=self.judge.trust,
            require_crl=self.request.compatible,  # as the published Steward does; otherwise the policy says
            trail=self.rules,
        )
        proof = authentic.proof
        self.simulated = proof.simulated
        self.facts |= {
            "root": proof.root,
            "signer": proof.signer,
            "product": proof.product,
            "tcb": report.reported_tcb_raw.hex(),
            "collateral_until": proof.not_after.isoformat(),
        }
        return authentic

    def _enrolled(self, csr: CertificationRequest, value: bytes) -> Authentic[EnrolledKeep]:
        """A SEV launch that an approver vouches for: what it was is in the approval, for there is no report."""
        self.stage = "authentication"
        keep = authenticate_enrolled(
            value, report_data(csr.spki), self.judge.policy, self.judge.authority, self.now,
            verifier=self.judge.verifier, trail=self.rules,
        )  # fmt: skip
        proof, launch = keep.proof, keep.value.launch
        self.simulated = proof.simulated
        self.facts |= {
            "measurement": launch.digest.hex(),
            "approval": keep.value.approval.hex(),
            "approved": keep.value.approved.isoformat(),
            "root": proof.root,
            "product": proof.product,
            "firmware": str(launch.firmware),
            "guest_policy": f"{launch.policy.value:#x}",
            "collateral_until": proof.not_after.isoformat(),
        }
        return keep

    def _judge_manifest(self, manifest: Manifest | None, report: Launched) -> Workload | None:
        if manifest is None:
            if not isinstance(report, snp.Report):
                raise PolicyError(
                    "the request has no manifest, which every SEV launch is approved with",
                    code="manifest-missing",
                    hint="send the manifest that the launch was approved with",
                )
            self._judge_bare(report)
            return None
        judge_launch(self.digest, report, self.rules, source="SHA-256 of the manifest")
        if self.judge.authority is not None:
            pinned = manifest.steward.ca if manifest.steward else "none"
            judge(
                self.rules,
                "steward",
                pinned == written(self.judge.authority),
                written(self.judge.authority),
                pinned,
                source="this Steward's CA",
                hint="the manifest names another Steward, or none; the Keep would refuse this one's certificate",
                code="steward-mismatch",
            )
        presented = Presented(self.request.signatures, self.judge.policy.sigstore, self.judge.verifier)
        found, signers = judge_workload(manifest, self.judge.policy.workloads, self.rules, presented)
        if signers:
            self.facts["signers"] = [one.id for one in signers]
        return found

    def _judge_bare(self, report: snp.Report) -> None:
        """Guests without a manifest launch with nothing of the host's, as the published Steward demands."""
        policy = self.judge.policy.snp
        stated = {"host_data"} if policy and policy.host_data else set()
        stated |= {name for name in ("family_id", "image_id") if policy and getattr(policy, name)}
        for name in ("host_data", "family_id", "image_id"):
            value: bytes = getattr(report, name)
            if name not in stated:
                judge(
                    self.rules,
                    name.replace("_", "-"),
                    not any(value),
                    "all zero: the request has no manifest",
                    value.hex(),
                    source="built-in",
                    hint=f"send the manifest, or state {name} under [snp]",
                    code="host-data-mismatch" if name == "host_data" else f"{name.replace('_', '-')}-mismatch",
                )

    def _kvm(self, csr: CertificationRequest, extension: Extension) -> Grant:
        """Empty evidence of a guest that nothing protects; the published Steward infers that it may, ours is told."""
        self.stage = "evidence"
        if extension.value:
            raise MalformedError("KVM evidence is not empty", code="malformed", hint="its value has no bytes")
        judge(
            self.rules,
            "kvm",
            self.judge.policy.accepts_kvm and self.request.compatible,
            "evidence of a TEE",
            "none: a plain KVM guest proves nothing",
            source="policy debug.kvm",
            hint="run in a TEE; for development alone, [debug] kvm = true accepts guests without any proof on POST /",
            code="kvm-not-accepted",
        )
        return Grant(csr.spki, (KVM_EVIDENCE_OID, b""), None, "", None, ())
