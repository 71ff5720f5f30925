"""The Steward over HTTP: routes, bounds, statuses. What is decided and written is the engine's business.

``POST /`` is the published Steward's interface, with its statuses and empty bodies; ``/v1`` is our own, with problem
documents that carry the appraisal.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from enarx.errors import EnarxError, MalformedError
from enarx.tenant.steward import answer
from enarx.tenant.steward.body import RefusedError, read_body
from enarx.tenant.steward.engine import Engine, Outcome
from enarx.tenant.steward.limits import RateLimit
from enarx.tenant.steward.metrics import CONTENT_TYPE, Metrics
from enarx.tenant.steward.reader import Reader
from enarx.tenant.steward.store import StoreError
from enarx.tenant.workloads import written

if TYPE_CHECKING:
    from enarx.tenant.steward.console.app import Console

CRL_CACHE: Final = timedelta(seconds=30)
"""How long a revocation list is served before it is made anew."""

_LOG: Final = logging.getLogger("enarx.steward")
_Handler = Callable[[Request], Awaitable[Response]]


class _Asgi:
    """A route that answers by itself, whatever the method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Service:
    """The application (``app``) around an engine."""

    def __init__(
        self, engine: Engine, reader: Reader, metrics: Metrics, *, console_reader: Reader | None = None
    ) -> None:
        """The console's pages take longer than what ``reader`` is for, so they have a reader of their own."""
        self._engine = engine
        self._console_reader = console_reader or reader
        self._console: Console | None = None
        self._reader = reader
        self._metrics = metrics
        self._crl: tuple[datetime, bytes] | None = None
        self.limit_rate()
        metrics.authority_not_after.set(engine.authority.certificate.not_valid_after_utc.timestamp())
        self.app = Starlette(
            routes=[
                Route("/", self._timed("compatible", self._compatible), methods=["POST"]),
                Route("/", self._alive, methods=["GET"]),
                Route("/v1/attest", self._timed("attest", self._attest), methods=["POST"]),
                Route("/v1/ca", self._authority, methods=["GET"]),
                Route("/v1/crl", self._timed("crl", self._revocations), methods=["GET"]),
                Route("/v1/policy", self._policy, methods=["GET"]),
                Route("/healthz", self._alive, methods=["GET"]),
                Route("/readyz", self._ready, methods=["GET"]),
                Route("/metrics", self._show_metrics, methods=["GET"]),
                Route("/console", _Asgi(self._show_console)),
                Route("/console/{page:path}", _Asgi(self._show_console)),
            ]
        )

    def limit_rate(self) -> None:
        """Take the rate limit from the policy in force."""
        rules = self._engine.policy.service
        self._rate = RateLimit(rules.rate, rules.burst)

    def _timed(self, route: str, handler: _Handler) -> _Handler:
        """Bound and count a route, and turn what goes wrong into statuses; the published interface has empty bodies."""

        async def wrapped(request: Request) -> Response:
            begun = time.perf_counter()
            try:
                self._admit(request)
                response = await handler(request)
            except RefusedError as refused:
                headers = {"Retry-After": "1"} if refused.status == 429 else {"Connection": "close"}
                response = self._problem(route, refused.status, refused.error, headers)
            except MalformedError as error:
                response = self._problem(route, 400, error)
            except StoreError as error:
                _LOG.error("the log cannot be written: %s", error.message)
                told = StoreError(
                    "the decision cannot be logged", hint="try again later"
                )  # the rest is not for clients
                response = self._problem(route, 503, told, {"Retry-After": "1"})
            self._metrics.requests.labels(route, str(response.status_code)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
            return response

        return wrapped

    def _admit(self, request: Request) -> None:
        address = request.client.host if request.client else ""
        if not self._rate.admits(address, time.monotonic()):
            raise RefusedError(429, "rate-limit", "too many requests from this address", "try again in a second")

    @staticmethod
    def _problem(route: str, status: int, error: EnarxError, headers: dict[str, str] | None = None) -> Response:
        if route == "compatible":
            return Response(status_code=status, headers=headers)
        return Response(answer.problem(status, error), status, headers, answer.PROBLEM)

    async def _compatible(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").lower()
        if kind not in (answer.PKCS10, answer.BUNDLE):
            return Response(status_code=400)
        requests = answer.read_compatible(kind, await read_body(request))
        outcomes = await self._engine.serve_all(requests, "compatible") if requests else []
        self._count(outcomes)
        issued = [one.issued.der for one in outcomes if one.issued]
        if len(issued) < len(outcomes):
            return Response(status_code=401 if outcomes[-1].decision.code == "evidence-missing" else 400)
        return Response(answer.compatible_answer(kind, self._engine.authority.der, issued), media_type=answer.OCTETS)

    async def _attest(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "media-type", "the request is not application/json", "send JSON")
        outcome = await self._engine.serve(answer.read_attest(await read_body(request)), "attest")
        self._count([outcome])
        if outcome.issued is None:
            status, body = answer.refusal_problem(outcome.decision)
            return Response(body, status, media_type=answer.PROBLEM)
        chain = (outcome.issued.der, self._engine.authority.der)
        body = answer.attest_answer(chain, outcome.ear, outcome.secrets)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    def _count(self, outcomes: list[Outcome]) -> None:
        for one in outcomes:
            self._metrics.decisions.labels(one.decision.technology or "none", one.decision.code).inc()

    async def _alive(self, request: Request) -> Response:
        del request
        return Response()

    async def _ready(self, request: Request) -> Response:
        del request
        certificate, now = self._engine.authority.certificate, self._engine.clock()
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            return JSONResponse({"ready": False, "why": "the CA is not valid now"}, 503)
        try:
            await self._reader.run(lambda store: store.head())
        except StoreError as error:
            _LOG.error("not ready: %s", error.message)
            return JSONResponse({"ready": False, "why": "the database cannot be reached"}, 503)
        return JSONResponse({"ready": True})

    async def _show_metrics(self, request: Request) -> Response:
        del request
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_console(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The console, where the policy in force has readers of it; nothing of it is loaded before."""
        if self._engine.policy.console is None:
            await Response(status_code=404)(scope, receive, send)
            return
        try:
            self._admit(Request(scope))
        except RefusedError as refused:
            await self._problem("console", refused.status, refused.error, {"Retry-After": "1"})(scope, receive, send)
            return
        if self._console is None:
            from enarx.tenant.steward.console.app import Console

            self._console = Console(self._engine, self._console_reader, self._metrics)
        await self._console(scope, receive, send)

    async def _authority(self, request: Request) -> Response:
        del request
        text = b64encode(self._engine.authority.der).decode()
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
        return Response(pem, media_type="application/pem-certificate-chain")

    async def _revocations(self, request: Request) -> Response:
        del request
        now = self._engine.clock()
        if self._crl is None or not self._crl[0] <= now < self._crl[0] + CRL_CACHE:
            revoked = await self._reader.run(lambda store: store.revoked(now))
            # The time as the number: it grows with every list, on every instance.
            made = self._engine.authority.revocation_list(revoked, int(now.timestamp() * 1000), now)
            self._crl = (now, made)
        return Response(self._crl[1], media_type="application/pkix-crl")

    async def _policy(self, request: Request) -> Response:
        """The digest for everybody; the text for whoever shows a token that the policy names by its digest."""
        policy = self._engine.policy
        shown: dict[str, object] = {"digest": written(policy.digest)}
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            digest = hashlib.sha256(token.strip().encode()).digest()
            if not any(hmac.compare_digest(digest, one) for one in policy.service.policy_readers):
                return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
            shown["text"] = policy.public_text
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})
