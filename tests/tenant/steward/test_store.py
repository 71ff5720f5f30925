"""The database: durable and chained appends by several instances, on SQLite and on a real PostgreSQL server alike."""

from __future__ import annotations

import sqlite3
import stat
from datetime import timedelta
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from enarx.errors import ConfigError
from enarx.tenant.steward.ca import Issued
from enarx.tenant.steward.log import Entry, revocation_entry, verify
from enarx.tenant.steward.store import PAGE_ROWS, Store, StoreError, connect
from tests.tenant.keeps import NOW
from tests.tenant.steward.databases import postgresql


def issued(number: int) -> Entry:
    serial = f"{number:032x}"
    return Entry(f'{{"serial":"{serial}"}}', Issued(b"", serial, NOW + timedelta(hours=1)))


def test_what_is_appended_is_there_for_the_next_instance(database: str) -> None:
    store = connect(database)
    assert store.head().sequence == 0
    positions = store.append([Entry("a"), issued(1)]) + store.append([Entry("b")])
    store.close()
    again = connect(database)
    assert [row.body for row in again.rows()] == ["a", issued(1).body, "b"]
    assert [row.body for row in again.rows(after=2)] == ["b"]
    assert again.head() == positions[-1] == verify(again.rows())
    assert again.unlogged_certificates() == []
    again.close()


def test_many_instances_write_one_chain(database: str) -> None:
    connect(database).close()

    def write(start: int) -> None:
        store = connect(database)
        for number in range(20):
            store.append([issued(start + 2 * number), issued(start + 2 * number + 1)])
        store.close()

    threads = [Thread(target=write, args=(1000 * one,)) for one in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store = connect(database)
    assert verify(store.rows()).sequence == 120
    store.close()


def test_long_logs_are_read_in_pages(database: str) -> None:
    store = connect(database)
    store.append([Entry(str(number)) for number in range(PAGE_ROWS + 5)])
    assert verify(store.rows()).sequence == PAGE_ROWS + 5
    store.close()


def test_a_revoked_certificate_is_listed_until_it_expires(database: str) -> None:
    store = connect(database)
    store.append([issued(1), issued(2)])
    serial = f"{1:032x}"
    assert store.certificate(serial) == (NOW + timedelta(hours=1), None)
    assert store.certificate("ff" * 16) is None
    store.append([revocation_entry(serial, "superseded", NOW)])
    assert store.revoked(NOW) == [(serial, NOW)]
    assert store.revoked(NOW + timedelta(hours=2)) == []
    assert store.certificate(serial) == (NOW + timedelta(hours=1), NOW)
    store.close()


def test_a_batch_that_fails_leaves_nothing_behind(database: str) -> None:
    store = connect(database)
    store.append([issued(1)])
    with pytest.raises(StoreError):
        store.append([Entry("before"), issued(1)])
    assert store.append([Entry("after")])[0].sequence == 2
    assert verify(store.rows()).sequence == 2
    store.close()


def test_the_database_refuses_to_change_or_remove_an_entry(database: str) -> None:
    store = connect(database)
    store.append([Entry("a")])
    store.close()
    for statement in ("UPDATE log SET body = 'b'", "DELETE FROM log"):
        with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"):
            execute(database, statement)


def test_an_entry_changed_behind_the_triggers_is_found(database: str) -> None:
    store = connect(database)
    store.append([Entry("a"), issued(5)])
    store.close()
    if database.startswith("postgresql"):
        execute(database, "ALTER TABLE log DISABLE TRIGGER ALL", "UPDATE log SET body = 'b' WHERE sequence = 1")
    else:
        execute(database, "DROP TRIGGER log_no_update", "UPDATE log SET body = 'b' WHERE sequence = 1")
    store = connect(database)
    with pytest.raises(Exception, match="broken at entry 1"):
        verify(store.rows())
    store.close()


def test_a_certificate_without_its_entry_is_found(database: str) -> None:
    store = connect(database)
    store.append([Entry("a")])
    execute(database, f"INSERT INTO certificates (serial, sequence, not_after) VALUES ('{'ee' * 16}', 1, 9)")
    assert store.unlogged_certificates() == ["ee" * 16]
    store.close()


def test_a_newer_schema_is_refused(database: str) -> None:
    connect(database).close()
    execute(database, "UPDATE schema_version SET version = 99")
    with pytest.raises(ConfigError) as caught:
        connect(database)
    assert caught.value.code == "database-schema"


def test_a_database_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    for place in (str(tmp_path / "no" / "such" / "file"), "postgresql:host=/nowhere dbname=x"):
        with pytest.raises(StoreError):
            connect(place)


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is not a database, it only looks long enough" * 100)
    with pytest.raises(StoreError):
        connect(str(tmp_path / "x.db"))


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = connect(f"sqlite:{tmp_path / 'x.db'}")
    store.append([Entry("a")])
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    store.close()


def test_a_server_that_does_not_write_durably_is_refused() -> None:
    with postgresql("-c fsync=off") as url, pytest.raises(ConfigError) as caught:
        connect(url)
    assert caught.value.code == "database-fsync"


def test_a_store_is_made_with_the_schema_it_knows(database: str) -> None:
    for _ in range(2):
        store = connect(database)
        assert isinstance(store, Store)
        store.close()


def execute(database: str, *statements: str) -> None:
    if database.startswith("postgresql"):
        with psycopg.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return
    with sqlite3.connect(database) as direct:
        for statement in statements:
            direct.execute(statement)
    direct.close()
