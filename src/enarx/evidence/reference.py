"""Reference values of an image: the launch digests to expect of it, by how it is launched, in a file for policies.

::

    format = 1

    [[launch]]
    technology = "snp"            # snp, sev-es or sev
    model = "EPYC-Milan"          # vCPU model by QEMU's name, vcpus and the model: what else the digest depends on;
    vcpus = 2                     # a sev launch has neither
    measurement = "..."           # hexadecimal: SHA-384 of snp, SHA-256 of the others

A policy takes them in with ``include``: the name of the file, or a table that says which launches are meant::

    [snp]
    include = "reference-values.toml"
    include = { file = "reference-values.toml", model = ["EPYC-v4"], vcpus = [1, 2] }

A version of a model has the model's digest: only family, model and stepping are measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from enarx.errors import ConfigError, UsageError
from enarx.evidence.vcpu import vcpu_signature
from enarx.evidence.vmsa import MAX_VCPUS

Technology = Literal["snp", "sev-es", "sev"]

DIGEST_BYTES: Final = MappingProxyType({"snp": 48, "sev-es": 32, "sev": 32})
"""Size of a launch digest, in bytes, by technology."""
FORMAT: Final = 1
REFERENCE_MAX_BYTES: Final = 1 << 20
"""Largest file of reference values that is read (bytes)."""
LAUNCHES_MAX: Final = 4096
"""Launches in one file (count)."""
INCLUDES_MAX: Final = 64
"""Files that one table includes (count)."""

Include = Callable[[str, int], bytes]
"""``(name, limit) -> bytes`` of a file that a policy includes, relative to it; raises ConfigError."""


@dataclass(frozen=True, slots=True)
class LaunchValue:
    """The digest of one way to launch an image. ``model`` is empty and ``vcpus`` 0 where they are not measured."""

    technology: Technology
    measurement: bytes
    model: str = ""
    vcpus: int = 0


def format_reference_values(launches: Iterable[LaunchValue], title: str) -> bytes:
    """The file that has ``launches``. ``title`` is a comment in one line."""
    lines = [f"# {title}", f"format = {FORMAT}"]
    for one in launches:
        lines += ["", "[[launch]]", f'technology = "{one.technology}"']
        if one.vcpus:
            lines += [f'model = "{one.model}"', f"vcpus = {one.vcpus}"]
        lines.append(f'measurement = "{one.measurement.hex()}"')
    return "\n".join(lines).encode() + b"\n"


def parse_reference_values(data: bytes, source: str = "reference values") -> tuple[LaunchValue, ...]:
    """Read such a file. ConfigError: ``reference-syntax``, ``reference-value`` with the place."""
    if len(data) > REFERENCE_MAX_BYTES:
        raise _error(source, f"more than {REFERENCE_MAX_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is not TOML: {error}", code="reference-syntax", hint=_HINT) from error
    listed = document.get("launch")
    if document.get("format") != FORMAT or set(document) != {"format", "launch"} or not isinstance(listed, list):
        raise _error(source, f"not a file of reference values of format {FORMAT}")
    if not 1 <= len(listed) <= LAUNCHES_MAX:
        raise _error(source, f"{len(listed)} launches, expected 1 to {LAUNCHES_MAX}")
    return tuple(_launch(f"{source}: launch {number}", one) for number, one in enumerate(listed, 1))


def _launch(place: str, table: Any) -> LaunchValue:
    technology = table.get("technology") if isinstance(table, dict) else None
    if not isinstance(technology, str) or technology not in DIGEST_BYTES:
        raise _error(place, f"technology is none of {', '.join(DIGEST_BYTES)}")
    keys = {"technology", "measurement"} | ({"model", "vcpus"} if technology != "sev" else set())
    if set(table) != keys:
        raise _error(place, f"has the keys {', '.join(sorted(map(str, table)))}, expected {', '.join(sorted(keys))}")
    text = table["measurement"]
    try:
        measurement = bytes.fromhex(text if isinstance(text, str) else "-")
    except ValueError as error:
        raise _error(place, "measurement is not hexadecimal") from error
    if len(measurement) != DIGEST_BYTES[technology] or not any(measurement):
        raise _error(place, f"measurement is not a digest of {DIGEST_BYTES[technology]} bytes")
    model, vcpus = table.get("model", ""), table.get("vcpus", 0)
    if technology != "sev":
        _signature(place, model)
        if not _is_count(vcpus):
            raise _error(place, f"vcpus is {vcpus!r}, expected 1 to {MAX_VCPUS}")
    return LaunchValue(cast(Technology, technology), measurement, model, vcpus)


def included(value: Any, technologies: tuple[Technology, ...], include: Include | None) -> tuple[bytes, ...]:
    """The launch digests that an ``include`` of a policy stands for, without repetition, in the files' order.

    ``include`` is None where a policy comes without a place that names could be relative to. ConfigError:
    ``policy-include`` when it is no such value or selects nothing, and what ``parse_reference_values`` and ``include``
    raise.
    """
    stated = value if isinstance(value, list) else [value]
    if not 1 <= len(stated) <= INCLUDES_MAX:
        raise _refused(f"{len(stated)} files", f"1 to {INCLUDES_MAX}")
    if include is None:
        raise _refused("there is no file beside this policy", "write the digests as `measurement`")
    return tuple(dict.fromkeys(digest for one in stated for digest in _selected(one, technologies, include)))


def _selected(value: Any, technologies: tuple[Technology, ...], include: Include) -> Iterator[bytes]:
    table = {"file": value} if isinstance(value, str) else value
    hint = '"FILE", or { file = "FILE", model = ["EPYC-v4"], vcpus = [1, 2] }'
    if not isinstance(table, dict) or not isinstance(table.get("file"), str):
        raise _refused(f"{str(value)[:80]!r} names no file", hint)
    unknown = sorted(set(table) - {"file", "model", "vcpus"})
    if unknown:
        raise _refused(f"{unknown[0]} is not a key", hint)
    name = table["file"]
    launches = parse_reference_values(include(name, REFERENCE_MAX_BYTES), name)
    models = {_signature("include: model", one) for one in _listing(table, "model")}
    counts = _listing(table, "vcpus")
    if not all(map(_is_count, counts)):
        raise _refused("vcpus is no count of vCPUs", f"numbers from 1 to {MAX_VCPUS}")
    found = [
        one.measurement
        for one in launches
        if one.technology in technologies
        and (not models or not one.model or vcpu_signature(one.model) in models)
        and (not counts or not one.vcpus or one.vcpus in counts)
    ]
    if not found:
        raise _refused(f"{name} has no launch of {' or '.join(technologies)} that is meant", "look at what it lists")
    yield from found


def _listing(table: dict[str, Any], key: str) -> list[Any]:
    value = table.get(key, [])
    listed = value if isinstance(value, list) else [value]
    if key in table and not listed:
        raise _refused(f"{key} selects nothing", f"leave {key} out, or say which")
    return listed


def _signature(place: str, model: Any) -> int:
    try:
        return vcpu_signature(model if isinstance(model, str) else "")
    except UsageError as error:
        raise ConfigError(f"{place}: {error.message}", code="reference-value", hint=error.hint) from error


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_VCPUS


_HINT: Final = "`enarx image build` writes one beside each image"


def _error(place: str, what: str) -> ConfigError:
    return ConfigError(f"{place}: {what}", code="reference-value", hint=_HINT)


def _refused(what: str, hint: str) -> ConfigError:
    return ConfigError(f"include: {what}", code="policy-include", hint=hint)
