"""The Steward's policy file: which guests are believed, which workloads run in them, and what each is given.

::

    [snp]                     AMD SEV-SNP guests: keys of enarx.evidence.snp.policyfile
    [simulated]               guests of a simulator: the same keys, and which simulator (`root`, a PEM file as
                              `enarx simulator root` prints it, or `certificates`, that text itself)
    [sev], [simulated_sev]    which SEV and SEV-ES launches are approved, and by whom: see enarx.tenant.sevpolicy
    [workload.NAME]           which manifests are this workload: see enarx.tenant.workloads
    [sigstore]                whom sigstore identities are believed of: see enarx.tenant.signature.settings
    [[secret]]                `name`, `value` or `file`, `workloads` that it is released to, `simulated` when a guest
                              of a simulator may have it as well
    [certificate]             `lifetime` ("24h"), `dns` names, `trust_domain` for spiffe://TRUST-DOMAIN/keep/NAME
    [service]                 how the Steward itself runs: `names`, `policy_readers`, `rate`, `burst`
    [console]                 pages for people, which there are none of without it: `readers`, `session` ("30m")
    [debug]                   `kvm = true` issues to guests that prove nothing at all
    [sgx]                     read and checked as the published Steward does; SGX evidence is refused by name

Absent means refused: no ``[snp]``, no SEV-SNP guest; no ``[workload]``, no request with a manifest. The configuration
of the published Steward (``[snp]`` and ``[sgx]`` alone) is read as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from enarx.errors import ConfigError
from enarx.evidence.snp import Policy as SnpPolicy
from enarx.evidence.snp import Root
from enarx.evidence.snp.policyfile import POLICY_MAX_BYTES, policy_from_table
from enarx.evidence.snp.simulated import simulated_roots
from enarx.tenant import policytables as tables
from enarx.tenant.publishedconfig import check_sgx, read_snp
from enarx.tenant.sevpolicy import SevRules, read_sev
from enarx.tenant.signature.bundle import Sigstore
from enarx.tenant.signature.settings import read_sigstore
from enarx.tenant.workloads import Workload, read_workloads, who_needs_sigstore
from enarx.toml_document import Document

LIFETIME_MAX: Final = timedelta(hours=24)
"""Longest validity of an issued certificate, and the default."""

RATE: Final = 500
"""Requests a second that one address may make of one worker, by default (count). More than a worker can serve, for a
balancer may stand there for all clients: this stops a flood of what is cheap to refuse."""
BURST: Final = 1000
"""Requests at once, likewise (count)."""

SESSION: Final = timedelta(minutes=30)
"""How long a reader of the console stays signed in, by default."""
SESSION_MAX: Final = timedelta(hours=12)

Read = Callable[[str, int, bool], bytes]
"""``(name, limit, private) -> bytes`` of a file that the policy names, relative to the policy; raises ConfigError.

``private`` asks for a file that its owner alone may read."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes for the Keeps of the named workloads. The value is left out of ``repr``."""

    name: str
    value: bytes = field(repr=False)
    workloads: frozenset[str]
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class CertificateRules:
    """What issued certificates say: how long they are valid, and for which names."""

    lifetime: timedelta = LIFETIME_MAX
    dns: tuple[str, ...] = ()
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """How the Steward runs: names in its own TLS certificate, digests of the tokens of those who may read the policy,
    and requests a second (and at once) that one address may make; a rate of 0 is no limit."""

    names: tuple[str, ...] = ()
    policy_readers: tuple[bytes, ...] = ()
    rate: int = RATE
    burst: int = BURST


@dataclass(frozen=True, slots=True)
class ConsoleRules:
    """Who may read the console, by the SHA-256 of their tokens, and how long one stays signed in."""

    readers: tuple[bytes, ...]
    session: timedelta = SESSION


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file as read. ``digest`` is the SHA-256 of its bytes; ``text`` is withheld from ``repr``."""

    digest: bytes
    text: str = field(repr=False)
    snp: SnpPolicy | None = None
    simulated: SnpPolicy | None = None
    simulated_roots: tuple[Root, ...] = ()
    workloads: tuple[Workload, ...] = ()
    secrets: tuple[Secret, ...] = ()
    certificate: CertificateRules = CertificateRules()
    service: ServiceRules = ServiceRules()
    accepts_kvm: bool = False
    has_inline_secrets: bool = False
    sigstore: Sigstore | None = field(default=None, repr=False, compare=False)
    sev: SevRules | None = None
    simulated_sev: SevRules | None = None
    console: ConsoleRules | None = None

    @property
    def public_text(self) -> str | None:
        """The text for those who may read the policy; None when secrets are written in it."""
        return None if self.has_inline_secrets else self.text


_TABLES: Final = (
    "snp", "sev", "sgx", "simulated", "simulated_sev", "workload", "sigstore", "secret", "certificate", "service",
    "console", "debug",
)  # fmt: skip


def parse_policy(data: bytes, source: str, read: Read) -> Policy:
    """Read a policy file of at most ``POLICY_MAX_BYTES``. ``source`` is what messages call it.

    ``read`` fetches the files that it names (a simulator's root, secrets). Raises ConfigError for whatever is not
    understood, contradicts itself or has an unknown key: a rule that was misspelt would be a rule not applied.
    """
    document = Document(data, source, POLICY_MAX_BYTES)
    top = document.data
    for key, value in top.items():
        if key not in _TABLES:
            hint = f"known tables: {', '.join(_TABLES)}"
            raise document.error((key,), "policy-unknown-key", f"[{key}] is not a table of a policy", hint, key=True)
        if key == "secret":
            continue
        if not isinstance(value, dict):
            raise document.type_error((key,), "a table", value)
    reader = tables.Tables(document)
    if "sgx" in top:
        check_sgx(reader, top["sgx"])
    simulated, roots = _simulated(document, top.get("simulated"), read)
    workloads = read_workloads(reader, top.get("workload", {}), read)
    secrets = _secrets(reader, top.get("secret", []), {one.name for one in workloads}, read)
    debug = reader.only_keys(("debug",), top.get("debug", {}), ("kvm",))
    return Policy(
        digest=hashlib.sha256(data).digest(),
        text=data.decode(),
        snp=_evidence(document, "snp", read_snp(reader, top["snp"]), read) if "snp" in top else None,
        simulated=simulated,
        simulated_roots=roots,
        workloads=workloads,
        secrets=secrets,
        certificate=_certificate(reader, top.get("certificate", {})),
        service=_service(reader, top.get("service", {})),
        accepts_kvm=reader.switch(("debug", "kvm"), debug.get("kvm", False)),
        sigstore=read_sigstore(reader, top.get("sigstore"), read, needed_by=who_needs_sigstore(workloads)),
        sev=read_sev(reader, "sev", top.get("sev"), read),
        simulated_sev=read_sev(reader, "simulated_sev", top.get("simulated_sev"), read),
        console=_console(reader, top["console"]) if "console" in top else None,
        has_inline_secrets=any("value" in one for one in top.get("secret", [])),
    )


def _evidence(
    document: Document, name: str, table: Mapping[str, Any], read: Read, *, simulated: bool = False
) -> SnpPolicy:
    stated = dict(table)
    if stated.get("simulated") is not None:
        hint = "name the simulator under [simulated]; [snp] is for hardware"
        raise document.error((name, "simulated"), "policy-value", f"[{name}] simulated is not for a Steward", hint)
    if simulated:
        stated["simulated"] = True
    try:
        return policy_from_table(stated, f"policy {name}", lambda file, limit: read(file, limit, False))
    except ConfigError as error:
        message = error.message.replace("[snp]", f"[{name}]")
        raise document.error((name,), error.code, message, error.hint) from error


def _simulated(
    document: Document, table: Mapping[str, Any] | None, read: Read
) -> tuple[SnpPolicy | None, tuple[Root, ...]]:
    """``[simulated]``: the only way in which a simulator's root is ever believed."""
    if table is None:
        return None, ()
    own = {key: value for key, value in table.items() if key in ("root", "certificates")}
    if len(own) != 1:
        hint = 'root = "FILE" or certificates = """PEM""": what `enarx simulator root` prints'
        raise document.error(("simulated",), "policy-value", "[simulated] must name one simulator's root", hint)
    ((key, value),) = own.items()
    path = ("simulated", key)
    if not isinstance(value, str):
        raise document.type_error(path, "a string", value)
    pem = read(value, tables.PEM_MAX_BYTES, False) if key == "root" else value.encode()
    try:
        roots = simulated_roots(pem)
    except ConfigError as error:
        raise document.error(path, "policy-value", error.message, error.hint) from error
    rest = {key: value for key, value in table.items() if key not in own}
    return _evidence(document, "simulated", rest, read, simulated=True), roots


def _secrets(reader: tables.Tables, listed: Any, known: set[str], read: Read) -> tuple[Secret, ...]:
    document = reader.document
    if not isinstance(listed, list) or len(listed) > tables.SECRETS_MAX:
        raise document.type_error(("secret",), f"an array of at most {tables.SECRETS_MAX} tables, [[secret]]", listed)
    found: dict[str, Secret] = {}
    for index, table in enumerate(listed):
        path = ("secret", index)
        stated = reader.only_keys(path, table, ("name", "value", "file", "workloads", "simulated"))
        name = reader.name((*path, "name"), stated.get("name"))
        if name in found:
            raise document.error(path, "policy-contradiction", f"secret {name} appears twice", "rename one")
        if ("value" in stated) is ("file" in stated):
            raise document.error(path, "policy-value", f"secret {name} needs a value or a file", "state one of them")
        workloads = frozenset(reader.names((*path, "workloads"), stated.get("workloads")))
        if not workloads <= known:
            missing = ", ".join(sorted(workloads - known))
            what, hint = f"secret {name} is released to {missing}, which is no workload", "add [workload.NAME]"
            raise document.error((*path, "workloads"), "policy-value", what, hint)
        key = "value" if "value" in stated else "file"
        text = reader.text((*path, key), stated[key])
        value = text.encode() if key == "value" else read(text, tables.SECRET_MAX_BYTES, True)
        if not 1 <= len(value) <= tables.SECRET_MAX_BYTES:
            what = f"secret {name} has {len(value)} bytes"
            raise document.error((*path, key), "policy-value", what, f"1 to {tables.SECRET_MAX_BYTES} bytes")
        simulated = reader.switch((*path, "simulated"), stated.get("simulated", False))
        found[name] = Secret(name, value, workloads, simulated)
    return tuple(found.values())


def _certificate(reader: tables.Tables, table: Any) -> CertificateRules:
    stated = reader.only_keys(("certificate",), table, ("lifetime", "dns", "trust_domain"))
    lifetime = LIFETIME_MAX
    if "lifetime" in stated:
        lifetime = reader.duration(("certificate", "lifetime"), stated["lifetime"], LIFETIME_MAX)
    path = ("certificate", "trust_domain")
    return CertificateRules(
        lifetime,
        reader.dns_names(("certificate", "dns"), stated.get("dns", [])),
        reader.dns_name(path, stated["trust_domain"]) if "trust_domain" in stated else "",
    )


def _service(reader: tables.Tables, table: Any) -> ServiceRules:
    stated = reader.only_keys(("service",), table, ("names", "policy_readers", "rate", "burst"))
    readers = stated.get("policy_readers", [])
    return ServiceRules(
        reader.host_names(("service", "names"), stated.get("names", [])),
        reader.digests(("service", "policy_readers"), readers) if readers else (),
        reader.number(("service", "rate"), stated.get("rate", RATE), 1_000_000),
        reader.number(("service", "burst"), stated.get("burst", BURST), 1_000_000),
    )


def _console(reader: tables.Tables, table: Any) -> ConsoleRules:
    stated = reader.only_keys(("console",), table, ("readers", "session"))
    if "readers" not in stated:
        hint = 'readers = ["sha256:..."], digests of tokens; without [console] there is no console'
        raise reader.document.error(("console",), "policy-value", "[console] names no readers", hint)
    session = SESSION
    if "session" in stated:
        session = reader.duration(("console", "session"), stated["session"], SESSION_MAX)
    return ConsoleRules(reader.digests(("console", "readers"), stated["readers"]), session)
