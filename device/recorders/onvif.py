"""ONVIF Profile G recorders: identity, clock, recordings, the index of gaps, and replay.

Follows the ONVIF Recording Search, Replay Control and Device Service specifications; docs/recorders.md lists what real
recorders do differently. All times that go out or come in are the recorder's; they are translated here, with the
measured offset, and nowhere else.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from lxml import etree

from device.limits import bucket
from device.recorders.base import (
    N_,
    WHOLE,
    AcquisitionReport,
    ClockOffset,
    Coverage,
    DeviceError,
    Gap,
    Part,
    Probe,
    ProgressCallback,
    RecorderIdentity,
    RecorderRefusedError,
    RecorderUnreachableError,
    Recording,
    Span,
)
from device.recorders.replay import Acquisition, free_space, rehearse
from device.recorders.soap import FaultError, Wire, simple_items, text
from device.recorders.times import measured, parse_time, shown_time
from device.recorders.web import clean
from device.rtsp_messages import Limits, Login

SECOND = timedelta(seconds=1)
SMALLEST_GAP = SECOND
MAX_PAGES = 2000
MAX_RESULTS = 50_000
KEEP_ALIVE = timedelta(seconds=60)
HISTORY = "RecordingHistory"
NOTIFICATION = "http://docs.oasis-open.org/wsn/b-2"
TOPICS = "http://www.onvif.org/ver10/topics"
DIALECT = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"


def true_time() -> datetime:
    return datetime.now(UTC)


class OnvifRecorder:
    """One recorder. Its clock (unless an earlier measurement is given), identity and list of recordings are read once
    and kept, so that all answers of one object agree. `rtsp_override` replaces host and port of the replay address, or
    all of it when it has a path. A broken playback is taken up again `retries` times without progress, after `patience`
    seconds, doubled each time. Without `keep_partial` a connection that is lost for good raises instead of leaving a
    file that ends too early.

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
        self.url = url
        self._wire = Wire(url, username or "", password or "", timeout, now, tls)
        self._login = Login(username or "", password or "", allow_basic)
        self._limits = Limits(timeout, timeout, stall, bucket(bandwidth))
        self._override = rtsp_override
        self._keep_partial = keep_partial
        self._retries, self._patience = retries, patience
        self._tls = tls
        self._free = free
        self._now = now
        self._clock = clock
        self._ready = False
        self._identity: RecorderIdentity | None = None
        self._recordings: list[Recording] | None = None
        self._video: dict[str, frozenset[str]] = {}

    def close(self) -> None:
        """Close idle connections; the object may still be used."""
        self._wire.close()

    def __enter__(self) -> "OnvifRecorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the recorder itself

    @property
    def clock(self) -> ClockOffset:
        """The recorder's clock, measured once by this object."""
        method = "GetSystemDateAndTime, until the second turned"
        clock = self._clock = self._clock or measured(self._ask_time, self._now, method)
        if not self._ready:
            if self._wire.token is not None:
                self._wire.token.offset = clock.offset
            self._wire.find_services()
            self._ready = True
        return clock

    def probe(self) -> Probe:
        """Who the recorder is, how its clock is off, and which services it has.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        clock = self.clock
        if self._identity is None:
            answer = self._wire.call("devicemgmt", "GetDeviceInformation")
            self._identity = RecorderIdentity(
                text(answer, "Manufacturer"),
                text(answer, "Model"),
                text(answer, "FirmwareVersion"),
                text(answer, "SerialNumber"),
                "onvif",
            )
        return Probe(self._identity, clock, self._wire.services)

    def _ask_time(self) -> datetime:
        return shown_time(self._wire.call("devicemgmt", "GetSystemDateAndTime"))

    # --- recordings

    def recordings(self) -> list[Recording]:
        """Everything the recorder holds, from its search service, or its recording service where that is missing.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        offset = self.clock.offset
        if self._recordings is None:
            if self._wire.has("search"):
                found = self._search(
                    "FindRecordings", "GetRecordingSearchResults", "RecordingInformation", Scope={}, MaxMatches=None
                )
                self._recordings = [self._recording(element, offset) for element in found]
            else:
                answer = self._wire.call("recording", "GetRecordings")
                self._recordings = [self._recording(element, offset) for element in answer.iter("{*}RecordingItem")]
        return list(self._recordings)

    def _recording(self, element: etree._Element, offset: timedelta) -> Recording:
        token = text(element, "RecordingToken")
        tracks, video, bounds = [], set(), []
        for track in element.iter("{*}Track"):
            inner = track.find("{*}Configuration")
            kind = (text(track, "TrackType") or (text(inner, "TrackType") if inner is not None else "")).lower()
            note = text(track, "Description") or (text(inner, "Description") if inner is not None else "")
            if kind == "video":
                video.add(text(track, "TrackToken"))
            if kind in ("video", "audio"):
                tracks.append(f"{kind}/{note}" if note else kind)
                bounds.append((parse_time(text(track, "DataFrom")), parse_time(text(track, "DataTo"))))
        self._video[token] = frozenset(video)
        start = parse_time(text(element, "EarliestRecording")) or min((a for a, _ in bounds if a), default=None)
        end = parse_time(text(element, "LatestRecording")) or max((b for _, b in bounds if b), default=None)
        name = text(element, "Source/Name") or text(element, "Configuration/Source/Name") or token
        return Recording(
            token,
            clean(name),
            start - offset if start else None,
            end - offset if end else None,
            tuple(dict.fromkeys(tracks)),
        )

    def _find(self, token: str) -> Recording:
        found = next((recording for recording in self.recordings() if recording.token == token), None)
        if found is None:
            raise RecorderRefusedError(
                N_("The recorder has no recording %(token)s: look at its list of recordings."), token=repr(token)
            )
        return found

    # --- the index

    def coverage(self, recording: str, span: Span) -> Coverage:
        """What the recorder's index holds of the span (FindEvents, topic RecordingHistory/Track/State).

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        offset = self.clock.offset
        found = self._find(recording)
        now = self._now()
        earliest = max(found.start or span.start, span.start)
        latest = min(found.end or now, span.end)
        recorded: list[Span] = []
        if earliest < latest:
            changes, initially = self._changes(recording, Span(earliest + offset, latest + offset))
            recorded = _stretches(Span(earliest, latest), [(at - offset, on) for at, on in changes], initially)
        gaps = _gaps(span, recorded)
        status = "none" if not recorded else "partial" if gaps else "complete"
        return Coverage(recording, span, status, tuple(recorded), tuple(gaps), found.start, found.end)

    def _changes(self, token: str, span: Span) -> tuple[list[tuple[datetime, bool]], bool | None]:
        """When footage of the video began and ended within the span, and whether there was some at its start."""
        parameters = {
            "StartPoint": span.start,
            "EndPoint": span.end,
            "Scope": {"IncludedRecordings": [token]},
            "IncludeStartState": True,
            "MaxMatches": None,
        }
        chosen = {"_value_1": [_topic()]}
        try:
            return self._history(token, span, SearchFilter=chosen, **parameters)
        except FaultError:  # some recorders refuse a filter they do not know
            return self._history(token, span, SearchFilter={}, **parameters)

    def _history(self, token: str, span: Span, **parameters: Any) -> tuple[list[tuple[datetime, bool]], bool | None]:
        wanted = self._video.get(token, frozenset())
        changes: dict[datetime, bool] = {}
        initially: bool | None = None
        for event in self._search("FindEvents", "GetEventSearchResults", "Result", **parameters):
            topic_name = "".join(str(part) for part in event.itertext("{*}Topic"))
            items = simple_items(event)
            present = items.get("IsDataPresent")
            track = text(event, "TrackToken") or items.get("Track", "")
            at = parse_time(text(event, "Time"))
            if present is None or at is None or HISTORY not in topic_name or text(event, "RecordingToken") != token:
                continue
            if wanted and track not in wanted:
                continue
            on = present.lower() in ("true", "1")
            if text(event, "StartStateEvent").lower() in ("true", "1") or at <= span.start:
                initially = on
            else:
                changes[at] = on
        return sorted(changes.items()), initially

    def _search(self, begin: str, more: str, tag: str, **parameters: Any) -> Iterator[etree._Element]:
        """All results of a search, page by page; the search is ended in any case, recorders keep few of them."""
        token = text(self._wire.call("search", begin, KeepAliveTime=KEEP_ALIVE, **parameters), "SearchToken")
        if not token:
            raise RecorderRefusedError(N_("The recorder answered %(begin)s without a search token."), begin=begin)
        deadline = time.monotonic() + 120
        count = 0
        try:
            for _ in range(MAX_PAGES):
                answer = self._wire.call(
                    "search", more, SearchToken=token, MinResults=1, MaxResults=100, WaitTime=timedelta(seconds=2)
                )
                page = next(answer.iter("{*}ResultList"), None)
                if page is None:
                    return
                for element in page.iterfind(f"{{*}}{tag}"):
                    count += 1
                    yield element
                if count > MAX_RESULTS:
                    raise RecorderRefusedError(N_("The recorder's answers to a search have no end."))
                if text(page, "SearchState") == "Completed":
                    return
                if time.monotonic() > deadline:
                    break
            raise RecorderUnreachableError(N_("The recorder did not finish its search in time."))
        finally:
            with contextlib.suppress(DeviceError):
                self._wire.call("search", "EndSearch", SearchToken=token)

    # --- replay

    def replay_uri(self, recording: str) -> str:
        """Where the recording plays, on the registered host; no credentials in it.

        Raises:
            RecorderUnreachableError, RecorderRefusedError
        """
        override = urlsplit(self._override) if self._override else None
        if override is not None and override.path not in ("", "/"):
            return str(self._override)
        _ = self.clock
        answer = self._wire.call(
            "replay",
            "GetReplayUri",
            StreamSetup={"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}},
            RecordingToken=recording,
        )
        parts = urlsplit(text(answer, "Uri"))
        if parts.scheme not in ("rtsp", "rtsps"):
            raise RecorderRefusedError(N_("The recorder's replay address is not an RTSP address."))
        if override is not None:
            return urlunsplit((override.scheme or parts.scheme, override.netloc, parts.path, parts.query, ""))
        try:
            port = parts.port
        except ValueError:
            port = None
        netloc = f"{self._wire.host}:{port}" if port else self._wire.host
        return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))

    def rehearse(self, recording: str, span: Span) -> None:
        """As `PlayingRecorder.rehearse`; the first second of the span is enough.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError
        """
        start = span.start + self.clock.offset
        begins = Span(start, start + min(span.duration, SECOND))
        asyncio.run(rehearse(self.replay_uri(recording), self._login, self._limits, self._tls, begins))

    def acquire(
        self, recording: str, span: Span, target: Path, progress: ProgressCallback | None = None, part: Part = WHOLE
    ) -> AcquisitionReport:
        """As `Recorder.acquire`. A recorder whose index holds nothing of the span refuses.

        Raises:
            RecorderUnreachableError, RecorderBusyError, RecorderRefusedError, DiskFullError
        """
        identity = self.probe().identity
        warnings: list[str] = []
        held = None
        try:
            coverage = self.coverage(recording, span)
        except FaultError as error:
            warnings.append(f"the recorder's index could not be read: {error}")
        else:
            if coverage.status == "none":
                raise RecorderRefusedError(N_("The recorder holds no footage of this span."))
            held = coverage.recorded
        uri = self.replay_uri(recording)
        clock = part.clock or self.clock
        return Acquisition(
            recording,
            span,
            uri,
            self._login,
            self._limits,
            self._tls,
            driver="onvif",
            libraries=("onvif-zeep", "zeep"),
            offset=clock.offset,
            clock=clock,
            identity=identity,
            held=held,
            warnings=warnings,
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
        ).acquire(target, progress)


def _topic() -> etree._Element:
    """All events of the recording history, and no others, as WS-Notification writes it."""
    topic = etree.Element(f"{{{NOTIFICATION}}}TopicExpression", nsmap={"wsnt": NOTIFICATION, "tns1": TOPICS})
    topic.set("Dialect", DIALECT)
    topic.text = f"tns1:{HISTORY}//."
    return topic


def _stretches(within: Span, changes: list[tuple[datetime, bool]], initially: bool | None) -> list[Span]:
    """Fold changes of state into the stretches with footage; without any word on the start, the opposite of the first
    change holds there, and without any change everything within the recording's bounds is there.
    """
    on = initially if initially is not None else (not changes[0][1] if changes else True)
    found: list[Span] = []
    since = within.start
    for at, present in [*changes, (within.end, False)]:
        at = min(max(at, within.start), within.end)
        if on and not present and at > since:
            found.append(Span(since, at))
        if present and not on:
            since = at
        on = present
    return found


def _gaps(span: Span, recorded: list[Span]) -> list[Gap]:
    gaps: list[Gap] = []
    position = span.start
    for part in recorded:
        if part.start - position >= SMALLEST_GAP:
            gaps.append(Gap(position, part.start))
        position = max(position, part.end)
    if span.end - position >= SMALLEST_GAP:
        gaps.append(Gap(position, span.end))
    return gaps
