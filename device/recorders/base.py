"""What every recorder driver promises, whatever it speaks. Imports neither the engine nor a database.

All instants are aware and in UTC, on *true* time unless a name says `recorder_`: a driver asks the recorder by its own
clock and translates with the measured offset (recorder clock minus true clock).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


def N_(text: str) -> str:
    """Mark a text for the translation catalogues; nothing here translates."""
    return text


class DeviceError(Exception):
    """A recorder or a file is not as it must be.

    `template` is English with `%(name)s` placeholders; it says what to do. Without `params` it is the message itself.
    """

    def __init__(self, template: str, /, **params: object) -> None:
        super().__init__(template % params if params else template)
        self.template = template
        self.params = params


class RecorderUnreachableError(DeviceError):
    """No connection, no answer in time, or a connection that broke: try again later."""


class RecorderBusyError(DeviceError):
    """The recorder allows no further playback now (453): back off and try again."""


class RecorderRefusedError(DeviceError):
    """The recorder said no (wrong password, unknown recording, not supported): trying again does not help."""


class IncompleteAcquisitionError(DeviceError):
    """What arrived is less than what the recorder said it holds; the report says what is missing."""


class DiskFullError(DeviceError):
    """There is not enough room for the footage; nothing half-written was published."""


@dataclass(frozen=True)
class Span:
    """From `start` up to, not including, `end`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a span needs aware datetimes")
        if self.start >= self.end:
            raise ValueError("a span ends after it begins")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True)
class Gap:
    """A stretch without footage. `cause`: not_recorded, packets_lost, connection, unknown."""

    start: datetime
    end: datetime
    cause: str = "not_recorded"


@dataclass(frozen=True)
class ClockOffset:
    """Recorder clock minus true clock, half the round trip as `uncertainty`, and how it was measured."""

    offset: timedelta
    uncertainty: timedelta
    method: str
    measured_at: datetime


@dataclass(frozen=True)
class Seam:
    """The key frame with which one segment of a span ends and the next begins.

    `at`: microseconds since 1970 on the recorder's clock; `content`: a checksum that tells it from its neighbours.
    """

    at: int
    content: int


@dataclass(frozen=True)
class Part:
    """Which part of a longer span is wanted: from exactly the key frame `opening`, up to the first one after `seam`.

    `clock` is the measurement that all parts are placed with; `copies` how often the footage will be on the same disk;
    `rate` the bytes a second that it has had so far, 0 when nothing is known; `owed` the bytes that copies of the parts
    before will still take there. `closing` is asked while footage comes: once it says so, the part ends before the next
    key frame, wherever its seam was to be.
    """

    seam: datetime | None = None
    opening: Seam | None = None
    clock: ClockOffset | None = None
    copies: int = 1
    rate: float = 0.0
    owed: int = 0
    closing: Callable[[], bool] = lambda: False


WHOLE = Part()


@dataclass(frozen=True)
class RecorderIdentity:
    manufacturer: str
    model: str
    firmware: str
    serial: str
    driver: str


@dataclass(frozen=True)
class Recording:
    """One camera's recording on a recorder. `tracks` are like `video/H264`, `audio/PCMU`; empty where unknown."""

    token: str
    camera: str
    start: datetime | None
    end: datetime | None
    tracks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """What the recorder says it holds of `requested`. `status`: complete, partial, none."""

    recording: str
    requested: Span
    status: str
    recorded: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True)
class Probe:
    """The answer to "are you there, and who are you?"."""

    identity: RecorderIdentity
    clock: ClockOffset
    services: tuple[str, ...]


@dataclass
class AcquisitionReport:
    """What was asked for and what truly came; `to_json` is the stable form in the bag (docs/evidence-format.md).

    `complete`: the whole span is there. `nothing_lost`: whatever is missing was never recorded.
    `native`: the files that the footage was joined from, as they came: name, size, hash, times.
    `seam`: the key frame that the next segment begins with; None when this is the end of the span.
    `segments`: of a long span, the files that were retrieved one by one: name, bounds, frames, size, hash.
    """

    recording: str
    requested: Span
    file: str
    complete: bool
    end_reason: str
    confidence: str
    first_frame: datetime | None
    last_frame: datetime | None
    frames: int
    packets_lost: int
    size: int
    sha256: str
    codecs: tuple[str, ...]
    width: int | None
    height: int | None
    gaps: tuple[Gap, ...]
    clock: ClockOffset | None
    recorder: RecorderIdentity | None
    replay_uri: str
    tools: dict[str, str] = field(default_factory=dict)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    native: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: datetime | None = None
    finished: datetime | None = None
    nothing_lost: bool = True
    reconnections: int = 0
    received: int = 0
    seam: Seam | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    schema: str = "diaoqu-acquisition-1"

    def to_json(self) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    """Datetimes as ISO 8601, timedeltas as seconds, tuples as lists."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


ProgressCallback = Callable[[dict[str, Any]], None]
"""Called a few times a second with {fraction, bytes, media_seconds, speed, frames}; may raise to stop."""


class Recorder(Protocol):
    """A driver for one recorder. Methods block; every network call has a time limit."""

    def probe(self) -> Probe: ...

    def recordings(self) -> list[Recording]: ...

    def coverage(self, recording: str, span: Span) -> Coverage: ...

    def acquire(
        self, recording: str, span: Span, target: Path, progress: ProgressCallback | None = None, part: Part = WHOLE
    ) -> AcquisitionReport:
        """Copy the span to `target` untouched (no re-encoding); the file appears there whole or not at all.

        An incomplete span does not raise: the report says `complete=False` with every gap and its cause. A recorder
        that replays ends at the seam that `part` asks for and names it; one that hands out files goes to the end.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError, DiskFullError
        """
        ...


@runtime_checkable
class PlayingRecorder(Recorder, Protocol):
    """A recorder that replays over the network, and allows few playbacks at once."""

    def rehearse(self, recording: str, span: Span) -> None:
        """Begin to play the span and leave at once: the way is free (clause 3.1).

        Raises:
            RecorderBusyError: all playbacks are taken.
            RecorderUnreachableError, RecorderRefusedError
        """
        ...
