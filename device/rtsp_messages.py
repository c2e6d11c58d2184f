"""What RTSP messages carry: ranges, session descriptions, addresses; and a session's settings (RFC 2326, RFC 4566)."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit, urlunsplit

from device.limits import TokenBucket
from device.rtp import TrackFormat

MAX_BODY = 256 * 1024
STATIC_TYPES = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 26: ("JPEG", 90000)}
CODECS = frozenset({"H264", "H265", "JPEG", "PCMU", "PCMA", "MPEG4-GENERIC", "MP4A-LATM", "G726-32", "L16", "OPUS"})


@dataclass(frozen=True)
class Login:
    """How to answer the recorder when it asks who we are. Basic sends the password in clear: only when allowed."""

    username: str = ""
    password: str = field(default="", repr=False)
    allow_basic: bool = False


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds, and how fast may be read. `stall`: no packet for so long while we were reading."""

    connect: float = 10.0
    response: float = 10.0
    stall: float = 10.0
    bucket: TokenBucket | None = None


@dataclass(frozen=True)
class Response:
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


def clock_range(start: datetime, end: datetime) -> str:
    """The value of a Range header (RFC 2326 3.7): UTC, milliseconds, the end rounded up."""
    return f"clock={_clock(start)}-{_clock(end + timedelta(microseconds=-end.microsecond % 1000))}"


def _clock(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"


def range_start(value: str) -> int | None:
    """The first instant of a Range header in microseconds since 1970; None when it is not absolute."""
    match = re.search(r"clock\s*=\s*(\d{8}T\d{6})(?:\.(\d{1,9}))?Z", value)
    if match is None:
        return None
    try:
        at = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(at.timestamp()) * 1_000_000 + int((match[2] or "0").ljust(6, "0")[:6])


def parse_sdp(text: str, base: str) -> list[TrackFormat]:
    """The audio and video sections that a copy can keep; other sections (metadata, unknown codecs) are left out."""
    tracks = []
    for section in re.split(r"(?m)^(?=m=)", text[:MAX_BODY])[1:17]:
        head = re.match(r"m=(audio|video) \d{1,5}(?:/\d+)? RTP/\w+ (\d{1,3})", section)
        if head is None or int(head[2]) > 127:
            continue
        payload_type = int(head[2])
        codec, clock = STATIC_TYPES.get(payload_type, ("", 90000))
        channels = 1
        named = re.search(rf"(?mi)^a=rtpmap:{payload_type} ([\w.+-]{{1,32}})/(\d{{1,7}})(?:/(\d))?", section)
        if named is not None:
            codec, clock, channels = named[1].upper(), int(named[2]), int(named[3] or 1)
        if codec not in CODECS or not 1000 <= clock <= 1_000_000:
            continue
        parameters = re.search(rf"(?mi)^a=fmtp:{payload_type} ([\x20-\x7e]{{1,4096}})", section)
        control = re.search(r"(?mi)^a=control:([\x21-\x7e]{1,1024})", section)
        address = control[1] if control is not None else ""
        if not re.match(r"(?i)rtsps?://", address):
            address = f"{base.rstrip('/')}/{address}" if address not in ("", "*") else base
        tracks.append(
            TrackFormat(
                head[1], codec, clock, payload_type, channels, parameters[1].strip() if parameters else "", address
            )
        )
    return tracks


def without_login(url: str) -> str:
    """The address without user and password, safe to show, to store and to send."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    netloc = f"{host}:{parts.port}" if parts.port else host
    path = quote(parts.path, safe="/%:=&?~#+!$,;'@()*[]")
    query = quote(parts.query, safe="/%:=&?~+!$,;'@()*[]")
    return urlunsplit((parts.scheme, netloc, path, query, ""))
