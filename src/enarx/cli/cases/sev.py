"""Cases of technology ``sev``: certificate chains, launch measurements, VMSA pages and injected secrets.

What kind a case is follows from its inputs and fields, never from its name: certificates are told by their bytes, a
secret has GUIDs and a file ``tek*``, a measurement ``launch_measure_blob_b64``, a launch digest or a file ``tik*``, a
VMSA case ``userspace`` or files ``vmsa*``. Numbers may be written as text, byte strings in base64 or hexadecimal.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from enarx.cli.cases import FAIL, OK, UNSUPPORTED, Case, CaseResult, Index, Load, inputs, verify_time
from enarx.errors import AuthenticityError, EvidenceError, PolicyError, UsageError
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
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VMSAS = (("vmsa0", "vmsa_cpu0"), ("vmsa1", "vmsa_cpu1"))
"""What the names of files with the VMSA page of the first vCPU, and of the others, begin with."""


def run(case: Case, load: Load, index: Index) -> CaseResult:
    """Judge one case of technology ``sev``; raises EnarxError for a refusal. ``index`` is not needed."""
    del index
    fields = case.get("fields", {})
    files = {path: load(path) for path in inputs(case)}
    if _named(files, "tek"):
        return _secret(fields, files)
    if "userspace" in fields or (_named(files, "vmsa") and not _named(files, "tik")):
        return _vmsa(fields, files)
    if _named(files, "tik"):
        if str(case.get("name", "")).endswith(DEBUG_POLICY):
            _forbid_debug(GuestPolicy(_number(fields, "policy")))
        return _measurement(fields, files)
    return _chain(case, files)


def _chain(case: Case, files: Mapping[str, bytes]) -> CaseResult:
    found = [certificate for data in files.values() for certificate in certs.parse_chain(data)]
    fields: dict[str, object] = {}
    for certificate in found:
        name = certificate.usage.name.lower()
        if isinstance(certificate, certs.CaCertificate):
            fields[f"{name}_key_id"] = certificate.key_id.hex()
        else:
            fields[f"{name}_api_major"] = certificate.api_major
            fields[f"{name}_api_minor"] = certificate.api_minor
            fields[f"{name}_algorithm"] = certificate.algorithm.name.lower()
    try:
        proof = authenticate_chain(sort_chain(found), verify_time(case, UNDATED)).proof
    except EvidenceError as error:
        return CaseResult(FAIL, error.code, fields)
    checks = [rule.name for rule in proof.checks]
    return CaseResult(OK, fields={"generation": proof.product.lower(), "checks": checks, **fields})


def _measurement(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    policy = GuestPolicy(_number(fields, "policy"))
    firmware = FirmwareVersion(_number(fields, "api_major"), _number(fields, "api_minor"), _number(fields, "build_id"))
    stated = _stated(fields, DIGEST)
    digest = _launch_digest(fields, files, policy) if stated is None else _octets(fields, DIGEST)
    given = LaunchMeasurement.from_bytes(_octets(fields, MEASUREMENT)) if MEASUREMENT in fields else None
    nonce = given.mnonce if given is not None and _stated(fields, "nonce_b64") is None else _octets(fields, "nonce_b64")
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
            "launch_measure_b64": _text(computed.measure),
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
    count = _number(fields, *(name for name in fields if "cpus" in name or name.endswith("cpu_count")), "num_cpus")
    if not _named(files, "vmsa"):
        return measure.es_launch_digest(firmware, _vcpus(fields, count), kernel)
    if not 1 <= count <= MAX_VCPUS:
        raise UsageError(f"{count} vCPUs cannot be measured", code="vcpu-count", hint=f"a guest has 1 to {MAX_VCPUS}")
    boot = _file(files, *_VMSAS[0])
    other = _file(files, *_VMSAS[1]) if count > 1 else b""
    table = kernel.table() if kernel is not None else b""
    return hashlib.sha256(firmware + table + boot + other * (count - 1)).digest()


def _kernel_hashes(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> KernelHashes | None:
    if not _named(files, "vmlinuz", "kernel"):
        return None
    initrd = _file(files, "initrd") if _named(files, "initrd") else b""
    return KernelHashes(
        kernel=hashlib.sha256(_file(files, "vmlinuz", "kernel")).digest(),
        initrd=hashlib.sha256(initrd).digest(),
        cmdline=cmdline_digest(str(fields.get("cmdline", fields.get("append", "")))),
    )


def _vmsa(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    """Build the VMSA pages of two vCPUs from the firmware, and hold those given to them.

    The index names the program, not the KVM under it, and KVMs differ in the FPU state they leave: either is right.
    """
    userspace = str(fields.get("userspace", "qemu")).lower()
    if userspace != "qemu":
        return CaseResult(UNSUPPORTED, f"userspace-{userspace}")
    layout = parse_firmware(_file(files, "ovmf", "firmware", ".fd")).layout
    given = [_file(files, *names) if _named(files, *names) else None for names in _VMSAS]
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
    family, model, stepping = (
        _number(fields, name, f"cpu_{name}", f"vcpu_{name}") for name in ("family", "model", "stepping")
    )
    signature = cpu_signature(family, model, stepping)
    return Vcpus(count=count, signature=signature, features=0, vmm=vmm)


def _secret(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> CaseResult:
    guids = [UUID(guid) for guid in _guids(fields)]
    tek, tik = _file(files, "tek"), _file(files, "tik")
    contents = [data for path, data in files.items() if "tek" not in _name(path) and "tik" not in _name(path)]
    if not guids or len(contents) != len(guids):
        raise UsageError(f"{len(guids)} GUIDs for {len(contents)} secrets", code="case-fields", hint="mend the index")
    given = LaunchMeasurement.from_bytes(_octets(fields, MEASUREMENT))
    packet = secret.seal(
        tek=tek,
        tik=tik,
        measure=given.measure,
        iv=_octets(fields, "iv_b64"),
        data=secret.build_table(dict(zip(guids, contents, strict=True))),
    )
    computed = {"header_b64": packet.header.to_bytes(), "payload_b64": packet.payload}
    for name, value in computed.items():
        if _stated(fields, name) is not None and not hmac.compare_digest(_octets(fields, name), value):
            raise AuthenticityError(
                f"the packet in {name} is not the one for these secrets, keys and measurement",
                code="binding-mismatch",
                hint="another secret, key, IV or launch was sealed",
            )
    named = {name: value for name, value in fields.items() if "guid" in name}
    return CaseResult(OK, fields={**named, **{name: _text(value) for name, value in computed.items()}})


def _guids(value: object) -> Iterator[str]:
    """Every GUID in the fields of a case, however they are written, in the index's order: that of the secrets' files.

    ``secret_guid`` and its plural or numbered forms, ``GUID:FILE`` as sevctl takes them, and tables of these.
    """
    if isinstance(value, str):
        yield from _GUID.findall(value)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _guids(name)
            yield from _guids(one)
    elif isinstance(value, list):
        for one in value:
            yield from _guids(one)


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
        if isinstance(value, str):
            try:
                return int(value, 0)
            except ValueError:
                continue
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise UsageError(f"the case has no number {names[0]}", code="case-fields", hint="mend the index")


def _stated(fields: Mapping[str, Any], name: str) -> object:
    """A field that is named after its encoding, or without that, or after the other encoding."""
    bare = name.removesuffix("_b64")
    return next((fields[one] for one in (name, bare, f"{bare}_hex") if one in fields), None)


def _octets(fields: Mapping[str, Any], name: str) -> bytes:
    text = str(_stated(fields, name))
    try:
        if name not in fields and re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
            return bytes.fromhex(text)
        return b64decode(text, validate=True)
    except ValueError as error:
        raise UsageError(f"the case has no base64 in {name}", code="case-fields", hint="mend the index") from error


def _text(data: bytes) -> str:
    return b64encode(data).decode()
