"""What the fault tests stand on: a sink that knows each frame by its digest, and a pull of a short span into it."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from device.pull import Outcome, Pull, Source
from device.recorders.base import DeviceError, Span
from device.rtp import Frame, TrackFormat
from device.rtsp_messages import Limits
from device.simulator import AUDIO_TRACK, Faults, Simulator, digest_of
from device.simulator.packets import frame_digest
from device.simulator.timeline import bounds, instant, microseconds

DAY = datetime(2026, 6, 1, tzinfo=UTC)
SPAN = Span(DAY + timedelta(hours=5, seconds=3), DAY + timedelta(hours=5, seconds=13))
"""Ten seconds on the recorder's clock, beginning within a group of pictures."""


def true_time() -> datetime:
    """Half past six, when the footage of five o'clock has been recorded."""
    return DAY + timedelta(hours=6, minutes=30)


def digest(frame: Frame, codec: str) -> str:
    """As the simulator's frame list has it."""
    parts = [payload for _, _, payload in frame.packets]
    match codec:
        case "JPEG":
            heads = [8 + (4 + struct.unpack_from(">H", part, 10)[0] if part[1:4] == bytes(3) else 0) for part in parts]
            return digest_of(b"".join(part[head:] for part, head in zip(parts, heads, strict=True)))
        case "H264" | "H265":
            return frame_digest(_nals(parts, codec), codec)
        case "MPEG4-GENERIC":
            return digest_of(parts[0][4:])
    return digest_of(b"".join(parts))


def _nals(parts: list[bytes], codec: str) -> list[bytes]:
    found: list[bytes] = []
    for part in parts:
        if codec == "H264" and part[0] & 31 == 28:
            head, piece, first = bytes([part[0] & 0xE0 | part[1] & 31]), part[2:], part[1] & 0x80
        elif codec == "H265" and part[0] >> 1 & 63 == 49:
            head, piece, first = bytes([part[0] & 0x81 | (part[2] & 63) << 1, part[1]]), part[3:], part[2] & 0x80
        else:
            head, piece, first = b"", part, 1
        if first or not found:
            found.append(head + piece)
        else:
            found[-1] += piece
    return found


@dataclass
class Shelf:
    """A sink that keeps, for each track, the digests of its frames, and which of them came without loss."""

    failed: DeviceError | None = None
    tracks: Sequence[TrackFormat] = ()
    digests: list[list[str]] = field(default_factory=list)
    times: list[list[int]] = field(default_factory=list)

    async def begin(self, tracks: Sequence[TrackFormat], *_: Callable[[], None]) -> None:
        self.tracks = tracks
        self.digests = [[] for _ in tracks]
        self.times = [[] for _ in tracks]

    def write(self, track: int, frame: Frame, rtp_time: int) -> None:
        self.digests[track].append(digest(frame, self.tracks[track].codec))
        self.times[track].append(rtp_time)


def pulled(
    simulator: Simulator, camera: str, faults: Faults, span: Span = SPAN, stall: float = 0.4, **options: object
) -> tuple[Outcome, Shelf]:
    """Pull a span, on the recorder's clock, from a recorder with these faults."""
    simulator.faults = faults
    shelf = Shelf()
    limits = Limits(connect=5, response=5, stall=stall)
    source = Source(simulator.replay_uri(camera), limits=limits, patience=0.01, **options)  # type: ignore[arg-type]  # as Source has them
    start, end = bounds(span)
    return asyncio.run(Pull(source, start, end, shelf).run()), shelf


def held(simulator: Simulator, camera: str, faults: Faults, span: Span = SPAN) -> list[list[str]]:
    """The digests of what the recorder holds of a span, track by track, from the key frame before it."""
    start, end = faults.filmed(*bounds(span))
    pictures = simulator.frames(camera, Span(instant(start), instant(end)), lead_in=True)
    found = [[frame.digest for frame in pictures]]
    if AUDIO_TRACK in simulator.recorder.recordings[camera].tracks:
        heard = simulator.frames(camera, Span(pictures[0].time, instant(end)), AUDIO_TRACK)
        found.append([frame.digest for frame in heard if microseconds(frame.time) < end])
    return found
