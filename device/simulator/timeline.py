"""When the simulated recorder recorded what: thirty days that end now, with gaps, and the exact frames of any span.

All instants here are on the *recorder's* clock. They are counted in whole microseconds since 1970 on it, so that the
same question always selects the same frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from device.recorders.base import Span
from device.simulator.cameras import LOCAL_TIME, SimulatedCamera
from device.simulator.packets import AccessUnit, Loop

RETENTION = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_NTP_SECONDS = 2_208_988_800
"""From 1900, where NTP counts from, to 1970."""

Section = tuple[int, int]
"""Footage without a gap: from the first microsecond up to, not including, the second."""


@dataclass(frozen=True)
class Frame:
    """One access unit in the recording: when it was taken, whether it can be decoded alone, what it holds."""

    time: datetime
    ntp: int
    clean: bool
    digest: str
    size: int


def microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def instant(count: int) -> datetime:
    return _EPOCH + count * _MICROSECOND


def ntp(count: int) -> int:
    """The 64-bit NTP time (RFC 3550 4); rounded up, so that cutting it to microseconds gives `count` again."""
    seconds, fraction = divmod(count, 1_000_000)
    return (seconds + _NTP_SECONDS << 32) + ((fraction << 32) + 999_999) // 1_000_000


class Timeline:
    """What one camera's recording holds at this moment; `now` is the recorder's clock, `gaps` is missing besides."""

    def __init__(
        self,
        camera: SimulatedCamera,
        now: Callable[[], datetime],
        retention: timedelta = RETENTION,
        gaps: Callable[[], list[Section]] = list,
    ) -> None:
        self._gaps = gaps
        self._camera = camera
        self._now = now
        self._retention = retention
        self._gop = camera.gop_duration // _MICROSECOND
        self._period = camera.period // _MICROSECOND

    def earliest(self) -> int:
        """The beginning of the oldest footage; it is overwritten a GOP at a time."""
        oldest = microseconds(self._now() - self._retention)
        oldest = -(-oldest // self._gop) * self._gop
        return max([oldest, *(ends for _, ends in self.missing(oldest, oldest + 1, clipped=False))])

    def latest(self) -> int:
        """The end of the newest whole frame."""
        newest = microseconds(self._now()) // self._period * self._period
        return min([newest, *(begins for begins, _ in self.missing(newest - 1, newest, clipped=False))])

    def key_frame_before(self, count: int) -> int:
        """Where a decoder must begin to show the picture of that instant."""
        return count // self._gop * self._gop

    def missing(self, start: int, end: int, *, clipped: bool = True) -> list[Section]:
        """The stretches between `start` and `end` that were not recorded, in order, or those that reach into it."""
        midnight = instant(start).astimezone(LOCAL_TIME).replace(hour=0, minute=0, second=0, microsecond=0)
        found = []
        while microseconds(midnight) < end:
            for stretch in self._camera.missing:
                if midnight.toordinal() % stretch.every == 0:
                    begins, ends = microseconds(midnight + stretch.begins), microseconds(midnight + stretch.ends)
                    if ends > start and begins < end:
                        found.append((max(begins, start), min(ends, end)) if clipped else (begins, ends))
            midnight += _DAY
        for begins, ends in self._gaps():
            begins, ends = self.key_frame_before(begins), -(-ends // self._gop) * self._gop
            if ends > start and begins < end:
                found.append((max(begins, start), min(ends, end)) if clipped else (begins, ends))
        return _joined(sorted(found))

    def sections(self, start: int, end: int) -> list[Section]:
        """What exists of `start` to `end`, cut at every gap."""
        start, end = max(start, self.earliest()), min(end, self.latest())
        if start >= end:
            return []
        found = []
        for begins, ends in self.missing(start, end):
            if begins > start:
                found.append((start, begins))
            start = ends
        if start < end:
            found.append((start, end))
        return found

    def replayed(self, start: int, end: int) -> list[Section]:
        """What a replay of `start` to `end` delivers: as `sections`, from the key frame before the first instant."""
        found = self.sections(start, end)
        if found:
            found[0] = (max(self.key_frame_before(found[0][0]), self.earliest()), found[0][1])
        return found

    def continues(self, count: int) -> bool:
        """Whether there is footage at that very instant, so that a section ending there is not at a gap."""
        return bool(self.sections(count, count + 1))


def _joined(sections: list[Section]) -> list[Section]:
    """The same, where some may overlap."""
    found: list[Section] = []
    for begins, ends in sections:
        if found and begins <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], ends)
        else:
            found.append((begins, ends))
    return found


def units(loop: Loop, section: Section) -> Iterator[tuple[int, AccessUnit]]:
    """The access units that begin within the section, with their instants; the loop repeats without a seam."""
    period = loop.period // _MICROSECOND
    for number in range(-(-section[0] // period), -(-section[1] // period)):
        yield number * period, loop.units[number % len(loop.units)]


def frames(loop: Loop, sections: list[Section]) -> list[Frame]:
    """The same as a list, for comparison with what a client received."""
    return [
        Frame(instant(count), ntp(count), unit.clean, unit.digest, unit.size)
        for section in sections
        for count, unit in units(loop, section)
    ]


def bounds(span: Span) -> Section:
    return microseconds(span.start), microseconds(span.end)
