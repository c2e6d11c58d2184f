"""Bandwidth and hours of a recorder, by clocks that the tests hold."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.limits import Hours, LimitError, TokenBucket, bucket


class Time:
    """Passes only by sleeping."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(st.integers(1, 10_000_000), st.lists(st.integers(0, 300_000), min_size=1, max_size=60))
def test_never_more_passes_than_the_rate_and_half_a_second(rate: int, sizes: list[int]) -> None:
    time = Time()
    held = TokenBucket(rate, time.clock, time.sleep)
    for size in sizes:
        held.wait(size)
    assert sum(sizes) <= rate * (time.now + 0.5) * (1 + 1e-9) + 1e-3


def test_what_was_not_used_is_not_saved_up() -> None:
    time = Time()
    held = TokenBucket(1000, time.clock, time.sleep)
    time.now = 3600.0
    assert held.take(500) == 0
    assert held.take(1000) == pytest.approx(1.0)
    time.now += 1.0
    assert held.take(0) == 0
    assert held.take(1) == pytest.approx(0.001)


def test_no_cap_is_no_bucket() -> None:
    assert bucket(0) is None
    with pytest.raises(LimitError):
        TokenBucket(-1)


def shanghai(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00")


@pytest.mark.parametrize(
    ("hours", "at", "opens"),
    [
        ("22:00-06:00", "2026-02-01T23:00", None),
        ("22:00-06:00", "2026-02-02T05:59", None),
        ("22:00-06:00", "2026-02-02T06:00", "2026-02-02T22:00"),
        ("22:00-06:00", "2026-02-02T21:59", "2026-02-02T22:00"),
        ("22:00-06:00", "2026-02-02T22:00", None),
        ("9:30-11:45", "2026-02-02T09:30", None),
        ("9:30-11:45", "2026-02-02T09:29", "2026-02-02T09:30"),
        ("9:30-11:45", "2026-02-02T11:45", "2026-02-03T09:30"),
        ("18:00-24:00", "2026-02-02T23:59", None),
        ("18:00-24:00", "2026-02-03T00:00", "2026-02-03T18:00"),
    ],
)
def test_hours_say_when_they_open(hours: str, at: str, opens: str | None) -> None:
    found = Hours.parse(hours, "Asia/Shanghai")
    assert found is not None
    assert found.opens_at(shanghai(at)) == (shanghai(opens) if opens else None)


def test_hours_follow_summer_time() -> None:
    found = Hours.parse("22:00-06:00", "Europe/Berlin")
    assert found is not None
    assert found.opens_at(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 28, 21, tzinfo=UTC)
    assert found.opens_at(datetime(2026, 3, 29, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 20, tzinfo=UTC)


@pytest.mark.parametrize("text", ["22-6", "25:61-06:00", "22:00", "10:00-10:00", "ten to six"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(LimitError):
        Hours.parse(text, "Asia/Shanghai")


def test_no_hours_are_no_limit_and_zones_must_exist() -> None:
    assert Hours.parse("", "nowhere") is None
    with pytest.raises(LimitError, match="time zone"):
        Hours.parse("22:00-06:00", "Mars/Olympus")
