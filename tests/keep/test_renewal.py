"""When certificates are renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.renewal import RETRY_MAX_SECONDS, SHORTEST_SECONDS, seconds_to_renewal

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(hours=24)
HOUR = 3600.0


def wait(after: timedelta = timedelta(0), failures: int = 0, spread: float = 0.0, lifetime: timedelta = DAY) -> float:
    return seconds_to_renewal(BEGIN, BEGIN + lifetime, BEGIN + after, failures=failures, spread=spread)


def test_first_attempt_is_between_two_thirds_and_three_quarters_of_the_lifetime() -> None:
    assert wait(spread=0.0) == pytest.approx(16 * HOUR)
    assert wait(spread=1.0) == pytest.approx(18 * HOUR)
    assert wait(timedelta(hours=15)) == pytest.approx(HOUR)


def test_attempt_that_is_overdue_comes_at_once() -> None:
    assert wait(timedelta(hours=20)) == SHORTEST_SECONDS
    assert wait(timedelta(days=900)) == SHORTEST_SECONDS


def test_failed_attempts_are_repeated_further_and_further_apart() -> None:
    waits = [wait(failures=number, spread=1.0) for number in range(1, 12)]
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == RETRY_MAX_SECONDS == 3600
    assert wait(failures=10_000, spread=1.0) == 3600


def test_short_lifetimes_leave_room_for_attempts() -> None:
    lifetime = timedelta(minutes=4)
    assert wait(failures=5, spread=1.0, lifetime=lifetime) == 10
    assert wait(failures=9, spread=1.0, lifetime=timedelta(minutes=1)) == 2.5


@given(
    st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    st.integers(0, 10_000),
    st.floats(allow_nan=False),
)
def test_never_at_once_again_and_never_forever(
    lifetime: timedelta, after: timedelta, failures: int, spread: float
) -> None:
    seconds = wait(after, failures, spread, lifetime)
    longest = max(RETRY_MAX_SECONDS, (lifetime * 0.75 - after).total_seconds(), -after.total_seconds())
    assert SHORTEST_SECONDS <= seconds <= longest + 1


@given(st.timedeltas(timedelta(minutes=1), timedelta(days=400)), st.floats(0, 1))
def test_at_least_five_attempts_fit_before_a_certificate_expires(lifetime: timedelta, spread: float) -> None:
    at = timedelta(seconds=wait(spread=spread, lifetime=lifetime))
    for failures in range(1, 6):
        assert at < lifetime
        at += timedelta(seconds=wait(at, failures, spread, lifetime))
