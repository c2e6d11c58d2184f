"""Acquisition over RTSP, common to all drivers that replay: pull, relay, write, check, report.

Nothing is half-written: the file is made beside its place and published when it is whole. What is missing in it does
not raise, it is said in the report.
"""

import asyncio
import contextlib
import importlib.metadata
import shutil
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from device import media
from device.limits import bucket
from device.publishing import published
from device.pull import Outcome, Pull, Source
from device.recorders.base import (
    N_,
    WHOLE,
    AcquisitionReport,
    ClockOffset,
    Coverage,
    DiskFullError,
    Gap,
    Part,
    Probe,
    ProgressCallback,
    RecorderIdentity,
    RecorderRefusedError,
    RecorderUnreachableError,
    Recording,
    Seam,
    Span,
)
from device.relay import Relay
from device.rtsp import ReplaySession
from device.rtsp_messages import Limits, Login, without_login
from device.segment_pull import SeamMissedError, SegmentPull
from device.timeline import SECOND, TrackTimeline

RESERVE = 64 * 1024 * 1024
LEAST_RATE = 30_000
MEASURED_AFTER = 10.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BROKEN = frozenset({"eof", "cut", "stall", "connection_lost"})


def free_space(folder: Path) -> int:
    """Bytes that may still be written in a folder."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Acquisition:
    """What to acquire and what is known beforehand. `held`: what the recorder's index holds, in true time, if known.

    `offset` is what is added to true time to get the recorder's. Unless `keep_partial`, a connection that is lost for
    good raises instead of leaving a file that ends too early. A segment begins at `opening` and ends at `seam`, or soon
    after `closing` says so.
    """

    recording: str
    span: Span
    uri: str
    login: Login = field(default_factory=Login)
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None
    driver: str = "rtsp"
    libraries: Sequence[str] = ()
    offset: timedelta = timedelta(0)
    clock: ClockOffset | None = None
    identity: RecorderIdentity | None = None
    held: Sequence[Span] | None = None
    warnings: Sequence[str] = ()
    retries: int = 4
    patience: float = 0.25
    keep_partial: bool = True
    seam: datetime | None = None
    opening: Seam | None = None
    copies: int = 1
    rate: float = 0.0
    owed: int = 0
    closing: Callable[[], bool] = lambda: False
    reserve: int = RESERVE
    free: Callable[[Path], int] = free_space

    def acquire(self, target: Path, progress: ProgressCallback | None = None) -> AcquisitionReport:
        """Copy the span to `target`, untouched, and say what came.

        Raises:
            RecorderUnreachableError, RecorderBusyError: nothing came (or see `keep_partial`).
            RecorderRefusedError: the recorder says no, or sends no frame of the span.
            DiskFullError: there is no room; nothing was published.
            DeviceError: ffmpeg is missing or failed.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        self._check_space(target.parent, int(self._seconds * max(self.rate, LEAST_RATE)))
        started = datetime.now(UTC)
        with published(target) as draft:
            outcome, notes = self._pulled(draft, progress)
            if outcome.reached_end is False and outcome.end_reason in BROKEN and not self.keep_partial:
                raise RecorderUnreachableError(
                    N_("The connection to the recorder was lost before the end of the span.")
                )
            report = self._report(draft, target, outcome, notes, started)
        if progress is not None:
            progress({"fraction": 1.0, "bytes": report.size, "frames": report.frames, "media_seconds": self._seconds})
        return report

    def _pulled(self, draft: Path, progress: ProgressCallback | None) -> tuple[Outcome, list[str]]:
        """The footage in `draft`; without the key frame of the seam, what lies after it by time."""
        try:
            return asyncio.run(self._pull(draft, progress))
        except SeamMissedError as error:
            outcome, notes = asyncio.run(replace(self, opening=None)._pull(draft, progress))
            return outcome, [*notes, f"{error} It begins by time: pictures may be there twice or be missing."]

    @property
    def _seconds(self) -> float:
        return self.span.duration.total_seconds()

    async def _pull(self, draft: Path, progress: ProgressCallback | None) -> tuple[Outcome, list[str]]:
        relay = Relay(draft)
        pull = self._begin(relay, _Watch(self, draft, progress))
        try:
            outcome = await pull.run()
            if outcome.main is None or not outcome.main.frames:
                raise RecorderRefusedError(N_("The recorder sent no footage of this span."))
            await relay.finish()
        except BaseException:
            with contextlib.suppress(asyncio.CancelledError):
                await relay.abort()
            raise
        return outcome, relay.errors

    def _begin(self, relay: Relay, watch: "_Watch") -> SegmentPull:
        return SegmentPull(*self._wanted(relay), **self._known(watch))

    def _wanted(self, relay: Relay) -> tuple[Source, int, int, Relay]:
        source = Source(self.uri, self.login, self.limits, self.tls, retries=self.retries, patience=self.patience)
        start = self.opening.at if self.opening is not None else self._recorder_time(self.span.start)
        return source, start, self._recorder_time(self.span.end), relay

    def _known(self, watch: "_Watch") -> dict[str, Any]:
        held = None
        if self.held is not None:
            held = [(self._recorder_time(part.start), self._recorder_time(part.end)) for part in self.held]
        seam = self._recorder_time(self.seam) if self.seam is not None else None
        return {"held": held, "tick": watch.tick, "seam": seam, "opening": self.opening}

    def _report(
        self, draft: Path, target: Path, outcome: Outcome, notes: list[str], started: datetime
    ) -> AcquisitionReport:
        main = outcome.main
        assert main is not None
        contents = media.survey(draft)
        warnings = [*self.warnings, *outcome.warnings, *(f"ffmpeg: {note}" for note in notes[:20])]
        video = contents.video
        stored = video.packets if video is not None else main.frames
        if stored != main.frames:
            warnings.append(f"the recorder sent {main.frames} pictures, the file holds {stored}")
        gaps = tuple(Gap(self._true_time(j.start), self._true_time(j.end), j.cause) for j in outcome.jumps)
        lost = sum(line.lost for line in outcome.timelines)
        whole = not gaps and not lost and outcome.reached_end and stored == main.frames
        return AcquisitionReport(
            recording=self.recording,
            requested=Span(self.span.start, self._true_time(outcome.seam.at)) if outcome.seam else self.span,
            file=target.name,
            complete=whole,
            nothing_lost=stored == main.frames and not lost and all(gap.cause == "not_recorded" for gap in gaps),
            end_reason=outcome.end_reason,
            confidence=outcome.confidence,
            first_frame=self._true_time(main.first) if main.first is not None else None,
            last_frame=self._true_time(main.last) if main.last is not None else None,
            frames=stored,
            packets_lost=lost,
            size=draft.stat().st_size,
            sha256=media.sha256(draft),
            codecs=tuple(stream.codec for stream in contents.streams),
            width=video.width if video is not None else None,
            height=video.height if video is not None else None,
            gaps=gaps,
            clock=self.clock,
            recorder=self.identity,
            replay_uri=without_login(self.uri),
            tools={
                "ffmpeg": media.ffmpeg_version(),
                "diaoqu": importlib.metadata.version("diaoqu"),
                "driver": self.driver,
                **{name: importlib.metadata.version(name) for name in self.libraries},
            },
            tracks=[self._track(line) for line in outcome.timelines],
            changes=[
                {"at": self._true_time(change.at), "before": list(change.before), "after": list(change.after)}
                for change in main.changes
            ],
            reconnections=outcome.reconnections,
            received=outcome.received,
            seam=outcome.seam,
            warnings=warnings,
            started=started,
            finished=datetime.now(UTC),
        )

    def _track(self, line: TrackTimeline) -> dict[str, Any]:
        """A track's own count and bounds, also on the recorder's clock, as it wrote them."""
        return {
            "track": line.track.name,
            "frames": line.frames,
            "key_frames": line.clean,
            "packets": line.packets,
            "packets_lost": line.lost,
            "payload_bytes": line.size,
            "first_frame": self._true_time(line.first) if line.first is not None else None,
            "last_frame": self._true_time(line.last) if line.last is not None else None,
            "recorder_first_frame": EPOCH + timedelta(microseconds=line.first) if line.first is not None else None,
            "recorder_last_frame": EPOCH + timedelta(microseconds=line.last) if line.last is not None else None,
            "interval_seconds": {
                "usual": line.interval / SECOND,
                "shortest": (line.shortest or 0) / SECOND,
                "longest": (line.longest or 0) / SECOND,
            },
            "frames_per_minute": [
                [EPOCH + timedelta(minutes=minute), count] for minute, count in sorted(line.minutes.items())
            ],
            "gaps": [[self._true_time(jump.start), self._true_time(jump.end), jump.cause] for jump in line.jumps],
        }

    def _recorder_time(self, at: datetime) -> int:
        return (at + self.offset - EPOCH) // timedelta(microseconds=1)

    def _true_time(self, at: int) -> datetime:
        return EPOCH + timedelta(microseconds=at) - self.offset

    def _check_space(self, folder: Path, needed: int) -> None:
        needed = needed * self.copies + self.owed
        free = self.free(folder)
        if free < needed + self.reserve:
            raise DiskFullError(
                N_(
                    "The footage needs about %(needed)s MB, and %(free)s MB are free in %(folder)s:"
                    " make room, then try again."
                ),
                needed=needed // 1_000_000,
                free=max(0, free - self.reserve) // 1_000_000,
                folder=folder,
            )


class _Watch:
    """Looks after a running pull: disk space from the measured rate, whether it is to end early, and progress."""

    def __init__(self, acquisition: Acquisition, draft: Path, progress: ProgressCallback | None) -> None:
        self._acquisition = acquisition
        self._folder = draft.parent
        self._progress = progress
        self._began = time.monotonic()
        self._looked = 0.0

    def tick(self, pull: Pull) -> None:
        done = max(0.0, (pull.position - pull.start) / SECOND)
        total = (pull.end - pull.start) / SECOND
        size = sum(line.size for line in pull.timelines)
        now = time.monotonic()
        if now - self._looked > 1.0:
            self._looked = now
            expected = int(size / done * max(0.0, total - done)) if done > MEASURED_AFTER else 0
            self._acquisition._check_space(self._folder, expected)
        if self._progress is not None:
            self._progress(
                {
                    "fraction": min(1.0, done / total),
                    "bytes": size,
                    "media_seconds": done,
                    "speed": done / max(0.001, now - self._began),
                    "frames": sum(line.frames for line in pull.timelines[:1]),
                }
            )
        if isinstance(pull, SegmentPull) and self._acquisition.closing():
            pull.end_early()


async def rehearse(uri: str, login: Login, limits: Limits, tls: ssl.SSLContext | None, span: Span) -> None:
    """Set up a playback of the span (on the recorder's clock), begin it and take leave. Raises as ReplaySession."""
    session = await ReplaySession.open(uri, login, limits, lambda *_packet: None, tls)
    try:
        await session.play(span.start, span.end)
    finally:
        await session.close()


class RtspRecorder:
    """A bare replay address without ONVIF: no index, no clock, no identity. `url` is what RTSP plays."""

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        *,
        timeout: float = 10.0,
        stall: float = 10.0,
        allow_basic: bool = False,
        bandwidth: int = 0,
        keep_partial: bool = True,
        tls: ssl.SSLContext | None = None,
        free: Callable[[Path], int] = free_space,
    ) -> None:
        self.url = url
        self._login = Login(username, password, allow_basic)
        self._limits = Limits(timeout, timeout, stall, bucket(bandwidth))
        self._keep_partial = keep_partial
        self._tls = tls
        self._free = free

    def probe(self) -> Probe:
        """Raises RecorderRefusedError: RTSP tells nothing of the recorder itself."""
        raise RecorderRefusedError(N_("A bare replay address tells neither the recorder's name nor its clock."))

    def recordings(self) -> list[Recording]:
        """Raises RecorderRefusedError: RTSP has no list of recordings."""
        raise RecorderRefusedError(N_("A bare replay address has no list of recordings."))

    def coverage(self, recording: str, span: Span) -> Coverage:  # noqa: ARG002 - the protocol's signature
        """Raises RecorderRefusedError: RTSP has no index."""
        raise RecorderRefusedError(N_("A bare replay address has no index of what was recorded."))

    def rehearse(self, recording: str, span: Span) -> None:  # noqa: ARG002 - the protocol's signature
        """As `PlayingRecorder.rehearse`; the first second of the span is enough. Raises as `ReplaySession`."""
        begins = Span(span.start, span.start + min(span.duration, timedelta(seconds=1)))
        asyncio.run(rehearse(self.url, self._login, self._limits, self._tls, begins))

    def acquire(
        self, recording: str, span: Span, target: Path, progress: ProgressCallback | None = None, part: Part = WHOLE
    ) -> AcquisitionReport:
        """As `Recorder.acquire`; times are taken as the recorder's own."""
        return Acquisition(
            recording,
            span,
            self.url,
            self._login,
            self._limits,
            self._tls,
            keep_partial=self._keep_partial,
            warnings=("the recorder's clock was not compared with true time",),
            seam=part.seam,
            opening=part.opening,
            copies=part.copies,
            rate=part.rate,
            owed=part.owed,
            closing=part.closing,
            free=self._free,
        ).acquire(target, progress)
