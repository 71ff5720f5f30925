"""A bill of materials of a package: CycloneDX 1.6 in JSON.

The same package and the same installation give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from enarx import archive
from enarx.archive import Entry
from enarx.bom import Component, bill
from enarx.mediatype import WASM
from enarx.tenant.package import components
from enarx.tenant.package.producers import producers
from enarx.tenant.package.reader import Package
from enarx.tenant.package.source import MAX_MODULE_BYTES

_TYPES: Final = {archive.MODULE: WASM, archive.CONFIG: "application/toml"}


def bill_of_materials(package: Package) -> dict[str, Any]:
    """What is in ``package`` and in the Keep that runs it. Of an encrypted one without its key, only that it is one."""
    contents = [_content(package, entry) for entry in package.entries or () if not entry.directory]
    keep = components.keep()
    needs = ["keep", *(one["bom-ref"] for one in contents)]
    return bill(
        _package(package),
        [*contents, keep],
        {"package": needs, "keep": [one["bom-ref"] for one in keep["components"]]},
    )


def _package(package: Package) -> Component:
    component: Component = {
        "type": "application",
        "bom-ref": "package",
        "name": "enarx-package",
        "version": package.digest,
        "mime-type": package.media_type,
        "hashes": [{"alg": "SHA-256", "content": package.digest.removeprefix("sha256:")}],
    }
    if package.header is not None:
        component["properties"] = [{"name": "enarx:package:key-id", "value": package.header.key_id.hex()}]
    return component


def _content(package: Package, entry: Entry) -> Component:
    digest = hashlib.sha256()
    for piece in package.pieces(entry):
        digest.update(piece)
    component: Component = {
        "type": "application" if entry.path == archive.MODULE else "file",
        "bom-ref": f"package/{entry.path}",
        "name": entry.path,
        "hashes": [{"alg": "SHA-256", "content": digest.hexdigest()}],
    }
    if entry.path in _TYPES:
        component["mime-type"] = _TYPES[entry.path]
    if entry.path == archive.MODULE:
        found = producers(package.read(entry, MAX_MODULE_BYTES))
        properties = [{"name": f"enarx:wasm:{field}", "value": value} for field, value in found]
        component |= {"properties": properties} if properties else {}
    return component
