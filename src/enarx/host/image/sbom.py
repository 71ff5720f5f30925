"""A bill of materials of an image: every input, and every file of the initial RAM disk with the input it is from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import enarx
from enarx import bom
from enarx.bom import Component
from enarx.host.image.built import Built
from enarx.host.image.collect import OWN
from enarx.host.image.inputs import Use
from enarx.host.image.lock import Deb, Wheel

_TYPES: Final[Mapping[Use, str]] = {"firmware": "firmware", "kernel": "operating-system", "source": "operating-system"}


def bill_of_materials(built: Built) -> dict[str, Any]:
    """The bill, in CycloneDX's JSON. Tools that were used and are not in the image have the scope "excluded"."""
    inputs = [*map(_deb, built.lock.debs), *map(_wheel, built.lock.wheels), _own(built)]
    files: dict[str, list[Component]] = {}
    for path, data in built.regular.items():
        provider = built.providers.get(path, _kernel(built))
        files.setdefault(provider, []).append(_file(path, data))
    for one in inputs:
        if one["name"] in files:
            one["components"] = files[one["name"]]
    launched = [_launched(name, data) for name, data in built.files.items()]
    refs = [one["bom-ref"] for one in (*launched, *inputs) if one.get("scope") != "excluded"]
    return bom.bill(
        {"type": "operating-system", "bom-ref": "image", "name": "enarx-image", "version": built.joint_digest},
        [*launched, *inputs],
        {"image": refs},
    )


def _kernel(built: Built) -> str:
    return next((deb.name for deb in built.lock.of_use("kernel")), "kernel")


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _deb(deb: Deb) -> Component:
    architecture = "all" if deb.url.endswith("_all.deb") else "amd64"
    component: Component = {
        "type": _TYPES.get(deb.use, "library"),
        "bom-ref": f"deb/{deb.name}",
        "name": deb.name,
        "version": deb.version,
        "hashes": _hashes(deb.sha256),
        "purl": f"pkg:deb/debian/{quote(deb.name)}@{quote(deb.version, safe='')}?arch={architecture}",
    }
    if deb.use == "tool":
        component["scope"] = "excluded"
    return component


def _wheel(wheel: Wheel) -> Component:
    return {
        "type": "library",
        "bom-ref": f"wheel/{wheel.name}",
        "name": wheel.name,
        "version": wheel.version,
        "hashes": _hashes(wheel.sha256),
        "purl": f"pkg:pypi/{quote(wheel.name)}@{quote(wheel.version, safe='')}?file_name={quote(wheel.file)}",
    }


def _own(built: Built) -> Component:
    return {
        "type": "application",
        "bom-ref": OWN,
        "name": OWN,
        "version": enarx.__version__,
        "hashes": _hashes(built.own_digest),
        "purl": f"pkg:pypi/{OWN}@{quote(enarx.__version__, safe='')}",
    }


def _launched(name: str, data: bytes) -> Component:
    return {
        "type": "file",
        "bom-ref": f"launched/{name}",
        "name": name,
        "hashes": _hashes(hashlib.sha256(data).hexdigest()),
    }


def _file(path: str, data: bytes) -> Component:
    return {
        "type": "file",
        "bom-ref": f"file/{path}",
        "name": path,
        "hashes": _hashes(hashlib.sha256(data).hexdigest()),
    }
