"""The narrower of Enarx.toml and manifest holds, and refusals name the one that refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.config import Config, Limits, parse
from enarx.errors import ConfigError, StreamError
from enarx.keep.narrow import narrow, narrow_limits
from enarx.manifest import LIMIT_BOUNDS, Allow, Manifest, ManifestLimits, StewardPin, Workload

DIGEST = "sha256:" + 64 * "0"
OPEN = Manifest(Workload(DIGEST))
CONFIG = parse(
    """
    [[files]]
    kind = "listen"
    name = "web"
    port = 8443
    [[files]]
    kind = "connect"
    host = "DB.example.com"
    port = 5432
    """
)


def manifest(allow: Allow | None = None, limits: ManifestLimits | None = None, steward: bool = False) -> Manifest:
    pin = StewardPin("https://steward.example", DIGEST) if steward else None
    return Manifest(Workload(DIGEST), allow=allow, limits=limits, steward=pin)


def test_manifest_without_rules_leaves_the_config_as_it_is() -> None:
    assert narrow(CONFIG, OPEN) == CONFIG


def test_streams_that_both_name_are_permitted() -> None:
    assert narrow(CONFIG, manifest(Allow((8443, 80), ("db.example.com:5432",)))) == CONFIG
    assert narrow(Config(), manifest(Allow((8443,), ("db.example.com:5432",)))).files == ()


@pytest.mark.parametrize(
    ("allow", "code"),
    [
        (Allow((443,), ("db.example.com:5432",)), "manifest-listen"),
        (Allow((8443,), ("db.example.com:5433",)), "manifest-connect"),
        (Allow((8443,), ("example.com:5432",)), "manifest-connect"),
        (Allow(), "manifest-listen"),
    ],
)
def test_stream_that_the_manifest_does_not_name_is_refused_in_its_name(allow: Allow, code: str) -> None:
    with pytest.raises(StreamError, match=r"^the manifest refuses to .*, which Enarx\.toml asks for$") as caught:
        narrow(CONFIG, manifest(allow))
    assert caught.value.code == code


def bounds_with(**fields: int | None) -> ManifestLimits:
    widest: dict[str, int | None] = {key: high for key, (_, high) in LIMIT_BOUNDS.items()}
    return ManifestLimits(**(widest | {"deadline": None} | fields))  # type: ignore[arg-type]


def test_more_files_than_the_manifest_permits_descriptors_are_refused() -> None:
    files = parse("".join(f'[[files]]\nkind = "null"\nname = "n{number}"\n' for number in range(4)))
    assert narrow(files, manifest(limits=bounds_with(descriptors=4))).limits.open_descriptors == 4
    with pytest.raises(ConfigError) as caught:
        narrow(files, manifest(limits=bounds_with(descriptors=3)))
    assert caught.value.code == "config-limit"
    assert "manifest" in caught.value.message


def test_author_who_asks_for_a_steward_gets_one_or_nothing() -> None:
    config = parse('steward = "https://author.example"')
    assert narrow(config, manifest(steward=True)).steward == "https://author.example"
    with pytest.raises(ConfigError) as caught:
        narrow(config, OPEN)
    assert caught.value.code == "manifest-steward"


@pytest.mark.parametrize(
    ("config", "bound", "expected"),
    [(None, None, None), (None, 1500, 1.5), (2.0, None, 2.0), (2.0, 1500, 1.5), (1.0, 1500, 1.0)],
)
def test_earlier_deadline_holds(config: float | None, bound: int | None, expected: float | None) -> None:
    found = narrow_limits(Limits(deadline_seconds=config), manifest(limits=bounds_with(deadline=bound)))
    assert found.deadline_seconds == expected


def _limits(draw: st.DrawFn) -> dict[str, int]:
    return {key: draw(st.integers(*bounds)) for key, bounds in LIMIT_BOUNDS.items()}


@given(st.composite(_limits)(), st.composite(_limits)())
def test_no_limit_is_wider_than_either_side_says(config: dict[str, int], bound: dict[str, int]) -> None:
    asked = Limits(
        config["memory"], config["filesystem"], config["descriptors"], config["deadline"] / 1000, config["module"]
    )
    found = narrow_limits(asked, manifest(limits=ManifestLimits(**bound)))
    least = {key: min(config[key], bound[key]) for key in LIMIT_BOUNDS}
    assert found == Limits(
        least["memory"], least["filesystem"], least["descriptors"], least["deadline"] / 1000, least["module"]
    )
    assert narrow_limits(asked, OPEN) == asked
