"""The Steward's application in this process, with a real database, asked as a server would ask it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from enarx.tenant.steward.ca import Issued
from enarx.tenant.steward.console.session import COOKIE
from enarx.tenant.steward.decision import Request
from enarx.tenant.steward.engine import Engine
from enarx.tenant.steward.journal import Journal
from enarx.tenant.steward.log import Entry
from enarx.tenant.steward.metrics import Metrics
from enarx.tenant.steward.reader import Reader
from enarx.tenant.steward.record import Record
from enarx.tenant.steward.service import Service
from enarx.tenant.steward.store import Store, connect
from tests.tenant.keeps import NOW, authority, policy

TOKEN = "a reader's token"
HOST = "steward.example:3000"
ORIGIN = f"https://{HOST}"


def readers(*tokens: str) -> str:
    """The table of a policy that lets these in."""
    return f"[console]\nreaders = {[f'sha256:{hashlib.sha256(one.encode()).hexdigest()}' for one in tokens]}\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def shown(self) -> str:
        """What is written on the page, without its markup."""
        return read_page(self.text).text


@dataclass
class Inside:
    """A Steward; ``now`` is its time."""

    database: str
    engine: Engine
    service: Service
    reader: Reader
    journal: Journal
    now: datetime = NOW
    cookie: str = ""

    def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, address: str = "192.0.2.1", **headers: str
    ) -> Answer:
        """One request; a form comes from the console's own page unless ``origin`` says otherwise."""
        named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        body = b""
        if form is not None:
            body = urlencode(form).encode()
            named = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"} | named
        if self.cookie:
            named.setdefault("cookie", f"{COOKIE}={self.cookie}")
        return asyncio.run(_ask(self.service.app, method, path, body, named, address))

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, "192.0.2.1", **headers)

    def sign_in(self, token: str = TOKEN, **more: Any) -> Answer:
        answer = self.ask("POST", "/console/login", {"token": token}, **more)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        return answer

    def attest(self, *requests: Request) -> list[Any]:
        """Decide on requests as /v1/attest does."""

        async def run() -> list[Any]:
            self.journal.start()
            try:
                return [await self.engine.serve(one, "attest") for one in requests]
            finally:
                await self.journal.stop()

        return asyncio.run(run())

    def adopt(self, *more: str) -> None:
        """Reload the policy."""

        async def run() -> None:
            self.journal.start()
            try:
                await self.engine.adopt(policy(*more))
            finally:
                await self.journal.stop()

        asyncio.run(run())

    def write(self, *entries: Entry) -> list[int]:
        """Append entries of one's own making; returns where they stand."""
        store = connect(self.database)
        try:
            return [one.sequence for one in store.append(entries)]
        finally:
            store.close()

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Do something to the database that the Steward does not."""
        store = connect(self.database)
        try:
            return store.backend.execute(statement, parameters)
        finally:
            store.close()


@contextmanager
def inside(database: str, *more: str, open_: Callable[[], Store] | None = None) -> Iterator[Inside]:
    """A Steward with the console for ``TOKEN``, unless ``more`` is given; ``open_`` opens its database otherwise."""
    opened = open_ or (lambda: connect(database))
    journal, reader = Journal(opened), Reader(opened)
    with ThreadPoolExecutor(1) as threads:
        made: list[Inside] = []
        engine = Engine(
            authority(), policy(*(more or (readers(TOKEN),))), journal, clock=lambda: made[0].now, threads=threads
        )
        made.append(Inside(database, engine, Service(engine, reader, Metrics()), reader, journal))
        try:
            yield made[0]
        finally:
            reader.close()


async def _ask(app: Any, method: str, path: str, body: bytes, headers: dict[str, str], address: str) -> Answer:
    sent: list[dict[str, Any]] = []
    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "https", "path": plain,
        "raw_path": plain.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (address, 1234), "server": ("127.0.0.1", 3000),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    start = next(one for one in sent if one["type"] == "http.response.start")
    content = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
    return Answer(start["status"], {k.decode().lower(): v.decode() for k, v in start["headers"]}, content)


@dataclass
class Page(HTMLParser):
    """Markup and text of a page, apart."""

    elements: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self._apart(tag)
        self.values += [value or "" for _, value in attrs]
        self.addresses += [value or "" for name, value in attrs if name in ("action", "href", "src")]

    def handle_endtag(self, tag: str) -> None:
        self._apart(tag)

    def _apart(self, tag: str) -> None:
        if tag in ("dd", "div", "dt", "h1", "h2", "li", "p", "td", "th"):
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--", ()))

    def handle_decl(self, decl: str) -> None:
        self.elements.append((decl, ()))


def read_page(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page


def entry(
    *, issued: int = 0, explanation: dict[str, Any] | None = None, at: datetime = NOW, keep: str = "", **body: Any
) -> Entry:
    """A decision's entry with anything in it; ``issued`` is the number of a certificate."""
    plain: dict[str, Any] = {
        "time": at.isoformat(), "event": "decision", "route": "attest", "outcome": "issued" if issued else "refused",
        "code": "accepted" if issued else "measurement-mismatch", "technology": "snp", "simulated": True,
        "policy": f"sha256:{'0' * 64}", "facts": {},
    }  # fmt: skip
    record = None
    if explanation is not None:
        record = Record(json.dumps(explanation), keep, at)
        plain["explanation"] = record.digest
    made = None
    if issued:
        made = Issued(b"", f"{issued:032x}", at + timedelta(hours=12))
        plain |= {"serial": made.serial, "not_after": made.not_after.isoformat(), "secrets": 0}
    return Entry(json.dumps(plain | body, separators=(",", ":")), made, record=record)
