"""The cameras of the simulated recorder: what they film, how they encode it, and when they did not record.

A camera's footage is a loop of ten minutes that repeats for ever, in step with the recorder's clock: frame `n` was
taken `n` periods after 1970-01-01T00:00:00 on that clock. Ten minutes hold a whole number of GOPs: the loop has no
seam.
"""

from dataclasses import dataclass
from datetime import timedelta, timezone

LOOP = timedelta(minutes=10)
LOCAL_TIME = timezone(timedelta(hours=8))
"""The recorder stands in China: its gaps are at the same local time each day, and its POSIX zone is CST-8."""


@dataclass(frozen=True)
class MissingFootage:
    """A stretch that was never recorded, in the recorder's local time, on each `every`-th day.

    Both bounds are whole minutes: each section of footage then begins with a key frame, as on a real recorder.
    """

    begins: timedelta
    ends: timedelta
    every: int = 1


@dataclass(frozen=True)
class SimulatedCamera:
    """One recording. `codec` is H264, H265 or JPEG, `audio` PCMU, PCMA, AAC or None; GOPs are closed, without B."""

    token: str
    name: str
    label: str
    codec: str = "H264"
    audio: str | None = None
    width: int = 640
    height: int = 360
    period: timedelta = timedelta(milliseconds=80)
    gop: int = 25
    missing: tuple[MissingFootage, ...] = ()

    @property
    def gop_duration(self) -> timedelta:
        return self.gop * self.period


CAMERAS = (
    SimulatedCamera("gate", "大门", "CAM 1 GATE"),
    SimulatedCamera(
        "lobby",
        "大厅",
        "CAM 2 LOBBY",
        missing=(
            MissingFootage(timedelta(hours=3, minutes=10), timedelta(hours=3, minutes=25)),
            MissingFootage(timedelta(hours=12), timedelta(hours=12, minutes=6, seconds=30)),
            MissingFootage(timedelta(hours=20), timedelta(hours=23, minutes=30), every=30),
        ),
    ),
    SimulatedCamera("garage", "车库", "CAM 3 GARAGE", codec="H265", width=480, height=270),
    SimulatedCamera("counter", "收银台", "CAM 4 COUNTER", audio="PCMU"),
)
"""What `diaoqu simulate-recorder` serves; the tokens name the recordings."""

OLD_CAMERAS = (
    SimulatedCamera(
        "yard",
        "后院",
        "CAM 5 YARD",
        codec="JPEG",
        width=320,
        height=176,
        period=timedelta(milliseconds=200),
        gop=1,
    ),
    SimulatedCamera("hall", "礼堂", "CAM 6 HALL", audio="AAC", width=320, height=176),
    SimulatedCamera("desk", "前台", "CAM 7 DESK", audio="PCMA", width=320, height=176),
)
"""Further ones with what older recorders send: motion JPEG, AAC, G.711 A-law (`--all-codecs`)."""
