"""What all bills of materials of this program have in common: CycloneDX 1.6 in JSON, one encoding for one content.

No serial number, no time, no names of this machine: the same things give the same bytes. Source: CycloneDX 1.6
(ECMA-424).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from enarx import __version__

SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"

Component = dict[str, Any]
"""A component in CycloneDX's JSON."""


def bill(subject: Component, components: Sequence[Component], depends: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A bill of ``subject``, with ``components`` and what depends on what, by ``bom-ref``."""
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "enarx", "version": __version__}]},
            "component": subject,
        },
        "components": list(components),
        "dependencies": [{"ref": ref, "dependsOn": list(needs)} for ref, needs in depends.items()],
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """The one encoding of a bill that this program writes."""
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
