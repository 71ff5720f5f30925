"""Cases of launch measurement: parameters come from a JSON document among the inputs, one object per case.

The document is a list of objects with ``name``, ``mode`` (see ``_MODES``), ``vcpus``, one of
``vcpu_type``, ``vcpu_sig`` or ``vcpu_family``/``vcpu_model``/``vcpu_stepping``, ``vmm_type``, ``guest_features``,
``snp_ovmf_hash``, ``ovmf_vars_size``, and the files ``ovmf``, ``kernel``, ``initrd``, ``svsm_file`` by the name they
have among the inputs. The case's name ends in the object's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from enarx.cli.cases import OK, UNSUPPORTED, Case, CaseResult, Index, Load, inputs
from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.evidence.hashtable import KernelHashes
    from enarx.evidence.vmsa import Vcpus

MAX_DOCUMENT_BYTES = 4 << 20
"""A document with the parameters of cases has at most this many bytes."""

_EMPTY_FILES = ("(empty file)", "/dev/null")
_MODES = {
    "sev": "sev",
    "sev-es": "seves",
    "seves": "seves",
    "sev-snp": "snp",
    "snp": "snp",
    "sev-snp-svsm": "svsm",
    "snp-svsm": "svsm",
    "sev-snp-ovmf-hash": "ovmf-hash",
    "snp-ovmf-hash": "ovmf-hash",
}
"""Kinds of launch by their names, with ``_`` and ``:`` as ``-``."""

_PARAMETERS = frozenset(
    (
        "name",
        "mode",
        "vcpus",
        "vcpu_type",
        "vcpu_sig",
        "vcpu_family",
        "vcpu_model",
        "vcpu_stepping",
        "vmm_type",
        "guest_features",
        "snp_ovmf_hash",
        "ovmf",
        "ovmf_vars_size",
        "svsm_file",
        "kernel",
        "initrd",
        "append",
    )
)
"""Members that are read; what the document says of the answer is not among them."""


def run(case: Case, load: Load, index: Index) -> CaseResult:
    """Compute the launch digest of a case into ``fields.launch_digest``; see ``enarx.cli.cases``."""
    paths = inputs(case)
    document = next((path for path in paths if path.endswith(".json")), None)
    if document is None:
        return _describe_firmware(paths, load)
    parameters = _parameters(str(case.get("name", "")), load(document))
    return CaseResult(OK, fields={"launch_digest": _digest(parameters, _Files(paths, load)).hex()})


def _describe_firmware(paths: list[str], load: Load) -> CaseResult:
    from enarx.evidence.ovmf import parse_firmware

    if not paths:
        raise UsageError("the case has no inputs", code="case-inputs", hint="mend the index")
    firmware = parse_firmware(load(paths[0]))
    fields = {"firmware_guids": sorted(str(guid) for guid in firmware.table)}
    return CaseResult(UNSUPPORTED, "no-launch-parameters", fields)


class _Files:
    """The inputs of a case by their last name."""

    def __init__(self, paths: list[str], load: Load) -> None:
        self._paths = {PurePosixPath(path).name: path for path in paths}
        self._load = load

    def read(self, name: object) -> bytes:
        if name in _EMPTY_FILES:
            return b""
        path = self._paths.get(PurePosixPath(str(name)).name)
        if path is None:
            raise UsageError(f"the case names {name}, which is not an input", code="case-inputs", hint="mend the index")
        return self._load(path)


def _parameters(case_name: str, data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise UsageError(
            f"the parameters have {len(data)} bytes, the limit is {MAX_DOCUMENT_BYTES}", code="case-parameters"
        )
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("the parameters are not JSON", code="case-parameters", hint="mend the document") from error
    entries = document if isinstance(document, list) else [document]
    found = [
        entry
        for entry in entries
        if isinstance(entry, dict) and entry.get("name") and case_name.endswith(str(entry["name"]))
    ]
    if not found:
        raise UsageError(f"no parameters for {case_name}", code="case-parameters", hint="mend the document")
    longest = max(found, key=lambda entry: len(str(entry["name"])))
    return {key: value for key, value in longest.items() if key in _PARAMETERS}


def _digest(parameters: Mapping[str, Any], files: _Files) -> bytes:
    from enarx.evidence.sev import measure as sev
    from enarx.evidence.snp import measure as snp

    mode = _MODES.get(_member(parameters.get("mode", "")).lower().replace("_", "-").replace(":", "-"))
    if mode is None:
        raise UsageError(
            f"the launch mode {parameters.get('mode')!r} is not known",
            code="case-mode",
            hint="known are SEV, SEV_ES, SEV_SNP, SEV_SNP_SVSM and SNP_OVMF_HASH",
        )
    kernel = _kernel(parameters, files)
    image = files.read(parameters.get("ovmf"))
    if mode == "sev":
        return sev.launch_digest(image, kernel)
    if mode == "ovmf-hash":
        return snp.measure_firmware(image).digest
    if mode == "svsm":
        svsm = files.read(parameters.get("svsm_file"))
        return snp.svsm_launch_digest(image, svsm, _integer(parameters, "ovmf_vars_size", 0), _vcpus(parameters))
    # What the firmware takes comes first: a case about that need not say which vCPUs it is not launched with.
    if mode == "seves":
        sev.launch_digest(image, kernel)
        return sev.es_launch_digest(image, _vcpus(parameters), kernel)
    known = parameters.get("snp_ovmf_hash")
    firmware = snp.known_firmware(_hex(known), image) if known else snp.measure_firmware(image)
    if kernel is not None:
        snp.check_takes_kernel(firmware)
    return snp.launch_digest(firmware, _vcpus(parameters), kernel)


def _member(name: object) -> str:
    """The name of a mode or VMM, also when written as the member of an enumeration (``VMMType.ec2``)."""
    return str(name).rpartition(".")[2]


def _vcpus(parameters: Mapping[str, Any]) -> Vcpus:
    from enarx.evidence.vcpu import cpu_signature, vcpu_signature
    from enarx.evidence.vmsa import SEV_FEATURE_SNP_ACTIVE, Vcpus, vmm_by_name

    signature: int | None = None
    if parameters.get("vcpu_type") is not None:
        signature = vcpu_signature(str(parameters["vcpu_type"]))
    elif parameters.get("vcpu_sig") is not None:
        signature = _integer(parameters, "vcpu_sig", 0)
    elif parameters.get("vcpu_family") is not None:
        signature = cpu_signature(
            _integer(parameters, "vcpu_family", 0),
            _integer(parameters, "vcpu_model", 0),
            _integer(parameters, "vcpu_stepping", 0),
        )
    return Vcpus(
        _integer(parameters, "vcpus", 1),
        signature,
        _integer(parameters, "guest_features", SEV_FEATURE_SNP_ACTIVE),
        vmm_by_name(_member(parameters.get("vmm_type") or "QEMU")),
    )


def _kernel(parameters: Mapping[str, Any], files: _Files) -> KernelHashes | None:
    from enarx.evidence.launchfile import kernel_hashes

    if not parameters.get("kernel"):
        return None
    initrd = parameters.get("initrd")
    return kernel_hashes(
        files.read(parameters["kernel"]),
        files.read(initrd) if initrd else None,
        str(parameters.get("append") or ""),
    )


def _integer(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    try:
        return int(value, 0) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} is not a number", code="case-parameters", hint="mend the document") from error


def _hex(value: object) -> bytes:
    try:
        return bytes.fromhex(str(value))
    except ValueError as error:
        raise UsageError("snp_ovmf_hash is not hex", code="case-parameters", hint="mend the document") from error
