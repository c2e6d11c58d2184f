"""Tells the workers of this process at once that there is a job; workers elsewhere find it when they next look.

Whoever carries the news further (engine/dispatch.py) listens here.
"""

import threading
from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

Due = tuple[str, UUID, int]
"""A job that may run now: its site, its id, its epoch."""

_CHANGED = threading.Condition()
_PENDING = "wake the workers"
_LISTENERS: list[Callable[[Due], object]] = []
_count = 0


def announce(session: Session, due: Iterable[Due] = ()) -> None:
    """Wake the workers as soon as this session commits; nothing happens when it rolls back."""
    session.info.setdefault(_PENDING, []).extend(due)


def listen(listener: Callable[[Due], object]) -> None:
    """Call `listener` with each announced job once it is committed; it must not wait, and raises nothing."""
    _LISTENERS.append(listener)


def forget(listener: Callable[[Due], object]) -> None:
    _LISTENERS.remove(listener)


def count() -> int:
    """How often workers have been woken so far; give it to `wait` so that no call is missed in between."""
    with _CHANGED:
        return _count


def ring() -> None:
    """Wake everybody who waits in this process."""
    global _count
    with _CHANGED:
        _count += 1
        _CHANGED.notify_all()


def wait(seen: int, timeout: float) -> None:
    """Return when somebody has called `ring` after `seen` was read, or after `timeout` seconds."""
    with _CHANGED:
        _CHANGED.wait_for(lambda: _count != seen, timeout)


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if session.in_nested_transaction() or _PENDING not in session.info:
        return
    found: list[Due] = session.info.pop(_PENDING)
    ring()
    for listener in tuple(_LISTENERS):
        for due in found:
            listener(due)


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, transaction: SessionTransaction) -> None:
    if not transaction.nested:
        session.info.pop(_PENDING, None)
