"""Where each frame lies on the recorder's own timeline, what is missing between frames, and the times in the container.

All times here are integers: microseconds since 1970 on the *recorder's* clock.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from device.parameter_sets import Size, size_in
from device.rtp import END_OF_SECTION, Frame, TrackFormat, signed32

SECOND = 1_000_000
PLAUSIBLE = 13 * 3600 * SECOND
RTP_ORIGIN = 1 << 28
LONGEST_STEP = 6 * 3600 * SECOND
RECENT = 512
REPEATS = 64
INDEX_STEP = 3 * SECOND // 2
MAX_JUMPS = 5000
MAX_CHANGES = 1000
MINUTE = 60 * SECOND
CONFIDENCE = ("high", "medium", "low")

Stretches = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Jump:
    """A stretch without frames; `cause` as in device.recorders.base.Gap."""

    start: int
    end: int
    cause: str


@dataclass(frozen=True)
class Change:
    """From `at` on the pictures have another size; `before` and `after` are width and height."""

    at: int
    before: Size
    after: Size


class SessionClock:
    """The recorder's time of each frame of one track in one connection.

    The extension 0xABAC counts as high confidence (also between frames that carry it), an RTCP sender report within
    the span as medium, the Range of the PLAY answer, or in its absence the range asked for, as low.
    """

    def __init__(self, track: TrackFormat, asked: int, answered: int | None, rtp_time: int | None) -> None:
        self._clock = track.clock
        self._asked = asked
        self._start = answered if answered is not None and abs(answered - asked) < PLAUSIBLE else asked
        self._rtp_time = rtp_time
        self._anchor: tuple[int, int, int] | None = None
        self.implausible = 0

    def place(self, frame: Frame, sender_report: tuple[int, int] | None) -> tuple[int, int]:
        """(time, rank of its confidence: 0 high, 1 medium, 2 low)."""
        if frame.at is not None:
            if abs(frame.at - self._asked) < PLAUSIBLE + 24 * 3600 * SECOND:
                self._anchor = (frame.at, frame.ticks, 0)
                return frame.at, 0
            self.implausible += 1
        if self._anchor is None or self._anchor[2]:
            if sender_report is not None and abs(sender_report[0] - self._asked) < PLAUSIBLE:
                behind = signed32(frame.rtp_time - sender_report[1])
                self._anchor = (sender_report[0], frame.ticks - behind, 1)
            elif self._anchor is None:
                behind = signed32(frame.rtp_time - self._rtp_time) if self._rtp_time is not None else 0
                self._anchor = (self._start, frame.ticks - behind, 2)
        at, ticks, rank = self._anchor
        return at + round((frame.ticks - ticks) * SECOND / self._clock), rank

    def shift(self, by: int) -> None:
        """Everything of this connection lies later than it seemed."""
        if self._anchor is not None:
            at, ticks, rank = self._anchor
            self._anchor = at + by, ticks, rank


class TrackTimeline:
    """One track of the copy across all connections: bounds, counts, gaps, duplicates, outgoing RTP times."""

    def __init__(self, track: TrackFormat, held: Stretches | None) -> None:
        self.track = track
        self.held = held
        self.frames = 0
        self.packets = 0
        self.lost = 0
        self.size = 0
        self.first: int | None = None
        self.last: int | None = None
        self.jumps: list[Jump] = []
        self.steps_back = 0
        self.clean = 0
        self.minutes: dict[int, int] = {}
        self.shortest: int | None = None
        self.longest: int | None = None
        self.changes: list[Change] = []
        self._size: Size | None = None
        self._reconnected = False
        self._fresh = REPEATS
        self._flags = 0
        self._recent: deque[tuple[int, int | None]] = deque(maxlen=RECENT)
        self._seeking = False
        self._ticks: int | None = None
        self.steps_forward = 0
        self._steps: deque[int] = deque(maxlen=9)
        self._anchor: tuple[int, int] | None = None
        self._source: int | None = None
        self._out = RTP_ORIGIN

    @property
    def interval(self) -> int:
        """The usual time between frames; 0 while unknown."""
        return sorted(self._steps)[len(self._steps) // 2] if self._steps else 0

    @property
    def tolerance(self) -> int:
        """A longer step than this is a gap."""
        return max(SECOND // 2, 3 * self.interval) if len(self._steps) > 2 else SECOND

    def resume(self) -> None:
        """A new connection begins: its RTP times are new, and it may repeat what came before."""
        if self.last is not None:
            self._reconnected = True
            self._fresh = 0
            self._seeking = self.steps_back > 0
        self._anchor = self._ticks = None

    def is_duplicate(self, frame: Frame, at: int, rank: int) -> bool:
        """This frame came before the connection broke.

        Once the recorder's clock has been set back, the same time is there twice: then nothing counts until the last
        frame has come again, so that no frame is taken twice.
        """
        if self._fresh >= REPEATS or self.last is None:
            return False
        if self._seeking:
            then, content = self._recent[-1]
            self._seeking = at != then or content not in (None, frame.content)
            return True
        if rank:
            return at <= self.last + 5000
        if at > self.last:
            return False
        known = [content for then, content in self._recent if then == at]
        if known:
            return None in known or frame.content in known
        return not self._fresh and at < self._recent[0][0]  # after a new frame it is the clock that went back

    def accept(self, frame: Frame, at: int) -> None:
        """Count a frame of the copy and note what is missing before it."""
        last = self.last
        if last is None:
            self.first = self.last = at
        else:
            step = at - last
            if step > self.tolerance:
                self._note(self._missing(frame, last + self.interval, at))
                passed = self.tolerance if self._ticks is None else frame.ticks - self._ticks
                if passed * SECOND < self.tolerance * self.track.clock and not self._flags & END_OF_SECTION:
                    self.steps_forward += 1
            elif frame.lost:
                self._note([Jump(last, max(at, last + 1), "packets_lost")])
            if step > 0:
                self._steps.append(step)
                self.shortest, self.longest = min(step, self.shortest or step), max(step, self.longest or step)
                self.last = at
            elif step < -SECOND:
                self.steps_back += 1
                self.last = at
        self.first = min(self.first or at, at)
        self._flags = frame.flags
        self._reconnected = False
        self._fresh += 1
        self._recent.append((at, None if frame.lost else frame.content))
        self._ticks = frame.ticks
        self.frames += 1
        self.minutes[at // MINUTE] = self.minutes.get(at // MINUTE, 0) + 1
        self._measure(frame, at)
        self.packets += len(frame.packets)
        self.lost += frame.lost
        self.size += frame.size
        self.clean += frame.flags >> 7 & 1

    def _measure(self, frame: Frame, at: int) -> None:
        size = size_in(frame, self.track.codec) if self.track.kind == "video" else None
        if size is None or size == self._size:
            return
        if self._size is not None and len(self.changes) < MAX_CHANGES:
            self.changes.append(Change(at, self._size, size))
        self._size = size

    def rtp_time(self, frame: Frame, at: int, origin: int) -> int:
        """The RTP time for the container: the recorder's own clock from `origin`, fine steps from the encoder.

        Only a jump of more than 0.1 s between the two sets a new anchor, so that frames keep the encoder's spacing.
        """
        clock = self.track.clock
        if frame.ssrc != self._source:  # its ticks have nothing to do with those before
            self._source, self._anchor = frame.ssrc, None
        wanted = RTP_ORIGIN + round((at - origin) * clock / SECOND)
        out = frame.ticks + self._anchor[0] if self._anchor is not None else wanted
        if self._anchor is None or abs(out - wanted) > clock // 10:
            out = wanted
            if self.frames > 1:
                step = max(1, self.interval * clock // SECOND)
                out = min(max(out, self._out + step), self._out + LONGEST_STEP // SECOND * clock)
            self._anchor = (out - frame.ticks, at)
        self._out = max(self._out, out)
        return out & 0xFFFFFFFF

    def _note(self, found: list[Jump]) -> None:
        """Stretches that touch are one; of more than can be told one by one, the last one covers the rest."""
        for jump in found:
            last = self.jumps[-1] if self.jumps else None
            touches = last is not None and last.cause == jump.cause and last.start <= jump.start <= last.end
            if last is not None and (touches or len(self.jumps) >= MAX_JUMPS):
                self.jumps[-1] = Jump(last.start, max(last.end, jump.end), last.cause)
            else:
                self.jumps.append(jump)

    def _missing(self, frame: Frame, start: int, end: int) -> list[Jump]:
        if self._flags & END_OF_SECTION:
            return [Jump(start, end, "not_recorded")]
        cause = "connection" if self._reconnected else "packets_lost" if frame.lost else "unknown"
        return explain(self.held, start, end, cause)


def explain(held: Stretches | None, start: int, end: int, cause: str) -> list[Jump]:
    """Split what is missing into what the recorder's index does not hold (`not_recorded`) and the rest (`cause`).

    Indexes are coarse: a held piece shorter than INDEX_STEP at the edge of a hole belongs to the hole.
    """
    pieces: list[Jump] = []
    position = start
    for begin, stop in sorted([(start, end)] if held is None else held):
        begin, stop = max(begin, position), min(stop, end)
        if begin >= stop or (stop - begin < INDEX_STEP and (begin, stop) != (start, end)):
            continue
        if begin > position:
            pieces.append(Jump(position, begin, "not_recorded"))
        pieces.append(Jump(begin, stop, cause))
        position = stop
    if position < end:
        pieces.append(Jump(position, end, "not_recorded"))
    if len(pieces) > 1:
        pieces = [piece for piece in pieces if piece.cause == cause or piece.end - piece.start >= INDEX_STEP]
        if len(pieces) == 1 and pieces[0].cause == cause:
            return [Jump(start, end, cause)]
    return pieces
