"""What the console asks, on SQLite and on a real PostgreSQL server: both give the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from enarx.tenant.steward.console import queries
from enarx.tenant.steward.log import revocation_entry
from enarx.tenant.steward.schema import POSTGRESQL, SQLITE
from enarx.tenant.steward.store import Store, connect
from tests.tenant.keeps import NOW
from tests.tenant.steward.console.inside import TOKEN, entry, inside


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    opened = connect(database)
    yield opened
    opened.close()


def test_certificates_that_live_are_listed_the_longest_lived_first(store: Store) -> None:
    hours = (3, 1, 2)
    store.append([entry(issued=number, at=NOW + timedelta(hours=at)) for number, at in enumerate(hours, 1)])
    found = queries.certificates(store, NOW, None, 10)
    assert [int(one.serial, 16) for one in found] == [1, 3, 2]
    rest = queries.certificates(store, NOW, (int(found[0].not_after.timestamp()), found[0].serial), 10)
    assert rest == found[1:]
    assert queries.certificates(store, NOW + timedelta(hours=14), None, 10) == found[:1]
    assert queries.certificates(store, NOW, None, 2) == found[:2]
    assert queries.certificate(store, found[1].serial) == found[1]
    assert queries.certificate(store, "0" * 32) is None


def test_certificates_are_counted_up_to_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(
        [
            entry(issued=1),
            entry(issued=2, simulated=False),
            entry(issued=3, simulated=False, facts={"product": '"simulated":true'}),
            revocation_entry(f"{2:032x}", "superseded", NOW),
        ]
    )
    assert queries.totals(store, NOW) == queries.Totals(live=3, revoked=1, simulated=1, more=False)
    assert queries.totals(store, NOW + timedelta(hours=12)) == queries.Totals(0, 0, 0, False)
    monkeypatch.setattr(queries, "COUNTED_MAX", 2)
    found = queries.totals(store, NOW)
    assert (found.live, found.more) == (2, True)


def test_what_is_kept_of_a_decision_is_found(store: Store) -> None:
    store.append([entry(issued=1, explanation={"rules": []}, keep='{"x":1}'), entry()])
    assert queries.explanation(store, 1) == '{"rules": []}'
    assert queries.keep(store, f"{1:032x}") == '{"x":1}'
    assert queries.explanation(store, 2) is queries.keep(store, "x") is None
    row = queries.row(store, 2)
    assert row is not None
    assert row.sequence == 2
    assert queries.row(store, 3) is None


def test_a_decision_that_is_not_durable_leaves_nothing_behind(store: Store) -> None:
    store.append([entry(issued=1, explanation={}, keep="{}")])
    with pytest.raises(Exception, match=r"refuses|failed"):
        store.append([entry(explanation={}), entry(issued=1, explanation={}, keep="{}")])
    assert store.backend.execute("SELECT sequence FROM explanations") == [(1,)]
    assert store.head().sequence == 1


def test_sessions_begin_and_end(store: Store) -> None:
    ends = NOW + timedelta(minutes=30)
    queries.begin_session(store, "a", "reader", NOW, ends)
    assert queries.session(store, "a", NOW) == ("reader", ends)
    assert queries.session(store, "b", NOW) is None
    assert queries.session(store, "a", ends) is None
    queries.end_session(store, "a")
    assert queries.session(store, "a", NOW) is None


def test_a_database_of_an_older_steward_is_brought_up_to_date(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from enarx.tenant.steward.postgresql import PostgresqlBackend
    from enarx.tenant.steward.sqlite import SqliteBackend

    monkeypatch.setattr(SqliteBackend, "steps", SQLITE[:1])
    monkeypatch.setattr(PostgresqlBackend, "steps", POSTGRESQL[:1])
    old = connect(database)
    old.append([entry(issued=1)])
    old.close()
    monkeypatch.undo()
    store = connect(database)
    store.append([entry(issued=2, explanation={}, keep="{}")])
    assert len(queries.certificates(store, NOW, None, 9)) == 2
    assert queries.explanation(store, 1) is None
    store.close()


def test_the_console_works_on_either_database(database: str) -> None:
    with inside(database) as steward:
        assert steward.sign_in().status == 303
        steward.write(entry(issued=1, explanation={"rules": []}, keep="{}"), entry())
        for page in ("", "/keeps", f"/keeps/{1:032x}", "/decisions", "/decisions/1", "/decisions/2", "/policy", "/log"):
            assert steward.get(f"/console{page}").status == 200, page
        assert TOKEN not in steward.get("/console").text
        assert steward.ask("POST", "/console/logout", {}).status == 303
        assert steward.get("/console").status == 303
