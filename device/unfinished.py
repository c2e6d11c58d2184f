"""The segments of retrievals that nobody goes on with: footage that was copied and never became evidence (clause N3).

Finished segments outlive their job, so that another attempt can go on with them. They are cleared away when the case
has ended or is given up, and when the retrieval is over: a camera that was skipped leaves its own. Where a retrieval is
still open, or a process still writes, they stay.
"""

import contextlib
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from device.publishing import clear_folder
from engine.chores import chore
from engine.db import Database
from engine.models import Instance, Job
from engine.settings import Settings

_OPEN = ("ready", "running", "held", "incident")


def place_of(settings: Settings, instance_id: UUID) -> Path:
    """Where the retrievals of an instance keep their segments."""
    return settings.data / "segments" / str(instance_id)


def clear(database: Database, settings: Settings, instance_id: UUID) -> None:
    """Remove what the retrievals of an instance have left, unless one of them is still open."""
    place = place_of(settings, instance_id)
    if not place.is_dir():
        return
    with database.reading() as session:
        query = select(Job.id).join(Instance, Instance.id == Job.instance_id)
        retrieving = (Job.operator == "recorder/acquire", Job.state.in_(_OPEN), Instance.ended_at.is_(None))
        if session.scalar(query.where(Job.instance_id == instance_id, *retrieving).limit(1)) is not None:
            return
    for camera in place.iterdir():
        for attempt in camera.iterdir():
            clear_folder(attempt)
        with contextlib.suppress(OSError):  # somebody is still at work in it
            camera.rmdir()
    with contextlib.suppress(OSError):
        place.rmdir()


@chore
def clear_ended(database: Database, settings: Settings) -> None:
    """What cases have left that ended or were cancelled, however."""
    left = [UUID(place.name) for place in (settings.data / "segments").glob("*-*-*-*-*")]
    if not left:
        return
    with database.reading() as session:
        running = set(session.scalars(select(Instance.id).where(Instance.id.in_(left), Instance.ended_at.is_(None))))
    for instance_id in set(left) - running:
        clear(database, settings, instance_id)
