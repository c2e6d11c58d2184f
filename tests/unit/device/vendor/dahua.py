"""A simulated Dahua recorder: CGI over HTTP, playback by channel over RTSP, .dav files.

Where each message comes from:

- mediaFileFind.cgi (factory.create → `result=`, findFile → OK, findNextFile → `found=`, `items[i].StartTime` …, close,
  destroy), loadfile.cgi startLoad: Dahua "API of HTTP Protocol Specification" 2.76 (2019-07), "Find Media Files"; the
  same calls in tchellomello/python-amcrest, src/amcrest/media.py; example answers in public clients' tests.
- magicBox.cgi getSystemInfo, getSoftwareVersion, global.cgi getCurrentTime (`result=2026-06-01 13:00:37`),
  configManager.cgi getConfig ChannelTitle: the same specification; python-amcrest, src/amcrest/system.py.
- rtsp://host/cam/playback?channel=&subtype=&starttime=2021_03_18_11_36_01&endtime=: Dahua "HTTP API for DVR" 1.29,
  4.1.5.
- the layout of .dav: FFmpeg's demuxer, libavformat/dhav.c.
"""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from vendor.footage import Picture
from vendor.wire import VendorRecorder, number_of

EAST = timedelta(hours=8)


class SimulatedDahua(VendorRecorder):
    """Channel 1 in China. `open_finders`: searches that nobody has closed yet."""

    def __init__(self, *arguments: Any, page: int = 100, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.page = page
        self.open_finders: dict[str, list[tuple[datetime, datetime]]] = {}
        self.loads = True

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:  # noqa: ARG002
        match path.removeprefix("/cgi-bin/"), query.get("action"):
            case "magicBox.cgi", "getSystemInfo":
                return _lines("deviceType=DHI-NVR4216", "processor=ST7108", "serialNumber=4X7C5A1ZAG21L3F")
            case "magicBox.cgi", "getSoftwareVersion":
                return _lines("version=4.001.0000000.0,build:2021-03-10")
            case "global.cgi", "getCurrentTime":
                return _lines(f"result={self.now() + EAST:%Y-%m-%d %H:%M:%S}")
            case "configManager.cgi", "getConfig":
                return _lines("table.ChannelTitle[0].Name=East gate", "table.ChannelTitle[1].Name=")
            case "mediaFileFind.cgi", action:
                return self._find(str(action), query)
            case "loadfile.cgi", "startLoad" if self.loads:
                start, end = self._instant(query["startTime"]), self._instant(query["endTime"])
                return 200, b"".join(_dav(picture, number) for number, picture in enumerate(self.played(start, end)))
        return 404, b"Error\r\nNot Found!\r\n"

    def window(self, path: str, query: dict[str, str]) -> tuple[datetime, datetime] | None:
        if path != "/cam/playback" or query["channel"] != "1":
            return None
        return tuple(  # type: ignore[return-value]  # two of them
            datetime.strptime(query[key], "%Y_%m_%d_%H_%M_%S").replace(tzinfo=UTC) - EAST
            for key in ("starttime", "endtime")
        )

    def _instant(self, text: str) -> datetime:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) - EAST

    def _find(self, action: str, query: dict[str, str]) -> tuple[int, bytes]:
        if action == "factory.create":
            name = str(3039757640 + len(self.asked))
            self.open_finders[name] = []
            return _lines(f"result={name}")
        finder = query["object"]
        if action == "findFile":
            start, end = (self._instant(query[f"condition.{key}"]) for key in ("StartTime", "EndTime"))
            held = [each for each in self.stretches if each[1] > start and each[0] < end]
            self.open_finders[finder] = held if query["condition.Channel"] == "1" else []
            return _lines("OK") if self.open_finders[finder] else (200, b"Error\r\nNo such file\r\n")
        if action == "findNextFile":
            waiting = self.open_finders[finder]
            count = min(self.page, number_of(query["count"]))
            page, self.open_finders[finder] = waiting[:count], waiting[count:]
            lines = [f"found={len(page)}"]
            for number, (start, end) in enumerate(page):
                a, b = start + EAST, end + EAST
                lines += [f"items[{number}].Channel=0", f"items[{number}].StartTime={a:%Y-%m-%d %H:%M:%S}"]
                lines += [f"items[{number}].EndTime={b:%Y-%m-%d %H:%M:%S}", f"items[{number}].Type=dav"]
                path = f"/mnt/dvr/{a:%Y-%m-%d}/0/dav/{a:%H}/{a:%H.%M.%S}-{b:%H.%M.%S}[R][0@0][0].dav"
                lines += [f"items[{number}].FilePath={path}", f"items[{number}].Length=104857600"]
            return _lines(*lines)
        if action == "destroy":
            del self.open_finders[finder]
        return _lines("OK")


def _lines(*lines: str) -> tuple[int, bytes]:
    return 200, ("\r\n".join(lines) + "\r\n").encode()


def _dav(picture: Picture, number: int) -> bytes:
    """A picture as a frame of a .dav file: header, size and codec, payload, trailer."""
    data = picture.annexb
    local = picture.at + EAST
    date = local.year - 2000 << 26 | local.month << 22 | local.day << 17
    date |= local.hour << 12 | local.minute << 6 | local.second
    extra = bytes([0x80, 0, 96 // 8, 64 // 8, 0x81, 0, 4, 10])
    length = 24 + len(extra) + len(data) + 8
    kind = 0xFD if picture.key else 0xFC
    stamp = number * 100 & 0xFFFF
    head = struct.pack("<4sBBBBIIIHB", b"DHAV", kind, 0, 0, 0, number, length, date, stamp, len(extra))
    head += bytes([sum(head) & 0xFF])
    return head + extra + data + b"dhav" + struct.pack("<I", length)
