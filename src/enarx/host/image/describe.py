"""What is written beside an image: ``image.toml``, the bill of materials, and the reference values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import enarx
from enarx.bom import encode
from enarx.evidence.reference import format_reference_values
from enarx.host.image import layout
from enarx.host.image.built import Built
from enarx.host.image.collect import OWN
from enarx.host.image.corim import format_corim
from enarx.host.image.lock import quote
from enarx.host.image.reference import launch_values
from enarx.host.image.sbom import bill_of_materials


def describe(built: Built) -> dict[str, bytes]:
    """The files that go beside those of ``built``, by name."""
    launches = tuple(launch_values(built.files))
    name = f"enarx-image/{built.kind}/{built.joint_digest}"
    beside = {
        layout.SBOM: encode(bill_of_materials(built)),
        layout.REFERENCE_VALUES: format_reference_values(launches, f"Launch digests of {name}, launched by QEMU."),
        layout.CORIM: format_corim(launches, name),
    }
    return beside | {layout.DESCRIPTION: _description(built, beside)}


def _description(built: Built, beside: Mapping[str, bytes]) -> bytes:
    lines = [
        "# An image of a VM Keep, as `enarx image build` has made it.",
        f"format = {layout.FORMAT}",
        f'kind = "{built.kind}"',
        f'enarx = "{enarx.__version__}"',
        "",
        "[trusted]  # all that is launched, and the files of the initial RAM disk",
        f"bytes = {built.trusted_bytes}",
        f"files = {len(built.regular)}",
    ]
    if built.kernel:
        lines += ["", "[kernel]  # built here: the digest of its inputs, among which are these tools"]
        lines += [f"{key} = {quote(value)}" for key, value in built.kernel.items()]
    for name, data in {**built.files, **beside}.items():
        lines += [
            "",
            f'[files."{name}"]',
            f"bytes = {len(data)}",
            f'sha256 = "sha256:{hashlib.sha256(data).hexdigest()}"',
        ]
    for kind, inputs in (("deb", built.lock.debs), ("wheel", built.lock.wheels)):
        for one in inputs:
            lines += ["", "[[input]]", f'kind = "{kind}"', f'name = "{one.name}"', f'version = "{one.version}"']
            lines.append(f'sha256 = "sha256:{one.sha256}"')
    lines += ["", "[[input]]", f'kind = "{OWN}"', f'name = "{OWN}"', f'version = "{enarx.__version__}"']
    lines.append(f'sha256 = "sha256:{built.own_digest}"  # of the listing of its files, as `sha256sum` prints it')
    return "\n".join(lines).encode() + b"\n"
