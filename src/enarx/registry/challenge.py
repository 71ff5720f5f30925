"""``WWW-Authenticate``, parsed strictly.

Source: RFC 9110 11.6.1: challenges in one header or in several, each a scheme with a token or with parameters; the
commas between challenges are those between parameters, and only what follows one tells which it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from enarx.errors import RegistryError

CHALLENGE_MAX_CHARS: Final = 16 << 10
CHALLENGES_MAX: Final = 16
_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SEPARATOR: Final = re.compile(r"[ \t]*(?:,[ \t]*)+")
_SCHEME: Final = re.compile(rf"({_WORD})(?![ \t]*=(?!=))(?: +|(?=[ \t]*(?:,|$)))")
_PARAMETER: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\.)*)")')
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """``scheme`` and names of ``parameters`` are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all ``WWW-Authenticate`` headers; RegistryError ``registry-challenge``."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) > CHALLENGE_MAX_CHARS:
            raise _bad()
        found += _parse(header.strip(" \t"))
    if len(found) > CHALLENGES_MAX:
        raise _bad()
    return tuple(found)


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    start = _SEPARATOR.match(text)
    position = start.end() if start else 0
    while position < len(text):
        scheme = _SCHEME.match(text, position)
        parameter = None if scheme else _PARAMETER.match(text, position)
        if scheme:
            found.append(Challenge(scheme[1].lower()))
            position = scheme.end()
            token = _TOKEN68.match(text, position)
            if token and token[0]:
                position = token.end()
            elif _PARAMETER.match(text, position):
                continue
        elif parameter and found:
            _add(found[-1].parameters, parameter)
            position = parameter.end()
        else:
            raise _bad()
        separator = _SEPARATOR.match(text, position)
        if separator is None and text[position:].strip(" \t"):
            raise _bad()
        position = separator.end() if separator else len(text)
    return found


def _add(parameters: dict[str, str], parameter: re.Match[str]) -> None:
    name = parameter[1].lower()
    if name in parameters:
        raise _bad()
    quoted = parameter[3]
    parameters[name] = parameter[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _bad() -> RegistryError:
    return RegistryError(
        "the registry asks for credentials in a way that cannot be understood",
        code="registry-challenge",
        hint="check that a registry answers there: its WWW-Authenticate header is malformed",
    )
