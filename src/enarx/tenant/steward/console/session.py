"""Who is signed in: a token is exchanged for a random cookie, which the database knows by its digest.

So a session holds at every worker and every instance, signing out ends it everywhere, and whoever reads the database
can sign in as nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enarx.tenant.policy import ConsoleRules
from enarx.tenant.steward.console import queries
from enarx.tenant.steward.reader import Reader

COOKIE: Final = "__Host-enarx-console"
"""The prefix has browsers take it over TLS alone, from this very host, for the whole of it (RFC 6265bis 4.1.3.2)."""
SESSION_BYTES: Final = 32
"""Random bytes in a cookie."""

_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, until ``ends``. ``id`` is the digest of the cookie, hexadecimal."""

    id: str
    ends: datetime


def reader_of(token: str, rules: ConsoleRules) -> str | None:
    """The digest (hexadecimal) of a token that the policy names; None for any other."""
    digest = hashlib.sha256(token.strip().encode(errors="replace")).digest()
    # All are compared, so that the time does not say which one it was.
    known = [hmac.compare_digest(digest, one) for one in rules.readers]
    return digest.hex() if any(known) else None


async def begin(reader: Reader, who: str, now: datetime, rules: ConsoleRules) -> str:
    """Sign in; returns the header that sets the cookie. StoreError."""
    cookie = secrets.token_urlsafe(SESSION_BYTES)
    ends = now + rules.session
    await reader.run(lambda store: queries.begin_session(store, _id(cookie), who, now, ends))
    return _header(cookie, int(rules.session.total_seconds()))


async def current(reader: Reader, cookies: Mapping[str, str], now: datetime, rules: ConsoleRules) -> Session | None:
    """The session of a request, while the policy still names the token that began it. StoreError."""
    cookie = cookies.get(COOKIE, "")
    if _COOKIE.fullmatch(cookie) is None:
        return None
    identifier = _id(cookie)
    found = await reader.run(lambda store: queries.session(store, identifier, now))
    if found is None or not any(one.hex() == found[0] for one in rules.readers):
        return None
    return Session(identifier, found[1])


async def end(reader: Reader, session: Session) -> str:
    """Sign out; returns the header that removes the cookie. StoreError."""
    await reader.run(lambda store: queries.end_session(store, session.id))
    return _header("", 0)


def _header(cookie: str, seconds: int) -> str:
    return f"{COOKIE}={cookie}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Strict"


def _id(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
