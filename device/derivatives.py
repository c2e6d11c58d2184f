"""What is made of a master: files that play anywhere, each of which says what it was made from, how, and with what.

A derivative never replaces its master (SWGDE 20-V-002): it names the master's digest, the parameters and the versions
of the tools. Here: the viewing copy. Watermarked copies are in `watermark.py`, redacted ones in `redaction.py`.
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ffmpeg

from device import media
from device.media import MediaError
from device.publishing import published
from device.recorders.base import N_, ProgressCallback

BROWSER_PIXELS = ("yuv420p", "yuvj420p")

PLAYABLE: dict[str, Any] = {"format": "mp4", "movflags": "+faststart", "map_metadata": -1}
"""The index comes first, so that a film plays before it has arrived; no tag of the source goes along."""


def h264(crf: int) -> dict[str, Any]:
    """Options by which pictures are re-encoded so that every browser plays them, each at its own time."""
    return {"c:v": "libx264", "preset": "veryfast", "pix_fmt": "yuv420p", "crf": crf, **media.variable_rate()}


@dataclass(frozen=True)
class Derivative:
    """A published file made from another. `parameters` is JSON: what somebody needs to make it again."""

    path: Path
    size: int
    sha256: str
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def tools(self) -> dict[str, str]:
        return {"ffmpeg": media.ffmpeg_version(), "diaoqu": version("diaoqu")}

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "size": self.size,
            "sha256": self.sha256,
            "seconds": round(self.seconds, 3),
            "parameters": self.parameters,
            "tools": self.tools,
        }


@dataclass(frozen=True)
class ViewingCopy(Derivative):
    """A derivative that plays in any browser. `codec` is the master's video codec."""

    transcoded: bool = False
    codec: str = ""


def viewing_copy(master: Path, target: Path, progress: ProgressCallback | None = None) -> ViewingCopy:
    """Make an MP4 for the browser beside the untouched master: remuxed when H.264 (and AAC) plays as it is, else
    transcoded (H.265 → H.264, G.711 → AAC). Container time equals the master's.

    Raises:
        MediaError: the master has no video that can be read.
        DiskFullError: there is no room; nothing was published.
    """
    contents = media.probe(master)
    video = contents.video
    if video is None or not video.packets:
        raise MediaError(N_("The file has no picture to view."))
    plays = video.codec == "h264" and video.pixel_format in BROWSER_PIXELS
    options: dict[str, Any] = {"c:v": "copy"} if plays else h264(20)
    taken = media.source(master)
    heard = sound(contents)
    streams = [taken.video, taken.audio] if heard else [taken.video]
    with published(target) as draft:
        graph = ffmpeg.output(*streams, f"file:{draft.absolute()}", **PLAYABLE, **options, **heard)
        media.run(graph.global_args("-y"), seconds=contents.seconds, progress=progress)
        size, digest = draft.stat().st_size, media.sha256(draft)
    changed = not plays or heard.get("c:a") == "aac"
    return ViewingCopy(target, size, digest, contents.seconds, {**options, **heard}, changed, video.codec)


def sound(contents: media.Contents) -> dict[str, Any]:
    """How to take the sound along so that a browser plays it; empty when there is none."""
    audio = contents.audio
    if audio is None or not audio.packets:
        return {}
    return {"c:a": "copy"} if audio.codec == "aac" else {"c:a": "aac", "b:a": "96k"}
