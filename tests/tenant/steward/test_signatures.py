"""Workloads that are named by who signs them: the attacks by name, against a Steward over TLS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from enarx.manifest import ManifestFile
from enarx.mediatype import ENCRYPTED as ENCRYPTED_TYPE
from enarx.mediatype import PACKAGE as PACKAGE_TYPE
from enarx.mediatype import WASM as MODULE_TYPE
from enarx.tenant.policy import parse_policy
from enarx.tenant.signature.signers import OBJECT_MAX_BYTES, OBJECTS_MAX
from enarx.tenant.steward.decide import decide, make_judge
from enarx.tenant.steward.decision import Decision
from tests.tenant.keeps import NOW, WEB, Keep, authority, manifest, policy_text
from tests.tenant.signature.sigstore_forge import WORKFLOW, forge
from tests.tenant.signed import PACKAGE, bundle, envelope, keep, key, signed_by
from tests.tenant.steward.running import Answer, Running, prepare, running

PINNED = "sha256:" + "7b" * 32
WORKLOADS = (
    signed_by("web")
    + signed_by("b", "c", workload="pair", more="threshold = 2")
    + signed_by("web", workload="pinned", more=f'digest = ["{PINNED}"]')
    + signed_by("identity", workload="ci")
    + '[sigstore]\ntrusted_root = "root.json"\n'
)
SECRET = '[[secret]]\nname = "s"\nvalue = "v"\nworkloads = ["web"]\nsimulated = true\n'


@pytest.fixture(scope="module")
def steward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("steward")
    (directory / "root.json").write_bytes(forge().trusted_root())
    prepare(directory, policy_text("[service]\nrate = 0\n", SECRET, workload=WORKLOADS))
    with running(directory) as one:
        yield one
        assert one.stop() == 0


def ask(steward: Running, one: Keep, *signatures: bytes) -> Answer:
    return steward.attest(one.body(signatures=[base64.b64encode(data).decode() for data in signatures]))


def accepted(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found = json.loads(answer.body)
    _, claims, _ = found["ear"].split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))["submods"]["keep"]["ear_attester_claims"]
    assert isinstance(decoded, dict)
    return decoded | {"secrets": len(found["secrets"])}


def refused(answer: Answer, code: str, rule: str = "workload") -> dict[str, Any]:
    assert answer.status == 403, answer.body
    problem = json.loads(answer.body)
    assert problem["code"] == code, problem
    (failed,) = [one for one in problem["appraisal"] if not one["passed"]]
    assert failed["rule"] == rule
    assert failed["expected"]
    assert failed["hint"]
    assert isinstance(failed, dict)
    return failed


def test_a_package_that_is_signed_gets_its_certificate_and_secrets(steward: Running) -> None:
    claims = accepted(ask(steward, keep(), envelope("web")))
    assert claims["signers"] == [key("web").public.id]
    assert claims["secrets"] == 1
    assert claims["workload"] == PACKAGE


@pytest.mark.parametrize("media_type", [MODULE_TYPE, PACKAGE_TYPE, ENCRYPTED_TYPE])
def test_every_kind_of_package_may_be_signed(steward: Running, media_type: str) -> None:
    accepted(ask(steward, keep(media_type=media_type), envelope("web", media_type=media_type)))


def test_a_package_without_a_signature_is_refused(steward: Running) -> None:
    refused(ask(steward, keep()), "signature-missing")
    refused(steward.attest(keep().body()), "signature-missing")


def test_a_signature_by_the_wrong_key_is_refused(steward: Running) -> None:
    failed = refused(ask(steward, keep(), envelope("stranger")), "signature-mismatch")
    assert "by none of the accepted keys" in failed["seen"]


def test_a_signature_by_the_wrong_key_that_names_the_right_one_is_refused(steward: Running) -> None:
    forged = envelope("stranger").replace(key("stranger").public.id.encode(), key("web").public.id.encode())
    refused(ask(steward, keep(), forged), "signature-mismatch")


def test_a_signature_for_another_package_is_refused(steward: Running) -> None:
    other = "sha256:" + "66" * 32
    failed = refused(ask(steward, keep(), envelope("web", digest=other)), "signature-mismatch")
    assert other in failed["seen"]


def test_a_signature_over_another_digest_of_the_same_length_moved_into_place_is_refused(steward: Running) -> None:
    """The payload replaced, the signature kept."""
    honest, other = json.loads(envelope("web")), json.loads(envelope("web", digest="sha256:" + "66" * 32))
    refused(ask(steward, keep(), json.dumps(other | {"payload": honest["payload"]}).encode()), "signature-mismatch")


def test_a_signature_over_another_media_type_is_refused(steward: Running) -> None:
    """The same bytes read in another way are another package."""
    failed = refused(ask(steward, keep(), envelope("web", media_type=PACKAGE_TYPE)), "signature-mismatch")
    assert PACKAGE_TYPE in failed["seen"]


def test_one_key_twice_does_not_reach_a_threshold_of_two(steward: Running) -> None:
    for signatures in ([envelope("b", "b")], [envelope("b"), envelope("b")], [envelope("b", "web2", "b")] * 2):
        refused(ask(steward, keep(), *signatures), "signature-threshold")
    claims = accepted(ask(steward, keep(), envelope("c"), envelope("b")))
    assert claims["signers"] == [key("b").public.id, key("c").public.id]
    assert claims["secrets"] == 0
    accepted(ask(steward, keep(), envelope("b", "c")))


def test_too_many_signatures_are_refused_unread(steward: Running) -> None:
    assert ask(steward, keep(), *[envelope("web")] * OBJECTS_MAX).status == 200
    answer = ask(steward, keep(), *[envelope("web")] * (OBJECTS_MAX + 1))
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "request-malformed"


def test_a_signature_that_is_too_large_is_refused_unread(steward: Running) -> None:
    padded = envelope("web").rstrip() + b" " * OBJECT_MAX_BYTES
    assert ask(steward, keep(), padded[:OBJECT_MAX_BYTES]).status == 200
    answer = ask(steward, keep(), padded[: OBJECT_MAX_BYTES + 1])
    assert answer.status == 400
    assert "more than 65536 bytes" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("signatures", [None, {}, "YQ==", [1], ["not base64!"], [["YQ=="]]])
def test_signatures_in_another_form_are_malformed(steward: Running, signatures: object) -> None:
    assert steward.attest(keep().body(signatures=signatures)).status == 400


def test_junk_beside_a_good_signature_changes_nothing(steward: Running) -> None:
    accepted(
        ask(
            steward,
            keep(),
            b"",
            b"junk",
            b"{}",
            b'{"mediaType":"application/vnd.dev.sigstore.bundle"}',
            envelope("web"),
        )
    )
    failed = refused(ask(steward, keep(), b"", b"junk", b"{}"), "signature-mismatch")
    assert failed["seen"].count("not one of DSSE") == 3


def test_a_digest_and_a_signature_have_to_hold_both(steward: Running) -> None:
    one = keep(digest=PINNED)
    claims = accepted(ask(steward, one, envelope("web", digest=PINNED)))
    assert claims["secrets"] == 0  # it is the pinned one, although web's key signed it
    refused(ask(steward, one), "signature-missing", "workload-signature")
    refused(ask(steward, one, envelope("b", digest=PINNED)), "signature-mismatch", "workload-signature")


def test_a_package_that_is_signed_for_two_workloads_is_neither(steward: Running) -> None:
    failed = refused(ask(steward, keep(), envelope("web", "b", "c")), "workload-ambiguous")
    assert failed["seen"].startswith("web, pair, ")


def test_a_sigstore_identity_signs(steward: Running) -> None:
    claims = accepted(ask(steward, keep(), bundle()))
    assert [one.startswith("sigstore:") for one in claims["signers"]] == [True]
    other = "sha256:" + "66" * 32
    refused(ask(steward, keep(), bundle(digest=other)), "signature-mismatch")
    failed = refused(ask(steward, keep(), bundle(identity=WORKFLOW + "x")), "signature-mismatch")
    assert "another identity" in failed["seen"]
    assert WORKFLOW not in json.dumps(failed)  # it goes to the host
    stranger = json.dumps(forge("stranger.example").message(bytes.fromhex(PACKAGE.removeprefix("sha256:")))).encode()
    refused(ask(steward, keep(), stranger), "signature-mismatch")


def test_identities_do_not_get_into_any_log(steward: Running) -> None:
    accepted(ask(steward, keep(), bundle()))
    written = [path.read_bytes() for path in steward.directory.glob("steward.db*")] + [steward.errors().encode()]
    assert len(written) > 1
    for one in written:
        assert WORKFLOW.encode() not in one


def decided(workloads: str, one: Keep, *signatures: bytes) -> Decision:
    def read(name: str, limit: int, private: bool) -> bytes:
        del name, limit, private
        return forge().trusted_root()

    policy = parse_policy(policy_text(workload=workloads).encode(), "policy.toml", read)
    return decide(one.request(signatures=signatures), make_judge(policy, authority=authority().spki_digest), NOW)


def test_the_only_workload_says_what_is_amiss_with_its_signature() -> None:
    only = signed_by("web")
    assert decided(only, keep(), envelope("web")).accepted
    for signatures, code in (((), "signature-missing"), ((envelope("b"),), "signature-mismatch")):
        decision = decided(only, keep(), *signatures)
        assert decision.code == code
        assert [rule.name for rule in decision.rules if not rule.passed] == ["workload-signature"]


def test_what_is_not_in_the_package_has_to_be_named_besides() -> None:
    """A signature over a module says nothing of the Enarx.toml and the arguments that the host brings."""
    config = "sha256:" + "77" * 32
    one = keep()
    assert one.manifest is not None
    one.manifest = manifest(workload=one.manifest.workload, config=config, args=("-v",))
    assert decided(signed_by("web"), one, envelope("web")).code == "config-mismatch"
    assert decided(signed_by("web", more=f'config = "{config}"'), one, envelope("web")).code == "args-mismatch"
    both = f'config = "{config}"\nargs = ["-v"]'
    assert decided(signed_by("web", more=both), one, envelope("web")).accepted
    layer = manifest(workload=one.manifest.workload, files=(ManifestFile("layer", "/l", config),))
    assert decided(signed_by("web"), Keep(manifest=layer), envelope("web")).code == "files-mismatch"


def test_signatures_that_nobody_asked_for_are_not_looked_at() -> None:
    decision = decided(f'[workload.web]\ndigest = ["{WEB}"]\n', Keep(), b"junk", envelope("web"))
    assert decision.accepted
    assert "signers" not in decision.facts
    assert "workload-signature" not in {rule.name for rule in decision.rules}


def test_a_whole_manifest_says_more_than_a_signature() -> None:
    one = keep()
    assert one.manifest is not None
    whole = f'[workload.whole]\nmanifest = ["sha256:{one.manifest.digest().hex()}"]\n'
    for text in (whole + signed_by("web"), signed_by("web") + whole):
        decision = decided(text, one, envelope("web"))
        assert decision.grant is not None
        assert decision.grant.workload == "whole"


def test_the_order_of_workloads_in_the_file_decides_nothing() -> None:
    parts = [signed_by("web"), signed_by("b", workload="db"), f'[workload.x]\ndigest = ["{PINNED}"]\n']
    for text in ("".join(parts), "".join(reversed(parts))):
        for digest, names, workload in ((PACKAGE, ("web",), "web"), (PACKAGE, ("b",), "db"), (PINNED, ("b",), "x")):
            decision = decided(text, keep(digest), envelope(*names, digest=digest))
            assert decision.grant is not None
            assert decision.grant.workload == workload
        assert decided(text, keep(), envelope("web", "b")).code == "workload-ambiguous"


def test_a_threshold_may_be_reached_by_keys_and_identities_together() -> None:
    text = '[sigstore]\ntrusted_root = "r"\n' + signed_by("identity", "web", more="threshold = 2")
    assert decided(text, keep(), envelope("web"), bundle()).accepted
    assert decided(text, keep(), bundle(), bundle()).code == "signature-threshold"
    assert decided(text, keep(), envelope("web")).code == "signature-threshold"
