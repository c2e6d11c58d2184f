"""The state that the SOAP and the RTSP side share: the clock, the recordings, who may come in, what is going on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from device.recorders.base import Span
from device.simulator.auth import Gatekeeper
from device.simulator.cameras import SimulatedCamera
from device.simulator.faults import Faults
from device.simulator.library import prepare_library
from device.simulator.loops import load_audio, load_video
from device.simulator.media import prepare_media
from device.simulator.packets import Loop
from device.simulator.search_sessions import Searches
from device.simulator.timeline import Frame, Timeline, bounds, frames

VIDEO_TRACK = "VIDEO001"
AUDIO_TRACK = "AUDIO001"


@dataclass(frozen=True, eq=False)
class Recording:
    """A camera, when it recorded, and its tracks by their token."""

    camera: SimulatedCamera
    timeline: Timeline
    tracks: dict[str, Loop]


class SimulatedRecorder:
    """A recorder without its network faces. `clock` is true time; the recorder's own clock is `clock_offset` ahead."""

    def __init__(
        self,
        folder: Path,
        cameras: Sequence[SimulatedCamera],
        *,
        clock: Callable[[], datetime],
        clock_offset: timedelta,
        username: str | None,
        password: str | None,
        max_playbacks: int,
        session_timeout: timedelta,
        faults: Faults,
        library: Path | None = None,
    ) -> None:
        self._clock = clock
        self._clock_offset = clock_offset
        self.gatekeeper = Gatekeeper(username, password, self.now)
        self.max_playbacks = max_playbacks
        self.session_timeout = session_timeout
        self.searches = Searches(self.now)
        self.playing: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.rtsp_port = 0
        self.secure = False
        self.dropped = 0
        self.suffer(faults)
        self.recordings: dict[str, Recording] = {}
        prepared = prepare_media(folder, cameras) if library is None else prepare_library(library, folder)
        for media in prepared:
            camera = media.camera
            tracks = {VIDEO_TRACK: _whole_groups(load_video(media.video, camera.codec, camera.period), camera.gop)}
            if media.audio:
                tracks[AUDIO_TRACK] = _as_long(load_audio(media.audio, camera.audio or "PCMU"), tracks[VIDEO_TRACK])
            self.recordings[camera.token] = Recording(
                camera, Timeline(camera, self.now, gaps=lambda: self.faults.unrecorded), tracks
            )

    def now(self) -> datetime:
        """What the recorder believes the time is."""
        now, faults = self._clock(), self.faults
        wrong = timedelta(hours=faults.time_zone, seconds=faults.clock_offset)
        return now + self._clock_offset + wrong + (now - self._since) * (faults.clock_drift / 1e6)

    def suffer(self, faults: Faults) -> None:
        """From now on the recorder has these faults and no others; the next PLAY is the first one of theirs."""
        self.faults = faults
        self._since = self._clock()
        self._mishaps = iter(faults.plays)

    def mishap(self) -> str:
        """What happens to the PLAY that is being answered."""
        return next(self._mishaps, "sound")

    def replay_address(self, host: str, recording: str) -> str:
        """Where a recording plays, as seen by a client that calls the recorder `host`."""
        host = self.faults.nat or host
        return f"{'rtsps' if self.secure else 'rtsp'}://{host}:{self.rtsp_port}/replay/{recording}"

    def frames(self, camera: str, span: Span, track: str = VIDEO_TRACK, *, lead_in: bool = False) -> list[Frame]:
        """Exactly the frames that the recording holds of `span`, which is on the recorder's clock.

        With `lead_in` from the key frame before the span, as a replay delivers them.

        Raises:
            KeyError: there is no such camera or track.
        """
        recording = self.recordings[camera]
        start, end = bounds(span)
        timeline = recording.timeline
        sections = timeline.replayed(start, end) if lead_in else timeline.sections(start, end)
        return frames(recording.tracks[track], sections)


def _whole_groups(loop: Loop, gop: int) -> Loop:
    """Only whole groups of pictures repeat without a seam."""
    return replace(loop, units=loop.units[: len(loop.units) // gop * gop])


def _as_long(sound: Loop, pictures: Loop) -> Loop:
    """The sound begins anew with the pictures."""
    count = max(1, len(pictures.units) * pictures.period // sound.period)
    return replace(sound, units=sound.units[:count])
