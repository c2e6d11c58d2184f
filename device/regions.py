"""What is hidden in a film: rectangles that move with their keyframes, and polygons, over ranges of time.

The list of regions is a document of its own beside the redacted film (`diaoqu-regions-1`, docs/evidence-format.md).
Coordinates are pixels of the film, times seconds on the time line of the viewing copy.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SCHEMA = "diaoqu-regions-1"
MOST_REGIONS = 2000
MOST_POINTS = 200_000
STEADY = 0.5


class RegionError(ValueError):
    """A list of regions that cannot be used; the message says which region and why."""


@dataclass(frozen=True)
class Box:
    """A rectangle; `x`, `y` is its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def grown(self, share: float) -> "Box":
        """Larger by `share` of its size on every side."""
        x, y = self.width * share, self.height * share
        return Box(self.x - x, self.y - y, self.width + 2 * x, self.height + 2 * y)

    def overlap(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        wide = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        high = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if wide <= 0 or high <= 0:
            return 0.0
        shared = wide * high
        return shared / (self.width * self.height + other.width * other.height - shared)

    def distance(self, other: "Box") -> float:
        """Between the middles, in sizes of the larger one."""
        x = self.x + self.width / 2 - other.x - other.width / 2
        y = self.y + self.height / 2 - other.y - other.height / 2
        return math.hypot(x, y) / max(self.width, self.height, other.width, other.height)

    def joined(self, other: "Box") -> "Box":
        """The smallest box around both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        low = max(self.y + self.height, other.y + other.height)
        return Box(x, y, right - x, low - y)

    @property
    def corners(self) -> list[tuple[float, float]]:
        right, low = self.x + self.width, self.y + self.height
        return [(self.x, self.y), (right, self.y), (right, low), (self.x, low)]


@dataclass(frozen=True)
class Region:
    """Hidden from `start` to `end`, both included: a box that moves from keyframe to keyframe, or a polygon.

    `source` is `detector` or `person`; a region that is not `on` is known and shown, and not hidden.
    """

    id: str
    start: float
    end: float
    keyframes: tuple[tuple[float, Box], ...] = ()
    polygon: tuple[tuple[float, float], ...] = ()
    source: str = "person"
    on: bool = True
    score: float | None = None

    def outline(self, at: float) -> list[tuple[float, float]]:
        """Its corners at a time within its range; between keyframes along the straight line."""
        if self.polygon:
            return list(self.polygon)
        return self.box(at).corners

    def box(self, at: float) -> Box:
        """Of the moving box; before the first and after the last keyframe it stands still."""
        place = bisect_right(self.keyframes, at, key=lambda frame: frame[0])
        if place in (0, len(self.keyframes)):
            return self.keyframes[0 if place == 0 else -1][1]
        (begin, a), (end, b) = self.keyframes[place - 1 : place + 1]
        part = (at - begin) / (end - begin)
        return Box(
            a.x + (b.x - a.x) * part,
            a.y + (b.y - a.y) * part,
            a.width + (b.width - a.width) * part,
            a.height + (b.height - a.height) * part,
        )

    def hides(self, at: float) -> bool:
        return self.on and self.start <= at <= self.end


# --- the document


def to_json(regions: Iterable[Region], *, width: int, height: int, **facts: Any) -> dict[str, Any]:
    """The document; `facts` say what it is about: the master's digest, the detector, who made it."""
    return {"schema": SCHEMA, "width": width, "height": height, **facts, "regions": [_said(one) for one in regions]}


def _said(region: Region) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": region.id,
        "from": round(region.start, 3),
        "to": round(region.end, 3),
        "source": region.source,
        "on": region.on,
    }
    if region.score is not None:
        said["score"] = round(region.score, 3)
    if region.polygon:
        said["polygon"] = [[round(x, 1), round(y, 1)] for x, y in region.polygon]
    else:
        said["keyframes"] = [
            [round(at, 3), *(round(value, 1) for value in (box.x, box.y, box.width, box.height))]
            for at, box in region.keyframes
        ]
    return said


def from_json(document: Any) -> list[Region]:
    """Raises RegionError, whatever the document is."""
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise RegionError(f"This is no list of regions ({SCHEMA}).")
    found = document.get("regions")
    if not isinstance(found, list) or len(found) > MOST_REGIONS:
        raise RegionError(f"A list of regions has at most {MOST_REGIONS} of them.")
    regions = [_region(each, f"region {number}") for number, each in enumerate(found, start=1)]
    if len({region.id for region in regions}) != len(regions):
        raise RegionError("Two regions have the same id.")
    return regions


def _region(said: Any, where: str) -> Region:
    if not isinstance(said, Mapping):
        raise RegionError(f"{where}: this is no region.")
    name = said.get("id")
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise RegionError(f"{where}: it has no id.")
    start, end = (_number(said.get(key), where) for key in ("from", "to"))
    if not 0 <= start <= end:
        raise RegionError(f"{where}: it ends before it begins.")
    source, on, score = said.get("source", "person"), said.get("on", True), said.get("score")
    if source not in {"person", "detector"} or not isinstance(on, bool):
        raise RegionError(f"{where}: `source` is person or detector, `on` true or false.")
    rows = said.get("polygon") or said.get("keyframes")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_POINTS:
        raise RegionError(f"{where}: it has neither keyframes nor a polygon.")
    made = Region(name, start, end, source=source, on=on, score=None if score is None else _number(score, where))
    if said.get("polygon"):
        points = [_numbers(row, 2, where) for row in rows]
        if len(points) < 3:
            raise RegionError(f"{where}: a polygon has three corners or more.")
        return replace(made, polygon=tuple((x, y) for x, y in points))
    frames = [(at, Box(x, y, w, h)) for at, x, y, w, h in (_numbers(row, 5, where) for row in rows)]
    if any(box.width <= 0 or box.height <= 0 for _at, box in frames):
        raise RegionError(f"{where}: a box has a width and a height.")
    return replace(made, keyframes=tuple(sorted(frames, key=lambda frame: frame[0])))


def _numbers(row: Any, count: int, where: str) -> list[float]:
    if not isinstance(row, list) or len(row) != count:
        raise RegionError(f"{where}: each line has {count} numbers.")
    return [_number(value, where) for value in row]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e7:
        raise RegionError(f"{where}: {str(value)[:40]!r} is no number that can be used.")
    return float(value)


# --- from boxes per picture to regions


@dataclass
class _Track:
    frames: list[tuple[float, Box]]
    score: float


def tracked(
    seen: Iterable[tuple[float, Sequence[tuple[Box, float]]]],
    *,
    bridge: float = 1.5,
    margin: float = 0.5,
    grow: float = 0.3,
) -> list[Region]:
    """Join what was detected in pictures (time; boxes with scores) into regions that do not flicker.

    A face that is missed for up to `bridge` seconds stays hidden in between; each region begins `margin` seconds before
    the first detection and ends as long after the last one. A box covers the detections before and after it too,
    because the face moves in between and the detector may see but a part of it, and grows by `grow` on every side.
    """
    open_tracks: list[_Track] = []
    finished: list[_Track] = []
    for at, boxes in seen:
        still = [track for track in open_tracks if at - track.frames[-1][0] <= bridge]
        finished += [track for track in open_tracks if track not in still]
        open_tracks = still
        left = sorted(boxes, key=lambda found: -found[1])
        for box, score in left:
            near = [track for track in open_tracks if track.frames[-1][0] < at and _follows(track.frames[-1][1], box)]
            if near:
                track = min(near, key=lambda track: track.frames[-1][1].distance(box))
                track.frames.append((at, box))
                track.score = max(track.score, score)
            else:
                open_tracks.append(_Track([(at, box)], score))
    tracks = sorted(finished + open_tracks, key=lambda track: track.frames[0][0])
    return [
        Region(
            f"face-{number}",
            max(0.0, track.frames[0][0] - margin),
            track.frames[-1][0] + margin,
            tuple((at, box.grown(grow)) for at, box in _steadied(track.frames)),
            source="detector",
            score=track.score,
        )
        for number, track in enumerate(tracks, start=1)
    ]


def _steadied(frames: list[tuple[float, Box]]) -> Iterator[tuple[float, Box]]:
    """Each box joined with its neighbours in time, as far as these are near enough to belong to one movement."""
    for number, (at, box) in enumerate(frames):
        covered = box
        for near_at, near in frames[max(0, number - 1) : number + 2]:
            if abs(near_at - at) <= STEADY:
                covered = covered.joined(near)
        yield at, covered


def _follows(before: Box, after: Box) -> bool:
    return before.overlap(after) > 0.1 or before.distance(after) < 1.0
