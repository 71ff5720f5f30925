"""A bill of materials (CycloneDX JSON) of an image, a Keep or a package, as versions of the layers that it is about.

Nobody signs it here: it says what should be in the measured image, and the measurement says whether that image runs.
Source: CycloneDX 1.6 (ECMA-424).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from enarx.errors import MalformedError
from enarx.trust.model import FACTS_MAX, Fact, Layer, Source

BOM_MAX_BYTES: Final = 8 << 20
"""Largest bill that is read (bytes)."""
COMPONENTS_MAX: Final = 20_000
"""Components in it, nested ones too (count)."""
DEPTH_MAX: Final = 8
"""How deep components may be nested (count)."""

_LAUNCHED: Final = ("vmlinuz", "initrd", "cmdline", "OVMF.fd")
"""What a VM Keep is launched from, by the names that an image has for them."""
_TREE: Final = "enarx:files:sha256"
_OURS: Final = ("enarx", "enarx-keep", "enarx-image")


@dataclass(frozen=True, slots=True)
class Bom:
    """``facts`` by layer; ``files``: how many components have a digest of their own."""

    facts: Mapping[Layer, tuple[Fact, ...]]
    files: int


def read_bom(data: bytes) -> Bom:
    """Read a bill of at most `BOM_MAX_BYTES`; MalformedError (``sbom``) for anything else than CycloneDX in JSON."""
    if len(data) > BOM_MAX_BYTES:
        raise _bad(f"it has more than {BOM_MAX_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON") from error
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        raise _bad("it is not CycloneDX in JSON")
    facts: dict[Layer, list[Fact]] = {}
    files = 0
    for total, (component, depth, owner) in enumerate(_walk(document.get("components"), 1, None), 1):
        if total > COMPONENTS_MAX:
            raise _bad(f"it has more than {COMPONENTS_MAX} components")
        files += bool(_digest(component))
        listed = facts.setdefault(owner, [])
        # Files below a library are counted, not listed; so are those beyond what a row holds.
        if (depth == 1 or _text(component, "type") != "file") and len(listed) <= FACTS_MAX:
            listed.append(_fact(component))
    return Bom({layer: tuple(found) for layer, found in facts.items()}, files)


def _walk(components: object, depth: int, above: Layer | None) -> Iterator[tuple[Mapping[str, Any], int, Layer]]:
    if components is None or components == []:
        return
    if not isinstance(components, list) or depth > DEPTH_MAX:
        raise _bad(f"its components are no list, or nested deeper than {DEPTH_MAX}")
    for component in components:
        if not isinstance(component, dict):
            raise _bad("a component is no object")
        if _text(component, "scope") == "excluded":
            continue
        layer = _layer(component, above)
        yield component, depth, layer
        yield from _walk(component.get("components"), depth + 1, layer)


def _layer(component: Mapping[str, Any], above: Layer | None) -> Layer:
    kind, name = _text(component, "type"), _text(component, "name")
    if _text(component, "bom-ref").startswith("package/"):
        return Layer.APPLICATION
    if kind in ("operating-system", "firmware") or (above is None and name in _LAUNCHED):
        return Layer.GUEST_OS
    if name in _OURS or _text(component, "purl").startswith("pkg:pypi/"):
        return Layer.MIDDLEWARE
    if above is None or name == "CPython":
        return Layer.USERLAND
    return above


def _fact(component: Mapping[str, Any]) -> Fact:
    digest = _digest(component)
    value = " ".join(filter(None, (_text(component, "version"), f"sha256:{digest}" if digest else "")))
    return Fact(_text(component, "name") or "?", value or "-", Source.SBOM)


def _digest(component: Mapping[str, Any]) -> str:
    for hashed in _objects(component, "hashes"):
        if _text(hashed, "alg") == "SHA-256":
            return _text(hashed, "content")
    for described in _objects(component, "properties"):
        if _text(described, "name") == _TREE:
            return _text(described, "value")
    return ""


def _objects(component: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = component.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(component: Mapping[str, Any], key: str) -> str:
    value = component.get(key)
    return value if isinstance(value, str) else ""


def _bad(what: str) -> MalformedError:
    return MalformedError(
        f"this bill of materials cannot be used: {what}",
        code="sbom",
        hint="give sbom.cdx.json of an image, or what `enarx package sbom` prints",
    )
