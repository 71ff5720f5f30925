"""What a virtual machine, a container and this machine prove: nothing, and whose word stands in its place."""

from __future__ import annotations

import pytest

from enarx.trust import classic
from enarx.trust.model import Around, Fact, Kind, Layer, Owner, Row, Source, Stack, Status


def row(stack: Stack, layer: Layer) -> Row:
    return stack.rows[list(Layer).index(layer)]


@pytest.mark.parametrize("stack", [classic.vm(), classic.container()], ids=lambda stack: stack.kind.value)
def test_nothing_is_proved_and_nothing_is_out(stack: Stack) -> None:
    assert {one.status for one in stack.rows} <= {Status.ASSUMED, Status.ABSENT}
    assert {Owner.CLOUD, Owner.OEM, Owner.SILICON} <= set(stack.owners)
    verifier = stack.around[list(Around).index(Around.VERIFIER)]
    assert verifier.status is Status.ABSENT


def test_a_container_shares_the_providers_kernel_and_engine() -> None:
    assert row(classic.vm(), Layer.CONTAINER_ENGINE).status is Status.ABSENT
    assert row(classic.vm(), Layer.GUEST_OS).owner is Owner.OS_VENDOR
    container = classic.container()
    assert row(container, Layer.CONTAINER_ENGINE).owner is Owner.CLOUD
    assert row(container, Layer.GUEST_OS).owner is Owner.CLOUD
    assert row(container, Layer.USERLAND).owner is Owner.THIRD_PARTY


def test_what_a_machine_says_is_marked_as_its_word() -> None:
    claim = Fact("fact.kernel", "6.1", Source.HOST)
    bare = classic.host({Layer.HOST_OS: [claim]}, virtual=False, containers=False)
    assert row(bare, Layer.HOST_OS).versions == (claim,)
    assert row(bare, Layer.HOST_OS).status is Status.ASSUMED
    for layer in (Layer.CONTAINER_ENGINE, Layer.GUEST_OS, Layer.HYPERVISOR):
        assert row(bare, layer).status is Status.ABSENT
    guest = classic.host({}, virtual=True, containers=True)
    assert guest.kind is Kind.HOST
    assert not [one for one in guest.rows if one.status is Status.ABSENT]
    assert [note.key for note in guest.notes] == ["note.host"]
