"""From the stretches that a recorder or a folder holds to what is there and what is missing of a span."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from device.recorders.base import Coverage, Gap, Span

SMALLEST_GAP = timedelta(seconds=1)


def merged(stretches: Iterable[tuple[datetime, datetime]], rounding: timedelta) -> list[tuple[datetime, datetime]]:
    """Stretches in order, joined where less than `rounding` lies between them."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted(stretches):
        if end <= start:
            continue
        if found and start - found[-1][1] <= rounding:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def covered(
    recording: str,
    span: Span,
    held: Sequence[tuple[datetime, datetime]],
    earliest: datetime | None,
    latest: datetime | None,
) -> Coverage:
    """Cut merged stretches to the span; what lies between them was not recorded."""
    recorded = [Span(max(a, span.start), min(b, span.end)) for a, b in held if max(a, span.start) < min(b, span.end)]
    gaps = []
    position = span.start
    for part in recorded:
        if part.start - position >= SMALLEST_GAP:
            gaps.append(Gap(position, part.start))
        position = max(position, part.end)
    if span.end - position >= SMALLEST_GAP:
        gaps.append(Gap(position, span.end))
    status = "none" if not recorded else "partial" if gaps else "complete"
    return Coverage(recording, span, status, tuple(recorded), tuple(gaps), earliest, latest)
