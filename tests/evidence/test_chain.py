"""Times of certificates; what else a chain is held to is tested where it is used (``snp/test_attacks.py``)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import AuthenticityError, CollateralError
from enarx.evidence.chain import check_validity, moment, seconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_written_so_that_they_read_back(now: datetime) -> None:
    whole = now.replace(microsecond=0)
    assert datetime.fromisoformat(moment(seconds(whole))) == whole


@pytest.mark.parametrize("at", [-62135596801, 253402300800, 10**20, -(10**20)])
def test_moment_outside_of_the_calendar_is_still_said(at: int) -> None:
    assert moment(at) == f"{at} seconds after 1970-01-01"


@pytest.mark.parametrize("now", [datetime.min, datetime.max])
def test_first_and_last_hours_of_the_calendar_are_judged(now: datetime) -> None:
    at = seconds(now.replace(tzinfo=timezone(timedelta(hours=14 if now is datetime.min else -14))))
    with pytest.raises((AuthenticityError, CollateralError)):
        check_validity("a certificate", 0, 1, at)


def test_validity_includes_both_ends() -> None:
    for at in (10, 15, 20):
        check_validity("a certificate", 10, 20, at)
    with pytest.raises(AuthenticityError) as early:
        check_validity("a certificate", 10, 20, 9)
    with pytest.raises(CollateralError) as late:
        check_validity("a certificate", 10, 20, 21)
    assert (early.value.code, late.value.code) == ("certificate-not-yet-valid", "certificate-expired")
