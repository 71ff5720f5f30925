"""How fast SEV-SNP evidence is verified, as ratios where a ratio says more than a time.

Every figure comes from one run in which the contestants take turns, on a forged chain with RSA keys of AMD's size; the
fastest of many calls counts. Keys that were loaded and chains that were read before are kept, as in any process that
verifies more than once; every signature is verified each time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from bench.figure import Better, Figure
from enarx.errors import ConfigError
from enarx.evidence.awslc import AwsLcVerifier
from enarx.evidence.signature import PYCA, Verifier
from enarx.evidence.snp import Collateral, Trust, appraise, authenticate, parse, parse_policy, root_from_certificates
from enarx.evidence.snp.keychain import verify_chain
from tests.evidence.snp import forge
from tests.evidence.snp.forge import NOW, Machine, Vendor

ROUNDS = 2000
"""In each round every contestant is called once; its fastest call counts. One call is shorter than a time slice."""

RULES = 26
"""How many rules the policy below comes to."""

POLICY = """
[snp]
measurement = "{measurement}"
host_data = "{host_data}"
report_data = "{report_data}"
minimum_guest_svn = 3
product = ["Milan", "Genoa"]
require_crl = true
[snp.guest_policy]
abi = ">=0.0"
[snp.platform]
ecc = true
alias_check_complete = true
[snp.minimum_tcb.reported]
bootloader = 4
snp = 24
microcode = 219
[snp.minimum_tcb.committed]
bootloader = 4
snp = 24
microcode = 219
[snp.minimum_tcb.launch]
bootloader = 4
snp = 24
microcode = 219
"""


def fastest_us(contestants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds a call of each contestant, which take turns in every round."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - start) * 1e6)
    return best


class LargeVendor(Vendor):
    """A forged vendor whose RSA keys have AMD's 4096 bits."""

    def __init__(self) -> None:
        super().__init__(name="bench")
        for kind in ("ark", "ask", "asvk"):
            setattr(self, f"{kind}_key", rsa.generate_private_key(65537, 4096))


def library(verifiers: Mapping[str, Verifier]) -> dict[str, float]:
    """Library calls: all of a verification, with the chain remembered, and the bare P-384 under it."""
    vendor = LargeVendor()
    machine = Machine(vendor)
    encoded = machine.report_bytes()
    report = parse(encoded)
    # ASK and ARK with the right keys, and neither is recognised by its fingerprint: the root knows another ASK, and the
    # ARK was issued anew. So every signature of the chain is verified, that of the ARK under itself too.
    ark = replace(vendor.ark_plan, serial=0x10009).sign(vendor.ark_key)
    collateral = Collateral(machine.certificate, (vendor.ask, ark), (vendor.crl(0x999),))
    root = root_from_certificates(vendor.product, vendor.ark, (vendor.asvk,))
    policy = parse_policy(
        POLICY.format(
            measurement=report.measurement.hex(),
            host_data=report.host_data.hex(),
            report_data=report.report_data.hex(),
        )
    )

    def verification(trust: Trust) -> Callable[[], None]:
        def call() -> None:
            authentic = authenticate(parse(encoded), collateral, NOW, trust=trust, require_crl=True)
            appraise(authentic, policy).require()

        return call

    def authentication(trust: Trust) -> Callable[[], object]:
        return lambda: authenticate(parse(encoded), collateral, NOW, trust=trust, require_crl=True)

    contestants: dict[str, Callable[[], object]] = {
        "parse": lambda: parse(encoded),
    }
    authentic = authenticate(report, collateral, NOW, trust=Trust((root,)))
    if len(appraise(authentic, policy).rules) != RULES:
        raise RuntimeError("the policy comes to another number of rules than is stated")
    contestants["appraise"] = lambda: appraise(authentic, policy)
    for name, verifier in verifiers.items():
        chain = verify_chain(collateral, int(NOW.timestamp()), Trust((root,), verifier))
        signature = forge.ecdsa_der(report)
        signed = report.signed()
        contestants[f"{name} bare P-384"] = partial(chain.verify_report, signature, signed)
        contestants[f"{name} full"] = verification(Trust((root,), verifier))
        remembering = Trust((root,), verifier, cache_entries=16)
        contestants[f"{name} chain remembered"] = authentication(remembering)
        contestants[f"{name} chain remembered, appraised"] = verification(remembering)
    return fastest_us(contestants)


def process_ms(rounds: int = 15) -> float:
    """Milliseconds of ``enarx evidence verify`` as a process, the fastest of some, bytecode written beforehand."""
    vectors = import_module("omne_attest.vectors")
    with tempfile.TemporaryDirectory() as folder:
        report, vcek, policy = (Path(folder) / name for name in ("report.bin", "vcek.der", "policy.toml"))
        report.write_bytes(vectors.attestation())
        vcek.write_bytes(vectors.vcek())
        measurement = parse(vectors.attestation()).measurement.hex()
        policy.write_text(f'[snp]\nmeasurement = "{measurement}"\n[snp.guest_policy]\ndebug = true\n')
        command = [str(Path(sys.executable).with_name("enarx")), "evidence", "verify", str(report), "--vcek", str(vcek)]
        command += ["--policy", str(policy), "--at", "2026-10-01T00:00:00Z"]
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            best = min(best, (time.perf_counter() - start) * 1000)
    return best


def run() -> list[Figure]:
    """Every figure of SNP verification."""
    verifiers: dict[str, Verifier] = {"cryptography": PYCA}
    try:
        verifiers["aws-lc"] = AwsLcVerifier()
    except ConfigError:
        sys.stderr.write("awscrt is not installed: no figures for the fast verifier\n")
    times = library(verifiers)
    details = {f"{name.replace(' ', '_')}_us": value for name, value in times.items()}
    bare = times["cryptography bare P-384"]
    peer = "one P-384 verification"
    found = [
        Figure("snp_full", times["cryptography full"] / 1000, "ms", Better.LOWER, "library call", 1.0, details),
        Figure("snp_chain_remembered", times["cryptography chain remembered"] / bare, "x", Better.LOWER, peer, 1.15),
        Figure(
            "snp_chain_remembered_appraised",
            times["cryptography chain remembered, appraised"] / bare,
            "x",
            Better.LOWER,
            f"{peer}; {RULES} rules",
        ),
        Figure("evidence_verify_process", process_ms(), "ms", Better.LOWER, "whole process", 180.0),
    ]
    if "aws-lc" in verifiers:
        appraised = times["aws-lc chain remembered, appraised"]
        found.append(Figure("snp_fast", appraised, "us", Better.LOWER, "chain remembered, appraised, aws-lc", 250.0))
    return found
