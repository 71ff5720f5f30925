"""Who may look: signing in and out, forms of other sites, ends of sessions, and what each answer tells a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from enarx.tenant.steward.console import queries
from enarx.tenant.steward.console.app import FORM_MAX_BYTES, LOGIN_BURST
from enarx.tenant.steward.console.session import COOKIE
from enarx.tenant.steward.store import Store, StoreError, connect
from tests.tenant.keeps import NOW
from tests.tenant.steward.console.inside import HOST, ORIGIN, TOKEN, Inside, inside, read_page, readers

PAGES = ("", "/keeps", "/decisions", "/policy", "/log")
POLICY = {
    "default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "connect-src 'self'",
    "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
}  # fmt: skip


@pytest.fixture
def steward(tmp_path: Path) -> Iterator[Inside]:
    with inside(str(tmp_path / "x.db")) as one:
        yield one


def test_without_readers_there_is_no_console(tmp_path: Path) -> None:
    with inside(str(tmp_path / "x.db"), "") as steward:
        for path in ("/console", "/console/login", "/console/keeps", "/console/static/x/console.css"):
            assert (steward.get(path).status, steward.get(path).body) == (404, b"")
        assert steward.sign_in().status == 404
        assert steward.service._console is None


def test_a_reload_opens_and_closes_the_console(steward: Inside) -> None:
    steward.sign_in()
    assert steward.get("/console").status == 200
    steward.adopt()
    assert steward.get("/console").status == 404
    steward.adopt(readers(TOKEN))
    assert steward.get("/console").status == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_sees_the_form_alone(steward: Inside, page: str) -> None:
    answer = steward.get(f"/console{page}")
    assert (answer.status, answer.body) == (303, b"")
    target = f"?next=/console{page}" if page else ""
    assert answer.headers["location"] == f"/console/login{target}"
    form = steward.get(answer.headers["location"])
    assert form.status == 200
    assert f'name="next" value="/console{page}"' in form.text


def test_a_token_of_the_policy_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(
    steward: Inside,
) -> None:
    answer = steward.sign_in()
    assert (answer.status, answer.headers["location"]) == (303, "/console")
    name_and_value, *attributes = answer.headers["set-cookie"].split("; ")
    assert name_and_value.startswith(f"{COOKIE}=")
    assert COOKIE.startswith("__Host-")
    assert sorted(attributes) == ["HttpOnly", "Max-Age=1800", "Path=/", "SameSite=Strict", "Secure"]
    assert TOKEN not in steward.cookie
    assert len(steward.cookie) == 43
    for page in PAGES:
        assert steward.get(f"/console{page}").status == 200
    assert steward.get("/console/login").headers["location"] == "/console"


def test_the_database_knows_no_cookie(steward: Inside) -> None:
    steward.sign_in()
    assert steward.cookie not in Path(steward.database).read_bytes().decode("latin-1")
    ((stored, _, _),) = steward.execute("SELECT id, reader, ends FROM console_sessions")
    assert steward.get("/console", cookie=f"{COOKIE}={stored}").status == 303


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "\u00e9", "\0", "x" * 3000])
def test_another_token_is_refused(steward: Inside, token: str) -> None:
    answer = steward.sign_in(token) if token else steward.ask("POST", "/console/login", {"token": " "})
    assert answer.status == 403
    assert "does not name this token" in answer.shown
    assert "set-cookie" not in answer.headers


def test_white_space_around_a_token_is_no_part_of_it(steward: Inside) -> None:
    assert steward.sign_in(f" {TOKEN}\n").status == 303


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "é" * 43, "a" * 5000, "' OR 1=1 --"])
def test_another_cookie_is_nobodys(steward: Inside, cookie: str) -> None:
    steward.sign_in()
    assert steward.get("/console", cookie=f"{COOKIE}={cookie}").status == 303


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (path, origin)
        for path in ("/console/login", "/console/logout")
        for origin in ("", "null", "https://evil.example", f"http://{HOST}", f"{ORIGIN}.evil.example", f"{ORIGIN}/")
    ],
)
def test_a_form_of_another_site_is_refused(steward: Inside, path: str, origin: str) -> None:
    steward.sign_in()
    answer = steward.ask("POST", path, {"token": TOKEN}, origin=origin)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers
    assert steward.get("/console").status == 200


def test_signing_out_ends_the_session_for_whoever_has_the_cookie(steward: Inside) -> None:
    steward.sign_in()
    answer = steward.ask("POST", "/console/logout", {})
    assert (answer.status, answer.headers["location"]) == (303, "/console/login")
    assert f"{COOKIE}=; Max-Age=0" in answer.headers["set-cookie"]
    assert steward.get("/console").status == 303
    assert steward.execute("SELECT id FROM console_sessions") == []
    assert steward.ask("POST", "/console/logout", {}).status == 303


def test_a_session_ends_in_time_and_is_not_prolonged_by_being_used(steward: Inside) -> None:
    steward.sign_in()
    for minutes in (10, 20, 29):
        steward.now = NOW + timedelta(minutes=minutes)
        assert steward.get("/console").status == 200
    steward.now = NOW + timedelta(minutes=30)
    assert steward.get("/console").status == 303


def test_how_long_a_session_lasts_is_the_policys(tmp_path: Path) -> None:
    with inside(str(tmp_path / "x.db"), readers(TOKEN) + 'session = "2h"\n') as steward:
        assert "Max-Age=7200" in steward.sign_in().headers["set-cookie"]


def test_a_reader_whom_the_policy_no_longer_names_is_out_at_once(steward: Inside) -> None:
    steward.sign_in()
    steward.adopt(readers("another"))
    assert steward.get("/console").status == 303
    assert steward.sign_in().status == 403


def test_a_session_is_known_to_every_instance_on_the_database(steward: Inside) -> None:
    steward.sign_in()
    with inside(steward.database) as other:
        assert other.get("/console", cookie=f"{COOKIE}={steward.cookie}").status == 200
        other.cookie = steward.cookie
        other.ask("POST", "/console/logout", {})
    assert steward.get("/console").status == 303


def test_too_many_sessions_end_the_oldest(steward: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SESSIONS_MAX", 3)
    store = connect(steward.database)
    for number in range(5):
        queries.begin_session(store, str(number), "r", NOW, NOW + timedelta(minutes=number + 1))
    kept = store.backend.execute("SELECT id FROM console_sessions ORDER BY id")
    assert kept == [("2",), ("3",), ("4",)]
    queries.begin_session(store, "5", "r", NOW + timedelta(minutes=4), NOW + timedelta(minutes=9))
    assert store.backend.execute("SELECT id FROM console_sessions ORDER BY id") == [("4",), ("5",)]
    store.close()


def test_attempts_to_sign_in_are_limited_for_each_address(steward: Inside) -> None:
    found = [steward.sign_in("wrong").status for _ in range(LOGIN_BURST + 2)]
    assert found == [403] * LOGIN_BURST + [429] * 2
    answer = steward.sign_in()
    assert (answer.status, answer.headers["retry-after"]) == (429, "10")
    assert steward.sign_in(address="192.0.2.2").status == 303


def test_the_stewards_own_limit_holds_for_the_console(tmp_path: Path) -> None:
    with inside(str(tmp_path / "x.db"), "[service]\nrate = 1\nburst = 2\n", readers(TOKEN)) as steward:
        assert [steward.get("/console/login").status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/console/keeps", "/console/keeps"),
        ("/console/log", "/console/log"),
        ("/console/login", "/console"),
        ("/console/logout", "/console"),
        ("https://evil.example", "/console"),
        ("//evil.example", "/console"),
        ("/console/../v1/policy", "/console"),
        ("/console//evil.example\r\nx: y", "/console"),
        ("/v1/policy", "/console"),
        ("/console/" + "a" * 200, "/console"),
    ],
)
def test_signing_in_leads_to_a_page_of_the_console_alone(steward: Inside, target: str, location: str) -> None:
    answer = steward.ask("POST", "/console/login", {"token": TOKEN, "next": target})
    assert (answer.status, answer.headers["location"]) == (303, location)


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ({"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}, {}, 400),
        ({"token": TOKEN}, {"content_type": "text/plain"}, 415),
        ({"token": "x" * FORM_MAX_BYTES}, {}, 413),
        ({}, {}, 403),
    ],
)
def test_a_form_that_is_none_of_ours_is_refused(
    steward: Inside, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    answer = steward.ask("POST", "/console/login", form, **headers)
    assert answer.status == status
    assert "<h1>" in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_pages_are_only_read(steward: Inside, method: str) -> None:
    steward.sign_in()
    before = steward.execute("SELECT count(*) FROM log")
    for page in PAGES:
        assert steward.ask(method, f"/console{page}", {}).status == 405
    assert steward.execute("SELECT count(*) FROM log") == before


def test_every_answer_tells_the_browser_what_it_may_do(steward: Inside) -> None:
    answers = [steward.get("/console"), steward.sign_in("wrong"), steward.sign_in()]
    answers += [steward.get(f"/console{page}") for page in (*PAGES, "/nothing", "/decisions/x", "/login")]
    answers += [steward.ask("PUT", "/console"), steward.ask("POST", "/console/login", {}, origin="null")]
    for answer in answers:
        assert {one.strip() for one in answer.headers["content-security-policy"].split(";")} == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "geolocation=()" in answer.headers["permissions-policy"]
        for name, attributes in read_page(answer.text).elements:
            assert name != "style"
            assert not any(one == "style" or one.startswith("on") for one in attributes)


def test_static_files_are_at_an_address_of_their_version(steward: Inside) -> None:
    page = steward.get("/console/login").text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    answer = steward.get(address)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert "--paper" in answer.text
    for other in ("/console/static/0/console.css", address + "x", address.replace("console.css", "..%2fapp.py")):
        assert steward.get(other).status == 404


def test_a_database_that_is_gone_is_said_and_tells_no_more(tmp_path: Path) -> None:
    place = str(tmp_path / "x.db")
    failing = False

    def opened() -> Store:
        if failing:
            raise StoreError("cannot reach the database at 10.0.0.1", hint="x")
        return connect(place)

    with inside(place, open_=opened) as steward:
        steward.sign_in()
        failing = True
        asyncio.run(steward.reader.run(lambda _: steward.reader._discard()))
        answer = steward.get("/console")
        assert answer.status == 503
        assert "The database cannot be reached" in answer.shown
        assert "10.0.0.1" not in answer.text
        failing = False
        assert steward.get("/console").status == 200
