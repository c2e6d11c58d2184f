"""The coverage timeline: what the recorders hold of the requested span, as positions on one clock (clause 2.2).

Positions are percentages, so that the drawing needs no script, no inline style and fits every width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from web.i18n import local

MARGIN = 0.04
"""Room on both sides of the requested span, as a part of it."""
STEPS = [
    timedelta(seconds=s) for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
]


@dataclass(frozen=True)
class Stretch:
    """`kind`: recorded, gap or acquired. `x` and `width` are percentages."""

    kind: str
    x: float
    width: float
    start: datetime
    end: datetime
    cause: str = ""


@dataclass(frozen=True)
class Bar:
    camera: str
    name: str
    recorder: str
    status: str
    stretches: tuple[Stretch, ...]
    overwritten_at: str
    clock_offset_seconds: float | None
    clock_uncertainty_seconds: float | None


@dataclass(frozen=True)
class Timeline:
    start: datetime
    end: datetime
    frame_x: float
    frame_width: float
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    overwritten_at: str


def timeline(
    coverage: Mapping[str, Any],
    start: str,
    end: str,
    *,
    acquired: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Timeline | None:
    """The drawing for a `coverage` result and the requested span; None when there is nothing to draw.

    `acquired` maps a camera's key to the spans `[from, to]` that were retrieved.
    """
    if not coverage or not coverage.get("cameras") or not start or not end:
        return None
    first, last = local(start), local(end)
    length = last - first
    if length <= timedelta(0):
        return None
    left, whole = first - length * MARGIN, length * (1 + 2 * MARGIN)

    def place(at: datetime) -> float:
        return round(min(max((at - left) / whole, 0.0), 1.0) * 100, 3)

    def stretch(kind: str, begin: str, finish: str, cause: str = "") -> Stretch:
        opened, closed = local(begin), local(finish)
        return Stretch(kind, place(opened), round(place(closed) - place(opened), 3), opened, closed, cause)

    bars = []
    for camera in coverage["cameras"]:
        spans = [stretch("recorded", *span[:2]) for span in camera.get("recorded") or ()]
        spans += [stretch("gap", gap[0], gap[1], gap[2] if len(gap) > 2 else "") for gap in camera.get("gaps") or ()]
        if camera.get("status") == "none" and not spans:
            spans.append(stretch("gap", start, end))
        spans += [stretch("acquired", *span[:2]) for span in (acquired or {}).get(camera["camera"], ())]
        bars.append(
            Bar(
                camera["camera"],
                camera.get("name") or camera["camera"],
                camera.get("recorder") or "",
                camera.get("status") or "",
                tuple(spans),
                camera.get("overwritten_at") or "",
                camera.get("clock_offset_seconds"),
                camera.get("clock_uncertainty_seconds"),
            )
        )
    frame = place(first)
    return Timeline(
        first,
        last,
        frame,
        round(place(last) - frame, 3),
        tuple((place(at), text) for at, text in _ticks(first, last)),
        tuple(bars),
        coverage.get("overwritten_at") or "",
    )


def _ticks(first: datetime, last: datetime) -> list[tuple[datetime, str]]:
    """Four to six round times between the ends, and the day where it begins."""
    step = next((step for step in STEPS if (last - first) / step <= 6), timedelta(days=1))
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step * -((midnight - first) // step)
    ticks = []
    while at <= last:
        if at.hour == at.minute == at.second == 0:
            text = f"{at:%m-%d}"
        else:
            text = f"{at:%H:%M:%S}" if step < timedelta(minutes=1) else f"{at:%H:%M}"
        ticks.append((at, text))
        at += step
    return ticks
