"""Names of deployments."""

from __future__ import annotations

import pytest

from enarx.errors import UsageError
from enarx.host.names import MAX_NAME_CHARS, check_name, is_name, random_name


@pytest.mark.parametrize("name", ["a", "A9", "web-1", "a.b_c", "9", "x" * MAX_NAME_CHARS])
def test_a_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".new", "-x", "_x", "a/b", "a b", "a\n", "\0", "\u00e4", "a\u0660", "x" * (MAX_NAME_CHARS + 1)],
)
def test_what_could_be_another_file_or_an_option_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(UsageError) as caught:
        check_name(name)
    assert caught.value.code == "deployment-name"


def test_names_that_are_found_are_names_and_differ() -> None:
    names = {random_name() for _ in range(200)}
    assert all(map(is_name, names))
    assert len(names) > 100
