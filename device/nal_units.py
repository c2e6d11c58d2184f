"""What the headers of H.264 and H.265 NAL units tell: pictures of another codec, and the size that parameter sets name.

ITU-T H.264 7.3.1, 7.3.2.1.1 and H.265 7.3.1.2, 7.3.2.2. Everything read here may be hostile or damaged.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from device import media

LOOKED_AT = 4 * 1024 * 1024
AROUND = 4.0
SHARE = 0.05
"""What lies there begins at the key frame before, so not all of it can be foreign."""


def foreign_codec(contents: media.Contents, at: float) -> str:
    """The other codec of the two, when pictures around `at` (seconds from the beginning) are of that one; else an empty
    text.
    """
    video = contents.video
    if video is None or video.codec not in ("h264", "hevc"):
        return ""
    votes = Counter(_codec_of(unit) for unit in islice(_units(_payload(contents, at)), 400))
    other = {"h264": "hevc", "hevc": "h264"}[video.codec]
    return other if votes[other] > 2 and votes[other] > SHARE * votes.total() else ""


def _payload(contents: media.Contents, at: float) -> bytes:
    """The packets of the video from `at` on, as they lie in the container."""
    graph = media.source(contents.path, ss=f"{max(0.0, at):.3f}", t=AROUND)
    command = media.command(graph.video.output("pipe:1", format="data", c="copy", **{"frames:v": 200}))
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    return done.stdout[:LOOKED_AT]


def _units(data: bytes) -> Iterator[bytes]:
    """The NAL units of packets that each give their length in four bytes, or that stand behind start codes."""
    at = 0
    while at + 6 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:  # a start code
            following = data.find(b"\x00\x00\x00\x01", at + 4)
            size = (following if following >= 0 else len(data)) - at - 4
        if not 2 <= size <= len(data) - at - 4:
            return
        yield data[at + 4 : at + 4 + min(size, 64)]
        at += 4 + size


def _codec_of(unit: bytes) -> str:
    """Which of the two codecs this header belongs to; empty when it may be either.

    The second byte of an H.265 header is layer 0 and a temporal id, almost always 1; H.264 has none, and its types from
    24 on are not used in files.
    """
    first, second = unit[0], unit[1]
    if first & 0x80:
        return ""
    h265_type = first >> 1 & 63
    if second == 1 and not first & 1 and (h265_type <= 21 or 32 <= h265_type <= 40):
        return "hevc"
    return "h264" if first & 31 in (1, 5, 6, 7, 8, 9) else ""
