"""What the pages say, of decisions that the engine made and of a database that somebody changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from enarx.tenant.steward.console import logcheck, queries
from enarx.tenant.steward.console.pages import PAGE_ROWS
from enarx.tenant.steward.log import revocation_entry
from tests.evidence.snp.forge import ec_key
from tests.tenant.keeps import MEASUREMENT, NOW, WEB, Keep, manifest
from tests.tenant.steward.console.inside import TOKEN, Inside, entry, inside, readers

REFUSED = Keep(report={"host_data": manifest(args=("x",)).digest()})


@pytest.fixture
def steward(tmp_path: Path) -> Iterator[Inside]:
    with inside(str(tmp_path / "x.db")) as one:
        one.sign_in()
        yield one


def test_a_steward_that_did_nothing_yet_says_so(steward: Inside) -> None:
    for path, said in (
        ("", "No Keep holds a certificate"),
        ("", "Nobody has asked yet"),
        ("/keeps", "No certificate of this Steward is valid now"),
        ("/decisions", "None yet"),
        ("/log", "0 entries"),
    ):
        assert said in steward.get(f"/console{path}").shown


def test_the_overview_counts_and_says_simulated(steward: Inside) -> None:
    steward.attest(Keep().request(), REFUSED.request())
    shown = steward.get("/console").shown
    assert "1 live certificate It belongs to a SIMULATED Keep: no hardware vouches for it" in shown
    assert "Chain of hashes holds" in shown
    assert "CA valid" in shown
    assert "manifest-mismatch" in shown
    steward.now = NOW + timedelta(days=2)
    steward.sign_in()
    assert "0 live certificates No Keep holds a certificate" in steward.get("/console").shown


def test_a_decision_shows_every_rule_with_what_it_expected_and_saw(steward: Inside) -> None:
    (outcome,) = steward.attest(REFUSED.request())
    page = steward.get("/console/decisions/1")
    assert page.status == 200
    shown = page.shown
    assert shown.count("Refused: manifest-mismatch") == 1
    assert f"{len(outcome.decision.rules)} rules were judged" in shown
    for rule in outcome.decision.rules:
        state = "held" if rule.passed else "failed"
        assert f"{rule.name}: {state} {rule.expected} {rule.seen} {rule.source}" in shown
    assert outcome.decision.error.hint in shown
    assert REFUSED.manifest is not None
    assert REFUSED.manifest.digest().hex() in shown


def test_an_issued_certificate_leads_to_its_keep_and_back(steward: Inside) -> None:
    (outcome,) = steward.attest(Keep().request())
    serial = outcome.issued.serial
    assert f'href="/console/keeps/{serial}"' in steward.get("/console/keeps").text
    assert f'href="/console/keeps/{serial}"' in steward.get("/console/decisions/1").text
    keep = steward.get(f"/console/keeps/{serial}")
    assert 'href="/console/decisions/1"' in keep.text
    assert "web SIMULATED snp" in keep.shown
    assert serial in keep.shown
    listed = steward.get("/console/keeps").shown
    assert "SIMULATED" in listed
    assert "2026-06-02 00:00:00 UTC" in listed
    assert MEASUREMENT[:12] in listed
    assert WEB.removeprefix("sha256:")[:12] in listed


def test_the_trust_stack_of_a_keep_is_judged_from_its_evidence(steward: Inside) -> None:
    (outcome,) = steward.attest(Keep().request())
    page = steward.get(f"/console/keeps/{outcome.issued.serial}")
    assert "Keep on a SIMULATED processor" in page.shown
    assert "ACCEPTED by the policy" in page.shown
    assert "Nothing is proved about the host" in page.shown
    assert page.text.count('class="slab ') == 11
    for anchor in ("r-application", "r-middleware", "r-cpu", "r-physical-operator", "c1-1"):
        assert f'id="{anchor}"' in page.text
    assert MEASUREMENT in page.text


def test_a_keep_that_the_policy_no_longer_accepts_is_shown_refused(steward: Inside) -> None:
    (outcome,) = steward.attest(Keep().request())
    steward.adopt(readers(TOKEN), "[debug]\nkvm = false\n")
    assert "ACCEPTED by the policy" in steward.get(f"/console/keeps/{outcome.issued.serial}").shown
    from enarx.tenant.policy import parse_policy
    from enarx.tenant.policytables import no_files
    from tests.tenant.keeps import policy_text

    other = policy_text(readers(TOKEN)).replace(MEASUREMENT, "cd" * 48)
    steward.engine._judge = steward.engine._ready(parse_policy(other.encode(), "p", no_files))
    shown = steward.get(f"/console/keeps/{outcome.issued.serial}").shown
    assert "REFUSED" in shown
    assert "measurement-mismatch" in shown


def test_revocation_is_said_wherever_the_certificate_is(steward: Inside) -> None:
    (outcome,) = steward.attest(Keep().request())
    serial = outcome.issued.serial
    steward.write(revocation_entry(serial, "keyCompromise", NOW + timedelta(minutes=5)))
    assert "1 is revoked" in steward.get("/console").shown
    assert "REVOKED" in steward.get("/console/keeps").shown
    keep = steward.get(f"/console/keeps/{serial}").shown
    assert "This certificate is revoked: whatever the evidence says" in keep
    assert "2026-06-01 00:05:00 UTC" in keep
    assert "REVOKED SINCE" in steward.get("/console/decisions/1").shown
    assert "Revoked" in steward.get("/console/log").shown
    assert "keyCompromise" in steward.get("/console/log").shown


def test_a_keep_in_the_published_form_has_no_stack_and_the_page_says_why(tmp_path: Path) -> None:
    with inside(str(tmp_path / "x.db"), readers(TOKEN) + "[debug]\nkvm = true\n") as steward:
        from enarx.evidence import binding
        from enarx.tenant.policy import parse_policy
        from enarx.tenant.policytables import no_files
        from enarx.tenant.steward.decision import Request
        from tests.evidence.snp.forge import extension
        from tests.tenant.keeps import make_csr

        text = f"[debug]\nkvm = true\n{readers(TOKEN)}"
        steward.engine._judge = steward.engine._ready(parse_policy(text.encode(), "p", no_files))
        csr = make_csr(ec_key("keep"), [extension(binding.KVM_EVIDENCE_OID, b"")])
        (outcome,) = steward.attest(Request(csr, compatible=True))
        steward.sign_in()
        shown = steward.get(f"/console/keeps/{outcome.issued.serial}").shown
        assert "NO PROOF" in shown
        assert "no stack can be drawn" in shown
        assert "KVM WITHOUT ANY PROOF" in steward.get("/console/policy").shown


def test_what_was_decided_while_the_console_was_off_says_what_the_log_says(tmp_path: Path) -> None:
    place = str(tmp_path / "x.db")
    with inside(place, "") as steward:
        (outcome, _) = steward.attest(Keep().request(), REFUSED.request())
        assert steward.execute("SELECT count(*) FROM explanations") == [(0,)]
        assert steward.execute("SELECT count(*) FROM keeps") == [(0,)]
        assert "explanation" not in steward.execute("SELECT body FROM log")[0][0]
    with inside(place) as steward:
        steward.sign_in()
        assert "The evidence of this Keep was not kept" in steward.get(f"/console/keeps/{outcome.issued.serial}").shown
        refused = steward.get("/console/decisions/2").shown
        assert "No explanation was kept" in refused
        assert "The log names the rules that failed: manifest-binding" in refused
        assert "Unnamed workload" in steward.get("/console/keeps").shown


def test_an_explanation_that_was_exchanged_is_not_shown(steward: Inside) -> None:
    steward.attest(REFUSED.request())
    ((kept,),) = steward.execute("SELECT body FROM explanations")
    forged = kept.replace('"passed":false', '"passed":true')
    assert forged != kept
    steward.execute("UPDATE explanations SET body = ?", forged)
    shown = steward.get("/console/decisions/1").shown
    assert "Not shown: what was kept of this decision is not what the log has the digest of" in shown
    assert "rules were judged" not in shown
    for unreadable in ("", "[]", "{", '{"rules":1}', '{"rules":[1]}', '{"rules":[{"name":1}]}', "x" * 10):
        steward.execute("UPDATE explanations SET body = ?", unreadable)
        assert "Not shown: what was kept of this decision cannot be read" in steward.get("/console/decisions/1").shown


def test_evidence_that_was_exchanged_is_not_judged(steward: Inside) -> None:
    one, other = steward.attest(Keep().request(), Keep(key=ec_key("other")).request())
    ((body,),) = steward.execute("SELECT body FROM keeps WHERE serial = ?", other.issued.serial)
    steward.execute("UPDATE keeps SET body = ? WHERE serial = ?", body, one.issued.serial)
    shown = steward.get(f"/console/keeps/{one.issued.serial}").shown
    assert "is not the one that the log names" in shown
    assert "ACCEPTED" not in shown
    steward.execute("UPDATE keeps SET body = ?", '{"certificate":"!"}')
    assert "cannot be read" in steward.get(f"/console/keeps/{one.issued.serial}").shown


def test_a_certificate_that_its_entry_does_not_name_is_marked(steward: Inside) -> None:
    steward.write(entry())
    steward.execute("INSERT INTO certificates (serial, sequence, not_after) VALUES (?, 1, ?)", "ee" * 16, 2**31)
    assert "NOT IN THE LOG" in steward.get("/console/keeps").shown
    assert "NOT IN THE LOG" in steward.get(f"/console/keeps/{'ee' * 16}").shown


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "{}", "[" * 5000, '{"event":1}', '{"event":"decision","facts":[],"failed":{},"time":"x"}',
             '{"event":"decision","time":"9999-12-31T23:59:59-23:59","facts":{"a":{"b":[1]},"c":null},"failed":[1,[2]]}',
             '{"event":"decision","simulated":"yes","secrets":true,"serial":"../../x"}', "\x00", "é" * 9000],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_no_trouble(steward: Inside, body: str) -> None:
    from enarx.tenant.steward.log import Entry

    steward.write(Entry(body))
    for page in ("", "/keeps", "/decisions", "/decisions?outcome=refused", "/log"):
        assert steward.get(f"/console{page}").status == 200
    assert steward.get("/console/decisions/1").status == (200 if '"event":"decision"' in body else 404)


@pytest.mark.parametrize(
    "path",
    [
        "/x", "/keeps/", "/keeps/x", f"/keeps/{'0' * 32}", f"/keeps/{'A' * 32}", "/decisions/0", "/decisions/1",
        "/decisions/-1", "/decisions/x", "/decisions/" + "9" * 30, "/decisions/%31", "/decisions/²",
        "/decisions?before=x", "/decisions?before=" + "9" * 30, "/decisions?outcome=all", "/log?before=-1",
        "/keeps?before=1", "/keeps?before=1-x", f"/keeps?before={'9' * 20}-{'0' * 32}", "/policy/", "/static/x",
    ],
)  # fmt: skip
def test_what_there_is_not_is_404(steward: Inside, path: str) -> None:
    answer = steward.get(f"/console{path}")
    assert answer.status == 404
    assert "There is no such page" in answer.shown


def test_a_list_is_turned_page_by_page_and_shows_every_entry_once(steward: Inside) -> None:
    count = 2 * PAGE_ROWS + 7
    steward.write(*(entry(issued=number if number % 2 else 0) for number in range(1, count + 1)))
    for path, marker, wanted in (
        ("/console/decisions", "/console/decisions/", range(1, count + 1)),
        ("/console/decisions?outcome=issued", "/console/decisions/", range(1, count + 1, 2)),
        ("/console/decisions?outcome=refused", "/console/decisions/", range(2, count + 1, 2)),
        ("/console/log", "/console/decisions/", range(1, count + 1)),
        ("/console/keeps", "/console/decisions/", range(1, count + 1, 2)),
    ):
        found: list[int] = []
        next_page: str | None = path
        pages = 0
        while next_page:
            text = steward.get(next_page).text
            links = [part.partition('"')[0] for part in text.split('href="')[1:]]
            found += [int(link.removeprefix(marker)) for link in links if link.removeprefix(marker).isdigit()]
            older = [link.replace("&amp;", "&") for link in links if "before=" in link]
            assert len(older) <= 1
            next_page = older[0] if older else None
            pages += 1
        assert sorted(found) == list(wanted), path
        assert len(found) == len(set(found))
        assert pages == -(-len(found) // PAGE_ROWS)


def test_a_filter_looks_at_a_bounded_part_of_the_log(steward: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SCAN_MAX_ROWS", 10)
    steward.write(entry(issued=1), *(entry() for _ in range(25)))
    first = steward.get("/console/decisions?outcome=issued")
    assert "None here" in first.shown
    assert "before=17&amp;outcome=issued" in first.text
    second = steward.get("/console/decisions?before=17&outcome=issued").text
    assert "before=7&amp;outcome=issued" in second
    assert 'href="/console/decisions/1"' in steward.get("/console/decisions?before=7&outcome=issued").text


def test_only_pages_with_the_newest_ask_again(steward: Inside) -> None:
    steward.write(*(entry() for _ in range(PAGE_ROWS + 1)))
    for path, live in (
        ("", True), ("/keeps", True), ("/decisions", True), ("/log", True), ("/policy", False),
        ("/decisions/1", False), ("/decisions?before=50", False), ("/log?before=50", False),
    ):  # fmt: skip
        text = steward.get(f"/console{path}").text
        assert ("data-live=" in text) is live, path
        assert ("<script" in text) is live, path


def test_the_policy_is_shown_unless_secrets_are_in_it(tmp_path: Path) -> None:
    secret = '[[secret]]\nname = "db"\nvalue = "hunter2"\nworkloads = ["web"]\n'
    for more, said in (("", "[workload.web]"), (secret, "Withheld: values of secrets")):
        with inside(str(tmp_path / "x.db"), readers(TOKEN), more) as steward:
            steward.sign_in()
            page = steward.get("/console/policy")
            assert said in page.shown
            assert steward.engine.policy.digest.hex() in page.shown
            assert "SIMULATED SEV-SNP" in page.shown
            assert "hunter2" not in page.text


def test_a_log_that_was_changed_is_said_to_be_broken(steward: Inside) -> None:
    steward.write(entry(), entry(), entry())
    assert "Chain of hashes holds" in steward.get("/console/log").shown
    steward.execute("DROP TRIGGER log_no_update")
    body = json.dumps({"event": "decision", "outcome": "issued"})
    steward.execute("UPDATE log SET body = ? WHERE sequence = 2", body)
    assert "Chain of hashes holds" in steward.get("/console/log").shown  # remembered for a while
    steward.now = NOW + logcheck.REMEMBERED
    shown = steward.get("/console/log").shown
    assert "the log is broken at entry 2" in shown
    assert "Broken" in steward.get("/console").shown


def test_a_long_log_is_checked_a_piece_at_a_time(steward: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logcheck, "STEP_ROWS", 4)
    steward.write(*(entry() for _ in range(10)))
    said = [steward.get("/console/log").shown for _ in range(3)]
    assert "4 of 10 checked so far" in said[0]
    assert "8 of 10 checked so far" in said[1]
    assert "Chain of hashes holds" in said[2]
    steward.write(entry())
    assert "Chain of hashes holds" in steward.get("/console/log").shown


def test_a_log_that_was_cut_or_replaced_since_the_last_check_is_said_to_be(steward: Inside, tmp_path: Path) -> None:
    steward.write(entry(), entry(), entry())
    assert "3 entries" in steward.get("/console/log").shown
    steward.execute("DROP TRIGGER log_no_delete")
    steward.execute("DELETE FROM log WHERE sequence = 3")
    assert "the log ends at entry 2, and entry 3 was noted" in steward.get("/console/log").shown
    steward.write(entry(code="another"))
    steward.now = NOW + logcheck.REMEMBERED
    assert "Chain of hashes holds" in steward.get("/console/log").shown
    steward.execute("DELETE FROM log WHERE sequence = 3")
    steward.write(entry(code="a third"))
    assert "the log is broken at entry 3" in steward.get("/console/log").shown


def test_only_the_newest_explanations_are_kept(steward: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    from enarx.tenant.steward import store

    monkeypatch.setattr(store, "EXPLANATIONS_KEPT", 3)
    explained = {"workload": "web", "rules": []}
    steward.write(*(entry(explanation=explained) for _ in range(5)))
    steward.write(entry(explanation=explained), entry())
    assert steward.execute("SELECT sequence FROM explanations ORDER BY sequence") == [(4,), (5,), (6,)]
    assert "No explanation was kept" in steward.get("/console/decisions/1").shown


def test_evidence_of_expired_certificates_is_forgotten(steward: Inside) -> None:
    steward.write(entry(issued=1, explanation={}, keep="{}"))
    steward.write(entry(issued=2, explanation={}, keep="{}", at=NOW + timedelta(hours=11)))
    assert steward.execute("SELECT count(*) FROM keeps") == [(2,)]
    steward.write(entry(issued=3, explanation={}, keep="{}", at=NOW + timedelta(hours=12)))
    assert [serial[-1] for (serial,) in steward.execute("SELECT serial FROM keeps ORDER BY serial")] == ["2", "3"]
