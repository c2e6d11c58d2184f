"""Pull exactly one span from a replay service: every ending of a range, broken connections, back-pressure.

What reaches the sink is what the recorder holds for the span, each frame once, in order: the frames from the last key
frame at or before the start (they are needed for decoding) up to, not including, the end.
All times here are microseconds since 1970 on the recorder's clock.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from device.outcome import Outcome, Sink, Source
from device.recorders.base import N_, DeviceError, RecorderBusyError, RecorderRefusedError, RecorderUnreachableError
from device.rtp import Depacketizer, Frame, is_key
from device.rtsp import ReplaySession
from device.timeline import CONFIDENCE, SECOND, Jump, SessionClock, Stretches, TrackTimeline, explain

__all__ = ["Outcome", "Pull", "Sink", "Source"]

MAX_LEAD_BYTES = 32 * 1024 * 1024
MAX_LEAD_FRAMES = 10_000
MAX_TAIL_FRAMES = 1000
FRAMELESS = 12
MOST_FRAMES, MOST_BYTES = 2000, 50_000_000
"""More than that for each second of the span, after a grace of a minute, is no footage."""
CLOSING_SECONDS = 1.0
SILENT_SECONDS = 2.0
UNCERTAIN = (
    "",
    "the recorder's packets carry no time of recording: times come from its sender reports, with medium confidence",
    "the recorder's packets carry no time of recording: times are counted from the range's start, with low confidence",
)
DELIBERATE = frozenset({"bye", "terminal", "teardown", "past_end", "silence", "seam", "seam_missed"})


class Pull:
    """One span from one source into one sink; `held` is what the recorder's index holds of it, if known."""

    def __init__(
        self,
        source: Source,
        start: int,
        end: int,
        sink: Sink,
        *,
        held: Stretches | None = None,
        tick: Callable[["Pull"], None] = lambda _: None,
    ) -> None:
        self.source, self.start, self.end, self.sink, self.held, self.tick = source, start, end, sink, held, tick
        self.timelines: list[TrackTimeline] = []
        self.received = 0
        self.warnings: list[str] = []
        self._session: ReplaySession | None = None
        self._paused = False
        self._lines: list[Depacketizer] = []
        self._clocks: list[SessionClock | None] = []
        self._tails: list[list[tuple[Frame, int]]] = []
        self._past: list[bool] = []
        self._lead: list[tuple[int, Frame, int]] | None = []
        self._lead_bytes = 0
        self._origin = start
        self._rank = 0
        self._asked = start
        self._over: asyncio.Future[str] | None = None
        self._closing_at: float | None = None
        self._spare: list[tuple[int, Frame]] = []
        self._seen = 0
        self._heard = self._framed = (0, 0.0)

    # --- the whole span

    async def run(self) -> Outcome:
        """Pull until the end of the range, or until nothing more comes.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError: nothing came at all.
            DeviceError: the sink failed.
        """
        failures = reconnections = 0
        limit = 20 + (self.end - self.start) // (60 * SECOND)
        while True:
            before = self._count()
            error: DeviceError | None = None
            try:
                reason = await self._play()
            except (RecorderUnreachableError, RecorderBusyError, RecorderRefusedError) as caught:
                if not self._count() and not reconnections:
                    raise
                reason, error = "connection_lost", caught
            if self._at_end(exactly=reason not in DELIBERATE):
                break
            failures = 0 if self._count() > before else failures + 1
            if failures > self._patience(reason, error):
                if not self._count() and reason not in DELIBERATE:
                    raise RecorderUnreachableError(N_("The recorder stopped answering before the first frame came."))
                break
            if reconnections >= limit:
                self._warn(f"gave up after {reconnections} interruptions")
                break
            reconnections += 1
            if reason not in DELIBERATE:
                await asyncio.sleep(self.source.patience * 2**failures)
            self._asked = self._resumption()
        for index, frame in self._spare:
            self._frame(index, frame)
        return self._outcome(reason, reconnections)

    @property
    def position(self) -> int:
        """The recorder's time that the copy has reached."""
        return max((line.last for line in self.timelines if line.last is not None), default=self.start)

    def _count(self) -> int:
        return sum(line.frames for line in self.timelines)

    def _main(self) -> list[int]:
        """The tracks that decide: the video tracks, or all where there is no video."""
        video = [index for index, line in enumerate(self.timelines) if line.track.kind == "video"]
        return video or list(range(len(self.timelines)))

    def _patience(self, reason: str, error: DeviceError | None) -> int:
        """How many attempts without a new frame are worth it."""
        if reason in DELIBERATE:
            return 0
        if reason == "stall" and not self._count() and not any(line.packets for line in self._lines):
            return 0
        if isinstance(error, RecorderBusyError):
            return self.source.retries + 4
        return 1 if isinstance(error, RecorderRefusedError) else self.source.retries

    def _at_end(self, *, exactly: bool = False) -> bool:
        """Every deciding track reached the end of the span, or of what the recorder's index holds of it.

        `exactly`: to the frame, because the connection broke; else within the usual tolerance.
        """
        if not self.timelines:
            return False
        for index in self._main():
            line = self.timelines[index]
            if self._past[index]:
                continue
            if line.last is None:
                return False
            spare = exactly and any(other == index for other, _ in self._spare)
            reached = line.last + line.interval * (2 if spare else 1)
            rest = explain(self.held, reached, self.end, "unknown") if reached < self.end else []
            allowed = line.interval // 2 if exactly else line.tolerance
            if any(jump.cause != "not_recorded" and jump.end - jump.start > allowed for jump in rest):
                return False
        return True

    def _resumption(self) -> int:
        """Where to go on: the last frame of the slowest track, or the next stretch when a hole begins there."""
        lasts = [line.last for line in self.timelines if line.last is not None]
        if not lasts:
            return self.start
        point = min(last for last in lasts if last >= max(lasts) - 5 * SECOND)
        for begin, stop in sorted(self.held or []):
            if begin - SECOND <= point < stop - 2 * SECOND:
                return point
            if begin > point:
                return min(begin, self.end - 1)
        return point

    def _outcome(self, reason: str, reconnections: int) -> Outcome:
        jumps: list[Jump] = []
        for index in self._main()[:1] if self.timelines else []:
            line = self.timelines[index]
            if line.first is None or line.last is None:
                continue
            lost = "connection" if reason in ("eof", "cut", "stall", "connection_lost") else "unknown"
            if line.first - self.start > line.tolerance:
                jumps += explain(self.held, self.start, line.first, "unknown")
            jumps += line.jumps
            reached = line.last + line.interval
            if self.end - reached > line.tolerance:
                jumps += explain(self.held, reached, self.end, lost)
        for line in self.timelines:
            if line.steps_back:
                self._warn(f"the recorder's clock stepped back {line.steps_back} time(s) in {line.track.name}")
            if line.steps_forward:
                self._warn(f"the recorder's clock stepped forward {line.steps_forward} time(s) in {line.track.name}")
        if self._rank:
            self._warn(UNCERTAIN[self._rank])
        if any(clock is not None and clock.implausible for clock in self._clocks):
            self._warn("the recorder's frame times lie far outside the span and were not used")
        for index, packets in enumerate(self._lines):
            for kind, at in packets.foreign.items():
                since = f" from {_instant(at):%Y-%m-%dT%H:%M:%S}Z on (recorder's clock)" if at is not None else ""
                name = self.timelines[index].track.name
                self._warn(f"the recorder changed the codec of {name}{since}: payload type {kind} was left out")
        malformed = sum(line.malformed for line in self._lines)
        if malformed:
            self._warn(f"{malformed} malformed packet(s) were dropped")
        return Outcome(
            self.timelines,
            reason,
            self._at_end(),
            CONFIDENCE[self._rank],
            jumps,
            reconnections,
            self.received,
            self.warnings,
        )

    def _warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < 100:
            self.warnings.append(text)

    # --- one connection

    async def _play(self) -> str:
        session = await ReplaySession.open(
            self.source.url, self.source.login, self.source.limits, self._packet, self.source.tls
        )
        try:
            await self._adopt(session)
            await session.play(_instant(self._asked), _instant(self.end))
            if self._paused:
                session.pause_reading()
            reason = await self._watch(session)
        finally:
            self.received += session.bytes
            self._session = None
            await session.close()
        self._close_frames(reason)
        return reason

    async def _adopt(self, session: ReplaySession) -> None:
        if not self.timelines:
            self.timelines = [TrackTimeline(track, self.held) for track in session.tracks]
            self._tails = [[] for _ in session.tracks]
            self._past = [False] * len(session.tracks)
            await self.sink.begin(session.tracks, self._pause, self._resume)
        elif [track.name for track in session.tracks] != [line.track.name for line in self.timelines]:
            raise RecorderRefusedError(N_("After the interruption the recorder offered other tracks than before."))
        if not session.onvif:
            self._warn("the recorder does not know ONVIF replay: it may play slowly and its times are less certain")
        for line in self.timelines:
            line.resume()
        self._session = session
        self._heard, self._framed = (0, time.monotonic()), (self._seen, time.monotonic())
        self._over = asyncio.get_running_loop().create_future()
        self._closing_at = None
        self._spare = []
        if not self._count():
            self._lead, self._lead_bytes = [], 0
        self._clocks = [None] * len(session.tracks)
        self._lines = [
            Depacketizer(track.payload_type, partial(self._frame, index), sound=track.kind == "audio")
            for index, track in enumerate(session.tracks)
        ]

    async def _watch(self, session: ReplaySession) -> str:
        over = self._over
        assert over is not None
        while True:
            await asyncio.wait({session.ended, over}, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            if self.sink.failed is not None:
                raise self.sink.failed
            self.tick(self)
            if over.done():
                return over.result()
            if session.ended.done():
                return session.ended.result()
            if self._closing_at is not None and time.monotonic() - self._closing_at > CLOSING_SECONDS:
                return "bye"
            if not self._paused and session.silence > SILENT_SECONDS and self._at_end():
                return "silence"
            if self._is_stuck():
                return "stall"
            self._check_amount(session.bytes)

    def _is_stuck(self) -> bool:
        """Bytes may come, but no packets of a track for a while, or packets that never make a frame."""
        now = time.monotonic()
        packets = sum(line.packets for line in self._lines)
        if self._paused or (self._session is not None and self._session.owing) or packets != self._heard[0]:
            self._heard = packets, now
        if self._paused or self._seen != self._framed[0]:
            self._framed = self._seen, now
        stall = self.source.limits.stall
        return now - self._heard[1] > stall or now - self._framed[1] > FRAMELESS * stall

    def _check_amount(self, size: int) -> None:
        """Whatever a recorder sends, it ends."""
        seconds = 60 + (self.end - self.start) // SECOND
        if self._seen > seconds * MOST_FRAMES or self.received + size > seconds * MOST_BYTES:
            self._warn("the recorder sent far more than footage of this span can be: it was stopped")
            raise RecorderRefusedError(N_("The recorder sends far more than footage of this span can be."))

    def _packet(self, channel: int, data: bytes, start: int, end: int) -> None:
        index = channel >> 1
        if index >= len(self._lines):
            return
        line = self._lines[index]
        if not channel & 1:
            line.feed(data, start, end)
            if line.terminal:
                self._leave("terminal")
            return
        line.control(data, start, end)
        if line.bye:
            self._leave("bye")

    def _leave(self, reason: str) -> None:
        """A track said good-bye: wait for the others a little, then the range is over."""
        if all(line.bye or line.terminal for line in self._lines):
            self._end(reason)
        elif self._closing_at is None and all(self._lines[i].bye or self._lines[i].terminal for i in self._main()):
            self._closing_at = time.monotonic()

    def _end(self, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)

    def _close_frames(self, reason: str) -> None:
        """The last frame of each track counts when the recorder ended the range itself; a cut may have halved it."""
        for index, line in enumerate(self._lines):
            if reason in DELIBERATE:
                line.flush()
                continue
            frame = line.discard()
            if frame is not None and (frame.marked or self.timelines[index].track.kind == "audio"):
                self._spare.append((index, frame))

    def _pause(self) -> None:
        self._paused = True
        if self._session is not None:
            self._session.pause_reading()

    def _resume(self) -> None:
        self._paused = False
        if self._session is not None:
            self._session.resume_reading()

    # --- one frame

    def _frame(self, index: int, frame: Frame) -> None:
        self._seen += 1
        line = self.timelines[index]
        clock = self._clocks[index] if index < len(self._clocks) else None
        if clock is None:
            session = self._session
            rtp_time = session.rtp_times.get(line.track.control) if session is not None else None
            answered = session.range_start if session is not None else None
            clock = self._clocks[index] = SessionClock(line.track, self._asked, answered, rtp_time)
        at, rank = clock.place(frame, self._lines[index].report_of(frame))
        self._rank = max(self._rank, rank)
        if line.is_duplicate(frame, at, rank) or self._is_foreign(index, frame, at, rank):
            return
        if at >= self.end:
            self._hold_back(index, frame, at)
            return
        if self._lead is not None and not self._lead_in(index, frame, at):
            return
        tail = self._tails[index]
        if tail:
            # frames from beyond the end that a later frame within the span refers to
            self._tails[index] = []
            for held_frame, held_at in tail:
                self._emit(index, held_frame, held_at)
        self._emit(index, frame, at)

    def _is_foreign(self, index: int, frame: Frame, at: int, rank: int) -> bool:  # noqa: ARG002 - for segments
        """Whether a frame is not of this pull, or was dealt with (`device.segment_pull`)."""
        return False

    def _hold_back(self, index: int, frame: Frame, at: int) -> None:
        self._past[index] = True
        if at < self.end + SECOND:
            if len(self._tails[index]) < MAX_TAIL_FRAMES:
                self._tails[index].append((frame, at))
        elif all(self._past[i] for i in self._main()):
            self._end("past_end")

    def _lead_in(self, index: int, frame: Frame, at: int) -> bool:
        """Before the start, keep only what decoding the first frame needs. True when this frame opens the span."""
        lead = self._lead
        assert lead is not None
        codec = self.timelines[index].track.codec
        decides = index in self._main()
        video = self.timelines[index].track.kind == "video"
        if decides and (at >= self.start or self._lead_bytes > MAX_LEAD_BYTES or len(lead) > MAX_LEAD_FRAMES):
            self._lead = None
            if not video or is_key(frame, codec):
                lead = [entry for entry in lead if entry[2] >= self.start]
            elif not any(entry[0] == index for entry in lead):
                self._warn("the recorder began within a group of pictures: the first pictures cannot be decoded")
            begin = min((entry[2] for entry in lead if entry[0] == index), default=at)
            kept = [entry for entry in lead if entry[2] >= begin]
            self._origin = min([at, *(entry[2] for entry in kept)])
            for other, earlier, earlier_at in kept:
                self._emit(other, earlier, earlier_at)
            return True
        if video and is_key(frame, codec):
            lead[:] = [entry for entry in lead if entry[2] >= at]
            self._lead_bytes = sum(entry[1].size for entry in lead)
        if len(lead) > 2 * MAX_LEAD_FRAMES:
            return False
        lead.append((index, frame, at))
        self._lead_bytes += frame.size
        return False

    def _emit(self, index: int, frame: Frame, at: int) -> None:
        line = self.timelines[index]
        line.accept(frame, at)
        self.sink.write(index, frame, line.rtp_time(frame, at, self._origin))


def _instant(at: int) -> datetime:
    seconds, rest = divmod(at, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
