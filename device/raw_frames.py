"""Every decoded picture of a film with its time, and the way back into a film, through pipes to and from ffmpeg.

Both pipes speak Matroska with uncompressed pictures, because it is the simplest format that carries the time of each
picture: surveillance footage has gaps and no constant rate, and a mask must never land on a neighbour's picture. Times
are seconds on the time line of the viewing copy (the file begins at 0), to the millisecond.
"""

import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import ffmpeg

from device import media
from device.derivatives import PLAYABLE, h264, sound
from device.media import MediaError
from device.publishing import published
from device.recorders.base import N_

# Identifiers of Matroska elements (RFC 9559) that are read or written here
_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
_TRACK, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
_ENTERED = {_SEGMENT, _TRACKS, _TRACK, _VIDEO, _CLUSTER, _BLOCK_GROUP}
_LARGEST_PICTURE = 1 << 28


@dataclass
class Picture:
    """One decoded picture: planar YUV 4:2:0 (`width` × `height` luma, then both chroma planes), writable."""

    at: float
    width: int
    height: int
    pixels: bytearray


def pictures(film: Path) -> Generator[Picture, None, None]:
    """Decode a film picture by picture. An odd width or height loses its last column or row.

    Raises:
        MediaError: the film cannot be decoded, or what comes is not what was asked for.
    """
    taken = ffmpeg.filter(media.source(film).video, "crop", w="trunc(iw/2)*2", h="trunc(ih/2)*2")
    shown = ffmpeg.output(taken, "pipe:1", format="matroska", **{"c:v": "rawvideo", "pix_fmt": "yuv420p"})
    with _running(shown, stdout=subprocess.PIPE) as process:
        yield from _read(process.stdout)


def _read(pipe: BufferedReader) -> Iterator[Picture]:
    width = height = cluster = 0
    while (head := _element(pipe)) is not None:
        name, size = head
        if name in _ENTERED:
            continue
        if size > _LARGEST_PICTURE:
            raise MediaError(N_("ffmpeg sent a picture that is too large."))
        content = bytearray(size)
        if pipe.readinto(content) != size:
            raise MediaError(N_("ffmpeg stopped in the middle of a picture."))
        if name == _WIDTH:
            width = int.from_bytes(content)
        elif name == _HEIGHT:
            height = int.from_bytes(content)
        elif name == _TIMESTAMP:
            cluster = int.from_bytes(content)
        elif name in {_SIMPLE_BLOCK, _BLOCK}:
            at = cluster + int.from_bytes(content[1:3], signed=True)
            del content[:4]  # track number, time within the cluster, flags
            if len(content) != width * height * 3 // 2:
                raise MediaError(N_("ffmpeg sent a picture of another size."))
            yield Picture(at / 1000, width, height, content)


def _element(pipe: BufferedReader) -> tuple[int, int] | None:
    """The identifier and the size of the next element; None at the end."""
    first = pipe.read(1)
    if not first:
        return None
    length = 9 - first[0].bit_length()
    name = int.from_bytes(first + pipe.read(length - 1))
    first = pipe.read(1)
    length = 9 - first[0].bit_length() if first else 0
    if not 1 <= length <= 8:
        raise MediaError(N_("ffmpeg sent something else than Matroska."))
    return name, (first[0] & (1 << (8 - length)) - 1) << 8 * (length - 1) | int.from_bytes(pipe.read(length - 1))


class Film:
    """The way back: pictures in order of time become an MP4 that browsers play, with the sound of `source`."""

    def __init__(self, process: "subprocess.Popen[bytes]", width: int, height: int) -> None:
        self._pipe = process.stdin
        header = _wrap(_EBML, _wrap(0x4282, b"matroska") + _wrap(0x4287, b"\x04") + _wrap(0x4285, b"\x02"))
        size = _wrap(_WIDTH, width.to_bytes(4)) + _wrap(_HEIGHT, height.to_bytes(4)) + _wrap(0x2EB524, b"I420")
        track = _wrap(0xD7, b"\x01") + _wrap(0x73C5, b"\x01") + _wrap(0x83, b"\x01") + _wrap(0x86, b"V_UNCOMPRESSED")
        tracks = _wrap(_TRACKS, _wrap(_TRACK, track + _wrap(_VIDEO, size)))
        info = _wrap(_INFO, _wrap(0x2AD7B1, (1_000_000).to_bytes(4)))
        endless = _SEGMENT.to_bytes(4) + b"\x01" + b"\xff" * 7
        self._write(header + endless + info + tracks)

    def add(self, picture: Picture) -> None:
        """Raises MediaError, DiskFullError (by ending the block in which the film is made)."""
        time = _wrap(_TIMESTAMP, round(picture.at * 1000).to_bytes(8))
        block = b"\x81\x00\x00\x80"  # track 1, at the cluster's own time, a key frame
        head = _SIMPLE_BLOCK.to_bytes(1) + _length(len(block) + len(picture.pixels)) + block
        self._write(_CLUSTER.to_bytes(4) + _length(len(time) + len(head) + len(picture.pixels)) + time + head)
        self._write(picture.pixels)

    def _write(self, content: bytes | bytearray) -> None:
        assert self._pipe is not None
        self._pipe.write(content)


@contextmanager
def film(
    target: Path, source: Path, *, width: int, height: int, begins: float, audible: bool = True, crf: int = 20
) -> Iterator[Film]:
    """Where pictures are added to become `target`, which is published when the block ends well.

    `begins` is the time of the first picture: ffmpeg takes each input from its own beginning.

    Raises:
        MediaError: ffmpeg cannot write the film. DiskFullError: there is no room; nothing was published.
    """
    heard = sound(media.probe(source)) if audible else {}
    streams = [ffmpeg.input("pipe:0", format="matroska", itsoffset=f"{begins:.3f}").video]
    if heard:
        streams.append(media.source(source).audio)
    with published(target) as draft:
        written = ffmpeg.output(*streams, f"file:{draft.absolute()}", **PLAYABLE, **h264(crf), **heard)
        with _running(written.global_args("-y"), stdin=subprocess.PIPE) as process:
            yield Film(process, width, height)


@contextmanager
def _running(graph: Any, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL) -> Iterator[Any]:
    """A process of ffmpeg, killed when the block fails; its complaint is the error that the block ends with."""
    command = ffmpeg.compile(graph, cmd=[media.ffmpeg_path(), "-hide_banner", "-v", "error"])
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
    complaints: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=media.collect, args=(process.stderr, complaints), daemon=True)
    reader.start()
    try:
        with suppress(BrokenPipeError):  # ffmpeg has given up: its complaint says why
            yield process
            if process.stdin is not None:
                process.stdin.close()
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
    media.judge(status, complaints)


def _wrap(name: int, content: bytes) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8) + _length(len(content)) + content


def _length(size: int) -> bytes:
    return (1 << 56 | size).to_bytes(8)
