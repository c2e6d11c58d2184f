"""The clock on the recorder's wall: local time in its own zone, off by some seconds. Translates to true time and back.

Recorders that do not speak ONVIF name recordings by local time. Zones come as IANA names, or as Hikvision writes them:
POSIX (`CST-8:00:00`), where the sign is the opposite of what one reads, and summer time as an amount (`DST01:00:00`).
"""

import io
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from device.recorders.base import N_, DeviceError

_POSIX = re.compile(
    r"<?[A-Za-z+\-0-9]*?[A-Za-z]>?([+-]?)(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?(?:(DST|<?[A-Za-z]{3,}>?)(.*))?"
)
_SHIFT = re.compile(r"([+-]?)(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?")
_RULE = re.compile(r"M\d{1,2}\.\d\.\d(?:/\d{1,3}(?::\d{2}){0,2})?")


@dataclass(frozen=True)
class WallClock:
    """`zone` is the recorder's, `drift` its clock minus true time."""

    zone: tzinfo
    drift: timedelta = timedelta(0)

    def shown(self, at: datetime) -> datetime:
        """What the recorder's clock shows at a true instant, without a zone."""
        return (at + self.drift).astimezone(self.zone).replace(tzinfo=None)

    def instant(self, shown: datetime) -> datetime:
        """The true instant at which the recorder's clock shows a time; the first of two when it is set back."""
        return shown.replace(tzinfo=self.zone).astimezone(UTC) - self.drift

    def ahead(self, at: datetime) -> timedelta:
        """How far what is shown is from UTC: zone and drift."""
        return self.shown(at) - at.astimezone(UTC).replace(tzinfo=None)


def named_zone(name: str) -> tzinfo:
    """A zone of the IANA database (`Asia/Shanghai`), or an offset (`+08:00`).

    Raises:
        DeviceError: there is no such zone.
    """
    if re.fullmatch(r"[+-]\d{2}:?\d{2}", name):
        found = datetime.strptime(name.replace(":", ""), "%z").tzinfo
        return found or UTC
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise DeviceError(
            N_("There is no time zone %(name)s: use one like Asia/Shanghai or +08:00."), name=repr(name[:80])
        ) from error


def posix_zone(text: str) -> tzinfo | None:
    """The zone that a recorder writes like `CST-8:00:00` (eight hours *east*); None when it cannot be understood."""
    match = _POSIX.fullmatch(text.strip()[:200])
    if match is None:
        return None
    west = _duration(match[1], match[2], match[3], match[4])
    if abs(west) > timedelta(hours=15):
        return None
    rest = match[6] or ""
    shift, comma, rules = rest.partition(",")
    if not comma:
        return timezone(-west)
    parts = rules.split(",")
    amount = _SHIFT.fullmatch(shift) if shift else None
    if len(parts) != 2 or not all(_RULE.fullmatch(part) for part in parts) or (shift and amount is None):
        return timezone(-west)
    summer = west - timedelta(hours=1)
    if amount is not None:
        given = _duration(amount[1], amount[2], amount[3], amount[4])
        summer = west - given if match[5] == "DST" else given
    return _from_rules(f"<LOC>{_written(west)}<SUM>{_written(summer)},{rules}")


def _duration(sign: str, hours: str, minutes: str | None, seconds: str | None) -> timedelta:
    amount = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
    return -amount if sign == "-" else amount


def _written(offset: timedelta) -> str:
    sign = "-" if offset < timedelta(0) else ""
    minutes, seconds = divmod(int(abs(offset).total_seconds()), 60)
    return f"{sign}{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _from_rules(rules: str) -> tzinfo | None:
    """The standard library reads POSIX rules only at the end of a zone file (RFC 8536), so an empty one is made."""
    head = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4)
    body = struct.pack(">lbb", 0, 0, 0) + b"LOC\0"
    try:
        return ZoneInfo.from_file(io.BytesIO(head + body + head + body + f"\n{rules}\n".encode()))
    except (ValueError, OverflowError):
        return None
