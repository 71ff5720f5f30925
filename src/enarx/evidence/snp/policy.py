"""What a tenant expects of a SEV-SNP guest and its platform. Built in code, or read from TOML by ``policyfile.py``.

Everything that is not stated has the strict meaning: no measurement means no guest is accepted, no mention of debug
means debug is refused, VMPL 0 and nothing else. What is stated can be told apart from what is not, so that the
appraisal can say where each expectation came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from enarx.evidence.snp.product import Product
from enarx.evidence.snp.semver import Requirement

TCB_FIELDS = ("reported", "committed", "launch", "current")
"""The TCBs of a report that can have a minimum."""
TCB_COMPONENTS = ("fmc", "bootloader", "tee", "snp", "microcode")

ANY = "any"


@dataclass(frozen=True, slots=True)
class GuestPolicyRules:
    """What the guest's own launch policy may allow (first four) and must demand (the rest); 56860 table 10.

    ``exact_flags`` is the Steward's ``policy_flags``: of Debug, SMT and SingleSocket exactly these bits.
    """

    debug: bool = False
    migration: bool = False
    smt: bool = True
    cxl: bool = False
    single_socket: bool = False
    aes_256_xts: bool = False
    rapl_disabled: bool = False
    ciphertext_hiding: bool = False
    page_swap_disabled: bool = False
    abi: Requirement | None = None
    exact_flags: frozenset[str] | None = None


class Floor(NamedTuple):
    """A minimum for one byte of one TCB; ``at`` is None for a component that the product does not have."""

    name: str
    which: str
    at: int | None
    minimum: int
    expected: str
    source: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Reference values and limits for one kind of guest.

    Digests are bytes (48), host data 32, report data 64, family and image id 16, chip ids 64 or (Turin) 8. An empty
    tuple means "not judged", except for ``measurement``, where it means that nothing is accepted unless
    ``author_key_digest`` or ``id_key_digest`` names who signed the launch; ``any_measurement`` waives it in so many
    words. ``minimum_tcb`` maps (product or None, field of ``TCB_FIELDS``) to minimum security versions by component; a
    product's own entry replaces the general one. ``platform`` maps PLATFORM_INFO bits to the value they must have.
    ``source`` says where the policy is from, ``defaults`` which of its keys nobody stated: an expectation of theirs is
    built in.
    """

    measurement: tuple[bytes, ...] = ()
    any_measurement: bool = False
    measurement_deny: tuple[bytes, ...] = ()
    id_key_digest: tuple[bytes, ...] = ()
    id_key_digest_deny: tuple[bytes, ...] = ()
    author_key_digest: tuple[bytes, ...] = ()
    host_data: tuple[bytes, ...] = ()
    report_data: bytes | None = None
    family_id: tuple[bytes, ...] = ()
    image_id: tuple[bytes, ...] = ()
    minimum_guest_svn: int = 0
    minimum_report_version: int = 0
    vmpl: tuple[int, ...] = (0,)
    product: tuple[Product, ...] = ()
    chip_id: tuple[bytes, ...] = ()
    signing_key: tuple[str, ...] = ()
    minimum_tcb: Mapping[tuple[Product | None, str], Mapping[str, int]] = field(default_factory=dict)
    guest_policy: GuestPolicyRules = field(default_factory=GuestPolicyRules)
    platform: Mapping[str, bool] = field(default_factory=dict)
    platform_exact: int | None = None
    provisional_firmware: bool = True
    reserved: bool = False
    require_crl: bool = False
    simulated: bool = False
    source: str = "policy"
    defaults: frozenset[str] = field(default=frozenset(), compare=False)
    _floors: dict[Product, tuple[Floor, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def origin(self, key: str) -> str:
        """Where the expectation under a key that every policy has comes from: this policy, or the built-in default."""
        return f"built-in ({self.source} may state {key})" if key in self.defaults else f"{self.source} {key}"

    def floors(self, product: Product) -> tuple[Floor, ...]:
        """The minimum security versions that apply to a product, in the order in which they are judged."""
        known = self._floors.get(product)
        if known is None:
            known = self._floors[product] = tuple(self._compile_floors(product))
        return known

    def _compile_floors(self, product: Product) -> Iterator[Floor]:
        names = product.facts.components
        for which in TCB_FIELDS:
            own = self.minimum_tcb.get((product, which))
            place = f"{self.source} minimum_tcb.{product.value + '.' if own is not None else ''}{which}"
            for component, minimum in (own if own is not None else self.minimum_tcb.get((None, which), {})).items():
                at = names.index(component) if component in names else None
                yield Floor(f"tcb-{which}-{component}", which, at, minimum, f">= {minimum}", place)

    def names_the_guest(self) -> bool:
        """Whether anything in this policy says which guest is meant."""
        return bool(self.measurement or self.any_measurement or self.author_key_digest or self.id_key_digest)
