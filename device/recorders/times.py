"""Times as recorders write them: with a space for the T, as 24:00:00, without a zone, with any number of digits."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from lxml import etree

from device.recorders.base import N_, ClockOffset, RecorderRefusedError
from device.recorders.soap import text as text_of

SECOND = timedelta(seconds=1)
FINE_ENOUGH = timedelta(milliseconds=80)
MEASURING_SECONDS = 1.5

_PATTERN = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s*(Z|z|[+-]\d{2}:?\d{2})?\s*"
)


def parse_time(text: str) -> datetime | None:
    """A recorder's time in UTC; without a zone it is taken as UTC. None for an empty or impossible one."""
    match = _PATTERN.fullmatch(text[:64])
    if match is None:
        return None
    year, month, day, hour, minute = (int(match[group]) for group in range(1, 6))
    second = int(match[6] or 0)
    micro = int((match[7] or "0")[:6].ljust(6, "0"))
    extra = timedelta(0)
    if hour == 24 and minute == second == micro == 0:
        hour, extra = 0, timedelta(days=1)
    if second == 60:
        second, extra = 59, timedelta(seconds=1)
    try:
        at = datetime(year, month, day, hour, minute, second, micro, tzinfo=_zone(match[8]))
        return (at + extra).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone:
    if not text or text in "Zz":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)


def shown_time(answer: etree._Element) -> datetime:
    """The UTC time in a GetSystemDateAndTime answer."""
    found = next(answer.iter("{*}UTCDateTime"), None)
    if found is not None:
        try:
            year, month, day = (int(text_of(found, f"Date/{name}")) for name in ("Year", "Month", "Day"))
            hour, minute, second = (int(text_of(found, f"Time/{name}")) for name in ("Hour", "Minute", "Second"))
            whole = datetime(year, month, day, tzinfo=UTC)
            return whole + timedelta(hours=hour, minutes=minute, seconds=second)
        except (ValueError, OverflowError):
            pass
    raise RecorderRefusedError(N_("The recorder does not tell its time in UTC: set its clock and its time zone."))


def measured(ask: Callable[[], datetime], now: Callable[[], datetime], method: str) -> ClockOffset:
    """Recorder clock minus true clock, from a clock that shows whole seconds.

    One answer is good for half a second. Asking until the second turns narrows that to a few hundredths. Of the values
    that fit all answers the roundest is taken.
    """
    began = time.monotonic()
    low, high, answers = timedelta.min, timedelta.max, 0
    while True:
        sent = now()
        shown = ask()
        received = now()
        answers += 1
        least, most = shown - received, shown + SECOND - sent
        low, high = max(low, least), min(high, most)
        if low >= high:
            low, high = least, most
        if high - low <= FINE_ENOUGH or time.monotonic() - began > MEASURING_SECONDS:
            break
        time.sleep(0.02)
    middle = roundest(low, high)
    return ClockOffset(middle, max(high - middle, middle - low), f"{method}, {answers} answers", now())


def roundest(low: timedelta, high: timedelta) -> timedelta:
    """A whole second or tenth between the two if there is one, else the middle."""
    middle = (low + high) / 2
    for step in (SECOND, SECOND / 10):
        rounded = round(middle / step) * step
        if low <= rounded <= high:
            return rounded
    return middle
