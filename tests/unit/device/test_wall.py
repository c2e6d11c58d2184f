"""Zones as recorders write them, and what their wall clocks show."""

from datetime import UTC, datetime, timedelta

import pytest

from device.recorders.base import DeviceError
from device.recorders.wall import WallClock, named_zone, posix_zone

WINTER, SUMMER = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "winter", "summer"),
    [
        ("CST-8:00:00", 8, 8),
        ("CST-8", 8, 8),
        ("GMT+0:00:00", 0, 0),
        ("IST-5:30:00", 5.5, 5.5),
        ("CST+5:00:00", -5, -5),
        ("EST5EDT,M3.2.0,M11.1.0", -5, -4),
        ("CET-1:00:00DST01:00:00,M3.5.0/02:00:00,M10.5.0/03:00:00", 1, 2),
        ("CST+5:00:00DST01:00:00,M3.2.0/02:00:00,M11.1.0/02:00:00", -5, -4),
    ],
)
def test_the_sign_of_a_posix_zone_is_turned_and_summer_time_is_kept(written: str, winter: float, summer: float) -> None:
    zone = posix_zone(written)
    assert zone is not None
    assert WINTER.astimezone(zone).utcoffset() == timedelta(hours=winter)
    assert SUMMER.astimezone(zone).utcoffset() == timedelta(hours=summer)


@pytest.mark.parametrize("written", ["", "8", "CST", "CST-99:00:00", "CST-8\n; rm", "中国-8x", "A" * 500])
def test_what_is_no_zone_is_none(written: str) -> None:
    assert posix_zone(written) is None


def test_what_the_clock_shows_is_translated_there_and_back() -> None:
    clock = WallClock(named_zone("Asia/Shanghai"), timedelta(seconds=37))
    assert clock.shown(WINTER) == datetime(2026, 1, 15, 8, 0, 37)  # noqa: DTZ001 - a clock on a wall has no zone
    assert clock.instant(clock.shown(WINTER)) == WINTER


def test_an_unknown_zone_is_refused_with_an_example() -> None:
    assert named_zone("+05:30").utcoffset(None) == timedelta(hours=5, minutes=30)
    for name in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(DeviceError, match="Asia/Shanghai"):
            named_zone(name)
