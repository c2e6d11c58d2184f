"""Pulls one segment of a longer span: neither a frame twice nor one too few where two segments meet.

Segments meet at a key frame, so that each can be decoded by itself. One ends before the first key frame at or after the
instant that was asked for and names it (a `Seam`); the next begins with exactly that frame. Of the other tracks, what
lies before that frame's time belongs to the first segment, the rest to the second.
"""

from dataclasses import replace
from typing import Any

from device.outcome import Outcome
from device.pull import DELIBERATE, MAX_LEAD_BYTES, Pull
from device.recorders.base import N_, DeviceError, RecorderRefusedError, Seam
from device.rtp import Frame, is_key
from device.rtsp import ReplaySession
from device.timeline import SECOND

SEARCH = 30 * SECOND
SAME_INSTANT = 1000


class SeamMissedError(DeviceError):
    """The key frame that ended the segment before is not among what the recorder sends now."""


class SegmentPull(Pull):
    """As `Pull`: from the key frame `opening`, if there is one, up to the first key frame at or after `seam`.

    Once that frame has come, `end` is its time. Without a key frame after `seam` the pull goes to its end.
    """

    def __init__(self, *arguments: Any, seam: int | None = None, opening: Seam | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seam, self.opening = seam, opening
        self.met: Seam | None = None
        self._waiting: list[tuple[int, Frame, int]] = []
        self._waiting_bytes = 0

    async def run(self) -> Outcome:
        """As `Pull.run`. Raises SeamMissedError when the key frame of `opening` did not come."""
        outcome = await super().run()
        if self.opening is not None and outcome.end_reason in DELIBERATE:
            raise SeamMissedError(N_("The recorder no longer sends the key frame with which the segment begins."))
        return replace(outcome, seam=self.met)

    def end_early(self) -> None:
        """End before the next key frame, with which the next segment begins; only once there is footage."""
        main = [self.timelines[index] for index in self._main()[:1]]
        if self.met is None and any(line.frames for line in main):
            self.seam = self.position if self.seam is None else min(self.seam, self.position)

    def _at_end(self, *, exactly: bool = False) -> bool:
        if exactly and self.met is not None and not all(self._past):
            return False  # the sound up to the seam has not all come
        return super()._at_end(exactly=exactly)

    async def _adopt(self, session: ReplaySession) -> None:
        await super()._adopt(session)
        self._waiting, self._waiting_bytes = [], 0

    def _close_frames(self, reason: str) -> None:
        super()._close_frames(reason)
        if reason in DELIBERATE and self.opening is None:
            waiting, self._waiting = self._waiting, []
            for index, frame, at in waiting:
                self._emit(index, frame, at)

    def _is_foreign(self, index: int, frame: Frame, at: int, rank: int) -> bool:
        if self.opening is not None:
            self._await_opening(index, frame, at, rank)
            return True
        return self.seam is not None and self._is_beyond_seam(index, frame, at)

    def _await_opening(self, index: int, frame: Frame, at: int, rank: int) -> None:
        """Drop what comes before the key frame that opens this segment; from that frame on, everything counts.

        Where the recorder tells the time of each frame, that decides too: pictures may repeat. Elsewhere the times of
        this connection are moved so that the frame has the time that it had before.
        """
        opening = self.opening
        assert opening is not None
        if index not in self._main()[:1]:
            self._wait(index, frame, at)
            return
        near = abs(at - opening.at) <= (SEARCH if rank else SAME_INSTANT)
        if not (near and frame.content == opening.content and is_key(frame, self.timelines[index].track.codec)):
            if at > opening.at + SEARCH:
                self._end("seam_missed")
            return
        moved = opening.at - at
        for clock in self._clocks:
            if clock is not None:
                clock.shift(moved)
        self.opening, self._lead, self._origin = None, None, opening.at
        self._emit(index, frame, opening.at)
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for other, earlier, then in waiting:
            if then + moved >= opening.at:
                self._emit(other, earlier, then + moved)

    def _is_beyond_seam(self, index: int, frame: Frame, at: int) -> bool:
        """Whether a frame belongs to the next segment, or waits until it is known where that one begins."""
        assert self.seam is not None
        decides = index in self._main()[:1]
        if self.met is not None:
            self._past[index] = self._past[index] or at >= self.end
            if all(self._past) or (decides and at >= self.end + SECOND):
                self._end("seam")
            return decides or at >= self.end
        if at < self.seam or at >= self.end:
            return False
        if not decides:
            self._wait(index, frame, at)
            return True
        line = self.timelines[index]
        closes = bool(line.frames) and is_key(frame, line.track.codec)
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for other, earlier, then in waiting:
            if then < at:
                self._emit(other, earlier, then)
            elif not closes:
                self._wait(other, earlier, then)
            else:
                self._past[other] = True
        if closes:
            self.met, self.end, self._past[index] = Seam(at, frame.content), at, True
            if all(self._past):
                self._end("seam")
        return closes

    def _wait(self, index: int, frame: Frame, at: int) -> None:
        self._waiting_bytes += frame.size
        if self._waiting_bytes > MAX_LEAD_BYTES:
            raise RecorderRefusedError(N_("The recorder sends sound for too long without a picture."))
        self._waiting.append((index, frame, at))
