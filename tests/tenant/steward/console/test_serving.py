"""The console of a Steward that runs as people run it: several workers, TLS, either database."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.command import wait_for
from tests.support import command as enarx
from tests.tenant.keeps import Keep, policy_text
from tests.tenant.steward.console.inside import TOKEN
from tests.tenant.steward.console.serving import ask, busy, place
from tests.tenant.steward.databases import postgresql
from tests.tenant.steward.running import SECONDS, prepare, running

WORKERS = 3
CONNECTIONS = 6
"""Workers take turns in accepting, so that many connections reach more than one of them."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whoever_signed_in_at_one_worker_is_signed_in_at_all(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        options = ["--workers", str(WORKERS)]
        if kind == "postgresql":
            options += ["--database", stack.enter_context(postgresql())]
        steward = stack.enter_context(running(place(tmp_path), *options))
        for _ in range(3):
            assert steward.attest(Keep().body()).status == 200
        origin = f"https://127.0.0.1:{steward.port}"
        opened = [stack.enter_context(closing(steward.connection())) for _ in range(CONNECTIONS)]
        assert [ask(one, "GET", "/console").status for one in opened] == [303] * CONNECTIONS
        answer = ask(opened[0], "POST", "/console/login", origin=origin, token=TOKEN)
        assert answer.status == 303
        cookie = answer.headers["set-cookie"].partition(";")[0]
        for path in ("", "/keeps", "/decisions", "/policy", "/log"):
            assert {ask(one, "GET", f"/console{path}", cookie=cookie).status for one in opened} == {200}
        shown = {ask(one, "GET", "/console", cookie=cookie).shown.partition("Latest")[0] for one in opened}
        assert all("3 live certificates" in one and "Issued 3" in one for one in shown)
        assert ask(opened[-1], "POST", "/console/logout", cookie=cookie, origin=origin, x="").status == 303
        assert {ask(one, "GET", "/console", cookie=cookie).status for one in opened} == {303}
        assert "Traceback" not in steward.errors()
        assert TOKEN not in steward.errors()


def test_the_console_is_not_there_until_the_policy_names_readers(tmp_path: Path) -> None:
    prepare(tmp_path, policy_text("[service]\nrate = 0\n"))
    with running(tmp_path) as steward:
        assert steward.ask("GET", "/console").status == 404
        assert steward.attest(Keep().body()).status == 200
        place(tmp_path)
        os.kill(steward.process.pid, signal.SIGHUP)
        wait_for(lambda: steward.ask("GET", "/console").status == 303, "the console was not opened by a reload")


def test_what_a_decision_costs_more_is_not_seen_by_clients(tmp_path: Path) -> None:
    """Certificates and refusals are what they are without a console, and the log verifies."""
    with running(place(tmp_path)) as steward:
        busy(steward)
    from enarx.tenant.steward.log import verify
    from enarx.tenant.steward.store import connect

    with closing(connect(str(tmp_path / "steward.db"))) as store:
        assert verify(store.rows()) == store.head()
        assert store.unlogged_certificates() == []
        for sequence, body in store.backend.execute("SELECT sequence, body FROM explanations"):
            (logged,) = store.backend.execute("SELECT body FROM log WHERE sequence = ?", (sequence,))
            assert hashlib.sha256(body.encode()).hexdigest() in logged[0]


def test_a_token_that_was_made_lets_in_whom_the_policy_names(tmp_path: Path) -> None:
    file = tmp_path / "alice.token"
    command = [str(enarx()), "steward", "token", str(file)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    token = file.read_text()
    assert len(token.strip()) == 43
    assert file.stat().st_mode & 0o077 == 0
    assert token.strip() not in made.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (again.returncode, file.read_text()) == (1, token)
    assert "file-exists" in again.stderr
    prepare(tmp_path, policy_text(f'[console]\nreaders = ["{made.stdout.strip()}"]\n'))
    with running(tmp_path) as steward, closing(steward.connection()) as connection:
        origin = f"https://127.0.0.1:{steward.port}"
        assert ask(connection, "POST", "/console/login", origin=origin, token=token).status == 303


def test_nothing_of_the_console_is_loaded_before_somebody_asks_for_it(tmp_path: Path) -> None:
    with running(place(tmp_path)) as steward:
        mapped = Path(f"/proc/{steward.process.pid}/maps")
        assert "markupsafe" not in mapped.read_text()
        assert steward.ask("GET", "/console/login").status == 200
        assert "markupsafe" in mapped.read_text()
