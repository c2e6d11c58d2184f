"""Recordings from a folder of video files, so that anybody can try a client against footage of their own.

Each file is a camera that recorded it over and over. The pictures are sent as they are when they can be: H.264 or H.265
without B-frames, at an even rate, in groups of one length. Any other file is encoded as H.264 once, into the cache.
"""

import fcntl
import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import ffmpeg

from device import media
from device.publishing import published
from device.recorders.base import DeviceError
from device.simulator.cameras import SimulatedCamera
from device.simulator.media import CameraMedia, MediaError

ENDINGS = (".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg", ".dav", ".h264", ".h265")
LONGEST = timedelta(hours=1)
_RATE = 25


@dataclass(frozen=True)
class _Shape:
    """How the pictures of a file follow each other: how many, how far apart, and how many to a group."""

    period: timedelta
    gop: int


def prepare_library(library: Path, folder: Path) -> list[CameraMedia]:
    """The cameras of the files in `library`, in order of their names; elementary streams of them are kept in `folder`.

    Raises:
        MediaError: there is no video file, or one cannot be read.
    """
    files = [path for path in sorted(library.iterdir()) if path.suffix.lower() in ENDINGS and path.is_file()]
    if not files:
        raise MediaError(f"there is no video file in {library}: its name ends in one of {', '.join(ENDINGS)}")
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, CameraMedia] = {}
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in files:
            token = _token(path, found)
            try:
                found[token] = _camera(path, token, folder)
            except DeviceError as error:
                raise MediaError(f"{path.name} cannot be played: {error}") from error
    return list(found.values())


def _token(path: Path, taken: dict[str, CameraMedia]) -> str:
    """A recording token: letters, digits and dashes of the file's name, unlike those before."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:48] or "camera"
    number, token = 1, plain
    while token in taken:
        number += 1
        token = f"{plain}-{number}"
    return token


def _camera(path: Path, token: str, folder: Path) -> CameraMedia:
    stat = path.stat()
    key = hashlib.sha256(f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    contents = media.probe(path)
    if contents.video is None or not contents.of(contents.video):
        raise MediaError(f"{path.name} has no picture")
    shape = _shape(contents)
    codec = {"h264": "H264", "hevc": "H265"}[contents.video.codec] if shape else "H264"
    target = folder / f"{key}.{codec.lower()}"
    if not target.exists():
        _write(path, target, codec, encode=shape is None)
    if shape is None:
        shape = _Shape(timedelta(seconds=1) / _RATE, _RATE)
    sound = folder / f"{key}.ulaw" if contents.audio is not None else None
    if sound is not None and not sound.exists():
        _write_sound(path, sound)
    camera = SimulatedCamera(
        token,
        path.stem[:200],
        path.stem[:200],
        codec=codec,
        audio="PCMU" if sound is not None else None,
        width=contents.video.width or 0,
        height=contents.video.height or 0,
        period=shape.period,
        gop=shape.gop,
    )
    return CameraMedia(camera, target, sound)


def _shape(contents: media.Contents) -> _Shape | None:
    """None when the pictures cannot be sent as they are."""
    video = contents.video
    packets = contents.of(video) if video is not None else []
    if video is None or video.codec not in ("h264", "hevc") or len(packets) < 3 or contents.complaints:
        return None
    keys = [number for number, packet in enumerate(packets) if packet.key]
    groups = {b - a for a, b in pairwise(keys)} or {len(packets)}
    step = (packets[-1].pts - packets[0].pts) / (len(packets) - 1)
    even = all(abs(b.pts - a.pts - step) < max(0.002, step / 4) for a, b in pairwise(packets))
    if keys[:1] != [0] or len(groups) != 1 or not even or step <= 0:
        return None
    return _Shape(timedelta(microseconds=round(step * 1e6)), groups.pop())


def _write(path: Path, target: Path, codec: str, *, encode: bool) -> None:
    options: dict[str, str | int] = {"c:v": "copy"}
    if encode:
        options = {"c:v": "libx264", "preset": "veryfast", "crf": 20, "bf": 0, "g": _RATE, "r": _RATE}
        options |= {"sc_threshold": 0, "pix_fmt": "yuv420p", "forced-idr": 1}
    _run(path, target, {"H264": "h264", "H265": "hevc"}[codec], "v", options)


def _write_sound(path: Path, target: Path) -> None:
    _run(path, target, "mulaw", "a", {"c:a": "pcm_mulaw", "ar": 8000, "ac": 1})


def _run(path: Path, target: Path, form: str, kind: str, options: dict[str, str | int]) -> None:
    with published(target) as draft:
        stream = media.source(path)[f"{kind}:0"]
        output = ffmpeg.output(stream, f"file:{draft.absolute()}", format=form, t=LONGEST.total_seconds(), **options)
        media.run(output.global_args("-y"))
