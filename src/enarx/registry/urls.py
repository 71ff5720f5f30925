"""URLs that are asked for, parsed strictly: what a server puts into ``Location`` or a realm is hostile input."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

from enarx.errors import RegistryError

URL_MAX_CHARS: Final = 8192
"""Longest URL (characters): presigned ones of object stores have up to about 2000."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_CHARACTERS: Final = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~|]+")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_HOST_MAX_CHARS: Final = 253


@dataclass(frozen=True, slots=True)
class Url:
    """``host`` is in lower case, without brackets; ``target`` is path and query, as sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be the same for credentials to be sent along."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host, and port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """For people: without the query, which may hold a signature or an upload's state."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def with_query(self, *parameters: tuple[str, str]) -> Url:
        """The same with parameters added."""
        separator = "&" if "?" in self.target else "?"
        return Url(self.scheme, self.host, self.port, f"{self.target}{separator}{urlencode(parameters)}")

    def join(self, location: str) -> Url:
        """Where ``location``, absolute or relative, leads from here; RegistryError ``registry-url``."""
        _check(location)
        try:
            joined = urljoin(f"{self.scheme}://{self.authority}{self.target}", location)
        except ValueError:
            raise _bad(location) from None
        return parse_url(joined)


def parse_url(text: str) -> Url:
    """An absolute ``http`` or ``https`` URL without user information or fragment; RegistryError ``registry-url``."""
    _check(text)
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").lower()
    except ValueError:
        raise _bad(text) from None
    if parts.scheme not in DEFAULT_PORTS or "@" in parts.netloc or parts.fragment or "#" in text or port == 0:
        raise _bad(text)
    if not is_host(f"[{host}]" if ":" in host else host):
        raise _bad(text)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.startswith("/"):
        raise _bad(text)
    return Url(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], target)


def split_authority(text: str) -> tuple[str, int | None] | None:
    """Host (an IPv6 address in brackets) and port, if there is one, of ``HOST[:PORT]``; None if it is not that."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or not is_host(found["host"]):
        return None
    port = int(found["port"]) if found["port"] else None
    return None if port is not None and port > 65535 else (found["host"], port)


def is_host(text: str) -> bool:
    """Whether ``text`` is a host name, an IPv4 address, or an IPv6 address in brackets."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return ipaddress.IPv6Address(text[1:-1]).scope_id is None
        except ValueError:
            return False
    return len(text) <= _HOST_MAX_CHARS and _NAME.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether ``host`` (no brackets) is this machine and no other: ``localhost``, 127.0.0.0/8 or ``::1``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(text: str) -> None:
    if len(text) > URL_MAX_CHARS or not _CHARACTERS.fullmatch(text):
        raise _bad(text)


def _bad(text: str) -> RegistryError:
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in text.partition("?")[0][:100])
    shown = re.sub(r"//[^/@]*@", "//***@", shown)
    return RegistryError(
        f"{shown!r} is not a URL that can be asked for",
        code="registry-url",
        hint="http or https, a host, and no user information",
    )
