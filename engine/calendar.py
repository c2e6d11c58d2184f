"""Due dates: an ISO 8601 duration after an instant."""

import re
from datetime import datetime, timedelta

from engine.errors import N_, ExpressionError

REMINDED_AHEAD = timedelta(days=1)
"""How long before a due date the people concerned are reminded; of a shorter time at its half."""

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def duration(text: str) -> timedelta:
    """Read `P3D`, `PT24H`, `P1W`: weeks, days, hours, minutes and seconds. Years and months have no fixed length.

    Raises:
        ExpressionError: `text` is no such duration.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = {name: float(value) for name, value in match.groupdict().items() if value} if match else {}
    if not parts:
        raise ExpressionError(N_("%(text)s is not a duration such as P3D or PT24H."), text=text)
    return timedelta(**parts)


def due(at: datetime, text: str) -> datetime | None:
    """`text` after `at`; None for an empty text."""
    return at + duration(text) if text.strip() else None


def first_reminder(at: datetime, due_at: datetime | None) -> datetime | None:
    """When people are first told of something that was given to them at `at`; None when it is never due."""
    if due_at is None:
        return None
    return due_at - min(REMINDED_AHEAD, max(due_at - at, timedelta(0)) / 2)
