"""What somebody has typed so far: kept on the server, so that nothing is lost by a closed page or a dead battery."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from engine import clock
from engine.models import Draft

START = "start:footage_retrieval"


def load(session: Session, username: str, key: str) -> Draft | None:
    return session.get(Draft, (username, key))


def save(session: Session, username: str, key: str, data: Mapping[str, Any]) -> datetime:
    """Keep `data` in the place of what was kept before."""
    at = clock.now()
    session.merge(Draft(username=username, key=key, data=dict(data), saved_at=at))
    return at


def discard(session: Session, username: str, key: str) -> None:
    session.execute(delete(Draft).where(Draft.username == username, Draft.key == key))
