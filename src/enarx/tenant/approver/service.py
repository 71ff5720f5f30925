"""The approver over HTTP: two routes, bounds, statuses. What is decided is ``approve``'s business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from enarx.errors import EnarxError, MalformedError, PolicyError
from enarx.tenant.approver import messages
from enarx.tenant.approver.approve import Begun, Report, begin, finish
from enarx.tenant.approver.pending import PendingLaunches
from enarx.tenant.policy import Policy
from enarx.tenant.steward.answer import PROBLEM, problem
from enarx.tenant.steward.body import RefusedError, read_body
from enarx.tenant.steward.ca import CertificateAuthority
from enarx.tenant.steward.limits import RateLimit

JUDGING_MAX: Final = 4
"""Requests that are judged at once (count): each verifies up to ten signatures."""

Tell = Callable[[str, Report], None]
"""Told of each decision, with the name of the launch (empty for one that did not begin)."""
_Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """The application (``app``). ``policy`` is the one in force, which may be exchanged between requests.

    ``finished`` is called with whether it was approved when a launch was decided on by its measurement.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        policy: Policy,
        tell: Tell,
        *,
        clock: Callable[[], datetime],
        finished: Callable[[bool], None] = lambda approved: None,
        single: bool = False,
    ) -> None:
        self._authority = authority
        self._tell = tell
        self._clock = clock
        self._finished = finished
        self._single = single
        self._closed = False
        self._pending = PendingLaunches()
        self._judging = asyncio.Semaphore(JUDGING_MAX)
        self.adopt(policy)
        self.app = Starlette(
            routes=[
                Route("/v1/launch", self._guarded(self._launch), methods=["POST"]),
                Route("/v1/measurement", self._guarded(self._measurement), methods=["POST"]),
                Route("/healthz", self._alive, methods=["GET"]),
            ]
        )

    def adopt(self, policy: Policy) -> None:
        """Judge by ``policy`` from now on, launches that have begun included."""
        self.policy = policy
        self._rate = RateLimit(policy.service.rate, policy.service.burst)

    def _guarded(self, handler: _Handler) -> _Handler:
        """Bound a route, and turn what goes wrong into statuses."""

        async def wrapped(request: Request) -> Response:
            try:
                self._admit(request)
                return await handler(request)
            except RefusedError as refused:
                headers = {"Retry-After": "1"} if refused.status == 429 else {"Connection": "close"}
                return self._problem(refused.status, refused.error, headers)
            except MalformedError as error:
                return self._problem(400, error)
            except PolicyError as error:
                return self._problem(403, error)

        return wrapped

    def _admit(self, request: Request) -> None:
        address = request.client.host if request.client else ""
        if not self._rate.admits(address, time.monotonic()):
            raise RefusedError(429, "rate-limit", "too many requests from this address", "try again in a second")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "media-type", "the request is not application/json", "send JSON")

    @staticmethod
    def _problem(status: int, error: EnarxError, headers: dict[str, str] | None = None) -> Response:
        return Response(problem(status, error, title="The approver refuses"), status, headers, PROBLEM)

    async def _launch(self, request: Request) -> Response:
        asked = messages.read_launch(await read_body(request, messages.BODY_MAX_BYTES))
        async with self._judging:
            report, begun = await asyncio.to_thread(begin, asked, self.policy, self._clock())
        if begun is None:
            self._report("", report)
            return self._refused(report)
        name = self._pending.add(begun, time.monotonic())
        self._report(name, report)
        started = begun.started
        body = messages.launch_answer(
            name, started.pending.policy.value, started.godh.to_bytes(), started.session.to_bytes()
        )
        return self._answered(body)

    async def _measurement(self, request: Request) -> Response:
        name, measured = messages.read_measurement(await read_body(request, messages.BODY_MAX_BYTES))
        if self._closed:
            raise PolicyError(
                "this approver was for one launch", code="launch-single", hint="start it again for another"
            )
        begun: Begun = self._pending.take(name, time.monotonic())
        report, released = finish(begun, measured, self.policy, self._authority, self._clock())
        self._report(name, report)
        self._closed = self._single
        self._finished(released is not None)
        return self._refused(report) if released is None else self._answered(messages.measurement_answer(released))

    def _report(self, name: str, report: Report) -> None:
        """Tell of a decision before it has an effect: nothing is given away that nobody can see."""
        try:
            self._tell(name, report)
        except OSError as error:
            what, hint = "the decision cannot be reported, so it has no effect", "begin again later"
            raise RefusedError(503, "decision-unreported", what, hint) from error

    @staticmethod
    def _refused(report: Report) -> Response:
        status, body = messages.refusal(report)
        return Response(body, status, media_type=PROBLEM)

    @staticmethod
    def _answered(body: bytes) -> Response:
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def _alive(self, request: Request) -> Response:
        del request
        return Response()
