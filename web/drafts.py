"""What somebody has typed so far: kept on the server, so that nothing is lost by a closed page or a dead battery.

The personal fields of a draft are encrypted with a key of its own, which is destroyed when the draft is discarded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from engine import clock, personal
from engine.forms import Form
from engine.models import Draft
from web.personal import shown

START = "start:footage_retrieval"


@dataclass(frozen=True)
class Kept:
    """A draft as its author typed it."""

    data: dict[str, Any]
    saved_at: datetime


def load(session: Session, username: str, key: str) -> Kept | None:
    found = session.get(Draft, (username, key))
    return Kept(shown(session, personal.draft_key(username, key), found.data), found.saved_at) if found else None


def save(session: Session, username: str, key: str, data: Mapping[str, Any], form: Form | None) -> datetime:
    """Keep `data` of this form in the place of what was kept before."""
    at = clock.now()
    personal.refuse(dict(data))
    kept = personal.seal_form(session, personal.draft_key(username, key), form, data) if form else dict(data)
    session.merge(Draft(username=username, key=key, data=kept, saved_at=at))
    return at


def discard(session: Session, username: str, key: str) -> None:
    mine = delete(Draft).where(Draft.username == username, Draft.key == key)
    if session.execute(mine.returning(Draft.key)).one_or_none() is not None:
        personal.destroy_key(session, personal.draft_key(username, key))
