"""Dahua recorders by their HTTP API: identity, clock, channels, the index of files, playback and download.

Follows Dahua's "HTTP API for DVR" 1.29 and "API of HTTP Protocol Specification" 2.76; docs/recorders.md says that
nothing here was tried on hardware yet. All its times are local times without a zone, and the recorder does not tell its
zone in a form that could be relied on: it is taken from how far its clock is from UTC, in quarters of an hour, unless
it is given.
"""

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from urllib.parse import urlsplit

from device.limits import bucket
from device.publishing import folder_beside
from device.recorders.base import (
    N_,
    WHOLE,
    AcquisitionReport,
    ClockOffset,
    Coverage,
    DeviceError,
    Part,
    Probe,
    ProgressCallback,
    RecorderIdentity,
    RecorderRefusedError,
    RecorderUnreachableError,
    Recording,
    Span,
)
from device.recorders.joining import Joining, Piece
from device.recorders.replay import RESERVE, free_space
from device.recorders.stretches import covered, merged
from device.recorders.times import measured
from device.recorders.wall import WallClock, named_zone
from device.recorders.web import MissingError, Web, clean, facts, true_time
from device.recorders.windowed import Window, WindowedAcquisition, rehearse
from device.rtsp_messages import Limits, Login

PAGE = 100
MAX_PAGES = 2000
QUARTER = timedelta(minutes=15)
ROUNDING = timedelta(seconds=2)
FINDER = "/cgi-bin/mediaFileFind.cgi"


class DahuaRecorder:
    """One recorder; its clock and identity are read once and kept. A recording is a channel, counted from 1.

    `zone` (like Asia/Shanghai) is needed where summer time is kept. `rtsp_override` is host and port of its RTSP
    service where it is not port 554 of the same host.

    Raises:
        RecorderRefusedError: `url` is not an http(s) address.
        DeviceError: there is no such zone.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        *,
        rtsp_override: str | None = None,
        zone: str = "",
        timeout: float = 10.0,
        stall: float = 10.0,
        allow_basic: bool = False,
        bandwidth: int = 0,
        keep_partial: bool = True,
        retries: int = 4,
        patience: float = 0.25,
        tls: ssl.SSLContext | None = None,
        clock: ClockOffset | None = None,
        free: Callable[[Path], int] = free_space,
        now: Callable[[], datetime] = true_time,
    ) -> None:
        self._limits = Limits(timeout, timeout, stall, bucket(bandwidth))
        self._web = Web(url, username or "", password or "", timeout, tls, self._limits.bucket)
        self._login = Login(username or "", password or "", allow_basic)
        self._rtsp = rtsp_override or f"rtsp://{self._web.host}"
        self._keep_partial, self._retries, self._patience = keep_partial, retries, patience
        self._tls, self._free, self._now = tls, free, now
        self._zone = named_zone(zone) if zone else None
        self._offset = clock
        self._identity: RecorderIdentity | None = None

    def close(self) -> None:
        """Close idle connections; the object may still be used."""
        self._web.close()

    # --- the recorder itself

    def probe(self) -> Probe:
        """Raises RecorderUnreachableError, RecorderRefusedError."""
        if self._identity is None:
            told = facts(self._web.get("/cgi-bin/magicBox.cgi", action="getSystemInfo"))
            version = facts(self._web.get("/cgi-bin/magicBox.cgi", action="getSoftwareVersion"))
            self._identity = RecorderIdentity(
                "Dahua",
                clean(told.get("deviceType", "") or told.get("updateSerial", "")),
                clean(version.get("version", "")),
                clean(told.get("serialNumber", "")),
                "dahua",
            )
        return Probe(self._identity, self.clock, ("CGI", "RTSP"))

    @property
    def clock(self) -> ClockOffset:
        """The recorder's clock, measured once by this object."""
        if self._offset is None:
            zone = self.zone
            self._offset = measured(
                lambda: self._shown().replace(tzinfo=zone).astimezone(UTC),
                self._now,
                "global.cgi getCurrentTime, until the second turned",
            )
        return self._offset

    @property
    def zone(self) -> tzinfo:
        """The zone that was given, or how far its clock is from UTC in quarters of an hour."""
        if self._zone is None:
            drift = self._offset.offset if self._offset is not None else timedelta(0)
            ahead = self._shown().replace(tzinfo=UTC) - self._now() - drift
            whole = round(ahead / QUARTER) * QUARTER
            if not timedelta(hours=-12) <= whole <= timedelta(hours=14):
                raise RecorderRefusedError(N_("The recorder's clock is off by more than a day: set it."))
            self._zone = timezone(whole)
        return self._zone

    @property
    def _wall(self) -> WallClock:
        return WallClock(self.zone, self.clock.offset)

    def _shown(self) -> datetime:
        answer = facts(self._web.get("/cgi-bin/global.cgi", action="getCurrentTime"))
        shown = _time(answer.get("result", ""))
        if shown is None:
            raise RecorderRefusedError(N_("The recorder does not tell its time: is it a Dahua recorder?"))
        return shown

    # --- recordings

    def recordings(self) -> list[Recording]:
        """The channels with their names; bounds and codecs are not told. Raises as `probe`."""
        answer = facts(self._web.get("/cgi-bin/configManager.cgi", action="getConfig", name="ChannelTitle"))
        found = []
        for key, name in answer.items():
            match = re.fullmatch(r"table\.ChannelTitle\[(\d{1,3})\]\.Name", key)
            if match is not None:
                channel = str(int(match[1]) + 1)
                found.append(Recording(channel, clean(name) or f"channel {channel}", None, None))
        return found

    # --- the index

    def coverage(self, recording: str, span: Span) -> Coverage:
        """What mediaFileFind finds of the span.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        wall = self._wall
        bounds = (wall.shown(span.start), wall.shown(span.end) + timedelta(seconds=1))
        found = [(wall.instant(start), wall.instant(end)) for start, end in self._files(recording, *bounds)]
        held = merged(found, ROUNDING)
        outer = (held[0][0], held[-1][1]) if held else (None, None)
        return covered(recording, span, held, *outer)

    def _files(self, channel: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The times of all files of a span, page by page; the finder is closed in any case, recorders keep few."""
        _check_channel(channel)
        finder = facts(self._web.get(FINDER, action="factory.create")).get("result", "")
        if not re.fullmatch(r"[A-Za-z0-9]{1,64}", finder):
            raise RecorderRefusedError(N_("The recorder opened no search: is it a Dahua recorder with a disk?"))
        try:
            asked = {
                "action": "findFile",
                "object": finder,
                "condition.Channel": channel,
                "condition.StartTime": f"{start:%Y-%m-%d %H:%M:%S}",
                "condition.EndTime": f"{end:%Y-%m-%d %H:%M:%S}",
                "condition.Types[0]": "dav",
                "condition.VideoStream": "Main",
            }
            if b"ok" not in self._web.get(FINDER, **asked).lower():
                return  # this is how some recorders say that there is nothing
            for _ in range(MAX_PAGES):
                answer = facts(self._web.get(FINDER, action="findNextFile", object=finder, count=str(PAGE)))
                count = answer.get("found", "0")
                if not re.fullmatch(r"\d{1,6}", count) or int(count) == 0:
                    return
                for number in range(min(int(count), PAGE)):
                    bounds = (_time(answer.get(f"items[{number}].{name}", "")) for name in ("StartTime", "EndTime"))
                    first, last = bounds
                    if first is not None and last is not None and first < last and first < end and last > start:
                        yield first, last
            raise RecorderUnreachableError(N_("The recorder did not finish its search in time."))
        finally:
            for action in ("close", "destroy"):
                with suppress(DeviceError):
                    self._web.get(FINDER, action=action, object=finder)

    # --- copying

    def _window(self, recording: str) -> Window:
        _check_channel(recording)
        wall, drift = self._wall, self.clock.offset
        base = self._rtsp.rstrip("/")
        if not urlsplit(base).path:
            base += "/cam/playback"

        def window(begin: datetime, end: datetime) -> str:
            first, last = (f"{wall.shown(at - drift):%Y_%m_%d_%H_%M_%S}" for at in (begin, end))
            return f"{base}?channel={recording}&subtype=0&starttime={first}&endtime={last}"

        return window

    def rehearse(self, recording: str, span: Span) -> None:
        """As `PlayingRecorder.rehearse`. Raises as `acquire`."""
        start = span.start + self.clock.offset
        rehearse(
            self._window(recording)(start, start + min(span.duration, QUARTER)), self._login, self._limits, self._tls
        )

    def acquire(
        self, recording: str, span: Span, target: Path, progress: ProgressCallback | None = None, part: Part = WHOLE
    ) -> AcquisitionReport:
        """As `Recorder.acquire`: by RTSP, or as the recorder's own .dav where it refuses to play.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError, DiskFullError
        """
        coverage = self.coverage(recording, span)
        if coverage.status == "none":
            raise RecorderRefusedError(N_("The recorder holds no footage of this span."))
        clock, window = part.clock or self.clock, self._window(recording)
        playing = WindowedAcquisition(
            recording,
            span,
            window(span.start + clock.offset, span.end + clock.offset),
            self._login,
            self._limits,
            self._tls,
            driver="dahua",
            offset=clock.offset,
            clock=clock,
            identity=self.probe().identity,
            held=coverage.recorded,
            retries=self._retries,
            patience=self._patience,
            keep_partial=self._keep_partial,
            seam=part.seam,
            opening=part.opening,
            copies=part.copies,
            rate=part.rate,
            owed=part.owed,
            closing=part.closing,
            free=self._free,
            window=window,
        )
        try:
            return playing.acquire(target, progress)
        except RecorderRefusedError as refused:
            try:
                return self._download(recording, span, coverage, target, str(refused), progress)
            except MissingError:
                raise refused from None

    def _download(
        self,
        recording: str,
        span: Span,
        coverage: Coverage,
        target: Path,
        reason: str,
        progress: ProgressCallback | None,
    ) -> AcquisitionReport:
        """Fetch each stretch as .dav (loadfile.cgi startLoad), keep it, and copy its streams."""
        wall = self._wall
        with folder_beside(target) as folder:
            pieces = []
            for number, part in enumerate(coverage.recorded, 1):
                first = wall.shown(part.start).replace(microsecond=0)
                last = wall.shown(part.end + timedelta(milliseconds=999)).replace(microsecond=0)
                path = folder / f"{number:05d}.dav"
                size = self._web.save(
                    "GET",
                    "/cgi-bin/loadfile.cgi",
                    path,
                    check=self._has_room(target.parent),
                    action="startLoad",
                    channel=recording,
                    startTime=f"{first:%Y-%m-%d %H:%M:%S}",
                    endTime=f"{last:%Y-%m-%d %H:%M:%S}",
                    subtype="0",
                )
                label = f"channel{recording}_{first:%Y%m%d%H%M%S}_{last:%Y%m%d%H%M%S}.dav"
                pieces.append(Piece(path, label, wall.instant(first), size))
                if progress is not None:
                    progress({"fraction": 0.9 * number / len(coverage.recorded), "bytes": size})
            return Joining(
                recording,
                span,
                pieces,
                driver="dahua",
                confidence="low",
                source=f"{self._web.base}/cgi-bin/loadfile.cgi",
                clock=self.clock,
                identity=self.probe().identity,
                warnings=[f"the recorder would not play the span ({reason}); its files were taken"],
                rounding=ROUNDING,
                free=self._free,
            ).acquire(target, progress)

    def _has_room(self, folder: Path) -> Callable[[int], None]:
        def check(_: int) -> None:
            if self._free(folder) < RESERVE:
                raise OSError(28, "No space left on device")

        return check


def _check_channel(channel: str) -> None:
    if not re.fullmatch(r"[1-9]\d{0,2}", channel):
        raise RecorderRefusedError(
            N_("The recorder has no channel %(channel)s: channels are numbers from 1 on."), channel=repr(channel)
        )


def _time(text: str) -> datetime | None:
    """`2026-06-01 13:00:42`, also with single digits; None when it is no time."""
    match = re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2}) (\d{1,2}):(\d{1,2}):(\d{1,2})", text.strip())
    if match is None:
        return None
    try:
        return datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001 - six numbers, local
    except ValueError:
        return None
