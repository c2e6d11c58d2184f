"""When recorders overwrite footage (State Council Order 799, Art. 17: at least 30 days)."""

from collections.abc import Iterable
from datetime import datetime, timedelta


def overwritten_at(start: datetime, retention_days: Iterable[int], default: int = 30) -> datetime:
    """When the first of the recorders will have overwritten the first second of the footage."""
    return start + timedelta(days=min(retention_days, default=default))
