"""Due dates: an ISO 8601 duration after an instant."""

import re
from datetime import datetime, timedelta

from engine.errors import N_, ExpressionError

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
