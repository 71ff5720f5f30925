"""Files of reference values: what is written is read back, what a policy includes, and what is refused."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ConfigError
from enarx.evidence import reference
from enarx.evidence.reference import LaunchValue, Technology, format_reference_values, included, parse_reference_values
from enarx.evidence.vcpu import VCPU_TYPES
from enarx.evidence.vmsa import MAX_VCPUS


def digest(technology: str, number: int) -> bytes:
    return number.to_bytes(reference.DIGEST_BYTES[technology], "big")


VALUES = (
    LaunchValue("sev", digest("sev", 1)),
    LaunchValue("snp", digest("snp", 2), "EPYC", 1),
    LaunchValue("snp", digest("snp", 3), "EPYC", 2),
    LaunchValue("snp", digest("snp", 4), "EPYC-Milan", 1),
    LaunchValue("sev-es", digest("sev-es", 5), "EPYC", 1),
)
FILE = format_reference_values(VALUES, "of a test")


def read(name: str, limit: int) -> bytes:
    assert limit == reference.REFERENCE_MAX_BYTES
    if name != "values.toml":
        raise ConfigError(f"there is no {name}", code="file-unreadable")
    return FILE


def numbers(value: object, *technologies: Technology) -> list[int]:
    return [int.from_bytes(one, "big") for one in included(value, technologies or ("snp",), read)]


@st.composite
def launch_values(draw: st.DrawFn) -> LaunchValue:
    technology: Technology = draw(st.sampled_from(get_args(Technology)))
    measurement = digest(technology, draw(st.integers(1, 1 << 255)))
    if technology == "sev":
        return LaunchValue(technology, measurement)
    return LaunchValue(
        technology, measurement, draw(st.sampled_from(sorted(VCPU_TYPES))), draw(st.integers(1, MAX_VCPUS))
    )


@given(st.lists(launch_values(), min_size=1, max_size=5))
def test_what_is_written_is_read_back(values: list[LaunchValue]) -> None:
    assert parse_reference_values(format_reference_values(values, "title")) == tuple(values)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_reference_values_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_reference_values(data)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format 1"),
        ("format = 1", "format = 1\nmore = 1", "not a file of reference values"),
        ('technology = "sev"', 'technology = "sgx"', "technology is none of"),
        ('technology = "sev"', 'technology = "snp"', "expected measurement, model, technology, vcpus"),
        ("vcpus = 1", "vcpus = 0", "vcpus is 0"),
        ("vcpus = 1", "vcpus = true", "vcpus is True"),
        ("vcpus = 1", f"vcpus = {MAX_VCPUS + 1}", f"vcpus is {MAX_VCPUS + 1}"),
        ("vcpus = 1", "cpus = 1", "expected measurement, model, technology, vcpus"),
        ('model = "EPYC"', 'model = "Xeon"', "'Xeon' is not known"),
        ('model = "EPYC"', "model = 7", "'' is not known"),
        ('measurement = "', 'measurement = "00', "not a digest of 32 bytes"),
        ('measurement = "', 'measurement = "x', "not hexadecimal"),
        (VALUES[0].measurement.hex(), "0" * 64, "not a digest of 32 bytes"),
        (f'"{VALUES[0].measurement.hex()}"', "7", "not hexadecimal"),
    ],
)
def test_a_value_that_is_wrong_is_named(old: str, new: str, said: str) -> None:
    text = FILE.decode()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_reference_values(text.replace(old, new, 1).encode(), "values.toml")
    assert caught.value.code == "reference-value"
    assert said in caught.value.message
    assert caught.value.message.startswith("values.toml")


def test_more_launches_than_the_limit_are_refused() -> None:
    most = [VALUES[0]] * reference.LAUNCHES_MAX
    assert len(parse_reference_values(format_reference_values(most, "most"))) == reference.LAUNCHES_MAX
    with pytest.raises(ConfigError, match="launches, expected 1 to"):
        parse_reference_values(format_reference_values([*most, VALUES[0]], "more"))
    with pytest.raises(ConfigError, match="more than"):
        parse_reference_values(FILE + b"#" * reference.REFERENCE_MAX_BYTES)


def test_a_name_includes_every_launch_of_the_technology() -> None:
    assert numbers("values.toml") == [2, 3, 4]
    assert numbers("values.toml", "sev") == [1]
    assert numbers("values.toml", "sev", "sev-es") == [1, 5]
    assert numbers(["values.toml", "values.toml"]) == [2, 3, 4]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"vcpus": 1}, [2, 4]),
        ({"vcpus": [2]}, [3]),
        ({"model": "EPYC-v4"}, [2, 3]),
        ({"model": ["EPYC-Milan-v2", "EPYC"], "vcpus": [1, 64]}, [2, 4]),
    ],
)
def test_a_table_includes_the_launches_that_it_means(chosen: dict[str, object], expected: list[int]) -> None:
    assert numbers({"file": "values.toml", **chosen}) == expected


@pytest.mark.parametrize(
    "value",
    [
        7, [], {}, [["values.toml"]], {"file": 7}, {"file": "values.toml", "vcpu": 1},
        {"file": "values.toml", "vcpus": []}, {"file": "values.toml", "model": []},
        {"file": "values.toml", "vcpus": "1"}, {"file": "values.toml", "vcpus": 64},
        {"file": "values.toml", "model": "EPYC-Genoa"},
        {"file": "values.toml", "vcpus": {}}, ["values.toml"] * (reference.INCLUDES_MAX + 1),
    ],
)  # fmt: skip
def test_an_include_that_means_nothing_is_refused(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        numbers(value)
    assert caught.value.code == "policy-include"


def test_a_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        numbers({"file": "values.toml", "model": "Xeon"})
    assert caught.value.code == "reference-value"


def test_a_policy_that_comes_without_a_place_includes_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        included("values.toml", ("snp",), None)
    assert caught.value.code == "policy-include"


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(ConfigError, match=r"there is no other\.toml"):
        numbers("other.toml")
