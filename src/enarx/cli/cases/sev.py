"""Cases of technology ``sev``: certificate chains, launch measurements, VMSA pages and injected secrets.

What kind a case is follows from its inputs and fields, never from its name: certificates are told by their bytes, a
secret has ``secret_guid``, a measurement ``launch_measure_blob_b64`` or a launch digest, a VMSA case ``userspace``.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from enarx.cli.cases import OK, Case, CaseResult, Index, Load, inputs, verify_time
from enarx.errors import AuthenticityError, PolicyError, UsageError
from enarx.evidence.hashtable import KernelHashes, cmdline_digest
from enarx.evidence.ovmf import parse_firmware
from enarx.evidence.sev import certs, launch, measure, secret
from enarx.evidence.sev.authenticate import authenticate_chain, sort_chain
from enarx.evidence.sev.guest_policy import GuestPolicy
from enarx.evidence.sev.report import FirmwareVersion, LaunchMeasurement
from enarx.evidence.vcpu import cpu_signature
from enarx.evidence.vmsa import MAX_VCPUS, Vcpus, Vmm

UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""SEV certificates carry no dates; this is only what the proof says of the time."""
MEASUREMENT = "launch_measure_blob_b64"
DIGEST = "launch_digest_b64"
"""Names of fields of the index."""
DEBUG_POLICY = "-debug-policy"
"""A case whose name ends so is judged under a policy that forbids debugging."""


def run(case: Case, load: Load, index: Index) -> CaseResult:
    """Judge one case of technology ``sev``; raises EnarxError for a refusal. ``index`` is not needed."""
    del index
    fields = case.get("fields", {})
    files = {path: load(path) for path in inputs(case)}
    if _guid_fields(fields):
        return _secret(fields, files)
    if "userspace" in fields:
        return _vmsa(fields, files)
    if MEASUREMENT in fields or DIGEST in fields:
        if str(case.get("name", "")).endswith(DEBUG_POLICY):
            _forbid_debug(GuestPolicy(_number(fields, "policy")))
        return _measurement(fields, files)
    return _chain(case, files)


def _chain(case: Case, files: Mapping[str, bytes]) -> CaseResult:
    found = [certificate for data in files.values() for certificate in certs.parse_chain(data)]
    verified = authenticate_chain(sort_chain(found), verify_time(case, UNDATED))
    fields: dict[str, object] = {
        "generation": verified.proof.product.lower(),
        "checks": [rule.name for rule in verified.proof.checks],
    }
    for certificate in found:
        name = certificate.usage.name.lower()
        if isinstance(certificate, certs.CaCertificate):
            fields[f"{name}_key_id"] = certificate.key_id.hex()
        else:
            fields[f"{name}_api_major"] = certificate.api_major
            fields[f"{name}_api_minor"] = certificate.api_minor
            fields[f"{name}_algorithm"] = certificate.algorithm.name.lower()
    return CaseResult(OK, fields=fields)


def _measurement(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    policy = GuestPolicy(_number(fields, "policy"))
    firmware = FirmwareVersion(_number(fields, "api_major"), _number(fields, "api_minor"), _number(fields, "build_id"))
    digest = _base64(fields, DIGEST) if DIGEST in fields else _launch_digest(fields, files, policy)
    given = LaunchMeasurement.from_bytes(_base64(fields, MEASUREMENT)) if MEASUREMENT in fields else None
    nonce = _base64(fields, "nonce_b64") if given is None or "nonce_b64" in fields else given.mnonce
    tik = _file(files, "tik")
    computed = LaunchMeasurement(launch.measurement_mac(tik, firmware, policy, digest, nonce), nonce)
    if given is not None:
        launch.find_digest(tik, firmware, policy, [digest], given)
        if not hmac.compare_digest(given.mnonce, nonce):
            raise AuthenticityError("the measurement answers another nonce", code="nonce-mismatch", hint="ask again")
    return CaseResult(
        OK,
        fields={
            "api_major": firmware.api_major,
            "api_minor": firmware.api_minor,
            "build_id": firmware.build_id,
            "policy": policy.value,
            "nonce_b64": _text(nonce),
            DIGEST: _text(digest),
            "launch_digest": digest.hex(),
            MEASUREMENT: _text(computed.to_bytes()),
        },
    )


def _forbid_debug(policy: GuestPolicy) -> None:
    if policy.debug_allowed:
        raise PolicyError(
            "the guest policy allows debugging", code="debug-enabled", hint="set NODBG (bit 0) and launch anew"
        )


def _launch_digest(fields: Mapping[str, Any], files: Mapping[str, bytes], policy: GuestPolicy) -> bytes:
    """The launch digest of the files of a case: firmware, kernel, initrd, and for SEV-ES the VMSA pages given."""
    firmware = _file(files, "ovmf", "firmware", ".fd")
    kernel = _kernel_hashes(fields, files)
    if not policy.es_required:
        return measure.launch_digest(firmware, kernel)
    count = _number(fields, *(name for name in fields if "cpu" in name), "num_cpus")
    if not _named(files, "vmsa"):
        return measure.es_launch_digest(firmware, _vcpus(fields, count), kernel)
    if not 1 <= count <= MAX_VCPUS:
        raise UsageError(f"{count} vCPUs cannot be measured", code="vcpu-count", hint=f"a guest has 1 to {MAX_VCPUS}")
    boot, other = _file(files, "vmsa0", "vmsa_cpu0"), _file(files, "vmsa1", "vmsa_cpu1")
    table = kernel.table() if kernel is not None else b""
    return hashlib.sha256(firmware + table + boot + other * (count - 1)).digest()


def _kernel_hashes(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> KernelHashes | None:
    if not _named(files, "vmlinuz", "kernel"):
        return None
    initrd = _file(files, "initrd") if _named(files, "initrd") else b""
    return KernelHashes(
        kernel=hashlib.sha256(_file(files, "vmlinuz", "kernel")).digest(),
        initrd=hashlib.sha256(initrd).digest(),
        cmdline=cmdline_digest(str(fields.get("cmdline", ""))),
    )


def _vmsa(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    """Build the VMSA pages of two vCPUs from the firmware, and hold those given to them.

    The index names the program, not the KVM under it, and KVMs differ in the FPU state they leave: either is right.
    """
    if fields["userspace"] != "qemu":
        return CaseResult("unsupported", f"userspace-{fields['userspace']}")
    layout = parse_firmware(_file(files, "ovmf", "firmware", ".fd")).layout
    given = [_file(files, name) if _named(files, name) else None for name in ("vmsa0", "vmsa1")]
    for vmm in (Vmm.QEMU_NO_FPU, Vmm.QEMU):
        built = list(measure.vmsa_pages(layout, _vcpus(fields, 2, vmm)))
        if all(page is None or page == expected for page, expected in zip(given, built, strict=True)):
            digests = {f"vmsa{number}_sha256": hashlib.sha256(page).hexdigest() for number, page in enumerate(built)}
            return CaseResult(OK, fields={"vmm": str(vmm), **digests})
    raise AuthenticityError(
        "the VMSA pages are not what this firmware and processor give",
        code="measurement-mismatch",
        hint="compare family, model, stepping and userspace",
    )


def _vcpus(fields: Mapping[str, Any], count: int, vmm: Vmm = Vmm.QEMU_NO_FPU) -> Vcpus:
    signature = cpu_signature(_number(fields, "family"), _number(fields, "model"), _number(fields, "stepping"))
    return Vcpus(count=count, signature=signature, features=0, vmm=vmm)


def _secret(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    guids: list[str] = []
    for name in _guid_fields(fields):
        guids += fields[name] if isinstance(fields[name], list) else [fields[name]]
    tek, tik = _file(files, "tek"), _file(files, "tik")
    contents = [data for path, data in files.items() if "tek" not in _name(path) and "tik" not in _name(path)]
    if len(contents) != len(guids):
        raise UsageError(f"{len(guids)} GUIDs for {len(contents)} secrets", code="case-fields", hint="mend the index")
    table = {_guid(guid): data for guid, data in zip(guids, contents, strict=True)}
    given = LaunchMeasurement.from_bytes(_base64(fields, MEASUREMENT))
    packet = secret.seal(
        tek=tek,
        tik=tik,
        measure=given.measure,
        iv=_base64(fields, "iv_b64"),
        data=secret.build_table(table),
    )
    computed = {"header_b64": _text(packet.header.to_bytes()), "payload_b64": _text(packet.payload)}
    for name, value in computed.items():
        if name in fields and not hmac.compare_digest(str(fields[name]).encode(), value.encode()):
            raise AuthenticityError(
                f"the packet in {name} is not the one for these secrets, keys and measurement",
                code="binding-mismatch",
                hint="another secret, key, IV or launch was sealed",
            )
    return CaseResult(OK, fields={**{name: fields[name] for name in _guid_fields(fields)}, **computed})


def _guid_fields(fields: Mapping[str, Any]) -> list[str]:
    """``secret_guid`` and its numbered or plural forms, in the index's order, which is that of the secrets' files."""
    return [name for name in fields if "guid" in name]


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _file(files: Mapping[str, bytes], *parts: str) -> bytes:
    """The one input whose file name holds one of the given parts."""
    found = _named(files, *parts)
    if len(found) != 1:
        raise UsageError(
            f"the case has {len(found)} inputs named like {parts[0]}", code="case-inputs", hint="mend the index"
        )
    return found[0]


def _named(files: Mapping[str, bytes], *parts: str) -> list[bytes]:
    return [data for path, data in files.items() if any(part in _name(path) for part in parts)]


def _number(fields: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise UsageError(f"the case has no number {names[0]}", code="case-fields", hint="mend the index")


def _base64(fields: Mapping[str, Any], name: str) -> bytes:
    try:
        return b64decode(str(fields[name]), validate=True)
    except (KeyError, ValueError) as error:
        raise UsageError(f"the case has no base64 in {name}", code="case-fields", hint="mend the index") from error


def _guid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a GUID", code="case-fields", hint="mend the index") from error


def _text(data: bytes) -> str:
    return b64encode(data).decode()
