"""The approver's service where nobody can see what it decides: then it decides nothing."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from enarx.host.sev.launch import platform_certificates
from enarx.host.sev.monitor import query_capabilities
from enarx.tenant.approver.approve import Report
from enarx.tenant.approver.service import Service
from enarx.tenant.policy import Policy
from tests.tenant.sevlaunches import NOW, authority, manifest, policy, qemu


def asked() -> dict[str, Any]:
    certificates = platform_certificates(query_capabilities(qemu()))
    encoded = [b64encode(one).decode() for one in (certificates, manifest().encode())]
    return {"technology": "sev-es", "certificates": encoded[0], "manifest": encoded[1]}


async def post(service: Service, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status of the answer, and the object in it."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    (route,) = (one for one in service.app.routes if isinstance(one, Route) and one.path == path)
    answer: Response = await route.endpoint(Request(scope, receive))
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return answer.status_code, found


def service_of(judged: Policy, tell: Any, **more: Any) -> Service:
    return Service(authority(), judged, tell, clock=lambda: NOW, **more)


def test_decision_that_cannot_be_reported_has_no_effect() -> None:
    def closed(name: str, report: Report) -> None:
        raise BrokenPipeError

    async def act() -> tuple[int, dict[str, Any]]:
        return await post(service_of(policy(), closed), "/v1/launch", asked())

    status, problem = asyncio.run(act())
    assert (status, problem["code"]) == (503, "decision-unreported")


def test_address_that_asks_too_often_is_turned_away() -> None:
    async def act() -> list[int]:
        service = service_of(policy(rest="[service]\nrate = 1\nburst = 2\n"), lambda name, report: None)
        return [(await post(service, "/v1/measurement", {}))[0] for _ in range(4)]

    assert asyncio.run(act())[:3] == [400, 400, 429]


def test_approver_for_one_launch_measures_no_other() -> None:
    seen: list[tuple[str, bool]] = []

    async def act() -> list[tuple[int, str]]:
        service = service_of(
            policy(), lambda name, report: seen.append((report.step, report.error is None)), single=True
        )
        names = [(await post(service, "/v1/launch", asked()))[1]["launch"] for _ in range(2)]
        measured = {"firmware": [1, 55, 21], "measurement": b64encode(bytes(48)).decode()}
        answers = [await post(service, "/v1/measurement", {"launch": name, **measured}) for name in names]
        return [(status, problem["code"]) for status, problem in answers]

    assert asyncio.run(act()) == [(403, "bad-measurement"), (403, "launch-single")]
    assert seen == [("launch", True), ("launch", True), ("measurement", False)]
