"""Joining files that a recorder or a person handed over into one: native files kept and hashed, streams copied.

Each file is first copied to `<target>.native/` under a name of ours (a hostile name reaches neither ffmpeg's list of
files nor a shell), fsynced and hashed. ffmpeg then joins them without encoding; container time follows the files'
times, also across gaps. The first file is cut at the key frame at or before the beginning, the last one at the end.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg

from device import media
from device.limits import TokenBucket
from device.media import Contents, Packet
from device.publishing import published, sync_folder
from device.recorders.base import (
    N_,
    AcquisitionReport,
    ClockOffset,
    DiskFullError,
    Gap,
    ProgressCallback,
    RecorderIdentity,
    RecorderRefusedError,
    RecorderUnreachableError,
    Span,
)
from device.recorders.replay import RESERVE, free_space

SECOND = timedelta(seconds=1)
BLOCK = 1 << 18


@dataclass(frozen=True)
class Piece:
    """A native file: where it lies, how to call it, the true time of its first picture, its size when it was listed."""

    path: Path
    label: str
    start: datetime
    size: int


@dataclass
class _Part:
    """A piece that was copied and read. `at` is the true time of its first packet, as placed on the timeline."""

    piece: Piece
    copy: Path
    digest: str
    contents: Contents
    at: datetime
    first: float
    last: float
    joined: Path
    inpoint: float | None = None
    outpoint: float | None = None
    taken: list[Packet] = field(default_factory=list)

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.last - self.first)

    def true_time(self, pts: float) -> datetime:
        return self.at + timedelta(seconds=pts - self.first)


@dataclass(frozen=True)
class Joining:
    """What to join, and what is known beforehand.

    `rounding`: how inexact the starts of the files are; `bucket`: how fast they may be read, where they come from afar.
    """

    recording: str
    span: Span
    pieces: Sequence[Piece]
    driver: str
    confidence: str
    source: str
    clock: ClockOffset | None
    identity: RecorderIdentity | None
    warnings: list[str] = field(default_factory=list)
    rounding: timedelta = SECOND
    free: Callable[[Path], int] = free_space
    bucket: TokenBucket | None = None

    def acquire(self, target: Path, progress: ProgressCallback | None = None) -> AcquisitionReport:
        """Copy, hash and join; `target` appears whole or not at all.

        Raises:
            RecorderUnreachableError: a file vanished or changed meanwhile.
            RecorderRefusedError: nothing of the span is in the files, or they cannot be joined.
            DiskFullError
        """
        started = datetime.now(UTC)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._check_space(target.parent)
        native = target.with_name(f"{target.name}.native")
        parts = self._placed([self._kept(piece, native, number) for number, piece in enumerate(self.pieces, 1)])
        sync_folder(native)
        parts = self._cut(parts)
        with published(target) as draft:
            notes = self._join(parts, native, draft, progress)
            report = self._report(parts, draft, target, notes, started)
        if progress is not None:
            progress({"fraction": 1.0, "bytes": report.size, "frames": report.frames})
        return report

    # --- native files

    def _kept(self, piece: Piece, native: Path, number: int) -> tuple[Piece, Path, str]:
        native.mkdir(exist_ok=True)
        suffix = piece.path.suffix.lower() if piece.path.suffix.isascii() else ""
        copy = native / f"{number:05d}{suffix}"
        digest = hashlib.sha256()
        try:
            handle = os.open(piece.path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(handle, "rb") as source, published(copy) as draft, draft.open("wb") as sink:
                while block := source.read(BLOCK):
                    digest.update(block)
                    sink.write(block)
                    if self.bucket is not None:
                        self.bucket.wait(len(block))
            size = piece.path.stat().st_size
        except OSError as error:
            if error.errno == 28:
                raise DiskFullError(N_("There is no room left on the disk.")) from error
            raise RecorderUnreachableError(
                N_("%(label)s could not be copied: %(reason)s."), label=piece.label, reason=error.strerror
            ) from error
        if size != piece.size or copy.stat().st_size != size:
            raise RecorderUnreachableError(
                N_("%(label)s is still being written: try again when it is finished."), label=piece.label
            )
        return piece, copy, f"sha256:{digest.hexdigest()}"

    def _placed(self, kept: Sequence[tuple[Piece, Path, str]]) -> list[_Part]:
        """Read each file and lay it on the timeline: files that follow closely follow exactly."""
        parts: list[_Part] = []
        for piece, copy, digest in kept:
            try:
                joined = _indexed(copy)
                contents = media.probe(joined)
            except media.MediaError:
                self.warnings.append(f"{piece.label} cannot be read and was left out")
                continue
            packets = _main_packets(contents)
            if not packets:
                self.warnings.append(f"{piece.label} holds no footage and was left out")
                continue
            first, last = min(p.pts for p in packets), max(p.pts + p.duration for p in packets)
            part = _Part(piece, copy, digest, contents, piece.start, first, last, joined)
            before = parts[-1] if parts else None
            if before is not None:
                end = before.at + before.length
                if part.at + part.length <= end:
                    self.warnings.append(f"{piece.label} lies within the file before it and was left out")
                    continue
                if abs(part.at - end) <= self.rounding:
                    part.at = end
                elif part.at < end:
                    overlap = (end - part.at).total_seconds()
                    self.warnings.append(f"{piece.label} overlaps the file before it by {overlap:.1f} s")
                    part.at = end
                self._check_same(before, part)
            parts.append(part)
        return parts

    def _check_same(self, before: _Part, part: _Part) -> None:
        def shape(contents: Contents) -> list[tuple[Any, ...]]:
            return [(s.kind, s.codec, s.width, s.height, s.sample_rate) for s in contents.streams]

        if shape(before.contents) != shape(part.contents):
            raise RecorderRefusedError(
                N_(
                    "At %(at)s the footage changes its codec or its size (%(label)s): ask for the two sides one by one."
                ),
                at=part.piece.start.isoformat(),
                label=part.piece.label,
            )

    def _cut(self, parts: list[_Part]) -> list[_Part]:
        """Keep what the span needs: from the key frame at or before its start up to its end."""
        wanted = []
        for part in parts:
            if part.at + part.length <= self.span.start or part.at >= self.span.end:
                continue
            packets = _main_packets(part.contents)
            if part.at < self.span.start:
                early = [p.pts for p in packets if p.key and part.true_time(p.pts) <= self.span.start]
                part.inpoint = max(early, default=None)
            if part.at + part.length > self.span.end:
                part.outpoint = part.first + (self.span.end - part.at).total_seconds()
            part.taken = [
                p
                for p in packets
                if (part.inpoint is None or p.dts >= part.inpoint - 1e-4)
                and (part.outpoint is None or p.dts < part.outpoint - 1e-6)
            ]
            if part.taken:
                wanted.append(part)
        if not wanted:
            raise RecorderRefusedError(N_("The files hold no footage of this span."))
        return wanted

    # --- joining

    def _join(self, parts: list[_Part], native: Path, draft: Path, progress: ProgressCallback | None) -> list[str]:
        """Run ffmpeg's concat demuxer over the copies; `duration` makes container time follow the files' times."""
        lines = ["ffconcat version 1.0"]
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            lines.append(f"file {part.joined.name}")
            begin = part.inpoint if part.inpoint is not None else part.first
            if part.inpoint is not None:
                lines.append(f"inpoint {part.inpoint:.6f}")
            if part.outpoint is not None:
                lines.append(f"outpoint {part.outpoint:.6f}")
            if following is not None:
                lines.append(f"duration {(following.at - part.true_time(begin)).total_seconds():.6f}")
        listing = native / "order.ffconcat"
        listing.write_text("\n".join(lines) + "\n", encoding="ascii")
        try:
            return media.run(
                concatenated(listing, draft), seconds=self.span.duration.total_seconds(), progress=progress
            )
        finally:
            for scrap in (listing, *native.glob("*.indexed.mkv")):
                scrap.unlink(missing_ok=True)

    def _report(
        self, parts: list[_Part], draft: Path, target: Path, notes: list[str], started: datetime
    ) -> AcquisitionReport:
        contents = media.probe(draft)
        video = contents.video
        stored = len(_main_packets(contents))
        expected = sum(len(part.taken) for part in parts)
        warnings = [*self.warnings, *(f"ffmpeg: {note}" for note in notes[:20])]
        if stored != expected:
            warnings.append(f"the files hold {expected} pictures of the span, the copy holds {stored}")
        times = sorted(part.true_time(p.pts) for part in parts for p in part.taken)
        interval = _usual_step(times)
        gaps = self._gaps(parts, times, interval)
        damaged = [part.piece.label for part in parts if part.contents.complaints]
        warnings += [f"{label} is damaged" for label in damaged[:20]]
        whole = stored == expected and not damaged
        return AcquisitionReport(
            recording=self.recording,
            requested=self.span,
            file=target.name,
            complete=whole and not gaps,
            nothing_lost=whole and all(gap.cause == "not_recorded" for gap in gaps),
            end_reason="past_end" if times[-1] + interval + SECOND >= self.span.end else "eof",
            confidence=self.confidence,
            first_frame=times[0],
            last_frame=times[-1],
            frames=stored,
            packets_lost=0,
            size=draft.stat().st_size,
            sha256=media.sha256(draft),
            codecs=tuple(stream.codec for stream in contents.streams),
            width=video.width if video is not None else None,
            height=video.height if video is not None else None,
            gaps=gaps,
            clock=self.clock,
            recorder=self.identity,
            replay_uri=self.source,
            tools={
                "ffmpeg": media.ffmpeg_version(),
                "diaoqu": importlib.metadata.version("diaoqu"),
                "driver": self.driver,
            },
            native=[
                {
                    "file": f"{target.name}.native/{part.copy.name}",
                    "name": part.piece.label,
                    "size": part.piece.size,
                    "sha256": part.digest,
                    "start": part.at,
                    "end": part.at + part.length,
                }
                for part in parts
            ],
            received=sum(part.piece.size for part in parts),
            warnings=warnings,
            started=started,
            finished=datetime.now(UTC),
        )

    def _gaps(self, parts: list[_Part], times: list[datetime], interval: timedelta) -> tuple[Gap, ...]:
        """Between files nothing was recorded, as far as anybody knows; a jump inside a file has no known cause."""
        edges = [(part.at, part.at + part.length) for part in parts]
        tolerance = max(SECOND / 2, 3 * interval)
        gaps = []
        if times[0] - self.span.start > tolerance:
            gaps.append(Gap(self.span.start, times[0]))
        for before, after in pairwise(times):
            if after - before > tolerance:
                inside = any(a <= before and after < b for a, b in edges)
                gaps.append(Gap(before + interval, after, "unknown" if inside else "not_recorded"))
        if self.span.end - (times[-1] + interval) > tolerance:
            gaps.append(Gap(times[-1] + interval, self.span.end))
        return tuple(gaps)

    def _check_space(self, folder: Path) -> None:
        needed = 2 * sum(piece.size for piece in self.pieces)
        free = self.free(folder)
        if free < needed + RESERVE:
            raise DiskFullError(
                N_(
                    "The footage needs about %(needed)s MB, and %(free)s MB are free in %(folder)s:"
                    " make room, then try again."
                ),
                needed=needed // 1_000_000,
                free=max(0, free - RESERVE) // 1_000_000,
                folder=folder,
            )


def concatenated(listing: Path, target: Path) -> Any:
    """Copy the files that a list for ffmpeg's concat demuxer names, beside it, into one Matroska file."""
    taken = ffmpeg.input(
        f"file:{listing.absolute()}",
        format="concat",
        safe=1,
        protocol_whitelist="file,pipe",
        format_whitelist=f"concat,{media.CONTAINERS}",
    )
    written = ffmpeg.output(taken, f"file:{target.absolute()}", format="matroska", map=0, c="copy", fflags="+bitexact")
    return written.global_args("-y")


def _indexed(copy: Path) -> Path:
    """The file itself when ffmpeg can find any place in it exactly; else the same streams in Matroska, beside it.

    Program and transport streams and bare streams have no index, and their times do not begin at zero.
    """
    with copy.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3":
        return copy
    target = copy.with_name(f"{copy.stem}.indexed.mkv")
    graph = ffmpeg.output(media.source(copy), f"file:{target.absolute()}", format="matroska", map=0, c="copy")
    media.run(graph.global_args("-y"))
    return target


def _main_packets(contents: Contents) -> list[Packet]:
    """The packets of the picture, or of the sound where there is no picture."""
    stream = contents.video or contents.audio
    return contents.of(stream) if stream is not None else []


def _usual_step(times: Sequence[datetime]) -> timedelta:
    steps = sorted(after - before for before, after in pairwise(times))
    return steps[len(steps) // 2] if steps else timedelta(0)
