"""The RTSP face of the recorder (RFC 2326; ONVIF Streaming Specification 6, replay): interleaved TCP only.

`/replay/TOKEN` plays the recording of any absolute range, `/live/TOKEN` what the camera films now.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from device.simulator.http import is_count
from device.simulator.line import Line
from device.simulator.playback import Position, Stream, replay
from device.simulator.recorder import Recording, SimulatedRecorder
from device.simulator.sdp import describe
from device.simulator.timeline import Section, instant, microseconds

_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"
_MAX_REQUEST = 64 * 1024
_WRITE_BUFFER = 512 * 1024
_LIVE_FOR = timedelta(days=30)
_PAST_END = 30_000_000
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    457: "Invalid Range",
    461: "Unsupported Transport",
    501: "Not Implemented",
    505: "RTSP Version Not Supported",
    551: "Option not supported",
}
_CLOCK = re.compile(r"(\d{8}T\d{6})(\.\d+)?Z")


class RtspError(Exception):
    """A request that is answered with an error status and, if any, further headers."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = headers
        super().__init__(f"{status} {_REASONS[status]}")


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: dict[str, str]

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def cseq(self) -> int:
        text = self.header("cseq")
        return int(text) if is_count(text) else 0


@dataclass(frozen=True)
class Answer:
    headers: dict[str, str]
    body: bytes = b""
    afterwards: Callable[[], None] | None = None


class Connection:
    """One client on one TCP connection, with at most one session on it."""

    def __init__(self, recorder: SimulatedRecorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._recorder = recorder
        self._reader = reader
        self._writer = writer
        self._session = ""
        self._path = ""
        self._streams: dict[str, Stream] = {}
        self._extension = False
        self._playing: asyncio.Task[None] | None = None
        self._position: Position | None = None
        self._end: int | None = None
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

    async def serve(self) -> None:
        """Answer requests until the client leaves, or is silent for longer than the session's timeout."""
        try:
            while True:
                async with asyncio.timeout(self._recorder.session_timeout.total_seconds()):
                    request = await self._read()
                if request and not await self._respond(request):
                    return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, TimeoutError):
            return
        finally:
            await self._forget()

    async def _read(self) -> Request | None:
        """The next request; None for a packet that the client interleaved (a receiver report)."""
        lead = await self._reader.readexactly(1)
        if lead == b"$":
            head = await self._reader.readexactly(3)
            await self._reader.readexactly(int.from_bytes(head[1:], "big"))
            return None
        text = (lead + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lstrip()
        first, *lines = text.split("\r\n")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        length = headers.get("content-length", "0")
        sound = is_count(length) and int(length) <= _MAX_REQUEST
        if sound:
            await self._reader.readexactly(int(length))
        method, _, rest = first.partition(" ")
        url, _, version = rest.partition(" ")
        if not sound or not version.startswith("RTSP/"):
            method = ""
        elif version != "RTSP/1.0":
            method = "VERSION"
        return Request(method, url, headers)

    async def _respond(self, request: Request) -> bool:
        """Answer one request; False when the connection is over."""
        self._recorder.calls[f"RTSP {request.method}"] += 1
        try:
            answer = await self._handle(request)
        except RtspError as error:
            challenges = self._recorder.gatekeeper.challenges() if error.status == 401 else []
            self._send(request, error.status, error.headers, challenges=challenges)
            await self._writer.drain()
            return error.status not in (400, 505)
        self._send(request, 200, answer.headers, answer.body)
        if answer.afterwards:
            answer.afterwards()
        await self._writer.drain()
        return request.method != "TEARDOWN"

    def _send(
        self,
        request: Request,
        status: int,
        headers: dict[str, str],
        body: bytes = b"",
        challenges: list[str] | None = None,
    ) -> None:
        lines = [f"RTSP/1.0 {status} {_REASONS[status]}", f"CSeq: {request.header('cseq') or 0}"]
        lines += [f"Date: {self._recorder.now():%a, %d %b %Y %H:%M:%S GMT}"]
        lines += [f"WWW-Authenticate: {challenge}" for challenge in challenges or ()]
        if self._session:
            lines += [f"Session: {self._session};timeout={self._recorder.session_timeout.total_seconds():.0f}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines += [f"Content-Length: {len(body)}"]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    async def _handle(self, request: Request) -> Answer:
        if request.method in ("", "VERSION"):
            raise RtspError(505 if request.method else 400)
        if request.method == "OPTIONS":
            return Answer({"Public": _METHODS})
        refused = self._recorder.faults.login_loop
        if refused or not self._recorder.gatekeeper.accepts_digest(request.header("authorization"), request.method):
            raise RtspError(401)
        required = {tag.strip() for tag in request.header("require").split(",")} - {"", "onvif-replay"}
        if required:
            raise RtspError(551, Unsupported=", ".join(sorted(required)))
        match request.method:
            case "DESCRIBE":
                return self._describe(request)
            case "SETUP":
                return self._setup(request)
            case "PLAY":
                return await self._play(request)
            case "PAUSE":
                return await self._pause(request)
            case "TEARDOWN":
                self._check_session(request)
                await self._stop()
                return Answer({})
            case "GET_PARAMETER" | "SET_PARAMETER":
                return Answer({})
        raise RtspError(501, Public=_METHODS)

    def _describe(self, request: Request) -> Answer:
        recording, _, _ = self._resolve(request)
        base = request.url.rstrip("/") + "/"
        body = describe(recording.camera, recording.tracks, self._recorder.now()).encode()
        return Answer({"Content-Base": base, "Content-Type": "application/sdp"}, body)

    def _setup(self, request: Request) -> Answer:
        recording, path, track = self._resolve(request)
        if track not in recording.tracks:
            raise RtspError(404)
        self._check_session(request, wanted=bool(self._session))
        if self._playing or (self._path and self._path != path):
            raise RtspError(455)
        offers = [offer.strip() for offer in request.header("transport").split(",")]
        offer = next((offer for offer in offers if offer.startswith("RTP/AVP/TCP")), "")
        if not offer:
            raise RtspError(461)
        channels = re.search(r"interleaved=(\d{1,3})-(\d{1,3})", offer)
        channel = int(channels[1]) if channels else 2 * len(self._streams)
        control = int(channels[2]) if channels else channel + 1
        used = {
            number for name, each in self._streams.items() if name != track for number in (each.channel, each.control)
        }
        if max(channel, control) > 255 or {channel, control} & used:
            raise RtspError(461)
        self._session = self._session or secrets.token_hex(8)
        self._path = path
        self._extension = self._extension or "onvif-replay" in request.header("require")
        stream = self._streams[track] = Stream(track, recording.tracks[track], channel, control)
        transport = f"RTP/AVP/TCP;unicast;interleaved={channel}-{control};ssrc={stream.ssrc:08X}"
        return Answer({"Transport": transport})

    async def _play(self, request: Request) -> Answer:
        self._check_session(request)
        recording, path, _ = self._resolve(request)
        if not self._streams or path != self._path:
            raise RtspError(455)
        live = path.startswith("/live/")
        others = self._recorder.playing - {self._session}
        if not live and len(others) >= self._recorder.max_playbacks:
            raise RtspError(453)
        faults = self._recorder.faults
        mishap = "sound" if live else self._recorder.mishap()
        if mishap == "busy":
            raise RtspError(453)
        first = self._position is None
        sections = self._live(recording) if live else self._sections(request, recording)
        if not sections:
            raise RtspError(457)
        await self._stop()
        if not live:
            self._recorder.playing.add(self._session)
        paced = live or request.header("rate-control").lower() != "no"
        position = self._position = Position(sections[0][0])
        self._end = sections[-1][1]
        self._extension = self._extension or "onvif-replay" in request.header("require")
        for each in self._streams.values():
            each.begin(sections[0][0], faults)
        info = ",".join(
            f"url={request.url.rstrip('/')}/{each.token};seq={each.sequence};rtptime={each.timestamp(sections[0][0])}"
            for each in self._streams.values()
        )
        begins, ends = (faults.shown(count) for count in (sections[0][0], sections[-1][1]))
        headers = {"Range": _clock_range(begins, ends), "RTP-Info": info, "Scale": "1.0"}
        if request.header("rate-control"):
            headers["Rate-Control"] = "yes" if paced else "no"

        def begin() -> None:
            self._playing = asyncio.create_task(
                replay(
                    Line(self._writer, faults, mishap),
                    self._recorder,
                    request.url,
                    list(self._streams.values()),
                    sections,
                    recording.timeline,
                    extension=self._extension and not live and not faults.no_extension,
                    paced=paced,
                    first=first,
                    cseq=request.cseq,
                    position=position,
                )
            )

        return Answer(headers, afterwards=begin)

    async def _pause(self, request: Request) -> Answer:
        self._check_session(request)
        await self._stop()
        if self._position is None:
            raise RtspError(455)
        return Answer({"Range": _clock_range(self._position.count, None)})

    def _check_session(self, request: Request, *, wanted: bool = True) -> None:
        named = request.header("session").partition(";")[0].strip()
        if (wanted or named) and named != self._session:
            raise RtspError(454)

    def _resolve(self, request: Request) -> tuple[Recording, str, str]:
        """The recording, its path and, if the address ends in one, the track of a request."""
        _, kind, token, track, *_ = (urlsplit(request.url).path + "///").split("/")
        if kind not in ("replay", "live") or token not in self._recorder.recordings:
            raise RtspError(404)
        return self._recorder.recordings[token], f"/{kind}/{token}", track

    def _live(self, recording: Recording) -> list[Section]:
        start = recording.timeline.key_frame_before(recording.timeline.latest())
        return [(start, start + _LIVE_FOR // timedelta(microseconds=1))]

    def _sections(self, request: Request, recording: Recording) -> list[Section]:
        """What PLAY must deliver; without a range it goes on after PAUSE, or begins with the oldest footage."""
        timeline = recording.timeline
        start, end = _parse_range(request.header("range"), timeline.earliest(), timeline.latest())
        if start is None and self._position is not None:
            return timeline.sections(self._position.count, self._end or timeline.latest())
        begins = timeline.earliest() if start is None else start
        ends = timeline.latest() if end is None else end
        faults = self._recorder.faults
        begins, ends = faults.filmed(begins, ends)
        if faults.ending == "past_end":
            ends = min(ends + _PAST_END, timeline.latest())
        return timeline.replayed(begins, ends) if begins < ends else []

    async def _stop(self) -> None:
        if self._playing:
            self._playing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._playing
            self._playing = None

    async def _forget(self) -> None:
        await self._stop()
        self._recorder.playing.discard(self._session)


def _parse_range(text: str, earliest: int, latest: int) -> tuple[int | None, int | None]:
    """The bounds of a Range header in microseconds; `npt` counts from the oldest footage (RFC 2326 3.6, 3.7)."""
    if not text:
        return None, None
    unit, _, bounds = text.partition(";")[0].partition("=")
    first, dash, second = bounds.partition("-")
    if not dash:
        raise RtspError(457)
    if unit.strip() == "clock":
        return _absolute(first.strip()), _absolute(second.strip()) if second.strip() else None
    if unit.strip() == "npt":
        if first.strip() == "now":
            return latest, None
        # A player that knows nothing of recorders says 0: to it, a paused replay simply goes on.
        start = None if first.strip() in ("", "0", "0.000") else earliest + _seconds(first)
        return start, earliest + _seconds(second) if second.strip() else None
    raise RtspError(457)


def _absolute(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if not found:
        raise RtspError(457)
    try:
        whole = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise RtspError(457) from error
    return microseconds(whole) + int(float(found[2] or 0) * 1_000_000 + 0.5)


def _seconds(text: str) -> int:
    try:
        return int(float(text) * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise RtspError(457) from error


def _clock_range(start: int, end: int | None) -> str:
    def written(count: int) -> str:
        return f"{instant(count):%Y%m%dT%H%M%S}.{count % 1_000_000:06d}Z"

    return f"clock={written(start)}-{written(end) if end is not None else ''}"
