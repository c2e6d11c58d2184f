"""A simulated Hikvision recorder: ISAPI over HTTP, playback by track over RTSP.

Where each message comes from:

- deviceInfo, time (`localTime`, `timeZone` like CST-8:00:00): Hikvision "ISAPI Core Protocol" (General Application)
  Developer Guide, /ISAPI/System/deviceInfo and /ISAPI/System/time; sign of the zone: public clients that note "POSIX,
  inverted".
- CMSearchDescription, CMSearchResult (`trackList`, `searchResultPostion` [sic], `responseStatusStrg` OK / MORE /
  NO MATCHES, `matchList/searchMatchItem`, `playbackURI`), record/tracks, download: Hikvision "IP Surveillance API (RaCM
  Part) User Guide" 2.0 (2014-01), ContentMgmt; the spelling `searchResultPostion` and the form of the playback address
  (`/Streaming/tracks/101/?starttime=20260701T083214Z&endtime=…&name=…&size=…`) as public captures show them.
- local time behind a `Z`: public clients of both opinions exist, hence both are simulated (`utc`).
"""

import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree
from vendor.wire import VendorRecorder, number_of

from device import media

NAMESPACE = 'version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema"'
EAST = timedelta(hours=8)


class SimulatedHikvision(VendorRecorder):
    """Channel 1, tracks 101 and 103, in China. `utc`: its `Z` is true; else it writes local time before it."""

    def __init__(self, *arguments: Any, utc: bool = False, page: int = 40, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.utc, self.page = utc, page
        self.zone = "CST-8:00:00"
        self.clock_suffix = "+08:00"

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:  # noqa: ARG002 - XML says it all
        match method, path.removeprefix("/ISAPI/"):
            case "GET", "System/deviceInfo":
                inner = "<deviceName>Gate &amp; yard</deviceName><model>DS-7616NI-K2</model>"
                inner += (
                    "<serialNumber>DS-7616NI-K20120200101</serialNumber><firmwareVersion>V4.30.085</firmwareVersion>"
                )
                return _xml("DeviceInfo", inner + "<firmwareReleasedDate>build 200916</firmwareReleasedDate>")
            case "GET", "System/time":
                local = f"{self.now() + EAST:%Y-%m-%dT%H:%M:%S}{self.clock_suffix}"
                return _xml("Time", f"<localTime>{local}</localTime><timeZone>{self.zone}</timeZone>")
            case "GET", "ContentMgmt/record/tracks":
                tracks = "".join(
                    f"<Track><id>{token}</id><Channel>1</Channel><Description>trackType=standard</Description>"
                    f"<TrackList><Track><CodecType>{codec}</CodecType></Track></TrackList></Track>"
                    for token, codec in ((101, "H.264-BP"), (103, "JPEG"))
                )
                return _xml("TrackList", tracks)
            case "GET", "ContentMgmt/InputProxy/channels":
                inner = "<InputProxyChannel><id>1</id><name>East gate</name></InputProxyChannel>"
                return _xml("InputProxyChannelList", inner)
            case "POST", "ContentMgmt/search":
                return self._search(etree.fromstring(body))
            case "POST", "ContentMgmt/download":
                return self._download(etree.fromstring(body))
        return 404, b""

    def window(self, path: str, query: dict[str, str]) -> tuple[datetime, datetime] | None:
        if path.rstrip("/") != "/Streaming/tracks/101":
            return None
        return self._instant(query["starttime"]), self._instant(query["endtime"])

    def _instant(self, text: str) -> datetime:
        written = datetime.strptime(text.replace("-", "").replace(":", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return written if self.utc else written - EAST

    def _written(self, at: datetime) -> datetime:
        return at if self.utc else at + EAST

    def _search(self, asked: etree._Element) -> tuple[int, bytes]:
        def value(tag: str) -> str:
            return str(next((element.text for element in asked.iter(f"{{*}}{tag}")), ""))

        start, end = self._instant(value("startTime")), self._instant(value("endTime"))
        position = number_of(value("searchResultPostion"))
        found = [
            (max(a, start), min(b, end)) if self.cut_to_question else (a, b)
            for a, b in self.stretches
            if b > start and a < end and value("trackID") == "101"
        ]
        page = found[position : position + min(self.page, number_of(value("maxResults"), 40))]
        more = position + len(page) < len(found)
        status = "MORE" if more else "OK" if found else "NO MATCHES"
        items = "".join(self._item(number, *each) for number, each in enumerate(page, position))
        return _xml(
            "CMSearchResult",
            f"<searchID>{value('searchID')}</searchID><responseStatus>true</responseStatus>"
            f"<responseStatusStrg>{status}</responseStatusStrg><numOfMatches>{len(page)}</numOfMatches>"
            f"<matchList>{items}</matchList>",
        )

    cut_to_question = False

    def _item(self, number: int, start: datetime, end: datetime) -> str:
        a, b = self._written(start), self._written(end)
        address = f"rtsp://10.0.0.5/Streaming/tracks/101/?starttime={a:%Y%m%dT%H%M%SZ}&endtime={b:%Y%m%dT%H%M%SZ}"
        address += f"&name=0000000046{number:07d}&size=1063889"
        return (
            f"<searchMatchItem><trackID>101</trackID><timeSpan><startTime>{a:%Y-%m-%dT%H:%M:%SZ}</startTime>"
            f"<endTime>{b:%Y-%m-%dT%H:%M:%SZ}</endTime></timeSpan><mediaSegmentDescriptor><codecType>H.264-BP</codecType>"
            f"<playbackURI>{escape(address)}</playbackURI></mediaSegmentDescriptor></searchMatchItem>"
        )

    def _download(self, asked: etree._Element) -> tuple[int, bytes]:
        """The whole file that the address names, as MPEG program stream, which is what the vendor's .mp4 hold."""
        address = str(next(element.text for element in asked.iter("{*}playbackURI")))
        fields = dict(pair.split("=", 1) for pair in address.partition("?")[2].split("&"))
        pictures = self.between(self._instant(fields["starttime"]), self._instant(fields["endtime"]))
        stream = b"".join(picture.annexb for picture in pictures)
        command = [media.ffmpeg_path(), "-v", "error", "-f", "h264", "-framerate", "10", "-i", "-", "-c", "copy"]
        done = subprocess.run([*command, "-f", "vob", "-"], input=stream, capture_output=True, check=True)
        return 200, done.stdout


def _xml(tag: str, inner: str) -> tuple[int, bytes]:
    return 200, f'<?xml version="1.0" encoding="UTF-8"?>\n<{tag} {NAMESPACE}>{inner}</{tag}>'.encode()
