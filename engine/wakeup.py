"""Tells the workers of this process at once that there is a job; workers elsewhere find it when they next look."""

import threading

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_CHANGED = threading.Condition()
_PENDING = "wake the workers"
_count = 0


def announce(session: Session) -> None:
    """Wake the workers as soon as this session commits; nothing happens when it rolls back."""
    session.info[_PENDING] = True


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
    if not session.in_nested_transaction() and session.info.pop(_PENDING, False):
        ring()


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, transaction: SessionTransaction) -> None:
    if not transaction.nested:
        session.info.pop(_PENDING, None)
