"""When and by which camera a file was recorded, as far as its path tells (docs/recorders.md lists the patterns).

Only paths are looked at, never contents. What a path does not tell for certain is not guessed: a file whose path has
no time is not footage of a known time.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import PurePath

SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".ts", ".mov", ".m4v", ".mpg", ".ps", ".dav", ".h264", ".h265"})
FIRST_YEAR, LAST_YEAR = 1990, 2100

_TIME = r"(?P<{p}h>[01]\d|2[0-4])(?P<{p}s>[-_.:：]?)(?P<{p}m>[0-5]\d)(?P={p}s)(?P<{p}c>[0-5]\d)"
_DATE = r"(?P<{p}Y>(?:19|20)\d\d)(?P<{p}d>[-_.]?)(?P<{p}M>0[1-9]|1[0-2])(?P={p}d)(?P<{p}D>[0-3]\d)"
_ZONE = r"(?P<{p}z>Z(?![A-Za-z])|[+-]\d\d:?\d\d(?!\d))?"
_BEGIN = _DATE.format(p="a") + r"(?:[T _.-]{0,3})" + _TIME.format(p="a") + _ZONE.format(p="a")
_END = _DATE.format(p="b") + r"(?:[T _.-]{0,3})" + _TIME.format(p="b") + _ZONE.format(p="b")
_STAMP = re.compile(rf"(?<!\d){_BEGIN}(?!\d)(?:[ _~-]{{1,3}}(?:to[ _-]?)?{_END}(?!\d))?")
_FRIGATE = re.compile(r"(?:.*/)?(\d{4})-(\d\d)-(\d\d)/([01]\d|2[0-3])/([^/]+)/([0-5]\d)\.([0-5]\d)\.\w+")
_ZONEMINDER = re.compile(r"(?:.*/)?([^/]+)/(\d\d)/(\d\d)/(\d\d)/([01]\d|2[0-3])/([0-5]\d)/([0-5]\d)/[^/]+")
_DAHUA = re.compile(
    r"(?:.*/)?(\d{4})-(\d\d)-(\d\d)/([^/]+)/dav/\d\d/(\d\d)\.(\d\d)\.(\d\d)-(\d\d)\.(\d\d)\.(\d\d)[^/]*\.\w+"
)


@dataclass(frozen=True)
class Named:
    """What a path says, in UTC by the recorder's clock. `end` is None when only the beginning is named."""

    camera: str
    start: datetime
    end: datetime | None
    pattern: str


def name_of(path: PurePath, zone: tzinfo) -> Named | None:
    """Read a path relative to the folder; times without a zone of their own are local times of `zone`.

    None when the path has no believable time.
    """
    text = printable(path.as_posix())
    for read in (_frigate, _zoneminder, _dahua, _stamped):
        found = read(text, zone)
        if found is not None:
            return found
    return None


def printable(name: str) -> str:
    """A file's name as text that can be stored and shown: whatever is not UTF-8 or not printable is replaced."""
    decoded = os.fsencode(name).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in decoded)


def _frigate(text: str, zone: tzinfo) -> Named | None:  # noqa: ARG001 - Frigate writes UTC
    """YYYY-MM-DD/HH/<camera>/MM.SS.mp4 in UTC (Frigate's documentation, "Recording")."""
    match = _FRIGATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, camera, minute, second = match.groups()
    return _named(camera, "frigate", UTC, (year, month, day, hour, minute, second))


def _zoneminder(text: str, zone: tzinfo) -> Named | None:
    """<monitor>/yy/mm/dd/HH/MM/SS/<event>-video.mp4, ZoneMinder's storage scheme "Deep", local time."""
    match = _ZONEMINDER.fullmatch(text)
    if match is None:
        return None
    camera, year, *rest = match.groups()
    return _named(camera, "zoneminder", zone, (f"20{year}", *rest))


def _dahua(text: str, zone: tzinfo) -> Named | None:
    """YYYY-MM-DD/<channel>/dav/HH/HH.MM.SS-HH.MM.SS[…].dav, a Dahua disk or its backup, local time."""
    match = _DAHUA.fullmatch(text)
    if match is None:
        return None
    year, month, day, camera, *clock = match.groups()
    found = _named(camera, "dahua", zone, (year, month, day, *clock[:3]), (year, month, day, *clock[3:]))
    if found is not None and found.end is not None and found.end < found.start:
        return Named(found.camera, found.start, found.end + timedelta(days=1), found.pattern)
    return found


def _stamped(text: str, zone: tzinfo) -> Named | None:
    """A date and time anywhere in the name, with or without separators; a second one is the end."""
    folder, _, name = text.rpartition("/")
    stem = name.rpartition(".")[0] or name
    match = _STAMP.search(stem)
    if match is None:
        return None
    start, end = (_zone(match[f"{part}z"], zone) for part in "ab")
    camera = re.sub(r"[ _.\-]+", " ", stem[: match.start()] + " " + _TRAILING.sub("", stem[match.end() :])).strip()
    camera = camera or folder.rpartition("/")[2] or "footage"
    finish = _fields(match, "b") if match["bY"] else None
    return _named(camera, "stamped", start, _fields(match, "a"), finish, end if match["bz"] else start)


_TRAILING = re.compile(r"^[ _.-]*\d+$")
"""What a player appends to make a name unique: a running number."""


def _fields(match: "re.Match[str]", part: str) -> tuple[str, ...]:
    return tuple(match[part + letter] for letter in "YMDhmc")


def _zone(text: str | None, zone: tzinfo) -> tzinfo:
    if not text:
        return zone
    return UTC if text == "Z" else datetime.strptime(text.replace(":", ""), "%z").tzinfo or zone


def _named(
    camera: str,
    pattern: str,
    zone: tzinfo,
    start: tuple[str, ...],
    end: tuple[str, ...] | None = None,
    end_zone: tzinfo | None = None,
) -> Named | None:
    begin = _instant(start, zone)
    finish = _instant(end, end_zone or zone) if end is not None else None
    if begin is None or (end is not None and finish is None):
        return None
    if finish is not None and finish <= begin and pattern != "dahua":
        finish = None
    return Named(camera, begin, finish, pattern)


def _instant(fields: tuple[str, ...], zone: tzinfo) -> datetime | None:
    year, month, day, hour, minute, second = (int(text) for text in fields)
    if not FIRST_YEAR <= year <= LAST_YEAR or hour > 24 or (hour == 24 and (minute or second)):
        return None
    try:
        local = datetime(year, month, day, tzinfo=zone) + timedelta(hours=hour, minutes=minute, seconds=second)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
