"""Decode all of a file, in parallel over the cores, and say where the first thing is wrong in each part.

A part begins at a key frame that no later picture reaches back over, so that each can be decoded by itself. Each
decoded picture is shrunk to a line with its time: that tells the place to the picture, and whether all were decoded.
What a part complains of counts only when the file, decoded once more in one piece, is not without complaint.
"""

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise

import ffmpeg

from device import media
from device.recorders.base import ProgressCallback

LEAST_SECONDS = 5.0
"""A shorter part is not worth a process of its own."""

ROUNDED = 0.05
LEAST_PACKETS = 3
SEEKABLE = (".mkv", ".mp4", ".mov")


@dataclass
class Part:
    """From `start` up to `end`, in the file's own time; None for where the file begins and ends.

    `seconds`: until after its last picture, None to the end. `kinds`: of which streams, empty for all.
    """

    start: float | None = None
    end: float | None = None
    seconds: float | None = None
    kinds: tuple[str, ...] = ()
    reached: float = 0.0
    times: "array[float]" = field(default_factory=lambda: array("d"))
    complaints: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return len(self.times)


class _StoppedError(Exception):
    """Another part, or the caller, gave up."""


def parts_of(contents: media.Contents, cores: int) -> list[Part]:
    """As many parts of about the same length as there are cores, as far as the key frames allow."""
    video = contents.video
    count = min(cores, int(contents.seconds // LEAST_SECONDS))
    if video is None or count < 2 or contents.complaints:
        return [Part()]
    packets = contents.of(video)
    if any(b.dts < a.dts for a, b in pairwise(packets)):
        return [Part()]
    begin = contents.begin
    length = contents.seconds / count
    times = sorted(packet.pts for packet in packets)
    cuts: list[float] = []
    later = float("inf")
    for packet in reversed(packets):
        if packet.key and packet.pts <= later:  # whatever follows is shown after it
            wanted = begin + length * (count - 1 - len(cuts))
            if len(cuts) < count - 1 and times[0] < packet.pts <= wanted:
                cuts.append(packet.pts)
        later = min(later, packet.pts)
    if not cuts:
        return [Part()]
    parts = []
    for start, end in pairwise([None, *reversed(cuts), None]):
        last = (times[bisect_left(times, end) - 1] + end) / 2 if end is not None else None
        seconds = last - (times[0] if start is None else start) if last is not None else None
        parts.append(Part(start, end, seconds, ("video",)))
    others = tuple({stream.kind for stream in contents.streams} - {"video"})
    return [*parts, Part(kinds=others)] if others else parts


def decode(contents: media.Contents, progress: ProgressCallback | None = None, cores: int | None = None) -> list[Part]:
    """Decode every stream of the file; the parts tell what came of it.

    `progress` gets {fraction, media_seconds} and is called in this thread; what it raises ends all decoders.
    """
    cores = cores or os.cpu_count() or 1
    parts = parts_of(contents, cores if contents.path.suffix in SEEKABLE else 1)
    _run(contents, parts, progress)
    if len(parts) > 1 and (any(part.complaints for part in parts) or not _whole(contents, parts)):
        once = [Part()]
        _run(contents, once, progress)
        if not once[0].complaints:  # nothing is wrong when decoding begins at the beginning
            return once
    for before, part in pairwise(parts):
        if before.complaints and not part.pictures:
            part.complaints = []  # of the group of pictures before its own, with which ffmpeg may begin
    return parts


def undecoded(contents: media.Contents, parts: Sequence[Part]) -> list[tuple[float, float, int]]:
    """Stretches whose packets gave no picture although nobody complained of them: from, to, how many packets.

    Before the first picture nothing counts: decoding may begin later. Single packets do not count either: two fields
    may be one picture, and times are rounded.
    """
    video = contents.video
    packets = sorted(packet.pts for packet in contents.of(video)) if video is not None else []
    found = []
    for part in parts:
        times = sorted(part.times)
        if times and not part.complaints:
            times.append(part.end if part.end is not None else contents.begin + contents.seconds + ROUNDED)
        for a, b in pairwise(times):
            if b - a > 4 * ROUNDED:
                missing = bisect_left(packets, b - ROUNDED) - bisect_right(packets, a + ROUNDED)
                if missing >= LEAST_PACKETS:
                    found.append((a, b, missing))
    return found


def _whole(contents: media.Contents, parts: Sequence[Part]) -> bool:
    video = contents.video
    return video is None or sum(part.pictures for part in parts) == video.packets


def _run(contents: media.Contents, parts: Sequence[Part], progress: ProgressCallback | None) -> None:
    for part in parts:
        part.reached = part.start if part.start is not None else contents.begin
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(parts)) as decoders:
        running = [decoders.submit(_decode, contents, part, stop, len(parts) > 1) for part in parts]
        try:
            _watch(running, parts, contents, progress)
        except BaseException:
            stop.set()
            raise
    for future in running:
        future.result()


def _watch(
    running: Sequence[Future[None]],
    parts: Sequence[Part],
    contents: media.Contents,
    progress: ProgressCallback | None,
) -> None:
    pending: set[Future[None]] = set(running)
    while pending:
        _, pending = wait(pending, timeout=0.2)
        if progress is not None:
            pictures = [part for part in parts if not part.kinds or "video" in part.kinds]
            done = sum(part.reached - (contents.begin if part.start is None else part.start) for part in pictures)
            progress({"fraction": min(1.0, done / max(0.001, contents.seconds)), "media_seconds": done})


def _decode(contents: media.Contents, part: Part, stop: threading.Event, alone: bool) -> None:
    """With -xerror the first complaint stops it, so where it stopped is where the damage is."""
    streams: dict[int, media.Stream] = {}
    chosen = [stream for stream in contents.streams if not part.kinds or stream.kind in part.kinds]
    pictures = next((number for number, stream in enumerate(chosen) if stream.kind == "video"), -1)

    def watch(line: str) -> None:
        if stop.is_set():
            raise _StoppedError
        if line.startswith("#"):
            media.read_header(line, streams)
            return
        packet = media.read_packet(line, streams)
        if packet is not None:
            part.reached = max(part.reached, packet.pts)
            if packet.stream == pictures:
                part.times.append(packet.pts)

    options = {"xerror": None, "err_detect": "explode", "copyts": None, **({"threads": 1} if alone else {})}
    if part.start is not None:
        options["ss"] = f"{part.start - contents.begin:.6f}"
    if part.seconds is not None:
        options["t"] = f"{part.seconds:.6f}"
    taken = media.source(contents.path, **options)
    outputs = [
        taken[str(stream.index)].filter("scale", 16, 16, flags="neighbor")
        if stream.kind == "video"
        else taken[str(stream.index)]
        for stream in chosen
    ]
    graph = ffmpeg.output(*outputs, "pipe:1", format="framecrc", flush_packets=1, fps_mode="passthrough")
    try:
        part.complaints = media.run(graph, on_line=watch)
    except media.MediaError as error:
        part.complaints = error.complaints or [str(error)]
