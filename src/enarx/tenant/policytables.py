"""Values of a policy file: names, digests, durations."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from enarx.errors import ConfigError
from enarx.toml_document import Document, Path, label, show

PEM_MAX_BYTES: Final = 64 * 1024
"""Largest file with a simulator's root (bytes)."""
SECRET_MAX_BYTES: Final = 64 * 1024
"""Largest secret (bytes)."""
SECRETS_MAX: Final = 1024
"""Secrets in one policy (count)."""
LIST_MAX: Final = 4096
"""Values in one list (count)."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
"""Names of workloads and secrets: they become path segments of SPIFFE identifiers and names of files."""
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_DURATION: Final = re.compile(r"([0-9]{1,6})(s|m|h)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def is_name(text: str) -> bool:
    """Whether ``text`` can be the name of a workload or a secret."""
    return _NAME.fullmatch(text) is not None


class Tables:
    """Reads typed values out of a document; every error says where in the file it is."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def only_keys(self, path: Path, table: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
        """``table`` if it is one and has no other keys than ``known``."""
        if not isinstance(table, dict):
            raise self.document.type_error(path, "a table", table)
        for key in table:
            if key not in known:
                what, hint = f"{label((*path, key))} is not a key of a policy", f"known: {', '.join(known)}"
                raise self.document.error((*path, key), "policy-unknown-key", what, hint, key=True)
        return table

    def text(self, path: Path, value: Any) -> str:
        """A string."""
        if not isinstance(value, str):
            raise self.document.type_error(path, "a string", value)
        return value

    def switch(self, path: Path, value: Any) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.document.type_error(path, "true or false", value)
        return value

    def number(self, path: Path, value: Any, top: int) -> int:
        """A number from 0 to ``top``."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= top:
            raise self.document.type_error(path, f"a number from 0 to {top}", value)
        return value

    def listing(self, path: Path, value: Any) -> list[Any]:
        """A list of 1 to ``LIST_MAX`` values; a single value is a list of one."""
        listed = value if isinstance(value, list) else [value]
        if not 1 <= len(listed) <= LIST_MAX:
            what = f"{label(path)} has {len(listed)} values"
            raise self.document.error(path, "policy-value", what, f"state 1 to {LIST_MAX}, or leave the key out")
        return listed

    def name(self, path: Path, value: Any) -> str:
        """A name that is safe as a path segment."""
        text = self.text(path, value)
        if not is_name(text):
            hint = "letters, digits, dot, underscore and hyphen, at most 63, a letter or digit first"
            raise self.document.error(path, "policy-value", f"{show(text)} is not a name", hint)
        return text

    def names(self, path: Path, value: Any) -> tuple[str, ...]:
        """One or more names."""
        if value is None:
            what, hint = f"{label(path)} is missing", "name the workloads; none is meant by default"
            raise self.document.error(path[:-1], "policy-value", what, hint)
        return tuple(self.name((*path, i), one) for i, one in enumerate(self.listing(path, value)))

    def digests(self, path: Path, value: Any) -> tuple[bytes, ...]:
        """One or more digests, ``sha256:`` and 64 hexadecimal digits."""
        found: list[bytes] = []
        for one in self.listing(path, value):
            text = self.text(path, one)
            digits = text.removeprefix("sha256:")
            if not re.fullmatch("[0-9a-f]{64}", digits) or digits == text:
                hint = 'write "sha256:" and 64 lower-case hexadecimal digits'
                raise self.document.error(path, "policy-value", f"{show(text)} is not a digest", hint)
            found.append(bytes.fromhex(digits))
        return tuple(found)

    def duration(self, path: Path, value: Any, top: timedelta) -> timedelta:
        """A time such as "24h", "90m" or "600s", at least a minute and at most ``top``."""
        match = _DURATION.fullmatch(self.text(path, value))
        length = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else timedelta()
        if not timedelta(minutes=1) <= length <= top:
            what, hint = f"{show(value)} is not a lifetime", f'"1m" to "{int(top.total_seconds()) // 3600}h"'
            raise self.document.error(path, "policy-value", what, hint)
        return length

    def dns_name(self, path: Path, value: Any) -> str:
        """A DNS name in lower case, without wildcards."""
        text = self.text(path, value)
        labels = text.split(".")
        if len(text) > 253 or not all(_LABEL.fullmatch(one) for one in labels):
            hint = "lower-case letters, digits, hyphens and dots; no wildcards"
            raise self.document.error(path, "policy-value", f"{show(text)} is not a DNS name", hint)
        return text

    def dns_names(self, path: Path, value: Any) -> tuple[str, ...]:
        """None or more DNS names."""
        listed = [] if value == [] else self.listing(path, value)
        return tuple(self.dns_name((*path, i), one) for i, one in enumerate(listed))

    def host_names(self, path: Path, value: Any) -> tuple[str, ...]:
        """None or more DNS names or IP addresses."""
        listed = [] if value == [] else self.listing(path, value)
        return tuple(self._host_name((*path, i), one) for i, one in enumerate(listed))

    def _host_name(self, path: Path, value: Any) -> str:
        try:
            return str(ipaddress.ip_address(self.text(path, value)))
        except ValueError:
            return self.dns_name(path, value)


def no_files(name: str, limit: int, private: bool) -> bytes:
    """A ``Read`` for policies that must not name files; nothing is read."""
    raise ConfigError(
        f"{show(name)}: this policy may not name files", code="policy-file", hint=f"write up to {limit} bytes inline"
    )
