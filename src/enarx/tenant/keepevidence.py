"""The authentic evidence in a chain that a Keep shows, for those who look at what it says beside the verdict."""

from __future__ import annotations

from datetime import datetime

from enarx.evidence import snp
from enarx.evidence.appraisal import Rule
from enarx.evidence.authentic import Authentic
from enarx.evidence.binding import report_data
from enarx.evidence.sev.enrolled import EnrolledKeep
from enarx.evidence.signature import PYCA
from enarx.evidence.snp.enarx import parse_evidence
from enarx.evidence.snp.roots import AMD_ROOTS
from enarx.tenant.client import Expectation, trusted
from enarx.tenant.judgement import authenticate_enrolled
from enarx.tenant.keepchain import KeepChain


def authenticated(
    chain: KeepChain, expected: Expectation, now: datetime, rules: list[Rule]
) -> Authentic[snp.Report | EnrolledKeep]:
    """The evidence in a chain's leaf, once it is authentic; what was judged is appended to ``rules``. EvidenceError."""
    if chain.technology == "sev":
        return authenticate_enrolled(
            chain.evidence, report_data(chain.spki), expected.policy, trusted(expected), now, verifier=PYCA, trail=rules
        )
    evidence = parse_evidence(chain.evidence)
    lists = dict.fromkeys((*(one.crl for one in evidence.crls), *expected.crls))
    collateral = snp.Collateral(evidence.vcek, expected.chain, tuple(lists))
    trust = snp.Trust((*AMD_ROOTS, *expected.policy.simulated_roots))
    return snp.authenticate(snp.parse(evidence.report), collateral, now, trust=trust, trail=rules)
