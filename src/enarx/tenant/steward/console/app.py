"""The console over HTTP: routes, who may see them, and the headers that keep a browser from being used against it.

Nothing here changes what the Steward decides. Signing in and out are the only requests that write anything, and the
only ones that are not GET; they are believed from the console's own pages alone (Origin, and a cookie that no other
site's request carries).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from enarx.tenant.policy import ConsoleRules, Policy
from enarx.tenant.steward.body import RefusedError, read_body
from enarx.tenant.steward.console import session
from enarx.tenant.steward.console.pages import NotFoundError, Pages, View
from enarx.tenant.steward.console.render import render, statics, url
from enarx.tenant.steward.engine import Engine
from enarx.tenant.steward.limits import RateLimit
from enarx.tenant.steward.metrics import Metrics
from enarx.tenant.steward.reader import Reader
from enarx.tenant.steward.store import Store, StoreError

FORM_MAX_BYTES: Final = 4 * 1024
"""Largest form (bytes)."""
FORM_FIELDS_MAX: Final = 4
LOGIN_SECONDS: Final = 10
"""How often one address may try to sign in, at one worker (seconds), once it has used up ``LOGIN_BURST``."""
LOGIN_BURST: Final = 5
PATH: Final = "/console"

HEADERS: Final = {
    # connect-src is for the script that asks for the page again; nothing else may be loaded, framed or sent elsewhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a browser then sends `Origin: null` with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
"""On every answer; a static file has a ``Cache-Control`` of its own."""

_LOG: Final = logging.getLogger("enarx.steward")
_Make = Callable[[Store, View], str]


class Console:
    """The application; the Steward asks it for nothing while the policy has no ``[console]``."""

    def __init__(self, engine: Engine, reader: Reader, metrics: Metrics) -> None:
        self._engine = engine
        self._reader = reader
        self._pages = Pages(engine.authority, metrics)
        self._logins = RateLimit(1 / LOGIN_SECONDS, LOGIN_BURST)
        self._router = Router(
            redirect_slashes=False,
            routes=[
                self._page("", lambda _: self._pages.overview),
                self._page("/keeps", lambda _: self._pages.keeps),
                self._page("/keeps/{serial}", self._keep),
                self._page("/decisions", lambda _: self._pages.decisions),
                self._page("/decisions/{sequence}", self._decision),
                self._page("/policy", lambda _: self._pages.policy),
                self._page("/log", lambda _: self._pages.log),
                Route(f"{PATH}/login", self._login_form, methods=["GET"]),
                Route(f"{PATH}/login", self._login, methods=["POST"]),
                Route(f"{PATH}/logout", self._logout, methods=["POST"]),
                Route(f"{PATH}/static/{{version}}/{{name}}", self._static, methods=["GET"]),
            ],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with ``HEADERS``; errors are pages too."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._router(scope, receive, secured)
        except (HTTPException, NotFoundError) as error:
            status = error.status_code if isinstance(error, HTTPException) else 404
            headers = error.headers if isinstance(error, HTTPException) else None
            await _problem(status, headers)(scope, receive, secured)
        except RefusedError as refused:
            headers = {"Retry-After": str(LOGIN_SECONDS)} if refused.status == 429 else {"Connection": "close"}
            await _problem(refused.status, headers)(scope, receive, secured)
        except StoreError as error:
            _LOG.error("the console cannot read the database: %s", error.message)
            await _problem(503, {"Retry-After": "5"})(scope, receive, secured)

    # --- pages

    def _page(self, path: str, choose: Callable[[Request], _Make]) -> Route:
        async def answer(request: Request) -> Response:
            policy, now = self._engine.policy, self._engine.clock()
            found = await self._session(request, policy, now)
            if found is None:
                return _to_login(request.url.path)
            view = View(now, found.ends, policy, request.query_params)
            make = choose(request)
            return _html(await self._reader.run(lambda store: make(store, view)))

        return Route(PATH + path, answer, methods=["GET"])

    def _keep(self, request: Request) -> _Make:
        serial = request.path_params["serial"]
        return lambda store, view: self._pages.keep(store, view, serial)

    def _decision(self, request: Request) -> _Make:
        text = request.path_params["sequence"]
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise NotFoundError
        return lambda store, view: self._pages.decision(store, view, int(text))

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in statics() or request.url.path != url(name):
            raise NotFoundError
        data, kind = statics()[name]
        headers = {"Content-Type": kind, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(data, headers=headers)

    # --- signing in and out

    async def _session(self, request: Request, policy: Policy, now: datetime) -> session.Session | None:
        return await session.current(self._reader, request.cookies, now, _rules(policy))

    async def _login_form(self, request: Request) -> Response:
        target = _target(request.query_params.get("next", ""))
        if await self._session(request, self._engine.policy, self._engine.clock()) is not None:
            return RedirectResponse(target, 303)
        return _html(render("login.html", target=target, refused=False))

    async def _login(self, request: Request) -> Response:
        _check_origin(request)
        address = request.client.host if request.client else ""
        if not self._logins.admits(address, time.monotonic()):
            raise RefusedError(429, "rate-limit", "too many attempts from this address", "wait some seconds")
        form = await _form(request)
        rules, target = _rules(self._engine.policy), _target(form.get("next", ""))
        who = session.reader_of(form.get("token", ""), rules)
        if who is None:
            _LOG.warning("the console refused a token")
            return _html(render("login.html", target=target, refused=True), 403)
        cookie = await session.begin(self._reader, who, self._engine.clock(), rules)
        _LOG.info("the console let in the reader whose token has the digest sha256:%s...", who[:12])
        return RedirectResponse(target, 303, {"Set-Cookie": cookie})

    async def _logout(self, request: Request) -> Response:
        _check_origin(request)
        found = await self._session(request, self._engine.policy, self._engine.clock())
        headers = {"Set-Cookie": await session.end(self._reader, found)} if found is not None else None
        return RedirectResponse(f"{PATH}/login", 303, headers)


def _rules(policy: Policy) -> ConsoleRules:
    if policy.console is None:  # the policy was reloaded in between
        raise NotFoundError
    return policy.console


def _check_origin(request: Request) -> None:
    """Refuse a form that another site sent (RFC 6454 7): browsers say where a form comes from, and only they."""
    host = request.headers.get("host", "")
    if not host or request.headers.get("origin", "") != f"https://{host}":
        raise RefusedError(403, "origin", "the request comes from another site", "use the console's own form")


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError(415, "media-type", "the request is no form", "use the console's own form")
    body = await read_body(request, FORM_MAX_BYTES)
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=FORM_FIELDS_MAX, strict_parsing=True)
    except ValueError:  # of which a decoding error is one
        raise RefusedError(400, "form", "the form cannot be read", "use the console's own form") from None
    return {name: values[0] for name, values in found.items()}


def _target(text: str) -> str:
    """Where to go once signed in: a page of the console and nowhere else."""
    plain = text.isascii() and len(text) <= 128 and all(one.isalnum() or one == "/" for one in text)
    sign = (f"{PATH}/login", f"{PATH}/logout")
    return text if plain and text.startswith(f"{PATH}/") and text not in sign else PATH


def _to_login(path: str) -> Response:
    target = _target(path)
    query = f"?next={target}" if target != PATH else ""
    return RedirectResponse(f"{PATH}/login{query}", 303)


def _html(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/html")


def _problem(status: int, headers: object = None) -> Response:
    response = _html(render("problem.html", status=status), status)
    if isinstance(headers, dict):
        response.headers.update(headers)
    return response
