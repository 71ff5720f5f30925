"""Templates and static files of the console. Every value is escaped where it is shown, and none is marked as safe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

from enarx.trust.words import Words

DIGEST_SHOWN: Final = 12
"""Hexadecimal digits of a digest where there is no room for it (count)."""
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


def render(template: str, **values: Any) -> str:
    """A page."""
    assets = {name: url(name) for name in statics()}
    return _environment().get_template(f"console/{template}").render(assets=assets, w=_words(), **values) + "\n"


@lru_cache(maxsize=1)
def statics() -> Mapping[str, tuple[bytes, str]]:
    """The static files by name: content and media type. The style sheet begins with that of the trust stack's page."""
    ours = files("enarx.tenant.steward.console").joinpath("static")
    found = {name: ours.joinpath(name).read_bytes() for name in ("console.css", "console.js", "mark.svg")}
    shared = files("enarx.trust").joinpath("templates", "page.css").read_bytes()
    found["console.css"] = shared + b"\n" + found["console.css"]
    return {name: (data, _TYPES[name.rpartition(".")[2]]) for name, data in found.items()}


@lru_cache(maxsize=8)
def url(name: str) -> str:
    """Where a static file is; another version of it is elsewhere, so that browsers may keep it."""
    return f"/console/static/{hashlib.sha256(statics()[name][0]).hexdigest()[:16]}/{name}"


def when(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "at an unknown time"


def span(length: timedelta) -> str:
    """How long something still lasts, in its two largest units."""
    minutes = int(length.total_seconds()) // 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def short(digest: str) -> str:
    """The beginning of a digest or a serial number."""
    digits = digest.removeprefix("sha256:")
    return f"{digits[:DIGEST_SHOWN]}…" if len(digits) > DIGEST_SHOWN else digits


def milliseconds(seconds: float | None) -> str:
    """A time to answer, as the bound that it is."""
    if seconds is None:
        return "–"
    return f"≤ {seconds * 1000:g} ms" if seconds < 60 else "> 5 s"


@lru_cache(maxsize=1)
def _words() -> Words:
    return Words("en")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    loader = PrefixLoader({
        "console": PackageLoader("enarx.tenant.steward.console"), "trust": PackageLoader("enarx.trust"),
    })  # fmt: skip
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"when": when, "span": span, "short": short, "milliseconds": milliseconds}
    return environment
