"""What the published Steward accepts is accepted with its own configuration, and each of its keys can refuse.

Guests as the published Enarx launches them: report version 2, a signed launch, ABI 1.51, SMT, nothing of the host's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enarx.evidence import binding, der
from enarx.tenant.steward.csr import is_bundle
from enarx.tenant.steward.decide import decide
from enarx.tenant.steward.decision import Decision, Request
from tests.evidence.snp.forge import LONG_AGO, Machine, Vendor, ec_key, extension, make_crl, spki
from tests.tenant.keeps import NOW, Keep, hardware_judge, make_csr

AUTHOR, ID_KEY, MEASUREMENT = b"\x7d" * 48, b"\xd7" * 48, b"\xff" * 48
CONFIG = f"""
[sgx]
signer = ["{"7a" * 32}"]
hash = ["{"40" * 32}"]
features = ["Debug", "ProvisioningKey", "EInitKey", "KSS"]
enclave_security_version = 0
enclave_product_id = 0
allowed_advisories = ["INTEL-SA-00289", "INTEL-SA-00381"]
[snp]
signer = ["{AUTHOR.hex()}"]
id_key_digest = ["{ID_KEY.hex()}"]
hash = ["{MEASUREMENT.hex()}"]
abi = ">=1.51"
policy_flags = ["SMT"]
platform_info_flags = "SME"
"""
GUEST: dict[str, Any] = {
    "version": 2,
    "policy": 0x3_0133,
    "measurement": MEASUREMENT,
    "author_key_digest": AUTHOR,
    "id_key_digest": ID_KEY,
    "author_key_enabled": True,
    "platform_info": 1,
}
MILAN, GENOA = (f"https://kdsintf.amd.com/vcek/v1/{product}/crl" for product in ("Milan", "Genoa"))


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    return Vendor()


def guest(vendor: Vendor, **changes: Any) -> Keep:
    return Keep(machine=Machine(vendor), manifest=None, crls=[vendor.crl()], report=_fields(GUEST | changes))


def _fields(stated: dict[str, Any]) -> dict[str, Any]:
    """As fields of a report: the author key's presence is the lowest of its flags."""
    found = dict(stated)
    found["flags"] = int(found.pop("author_key_enabled"))
    return found


def decided(keep: Keep, config: str = CONFIG) -> Decision:
    assert isinstance(keep.machine.vendor, Vendor)
    return decide(keep.request(), hardware_judge(config, keep.machine.vendor), NOW)


def test_a_published_guest_is_accepted_by_the_published_configuration(vendor: Vendor) -> None:
    decision = decided(guest(vendor))
    assert decision.accepted, decision.error
    assert (decision.technology, decision.simulated) == ("snp", False)
    assert decision.grant is not None
    assert decision.grant.manifest_digest is None
    assert decision.grant.secrets == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (AUTHOR.hex(), "11" * 48),
        (ID_KEY.hex(), "11" * 48),
        (MEASUREMENT.hex(), "11" * 48),
        (">=1.51", ">1.51"),
        (">=1.51", ">254.0"),
        ('["SMT"]', '["SMT", "SingleSocket"]'),
        ('["SMT"]', "[]"),
        ('"SME"', '"TSME"'),
        ("[snp]", f'[snp]\nhash_blacklist = ["{"22" * 48}", "{"33" * 48}"]\nid_key_digest_blacklist = ["{"44" * 48}"]'),
    ],
)
def test_each_key_of_the_configuration_decides(vendor: Vendor, old: str, new: str) -> None:
    config = CONFIG.replace(old, new)
    assert config != CONFIG
    assert decided(guest(vendor), config).accepted is ("blacklist" in new)


@pytest.mark.parametrize("key", ["hash_blacklist", "id_key_digest_blacklist"])
def test_what_is_denied_is_refused(vendor: Vendor, key: str) -> None:
    digest = MEASUREMENT if key == "hash_blacklist" else ID_KEY
    config = f'[snp]\nsigner = ["{AUTHOR.hex()}"]\n{key} = ["{digest.hex()}"]\n'
    assert decided(guest(vendor), config).code in ("measurement-denied", "id-key-denied")
    alone = f'[snp]\nhash_blacklist = ["{"22" * 48}"]\n'
    assert decided(guest(vendor), alone).accepted  # a deny-list alone is a policy there


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"policy": 0xB_0133}, "debug-enabled"),
        ({"policy": 0x7_0133}, "migration-allowed"),
        ({"policy": 0x2_0133}, "policy-flags"),
        ({"policy": 0x3_0132}, "abi"),
        ({"family_id": b"\1" * 16}, "family-id-mismatch"),
        ({"image_id": b"\1" * 16}, "image-id-mismatch"),
        ({"host_data": b"\1" * 32}, "host-data-mismatch"),
        ({"vmpl": 1}, "vmpl"),
        ({"author_key_enabled": False, "author_key_digest": bytes(48)}, "author-key-missing"),
    ],
)
def test_what_the_published_steward_refuses_is_refused(vendor: Vendor, changes: dict[str, Any], code: str) -> None:
    decision = decided(guest(vendor, **changes))
    assert not decision.accepted
    assert code in {rule.reason for rule in decision.rules if not rule.passed}


def test_evidence_over_another_key_is_refused_whatever_the_ca(vendor: Vendor) -> None:
    """There, a self-signed CA turns this check off."""
    csr = make_csr(ec_key("thief"), [extension(binding.SNP_EVIDENCE_OID, guest(vendor).evidence())])
    assert decide(Request(csr, compatible=True), hardware_judge(CONFIG, vendor), NOW).code == "binding-mismatch"


def test_an_absent_table_accepts_no_guest(vendor: Vendor) -> None:
    """There, it accepts any genuine one."""
    assert decided(guest(vendor), CONFIG.replace("[snp]", "[sgx.x]").partition("[sgx.x]")[0]).code == "policy-no-table"


def test_lists_of_other_products_may_come_along(vendor: Vendor, vectors: Path) -> None:
    """As the published host caches them: those of all of AMD's products, in one."""
    genoa = (vectors / "snp" / "trust" / "crl-genoa-2022.der").read_bytes()
    keep = guest(vendor)
    request = keep.request()
    evidence = binding.snp_evidence(
        keep.machine.report_bytes(
            report_data=binding.report_data(spki(keep.key)), **{"host_data": bytes(32)} | keep.report
        ),
        keep.machine.certificate,
        [(GENOA, genoa), (MILAN, vendor.crl())],
    )
    both = replace(request, csr=make_csr(keep.key, [extension(binding.SNP_EVIDENCE_OID, evidence)]))
    assert decide(both, hardware_judge(CONFIG, vendor), NOW).accepted


def test_a_current_list_of_the_chain_must_come_along(vendor: Vendor) -> None:
    def code(*lists: bytes) -> str:
        return decided(replace(guest(vendor), crls=lists)).code

    assert code() == "crl-missing"
    assert code(make_crl(vendor.ark_name, vendor.ark_key, next_update=NOW)) == "collateral-expired"
    assert code(Vendor(name="another").crl()) == "bad-collateral-signature"
    assert code(make_crl(vendor.ark_name, vendor.ark_key, {vendor.ask_plan.serial: LONG_AGO})) == "certificate-revoked"


def test_a_bundle_is_told_from_a_request(vendor: Vendor) -> None:
    csr = guest(vendor).csr()
    assert not is_bundle(csr)
    assert is_bundle(der.encode(der.SEQUENCE, csr))
    assert is_bundle(der.encode(der.SEQUENCE, csr * 3))
    for junk in (b"", b"\x30", b"\x30\x00", b"\x30\x02\x30\x00", b"\x30\x80", csr[:-1]):
        assert not is_bundle(junk)
