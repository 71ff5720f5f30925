"""Bodies of requests, within bounds, and requests that are turned away before they are looked into."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from enarx.errors import UsageError
from enarx.tenant.steward.answer import BODY_MAX_BYTES
from enarx.tenant.steward.limits import BODY_SECONDS


class RefusedError(Exception):
    """A request that is turned away before it is looked into: status and error."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = UsageError(message, code=code, hint=hint)


async def read_body(request: Request, limit: int = BODY_MAX_BYTES) -> bytes:
    """The whole body, within ``limit`` (bytes) and ``BODY_SECONDS``."""
    stated = request.headers.get("content-length", "0")
    too_long = RefusedError(413, "too-long", f"the body has more than {limit} bytes", "send one request at a time")
    if not stated.isascii() or not stated.isdigit() or int(stated[:12]) > limit:
        raise too_long
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise too_long
    except TimeoutError as error:
        raise RefusedError(408, "too-slow", "the body did not arrive in time", "send it at once") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "disconnected", "the client has gone", "") from error
    return bytes(found)
