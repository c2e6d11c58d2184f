"""Playback from recorders that take the window in the address instead of a Range header: Hikvision and Dahua.

Such a recorder has no clock in its packets that could be trusted, skips gaps without a word, and may play on after the
end that it was given. So each stretch that its index holds is asked for by itself: what is played is laid on the time
axis from the beginning of that stretch on, and what comes after its end is dropped. After an interruption the last ten
seconds are asked for again and the two sides are joined at a key frame that both have.
"""

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from device.pull import MAX_TAIL_FRAMES
from device.recorders.replay import EPOCH, Acquisition, _Watch
from device.relay import Relay
from device.rtp import Frame, TrackFormat, is_key
from device.rtsp import ReplaySession
from device.rtsp_messages import Limits, Login, Response
from device.segment_pull import SegmentPull
from device.timeline import SECOND, SessionClock

NEAR = 60 * SECOND
OVERLAP = 10 * SECOND
SPILL = 2 * SECOND
REMEMBERED = 256
INDEX_ROUNDING = 2 * SECOND

Window = Callable[[datetime, datetime], str]
"""The replay address for a window of whole seconds, by the recorder's own count of UTC."""


class WindowSession(ReplaySession):
    """A playback whose window is in the address: no ONVIF headers, and the range begins at the beginning."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.onvif = False

    async def _request(self, method: str, uri: str, headers: Sequence[tuple[str, str]]) -> Response:
        return await super()._request(method, uri, [("Range", "npt=0.000-")] if method == "PLAY" else headers)


class _BeyondError(Exception):
    """A frame that is not of the window."""


class WindowClock(SessionClock):
    """Times from sender reports when they are believable (some recorders send the time of sending), else counted from
    the beginning of the window. `settle` has the last word on each frame's time."""

    def __init__(self, track: TrackFormat, asked: int, settle: Callable[[Frame, int], int]) -> None:
        super().__init__(track, asked, None, None)
        self._settle = settle

    def place(self, frame: Frame, sender_report: tuple[int, int] | None) -> tuple[int, int]:
        anchor = self._anchor
        if sender_report is not None:
            expected = self._asked if anchor is None else anchor[0] + (frame.ticks - anchor[1]) * SECOND // self._clock
            if abs(sender_report[0] - expected) > NEAR:
                sender_report = None
        at, rank = super().place(frame, sender_report)
        return self._settle(frame, at), rank


class WindowedPull(SegmentPull):
    """As `SegmentPull`, one stretch of the index at a time."""

    def __init__(self, window: Window, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._window = window
        self._until = self.end
        self._spill: list[tuple[int, Frame]] = []
        self._known: dict[int, int] = {}
        self._joining: set[int] = set()

    async def _play(self) -> str:
        begin, self._until = self._stretch(self._asked)
        again = any(line.last is not None and line.last >= begin for line in self.timelines)
        again = again or self.opening is not None
        begin = max(begin, self._asked - OVERLAP if again else self._asked)
        self._asked = begin // SECOND * SECOND
        address = self._window(_instant(self._asked), _instant(-(-self._until // SECOND) * SECOND))
        session = await WindowSession.open(
            address, self.source.login, self.source.limits, self._packet, self.source.tls
        )
        try:
            await self._adopt(session)
            self._spill = []
            self._joining = set(self._main()) if again and self.opening is None else set()
            await session.play(_instant(self._asked), _instant(self._until))
            if self._paused:
                session.pause_reading()
            reason = await self._watch(session)
        finally:
            self.received += session.bytes
            self._session = None
            await session.close()
        self._close_frames(reason)
        spill, self._spill, self._until = self._spill, [], self.end
        for index, frame in spill:
            self._frame(index, frame)
        return reason

    def _stretch(self, at: int) -> tuple[int, int]:
        """The stretch of the index that holds this instant, or the next one."""
        rounding = INDEX_ROUNDING if self.opening is None else 0  # the frame at a seam is known to be there
        for begin, stop in sorted(self.held or []):
            if at < stop - rounding:
                return begin, min(stop, self.end)
        return at, self.end

    def _warn(self, text: str) -> None:
        if "ONVIF" not in text:  # no news for a recorder that was never asked to speak it
            super()._warn(text)

    def _frame(self, index: int, frame: Frame) -> None:
        if self._clocks[index] is None:
            track = self.timelines[index].track
            self._clocks[index] = WindowClock(track, self._asked, partial(self._settle, index))
        with contextlib.suppress(_BeyondError):
            super()._frame(index, frame)

    def _settle(self, index: int, frame: Frame, at: int) -> int:
        """Join the two sides of an interruption at a key frame, and keep to the window."""
        if index in self._main() and is_key(frame, self.timelines[index].track.codec):
            digest = _digest(frame)
            before = self._known.get(digest)
            settled = index not in self._joining and self.opening is None  # before the join its time is not certain
            if before is None and settled:
                self._known[digest] = at
                while len(self._known) > REMEMBERED:
                    del self._known[next(iter(self._known))]
            elif before is not None and index in self._joining:
                self._joining.discard(index)
                for each in self._clocks:
                    if isinstance(each, WindowClock):
                        each.shift(before - at)
                at = before
        if self._until < self.end and at >= self._until:
            self._beyond(index, frame, at)
            raise _BeyondError
        return at

    def _beyond(self, index: int, frame: Frame, at: int) -> None:
        """Indexes are rounded, so a little more may come; a recorder that goes on has ignored the end."""
        if at < self._until + SPILL:
            if len(self._spill) < MAX_TAIL_FRAMES:
                self._spill.append((index, frame))
        elif index in self._main():
            self._spill = []
            self._warn("the recorder plays on after the end that it was given; what came after it was dropped")
            self._end("past_end")

    def _hold_back(self, index: int, frame: Frame, at: int) -> None:
        if at >= self.end + SPILL:
            self._warn("the recorder plays on after the end that it was given; what came after it was dropped")
        super()._hold_back(index, frame, at)


@dataclass(frozen=True)
class WindowedAcquisition(Acquisition):
    """As `Acquisition`, for a recorder that takes the window in the address."""

    window: Window = field(default=lambda _begin, _end: "")

    def _begin(self, relay: Relay, watch: _Watch) -> WindowedPull:
        known = self._known(watch)
        return WindowedPull(self.window, *self._wanted(relay), **{**known, "held": known["held"] or []})


def rehearse(address: str, login: Login, limits: Limits, tls: ssl.SSLContext | None) -> None:
    """Begin to play a window and leave at once. Raises as `ReplaySession`."""

    async def begin() -> None:
        session = await WindowSession.open(address, login, limits, lambda *_packet: None, tls)
        try:
            await session.play(EPOCH, EPOCH + timedelta(seconds=1))
        finally:
            await session.close()

    asyncio.run(begin())


def _digest(frame: Frame) -> int:
    digest = frame.size
    for _, _, payload in frame.packets:
        digest = zlib.crc32(payload, digest)
    return digest


def _instant(at: int) -> datetime:
    return (EPOCH + timedelta(microseconds=at)).astimezone(UTC)
