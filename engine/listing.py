"""Finding instances by what an operator knows of them: state, process, version, case number, where a token stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.orm import Session

from engine.models import Instance, Job, Task
from engine.projections import IS_OPEN, OPEN, UNDECIDED


@dataclass(frozen=True)
class Wanted:
    """What is looked for; what is empty is not asked for. `key` is part of a case number, or the whole id."""

    state: str = ""
    process_id: str = ""
    version: int | None = None
    key: str = ""
    element: str = ""
    incident: bool = False


def find(session: Session, wanted: Wanted, *, limit: int, offset: int = 0) -> tuple[Sequence[Instance], int]:
    """The newest instances that fit, and how many there are in all."""
    query = _matching(wanted)
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest = query.order_by(Instance.started_at.desc(), Instance.id).limit(limit).offset(offset)
    return session.scalars(newest).all(), total


def _matching(wanted: Wanted) -> Select[Instance]:
    query = select(Instance)
    if wanted.state:
        query = query.where(Instance.state == wanted.state)
    if wanted.process_id:
        query = query.where(Instance.process_id == wanted.process_id)
    if wanted.version is not None:
        query = query.where(Instance.version == wanted.version)
    if wanted.key:
        named = Instance.business_key.icontains(wanted.key, autoescape=True)
        query = query.where(or_(named, Instance.id == found) if (found := _identifier(wanted.key)) else named)
    if wanted.element:
        task = select(Task.instance_id).where(IS_OPEN, Task.element == wanted.element)
        job = select(Job.instance_id).where(Job.state.in_(UNDECIDED), Job.element == wanted.element)
        query = query.where(Instance.id.in_(task.union(job)))
    if wanted.incident:
        query = query.where(exists().where(Job.instance_id == Instance.id, Job.state == "incident"))
    return query


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Standing:
    """Where an instance stands, as its open tasks and jobs tell: elements, and how many of its jobs have stopped."""

    elements: Sequence[str]
    incidents: int


def standing(session: Session, instance_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """For a page of instances, with two queries in all."""
    elements: dict[UUID, list[str]] = {each: [] for each in instance_ids}
    incidents: dict[UUID, int] = {}
    tasks = select(Task.instance_id, Task.element).where(Task.instance_id.in_(instance_ids), Task.state.in_(OPEN))
    for instance_id, element in session.execute(tasks.order_by(Task.created_at, Task.id)):
        elements[instance_id].append(element)
    jobs = select(Job.instance_id, Job.element, Job.state).where(
        Job.instance_id.in_(instance_ids), Job.state.in_(UNDECIDED)
    )
    for instance_id, element, state in session.execute(jobs.order_by(Job.created_at, Job.id)):
        elements[instance_id].append(element)
        incidents[instance_id] = incidents.get(instance_id, 0) + (state == "incident")
    return {each: Standing(list(dict.fromkeys(found)), incidents.get(each, 0)) for each, found in elements.items()}
