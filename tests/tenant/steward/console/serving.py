"""A Steward with the console in processes of its own, with something to show."""

from __future__ import annotations

import http.client
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from enarx.tenant.steward.log import revocation_entry
from enarx.tenant.steward.store import connect
from tests.evidence.snp.forge import ec_key
from tests.tenant.keeps import Keep, make_csr, manifest, policy_text
from tests.tenant.steward.console.inside import TOKEN, Answer, readers
from tests.tenant.steward.running import Running, prepare

REFUSED = Keep(report={"host_data": manifest(args=("x",)).digest()})


def place(directory: Path) -> Path:
    return prepare(directory, policy_text("[service]\nrate = 0\n", readers(TOKEN)))


def busy(steward: Running) -> None:
    """Certificates, one of them revoked, and refusals of several kinds."""
    for number in range(3):
        assert steward.attest(Keep(key=ec_key(f"keep {number}")).body()).status == 200
    assert steward.attest(REFUSED.body()).status == 403
    assert steward.attest(Keep(report={"measurement": b"\1" * 48}).body()).status == 403
    assert steward.compatible(make_csr(ec_key("keep"), [])).status == 401
    with closing(connect(str(steward.directory / "steward.db"))) as store:
        serial = store.backend.execute("SELECT serial FROM certificates ORDER BY sequence LIMIT 1")[0][0]
        store.append([revocation_entry(serial, "superseded", datetime.now(UTC))])


def ask(
    connection: http.client.HTTPSConnection, method: str, path: str, *, cookie: str = "", origin: str = "", **form: str
) -> Answer:
    """A request on a connection that stays with one worker."""
    headers = {"Cookie": cookie} if cookie else {}
    if origin:
        headers |= {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, path, urlencode(form) if form else None, headers)
    got = connection.getresponse()
    return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
