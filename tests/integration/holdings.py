"""What lies on the disks, read with other tools than ours: bags, frames, digests."""

import hashlib
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from premises import OFFSET

from device import media
from device.recorders.base import Span
from device.simulator import Frame, Simulator, annexb_digests


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the SHA-256 of what it holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def bagit(bag: Path) -> subprocess.CompletedProcess[str]:
    """bagit-python's own command line on a bag."""
    command = [sys.executable, "-m", "bagit", "--validate", str(bag)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def manifest(bag: Path, folder: str) -> dict[str, str]:
    """What the bag's manifest says of the files below data/`folder`: camera -> SHA-256.

    The name of a file begins with its camera and ends with a piece of the id of the task that made it.
    """
    found = {}
    for line in (bag / "manifest-sha256.txt").read_text().splitlines():
        digest, path = line.split("  ", 1)
        if path.startswith(f"data/{folder}/"):
            found[Path(path).name.split("-")[0]] = digest
    return found


def pictures(path: Path, codec: str) -> list[str]:
    """The digest of each access unit in a file, taken out of its container by ffmpeg."""
    muxer = {"H264": "h264", "H265": "hevc"}[codec]
    command = [media.ffmpeg_path(), "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v", "-c", "copy"]
    extracted = subprocess.run([*command, "-f", muxer, "-"], capture_output=True, check=True).stdout
    return annexb_digests(extracted, codec)


def report_of(bag: Path, camera: str) -> dict[str, Any]:
    """The acquisition report in a bag."""
    (found,) = (bag / "data" / "reports").glob(f"{camera}-*.acquisition.json")
    return dict(orjson.loads(found.read_bytes()))


def held(footage: Path, camera: str, report: dict[str, Any]) -> tuple[list[Frame], list[Frame]]:
    """What the recorder holds of the span that a report was asked for: from the key frame before it, and within it.

    The span is on true time; the recorder counts on its own clock, whose offset the report has measured.
    """
    recorder = Simulator(footage, clock_offset=OFFSET)  # never started: only its index is asked
    offset = timedelta(seconds=report["clock"]["offset"])
    requested = report["requested"]
    span = Span(*(datetime.fromisoformat(requested[edge]) + offset for edge in ("start", "end")))
    return recorder.frames(camera, span, lead_in=True), recorder.frames(camera, span)
