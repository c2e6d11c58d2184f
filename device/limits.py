"""What a recorder and its network may be burdened with: bytes a second, and the hours in which footage is fetched.

Both are asked with clocks from outside, and neither knows what it limits.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from device.recorders.base import N_, DeviceError

BURST_SECONDS = 0.5
"""What was not used of the last half second may be taken at once."""


class LimitError(DeviceError):
    """A limit is not understood; the message says how it is written."""


@dataclass
class TokenBucket:
    """At most `rate` bytes a second on the average, half a second's worth at once.

    Whoever takes more than there is owes the rest and reads no further until it is paid: so the recorder is held back
    by TCP, and nothing is buffered here.
    """

    rate: int
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise LimitError(N_("A bandwidth is at least one byte a second."))
        self._tokens, self._at = self.rate * BURST_SECONDS, self.clock()

    def take(self, size: int) -> float:
        """Take `size` bytes; the seconds to wait before the next ones may be read, 0 when they may be read now."""
        now = self.clock()
        self._tokens = min(self.rate * BURST_SECONDS, self._tokens + (now - self._at) * self.rate) - size
        self._at = now
        return max(0.0, -self._tokens / self.rate)

    def wait(self, size: int) -> None:
        """As `take`, for a thread of its own: comes back when the next bytes may be read."""
        pause = self.take(size)
        if pause > 0:
            self.sleep(pause)


def bucket(rate: int) -> TokenBucket | None:
    """The bucket for a cap in bytes a second; None for 0, no cap."""
    return TokenBucket(rate) if rate else None


@dataclass(frozen=True)
class Hours:
    """A daily window in a zone, from `start` up to, not including, `end`; over midnight when `end` comes first."""

    start: time_of_day
    end: time_of_day
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: str) -> "Hours | None":
        """From `22:00-06:00`; None for an empty text. Raises LimitError."""
        if not text.strip():
            return None
        match = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*[-–]\s*(\d\d?):(\d\d)\s*", text)
        try:
            if match is None:
                raise ValueError(text)
            numbers = [int(part) % 24 if number % 2 == 0 else int(part) for number, part in enumerate(match.groups())]
            start, end = time_of_day(numbers[0], numbers[1]), time_of_day(numbers[2], numbers[3])
        except ValueError as error:
            raise LimitError(N_("%(text)s are no hours: write them like 22:00-06:00."), text=repr(text[:40])) from error
        if start == end:
            raise LimitError(N_("Hours that end when they begin are no limit: leave them out."))
        try:
            return cls(start, end, ZoneInfo(zone))
        except (KeyError, ValueError, OSError) as error:
            raise LimitError(
                N_("There is no time zone %(zone)s: write it like Asia/Shanghai."), zone=repr(zone[:40])
            ) from error

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def opens_at(self, at: datetime) -> datetime | None:
        """None when the window is open at that instant, else when it opens next (UTC)."""
        local = at.astimezone(self.zone)
        shown = local.time().replace(tzinfo=None)
        inside = self.start <= shown < self.end if self.start < self.end else not self.end <= shown < self.start
        if inside:
            return None
        day = local.date() if shown < self.start else local.date() + timedelta(days=1)
        return datetime.combine(day, self.start, self.zone).astimezone(UTC)
