"""The rows that people forget: what stands beside every stack, whatever proof there is."""

from __future__ import annotations

from enarx.trust.model import Around, Fact, Owner, Row, Status, Text

OWNERS = {
    Around.OPERATOR: Owner.CLOUD,
    Around.SIDE_CHANNELS: Owner.SILICON,
    Around.VERIFIER: Owner.TENANT,
    Around.REGISTRY: Owner.THIRD_PARTY,
    Around.CLOCK: Owner.CLOUD,
    Around.AVAILABILITY: Owner.CLOUD,
}


def classic() -> tuple[Row, ...]:
    """Of a stack that proves nothing."""
    return (
        _row(Around.OPERATOR, Status.UNPROTECTED, "operator.plain"),
        _row(Around.SIDE_CHANNELS, Status.UNPROTECTED, "side-channels.plain"),
        _row(Around.VERIFIER, Status.ABSENT, "verifier.none"),
        _row(Around.REGISTRY, Status.ASSUMED, "registry.plain"),
        _row(Around.CLOCK, Status.ASSUMED, "clock.plain"),
        _row(Around.AVAILABILITY, Status.UNPROTECTED, "availability.plain"),
    )


def of_keep(
    *, encrypted: bool, workload: Status, judged: tuple[Fact, ...] = (), memory: tuple[Fact, ...] = (),
    sharing: tuple[Fact, ...] = (),
) -> tuple[Row, ...]:  # fmt: skip
    """Of a Keep. ``encrypted``: whether its memory is. ``workload``: what is known of which one runs.

    ``judged``: by whom and when; ``memory`` and ``sharing``: what evidence says that bears on physical attacks and on
    side channels.
    """
    proved = workload is Status.PROVED
    registry = Status.OUT if proved else Status.ASSUMED if workload is Status.ASSUMED else Status.UNKNOWN
    reason = {Status.OUT: "registry.checked", Status.ASSUMED: "registry.simulated"}.get(registry, "registry.unknown")
    return (
        _row(Around.OPERATOR, Status.UNPROTECTED, "operator.tee" if encrypted else "operator.plain", memory),
        _row(
            Around.SIDE_CHANNELS, Status.UNPROTECTED, "side-channels.tee" if encrypted else "side-channels.plain",
            sharing,
        ),
        _row(Around.VERIFIER, Status.ASSUMED, "verifier.tenant", judged),
        _row(Around.REGISTRY, registry, reason),
        _row(Around.CLOCK, Status.ASSUMED, "clock.keep"),
        _row(Around.AVAILABILITY, Status.UNPROTECTED, "availability.keep"),
    )  # fmt: skip


def _row(place: Around, status: Status, reason: str, facts: tuple[Fact, ...] = ()) -> Row:
    return Row(place, OWNERS[place], status, Text(reason), versions=facts)
