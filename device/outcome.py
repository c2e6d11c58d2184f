"""What a pull (`device.pull`) is given, where its frames go, and what it says in the end."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from device.recorders.base import DeviceError, Seam
from device.rtp import Frame, TrackFormat
from device.rtsp_messages import Limits, Login
from device.timeline import Jump, TrackTimeline


class Sink(Protocol):
    """Takes the frames. `begin` comes once, before the first frame; `failed` is set when it cannot go on."""

    failed: DeviceError | None

    async def begin(
        self, tracks: Sequence[TrackFormat], pause: Callable[[], None], resume: Callable[[], None]
    ) -> None: ...

    def write(self, track: int, frame: Frame, rtp_time: int) -> None: ...


@dataclass(frozen=True)
class Source:
    """Where to play from and how to sign in. `retries`: how often to try again without a new frame in between."""

    url: str
    login: Login = field(default_factory=Login)
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None
    retries: int = 4
    patience: float = 0.25


@dataclass(frozen=True)
class Outcome:
    """What came. `jumps` are the stretches of the span without frames; `reached_end` tells whether the end was met.

    `seam`: the key frame before which the pull ended because it was asked to; None when it went to the span's end.
    """

    timelines: list[TrackTimeline]
    end_reason: str
    reached_end: bool
    confidence: str
    jumps: list[Jump]
    reconnections: int
    received: int
    warnings: list[str]
    seam: Seam | None = None

    @property
    def main(self) -> TrackTimeline | None:
        """The track that counts: the first video track, else the first; None when nothing came."""
        video = [line for line in self.timelines if line.track.kind == "video"]
        return next(iter(video or self.timelines), None)
