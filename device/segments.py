"""A long span as a row of files, each finished for good before the next one is begun.

A segment is about an hour of footage and ends where a key frame allows it (`device.segment_pull`), so that each plays
by itself and all of them together hold exactly the frames of one uncut copy. In the folder lie:

    0001-20260201T100000Z.mkv   the segments, named after the instant at which they begin
    manifest.json               what was asked for, and each finished segment with its report and its seam
    sha256sums.txt              for `sha256sum -c`, once the last segment is there

The order of every step: the segment is written under another name, fsynced, renamed, the folder is fsynced; then the
manifest is replaced in the same way. Whatever dies in between is begun anew from the last segment of the manifest.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from device import media
from device.publishing import clear_folder, hold, published
from device.recorders.base import (
    N_,
    ClockOffset,
    DeviceError,
    Part,
    ProgressCallback,
    Recorder,
    Seam,
    Span,
)
from device.recorders.joining import concatenated

SCHEMA = "diaoqu-segments-1"
LENGTH = timedelta(hours=1)
REST = 0.1
"""A rest of the span that is shorter than this share of a segment stays with the segment before it."""

MANIFEST, SUMS = "manifest.json", "sha256sums.txt"
CONFIDENCE = ("high", "medium", "low")

Pause = Callable[[], None]
"""Called before each segment; may wait, or raise to go on another time."""
Closing = Callable[[], bool]
"""Asked while footage comes: whether the segment is to end before the next key frame, to go on another time."""


class OtherSpanError(DeviceError):
    """The folder holds segments of another span or another recording: name another folder, or remove it."""


def is_long(span: Span, length: timedelta = LENGTH) -> bool:
    """Whether a span is retrieved in more than one segment."""
    return span.duration > length * (1 + REST)


@dataclass(frozen=True)
class SegmentedAcquisition:
    """What to retrieve into which folder. `copies`: how often the footage will be on that disk in the end."""

    recorder: Recorder
    recording: str
    span: Span
    folder: Path
    length: timedelta = LENGTH
    copies: int = 1
    pause: Pause = lambda: None
    closing: Closing = lambda: False

    def acquire(self, progress: ProgressCallback | None = None) -> dict[str, Any]:
        """Retrieve what is not there yet; answers the report of the whole span (schema diaoqu-acquisition-1).

        Raises:
            OtherSpanError: the folder was begun for something else, or a segment in it is damaged.
            DeviceError: another process is at work in the folder.
            and what `Recorder.acquire` raises; the finished segments stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder):
            finished = self._finished()
            while not finished or finished[-1]["seam"] is not None:
                self.pause()
                finished.append(self._next(finished, progress))
                self._note(finished)
            self._list_sums(finished)
        if progress is not None:
            progress({"fraction": 1.0, "bytes": sum(one["size"] for one in finished)})
        return merged(self.span, self.folder.name, finished)

    def reports(self) -> list[dict[str, Any]]:
        """The reports of the finished segments, as the manifest has them."""
        path = self.folder / MANIFEST
        return list(json.loads(path.read_text(encoding="utf-8"))["segments"]) if path.is_file() else []

    def count(self) -> int:
        """How many segments are finished."""
        return len(self.reports())

    def _next(self, finished: list[dict[str, Any]], progress: ProgressCallback | None) -> dict[str, Any]:
        """Retrieve the segment after the finished ones."""
        before = finished[-1] if finished else None
        start, opening, clock = self.span.start, None, None
        if before is not None:
            opening = Seam(**before["seam"])
            start = datetime.fromisoformat(before["requested"]["end"])
            clock = _clock(before["clock"])
        seam = next_seam(self.span, start, self.length)
        owed = (self.copies - 1) * sum(one["size"] for one in finished)
        name = f"{len(finished) + 1:04d}-{start:%Y%m%dT%H%M%SZ}.mkv"
        report = self.recorder.acquire(
            self.recording,
            Span(start, self.span.end),
            self.folder / name,
            self._telling(start, finished, progress),
            Part(seam, opening, clock, self.copies, _rate(finished), owed, self.closing),
        )
        return report.to_json()

    def _telling(
        self, start: datetime, finished: list[dict[str, Any]], progress: ProgressCallback | None
    ) -> ProgressCallback | None:
        """Progress of a segment as progress of the whole span."""
        if progress is None:
            return None
        before = (start - self.span.start).total_seconds()
        size, frames = (sum(one[key] for one in finished) for key in ("size", "frames"))

        def tell(facts: dict[str, Any]) -> None:
            seconds = before + float(facts.get("media_seconds") or 0.0)
            progress(
                {
                    **facts,
                    "media_seconds": seconds,
                    "fraction": min(1.0, seconds / self.span.duration.total_seconds()),
                    "bytes": size + int(facts.get("bytes") or 0),
                    "frames": frames + int(facts.get("frames") or 0),
                    "segment": len(finished) + 1,
                }
            )

        return tell

    # --- the manifest

    def _finished(self) -> list[dict[str, Any]]:
        """The reports of the segments that are there, each compared with its hash."""
        path = self.folder / MANIFEST
        if not path.is_file():
            return []
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            reports = list(noted["segments"])
            same = noted["asked"] == self._asked()
        except (ValueError, KeyError, TypeError) as error:
            raise OtherSpanError(
                N_("%(path)s is no list of segments: remove %(folder)s, then try again."), path=path, folder=self.folder
            ) from error
        if not same:
            raise OtherSpanError(
                N_("%(folder)s was begun for another span, recording or recorder: remove it, or name another place."),
                folder=self.folder,
            )
        for report in reports:
            file = self.folder / report["file"]
            if not file.is_file() or media.sha256(file) != report["sha256"]:
                raise OtherSpanError(
                    N_("%(file)s is not what was retrieved: remove %(folder)s, then try again."),
                    file=file,
                    folder=self.folder,
                )
        return reports

    def _asked(self) -> dict[str, Any]:
        return {
            "recording": self.recording,
            "start": self.span.start.isoformat(),
            "end": self.span.end.isoformat(),
            "seconds": self.length.total_seconds(),
        }

    def _note(self, finished: list[dict[str, Any]]) -> None:
        noted = {"schema": SCHEMA, "asked": self._asked(), "segments": finished}
        with published(self.folder / MANIFEST) as draft:
            draft.write_text(json.dumps(noted, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def _list_sums(self, finished: list[dict[str, Any]]) -> None:
        with published(self.folder / SUMS) as draft:
            draft.write_text(sums(finished), encoding="utf-8")


def next_seam(span: Span, start: datetime, length: timedelta) -> datetime | None:
    """Where the segment that begins at `start` shall end: whole lengths after the span's beginning; None at its end.

    After a hole in the footage `start` may lie lengths further on.
    """
    number = (start - span.start) // length + 1
    seam = span.start + number * length
    if seam - start < length * REST:
        seam += length
    return seam if span.end - seam > length * REST else None


def take_over(place: Path, folder: Path) -> int:
    """Begin `folder` with the segments that another attempt in `place` has finished; answers how many there are.

    Files are linked, so an attempt that was only paused and still writes into its own folder disturbs nobody. Folders
    of attempts that are over are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).is_file():
        return _length_of(folder)
    others = [each for each in place.iterdir() if each != folder and (each / MANIFEST).is_file()]
    best = max(others, key=_length_of, default=None)
    taken = 0
    if best is not None:
        noted = json.loads((best / MANIFEST).read_text(encoding="utf-8"))
        for report in noted["segments"]:
            if not _linked(best, folder, report):
                break
            taken += 1
        noted["segments"] = noted["segments"][:taken]
        with published(folder / MANIFEST) as draft:
            draft.write_text(json.dumps(noted, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for each in place.iterdir():
        if each != folder:
            clear_folder(each)
    return taken


def _length_of(folder: Path) -> int:
    return len(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["segments"])


def _linked(source: Path, folder: Path, report: dict[str, Any]) -> bool:
    """Link a segment and its native files; False when one is not there any more."""
    try:
        for name in (report["file"], *(each["file"] for each in report["native"])):
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(source / name, target)
    except FileNotFoundError:
        return False
    return True


def _rate(reports: list[dict[str, Any]]) -> float:
    """Bytes for each second of the span so far: what the rest is expected to need."""
    size: int = sum(report["size"] for report in reports)
    return size / max(1.0, sum(_seconds(report) for report in reports))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raises DeviceError while another process is at work in the folder."""
    try:
        handle = hold(folder)
    except BlockingIOError as error:
        raise DeviceError(
            N_("Another process is retrieving into %(folder)s: wait until it has ended."), folder=folder
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _clock(noted: dict[str, Any] | None) -> ClockOffset | None:
    if noted is None:
        return None
    offset, uncertainty = (timedelta(seconds=noted[key]) for key in ("offset", "uncertainty"))
    return ClockOffset(offset, uncertainty, noted["method"], datetime.fromisoformat(noted["measured_at"]))


# --- the whole


def sums(reports: list[dict[str, Any]]) -> str:
    """One line a segment, as `sha256sum` writes and checks them."""
    return "".join(f"{report['sha256'].removeprefix('sha256:')}  {report['file']}\n" for report in reports)


def merged(span: Span, name: str, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """One report for all segments. Its `sha256` is that of their list of hashes until they are joined into one file."""
    first, last = reports[0], reports[-1]
    whole = dict(first)
    whole |= {key: last[key] for key in ("last_frame", "end_reason", "finished", "seam")}
    whole |= {key: sum(report[key] for report in reports) for key in ("frames", "packets_lost", "size")}
    whole |= {key: sum(report[key] for report in reports) for key in ("reconnections", "received")}
    whole |= {key: all(report[key] for report in reports) for key in ("complete", "nothing_lost")}
    whole["confidence"] = max((report["confidence"] for report in reports), key=CONFIDENCE.index)
    whole["requested"] = {"start": span.start.isoformat(), "end": span.end.isoformat()}
    whole["file"] = name
    whole["sha256"] = f"sha256:{hashlib.sha256(sums(reports).encode()).hexdigest()}"
    for key in ("gaps", "native", "changes"):
        whole[key] = [each for report in reports for each in report[key]]
    whole["warnings"] = list(dict.fromkeys(each for report in reports for each in report["warnings"]))
    shapes = {(tuple(report["codecs"]), report["width"], report["height"]) for report in reports}
    if len(shapes) > 1:
        whole["warnings"].append("the footage changes its codec or its size between segments")
    whole["tracks"] = _tracks(reports)
    whole["segments"] = [
        {
            "file": report["file"],
            "start": report["requested"]["start"],
            "end": report["requested"]["end"],
            "first_frame": report["first_frame"],
            "last_frame": report["last_frame"],
            **{key: report[key] for key in ("frames", "size", "sha256", "codecs", "width", "height")},
        }
        for report in reports
    ]
    return whole


def _tracks(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each track over all segments: counts added, bounds from the first to the last, gaps in a row."""
    found: dict[str, dict[str, Any]] = {}
    for report in reports:
        for track in report["tracks"]:
            whole = found.get(track["track"])
            if whole is None:
                found[track["track"]] = dict(track)
                continue
            for key, value in track.items():
                if key == "interval_seconds":
                    whole[key] = {**whole[key], **_bounds(whole[key], value)}
                elif key == "frames_per_minute":
                    whole[key] = _by_minute([*whole[key], *value])
                elif isinstance(value, int):
                    whole[key] += value
                elif isinstance(value, list):
                    whole[key] = [*whole[key], *value]
                elif key.endswith("last_frame"):
                    whole[key] = value or whole[key]
    return list(found.values())


def _bounds(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {
        "shortest": min((each["shortest"] for each in (one, other) if each["shortest"]), default=0.0),
        "longest": max(one["longest"], other["longest"]),
    }


def _by_minute(counts: list[list[Any]]) -> list[list[Any]]:
    """Two segments share the minute in which they meet."""
    found: dict[str, int] = {}
    for minute, count in counts:
        found[minute] = found.get(minute, 0) + count
    return [[minute, count] for minute, count in sorted(found.items())]


def join(
    report: dict[str, Any], folder: Path, target: Path, progress: ProgressCallback | None = None
) -> dict[str, Any]:
    """Write the segments of `folder` one after another into one file, streams copied; answers the report with it.

    Container time follows the recorder's clock, also across gaps between segments. Native files stay in `folder`.

    Raises:
        DeviceError: the segments differ in codec or size and cannot be one file, or the file has not all pictures.
        DiskFullError
    """
    segments = report["segments"]
    shapes = [[each[key] for key in ("codecs", "width", "height")] for each in segments]
    if any(shape != shapes[0] for shape in shapes):
        raise DeviceError(
            N_("The footage changes its codec or its size and cannot be one file: the segments are in %(folder)s."),
            folder=folder,
        )
    listing = folder / "order.ffconcat"
    lines = ["ffconcat version 1.0"]
    for each, following in zip(segments, [*segments[1:], None], strict=True):
        lines.append(f"file {each['file']}")
        if following is not None:
            here, there = (datetime.fromisoformat(one["first_frame"]) for one in (each, following))
            lines.append(f"duration {(there - here).total_seconds():.6f}")
    with published(target) as draft:
        listing.write_text("\n".join(lines) + "\n", encoding="ascii")
        media.run(concatenated(listing, draft), seconds=_seconds(report), progress=progress)
        listing.unlink()
        video = media.survey(draft).video
        stored = video.packets if video is not None else report["frames"]
        if stored != report["frames"]:
            raise DeviceError(
                N_("The segments hold %(frames)s pictures, one file of them %(stored)s: keep them."),
                frames=report["frames"],
                stored=stored,
            )
        joined = {"file": target.name, "size": draft.stat().st_size, "sha256": media.sha256(draft)}
    native = [{**each, "file": f"{folder.name}/{each['file']}"} for each in report["native"]]
    return {**report, **joined, "native": native}


def _seconds(report: dict[str, Any]) -> float:
    requested = report["requested"]
    edges = [datetime.fromisoformat(requested[edge]) for edge in ("start", "end")]
    return (edges[1] - edges[0]).total_seconds()
