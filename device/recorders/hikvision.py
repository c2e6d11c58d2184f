"""Hikvision recorders by ISAPI: identity, clock, tracks, the index of recordings, playback and download.

Follows Hikvision's "IP Surveillance API (RaCM Part) User Guide" 2.0 and its ISAPI guides; docs/recorders.md says what
firmwares do differently and that nothing here was tried on hardware yet. Times in searches and replay addresses end in
`Z` and yet are local time on most recorders: which of the two it is, is found out from where the newest recording ends.
"""

import re
import ssl
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from lxml import etree

from device.limits import bucket
from device.publishing import folder_beside
from device.recorders.base import (
    N_,
    WHOLE,
    AcquisitionReport,
    ClockOffset,
    Coverage,
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
from device.recorders.soap import text
from device.recorders.stretches import covered, merged
from device.recorders.times import measured, parse_time
from device.recorders.wall import WallClock, posix_zone
from device.recorders.web import MissingError, Web, clean, parsed, true_time
from device.recorders.windowed import Window, WindowedAcquisition, rehearse
from device.rtsp_messages import Limits, Login

PAGE = 50
MAX_PAGES = 2000
ROUNDING = timedelta(seconds=2)
RECENT = timedelta(minutes=15)
MOST_PIECES = 1000


@dataclass(frozen=True)
class Match:
    """One entry of a search: a file of the recorder. Times are the recorder's, its `Z` taken at its word."""

    start: datetime
    end: datetime
    address: str


class HikvisionRecorder:
    """One recorder; its clock and identity are read once and kept. A recording is a track: channel × 100 + stream.

    `times` says what the `Z` in its searches means: `local`, `utc`, or `auto` to find out. `rtsp_override` is
    host and port of its RTSP service where it is not port 554 of the same host.

    Raises:
        RecorderRefusedError: `url` is not an http(s) address.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        *,
        rtsp_override: str | None = None,
        times: str = "auto",
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
        self._times = times
        self._keep_partial, self._retries, self._patience = keep_partial, retries, patience
        self._tls, self._free, self._now = tls, free, now
        self._zone: tzinfo | None = None
        self._offset = clock
        self._identity: RecorderIdentity | None = None
        self._wall: WallClock | None = None
        self.warnings: list[str] = []

    def close(self) -> None:
        """Close idle connections; the object may still be used."""
        self._web.close()

    # --- the recorder itself

    def probe(self) -> Probe:
        """Raises RecorderUnreachableError, RecorderRefusedError."""
        if self._identity is None:
            told = parsed(self._web.get("/ISAPI/System/deviceInfo"), "deviceInfo")
            firmware = " ".join(
                part for part in (text(told, "firmwareVersion"), text(told, "firmwareReleasedDate")) if part
            )
            maker = text(told, "manufacturer") or "Hikvision"
            self._identity = RecorderIdentity(
                clean(maker),
                clean(text(told, "model")),
                clean(firmware),
                clean(text(told, "serialNumber")),
                "hikvision",
            )
        return Probe(self._identity, self.clock, ("ISAPI", "RTSP"))

    @property
    def clock(self) -> ClockOffset:
        """The recorder's clock, measured once by this object."""
        if self._offset is None:
            self._offset = measured(self._ask_time, self._now, "ISAPI System/time, until the second turned")
        return self._offset

    @property
    def zone(self) -> tzinfo:
        """The recorder's zone, as it says."""
        if self._zone is None:
            self._ask_time()
        return self._zone or UTC

    def _ask_time(self) -> datetime:
        told = parsed(self._web.get("/ISAPI/System/time"), "time")
        shown, written = text(told, "localTime"), text(told, "timeZone")
        match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?", shown)
        if match is None:
            raise RecorderRefusedError(N_("The recorder does not tell its time: set its clock and its time zone."))
        named = posix_zone(written) if written else None
        try:
            local = datetime.fromisoformat(match[1])
        except ValueError as error:
            raise RecorderRefusedError(N_("The recorder shows a time that does not exist: set its clock.")) from error
        if match[2] and match[2] != "Z":
            given = timezone(_distance(match[2]))
            if named is not None and local.replace(tzinfo=named).utcoffset() != given.utcoffset(None):
                named = None
                self._warn(f"the recorder's time zone {clean(written)} contradicts its local time {clean(shown)}")
            self._zone = named or given
            return local.replace(tzinfo=given).astimezone(UTC)
        if named is None:
            raise RecorderRefusedError(N_("The recorder does not tell its time zone: set it."))
        self._zone = named
        return local.replace(tzinfo=named).astimezone(UTC)

    def _warn(self, words: str) -> None:
        if words not in self.warnings:
            self.warnings.append(words)

    # --- recordings

    def recordings(self) -> list[Recording]:
        """The tracks that record pictures, with the names of their channels; bounds are not told.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        answer = parsed(self._web.get("/ISAPI/ContentMgmt/record/tracks"), "tracks")
        names = self._names()
        found = []
        for track in answer.iter("{*}Track"):
            token = text(track, "id")
            if not re.fullmatch(r"\d{3,5}", token) or int(token) % 100 > 2:
                continue  # 103 and above hold single pictures
            channel = str(int(token) // 100)
            name = names.get(channel) or clean(text(track, "Description")) or f"channel {channel}"
            codec = text(track, "TrackList/Track/CodecType") or next(
                (e.text or "" for e in track.iter("{*}CodecType")), ""
            )
            kind = re.sub(r"[^A-Z0-9]", "", codec.upper().split("-")[0])
            found.append(Recording(token, name, None, None, (f"video/{kind}",) if kind else ()))
        return found

    def _names(self) -> dict[str, str]:
        """What people call the channels; recorders with analogue inputs keep the names elsewhere than those without."""
        names: dict[str, str] = {}
        for path, tag in (
            ("/ISAPI/System/Video/inputs/channels", "VideoInputChannel"),
            ("/ISAPI/ContentMgmt/InputProxy/channels", "InputProxyChannel"),
        ):
            try:
                answer = parsed(self._web.get(path), "channels")
            except RecorderRefusedError:
                continue
            for channel in answer.iter(f"{{*}}{tag}"):
                names.setdefault(text(channel, "id"), clean(text(channel, "name")))
        return names

    # --- the index

    def coverage(self, recording: str, span: Span) -> Coverage:
        """What ContentMgmt/search finds of the span.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        wall = self._settled(recording)
        found = [(wall.instant(match.start), wall.instant(match.end)) for match in self._matches(recording, span, wall)]
        held = merged(found, ROUNDING)
        bounds = (held[0][0], held[-1][1]) if held else (None, None)
        return covered(recording, span, held, *bounds)

    def _matches(self, recording: str, span: Span, wall: WallClock) -> list[Match]:
        return list(self._search(recording, wall.shown(span.start), wall.shown(span.end) + timedelta(seconds=1)))

    def _settled(self, recording: str) -> WallClock:
        """Find out what the `Z` of this recorder means: where the newest recording ends must be about now."""
        if self._wall is None:
            drift = self.clock.offset
            local, utc = WallClock(self.zone, drift), WallClock(UTC, drift)
            now = self._now()
            shown = [clock.shown(now) for clock in (local, utc)]
            if self._times == "utc" or shown[0] == shown[1]:
                self._wall = utc
            elif self._times == "local":
                self._wall = local
            else:
                ends = [match.end for match in self._search(recording, min(shown) - RECENT, max(shown) + RECENT)]
                newest = max(ends, default=None)
                near = [newest is not None and abs(newest - at) < RECENT for at in shown]
                if near[0] == near[1]:
                    self._warn("the times of the recorder's index were taken as local time; nothing recent proves it")
                self._wall = utc if near[1] and not near[0] else local
        return self._wall

    def _search(self, track: str, start: datetime, end: datetime) -> Iterator[Match]:
        """All entries of a search, page by page. Times have no zone: they are what is written before the `Z`."""
        if not re.fullmatch(r"\d{3,5}", track):
            raise RecorderRefusedError(
                N_("The recorder has no track %(track)s: tracks are numbers like 101."), track=repr(track)
            )
        identifier = "{" + str(uuid.uuid4()).upper() + "}"
        position, limit = 0, (start, end)
        for _ in range(MAX_PAGES):
            body = _question(identifier, track, *limit, position)
            answer = parsed(self._web.post("/ISAPI/ContentMgmt/search", body), "search")
            status = text(answer, "responseStatusStrg").upper()
            items = list(answer.iter("{*}searchMatchItem"))
            for item in items:
                match = _match(item)
                if match is not None and match.end > start and match.start < end:
                    yield match
            position += len(items)
            if status != "MORE" or not items:
                return
        raise RecorderUnreachableError(N_("The recorder did not finish its search in time."))

    # --- copying

    def acquire(
        self, recording: str, span: Span, target: Path, progress: ProgressCallback | None = None, part: Part = WHOLE
    ) -> AcquisitionReport:
        """As `Recorder.acquire`: by RTSP, or by ISAPI download where the recorder refuses to play.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError, DiskFullError
        """
        coverage = self.coverage(recording, span)
        if coverage.status == "none":
            raise RecorderRefusedError(N_("The recorder holds no footage of this span."))
        wall, window, clock = self._settled(recording), self._window(recording), part.clock or self.clock
        playing = WindowedAcquisition(
            recording,
            span,
            window(span.start + clock.offset, span.end + clock.offset),
            self._login,
            self._limits,
            self._tls,
            driver="hikvision",
            offset=clock.offset,
            clock=clock,
            identity=self.probe().identity,
            held=coverage.recorded,
            warnings=tuple(self.warnings),
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
                return self._download(recording, span, wall, target, str(refused), progress)
            except MissingError:
                raise refused from None

    def _window(self, recording: str) -> Window:
        base = self._rtsp.rstrip("/")
        address = base if urlsplit(base).path else f"{base}/Streaming/tracks/{recording}/"
        wall, drift = self._settled(recording), self.clock.offset

        def window(begin: datetime, end: datetime) -> str:
            first, last = (wall.shown(at - drift) for at in (begin, end))
            return f"{address}?starttime={_compact(first)}&endtime={_compact(last)}"

        return window

    def rehearse(self, recording: str, span: Span) -> None:
        """As `PlayingRecorder.rehearse`. Raises as `acquire`."""
        start = span.start + self.clock.offset
        rehearse(
            self._window(recording)(start, start + min(span.duration, RECENT)), self._login, self._limits, self._tls
        )

    def _download(
        self, recording: str, span: Span, wall: WallClock, target: Path, reason: str, progress: ProgressCallback | None
    ) -> AcquisitionReport:
        """Fetch the recorder's own files (ISAPI ContentMgmt/download) and join them."""
        matches = [match for match in self._matches(recording, span, wall) if match.address][:MOST_PIECES]
        if not matches:
            raise MissingError(N_("The recorder names no files of this span."))
        with folder_beside(target) as folder:
            pieces = []
            for number, match in enumerate(matches, 1):
                path = folder / f"{number:05d}.mp4"
                inner = f"<playbackURI>{escape(match.address)}</playbackURI>"
                body = f'<downloadRequest version="1.0">{inner}</downloadRequest>'
                size = self._web.save(
                    "POST", "/ISAPI/ContentMgmt/download", path, body.encode(), check=self._has_room(target.parent)
                )
                pieces.append(Piece(path, _file_name(match), wall.instant(match.start), size))
                if progress is not None:
                    progress({"fraction": 0.9 * number / len(matches), "bytes": size})
            joining = Joining(
                recording,
                span,
                pieces,
                driver="hikvision",
                confidence="low",
                source=f"{self._web.base}/ISAPI/ContentMgmt/download",
                clock=self.clock,
                identity=self.probe().identity,
                warnings=[*self.warnings, f"the recorder would not play the span ({reason}); its files were taken"],
                rounding=ROUNDING,
                free=self._free,
            )
            return joining.acquire(target, progress)

    def _has_room(self, folder: Path) -> Callable[[int], None]:
        def check(_: int) -> None:
            if self._free(folder) < RESERVE:
                raise OSError(28, "No space left on device")

        return check


def _question(identifier: str, track: str, start: datetime, end: datetime, position: int) -> bytes:
    """A CMSearchDescription; `searchResultPostion` is spelt as in the vendor's schema."""
    return (
        '<CMSearchDescription version="1.0" xmlns="http://www.isapi.org/ver20/XMLSchema">'
        f"<searchID>{identifier}</searchID><trackList><trackID>{track}</trackID></trackList>"
        f"<timeSpanList><timeSpan><startTime>{start:%Y-%m-%dT%H:%M:%S}Z</startTime>"
        f"<endTime>{end:%Y-%m-%dT%H:%M:%S}Z</endTime></timeSpan></timeSpanList>"
        f"<maxResults>{PAGE}</maxResults><searchResultPostion>{position}</searchResultPostion>"
        "<metadataList><metadataDescriptor>//recordType.meta.std-cgi.com</metadataDescriptor></metadataList>"
        "</CMSearchDescription>"
    ).encode()


def _match(item: etree._Element) -> Match | None:
    bounds = [
        parse_time(re.sub(r"(Z|[+-]\d\d:?\d\d)$", "", text(item, f"timeSpan/{tag}")))
        for tag in ("startTime", "endTime")
    ]
    start, end = bounds
    if start is None or end is None or end <= start:
        return None
    address = text(item, "mediaSegmentDescriptor/playbackURI")[:2000]
    return Match(start.replace(tzinfo=None), end.replace(tzinfo=None), address)


def _file_name(match: Match) -> str:
    named = re.search(r"[?&]name=([\w.-]{1,80})", match.address)
    return named[1] if named is not None else _compact(match.start)


def _compact(shown: datetime) -> str:
    return f"{shown:%Y%m%dT%H%M%S}Z"


def _distance(text: str) -> timedelta:
    size = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return -size if text[0] == "-" else size
