"""Stacks that prove nothing: a virtual machine and a container in a cloud, and a program on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from enarx.trust import around
from enarx.trust.model import Basis, Fact, Kind, Layer, Owner, Row, Stack, Status, Text

OWNERS: Final = {
    Layer.APPLICATION: Owner.TENANT,
    Layer.MIDDLEWARE: Owner.MIDDLEWARE,
    Layer.USERLAND: Owner.OS_VENDOR,
    Layer.CONTAINER_ENGINE: Owner.CLOUD,
    Layer.GUEST_OS: Owner.OS_VENDOR,
    Layer.HYPERVISOR: Owner.CLOUD,
    Layer.HOST_OS: Owner.CLOUD,
    Layer.BOOT_LOADER: Owner.CLOUD,
    Layer.BIOS: Owner.OEM,
    Layer.FIRMWARE: Owner.SILICON,
    Layer.CPU: Owner.SILICON,
}
"""Whose each layer usually is."""


def vm() -> Stack:
    """A classic virtual machine of a cloud."""
    rows = [_assumed(layer, f"vm.{layer.value}") for layer in Layer]
    rows[3] = absent(Layer.CONTAINER_ENGINE)
    return Stack(Kind.VM, Basis.DESIGN, tuple(rows), around.classic())


def container() -> Stack:
    """A container in a cloud, on a node that is a virtual machine of the provider's."""
    own = (Layer.USERLAND, Layer.CONTAINER_ENGINE, Layer.GUEST_OS)
    rows = [_assumed(layer, f"{'container' if layer in own else 'vm'}.{layer.value}") for layer in Layer]
    rows[2] = _assumed(Layer.USERLAND, "container.userland", Owner.THIRD_PARTY)
    rows[4] = _assumed(Layer.GUEST_OS, "container.guest-os", Owner.CLOUD)
    return Stack(Kind.CONTAINER, Basis.DESIGN, tuple(rows), around.classic())


def host(claims: Mapping[Layer, Sequence[Fact]], *, virtual: bool, containers: bool) -> Stack:
    """A program on this machine. ``claims``: what the machine says of itself, by layer.

    ``virtual``: whether it says that it is a guest itself; then its kernel is the guest's and of what is below only
    the processor is seen. ``containers``: whether the program runs in a container.
    """
    rows = [_assumed(layer, f"host.{layer.value}") for layer in Layer]
    if not containers:
        rows[3] = absent(Layer.CONTAINER_ENGINE)
    if not virtual:
        rows[4], rows[5] = absent(Layer.GUEST_OS), absent(Layer.HYPERVISOR)
    stack = Stack(Kind.HOST, Basis.HOST, tuple(rows), around.classic(), (Text("note.host"),))
    for layer, facts in claims.items():
        stack = stack.with_versions(layer, facts)
    return stack


def absent(layer: Layer) -> Row:
    """A layer that a stack does not have."""
    return Row(layer, OWNERS[layer], Status.ABSENT, Text("absent"))


def _assumed(layer: Layer, reason: str, owner: Owner | None = None) -> Row:
    return Row(layer, owner or OWNERS[layer], Status.ASSUMED, Text(reason))
