"""The one clock. Everything that needs the time asks here, so that a test can hold it still."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_FIXED: ContextVar[datetime | None] = ContextVar("fixed time", default=None)


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return _FIXED.get() or datetime.now(UTC)


def is_held() -> bool:
    """Whether somebody holds the clock still in this context."""
    return _FIXED.get() is not None


@contextmanager
def fixed(at: datetime) -> Iterator[None]:
    """Hold the clock at `at` within this context (this thread or task only).

    Raises:
        ValueError: `at` has no timezone.
    """
    if at.tzinfo is None:
        raise ValueError("the clock takes aware datetimes only")
    token = _FIXED.set(at.astimezone(UTC))
    try:
        yield
    finally:
        _FIXED.reset(token)
