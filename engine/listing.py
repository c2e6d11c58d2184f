"""Finding instances by what an operator knows of them: state, process, version, case number, where a token stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, exists, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from engine import numbers
from engine.models import Instance, Job, NumberPart, Task
from engine.projections import ENDED, IS_OPEN, IS_UNDECIDED, IS_UNDER_WAY, OPEN, UNDECIDED, UNDER_WAY

COUNTED = 10_000
"""So many are counted at most: what a total costs must not grow with the years."""
FEW = 1_000
"""So many places in numbers are looked up one by one; a part that more have is met soon, going from the newest on."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for; what is empty is not asked for. `key` is part of a case number, or the whole id."""

    state: str = ""
    process_id: str = ""
    version: int | None = None
    key: str = ""
    element: str = ""
    incident: bool = False


@dataclass(frozen=True)
class Total:
    """How many there are; with `more` only that there are more than `number`."""

    number: int
    more: bool = False


NEWEST = (Instance.started_at.desc(), Instance.id.desc())
"""The order of every list of instances, which is that of their indexes."""


def find(session: Session, wanted: Wanted, *, limit: int, offset: int = 0) -> tuple[Sequence[Instance], Total]:
    """The newest instances that fit, and how many there are in all.

    More than COUNTED, or than what is shown up to the end of this page, are not counted; nor are those of a part of a
    number that more than FEW have, when nothing else is asked for.
    """
    named = _named(session, wanted.key) if wanted.key else None
    fitting = _matching(wanted, named.condition if named else None)
    found = _rows(session, fitting.order_by(*NEWEST).limit(limit).offset(offset))  # an index holds the order and the id
    if named and named.many and wanted == Wanted(key=wanted.key) and offset + limit <= FEW:
        total = count(session, select(Instance.id).where(named.narrowed), FEW)
        if total.more:
            return found, total
    return found, count(session, fitting, max(COUNTED, offset + limit))


def search(
    session: Session, word: str, state: str = "", *, limit: int, offset: int = 0
) -> tuple[Sequence[Instance], Total]:
    """As `find`: those with `word` in their number, in the name of who started them, or in that of their process."""
    if not word:
        return find(session, Wanted(state=state), limit=limit, offset=offset)
    wanted, named = _matching(Wanted(state=state), None), _named(session, word)
    people, processes = (_names(session, column, word) for column in (Instance.started_by, Instance.process_id))
    started, executed = Instance.started_by.in_(people), Instance.process_id.in_(processes)
    some = [wanted.where(each).limit(FEW + 1).subquery() for each in (named.narrowed, started, executed)]
    few = union_all(*(select(each.c.id) for each in some))  # each by its own index
    known = len(set(session.scalars(few)))
    if known <= FEW and not named.many:
        return _rows(session, few, limit, offset), Total(known)
    fitting = wanted.where(or_(named.condition, started, executed))
    found = _rows(session, fitting.order_by(*NEWEST).limit(limit).offset(offset))
    if known > FEW and offset + limit <= FEW:
        return found, Total(FEW, more=True)
    return found, count(session, fitting, max(COUNTED, offset + limit))


def _rows(
    session: Session, ids: Select[UUID] | CompoundSelect[UUID], limit: int | None = None, offset: int | None = None
) -> Sequence[Instance]:
    newest = select(Instance).where(Instance.id.in_(ids)).order_by(*NEWEST)
    return session.scalars(newest.limit(limit).offset(offset)).all()


def _names(session: Session, column: InstrumentedAttribute[str], part: str) -> Sequence[str]:
    """What `column` holds that has `part`, going from each value to the next by the index that begins with `column`."""
    first = select(func.min(column).label("name")).cte(recursive=True)
    following = select(func.min(column)).where(column > first.c.name).scalar_subquery()
    names = first.union_all(select(following).where(first.c.name.is_not(None)))
    return session.scalars(select(names.c.name).where(names.c.name.icontains(part, autoescape=True))).all()


def count(session: Session, query: Select[Any], up_to: int) -> Total:
    """How many rows `query` has; no more than `up_to` and one are looked at."""
    found = session.scalar(select(func.count()).select_from(query.limit(up_to + 1).subquery())) or 0
    return Total(min(found, up_to), found > up_to)


def count_states(session: Session) -> dict[str, Total]:
    """How many instances are in each state, counted up to COUNTED; by one statement."""

    def counted(state: str) -> Any:
        some = select(Instance.id).where(Instance.state == state).order_by(*NEWEST).limit(COUNTED + 1).subquery()
        return select(func.count()).select_from(some).scalar_subquery()

    states = (*UNDER_WAY, *ENDED)
    found = session.execute(select(*(counted(state) for state in states))).one()
    return {state: Total(min(each, COUNTED), each > COUNTED) for state, each in zip(states, found, strict=True)}


def _matching(wanted: Wanted, named: ColumnElement[bool] | None) -> Select[UUID]:
    query = select(Instance.id)
    if wanted.state:
        query = query.where(Instance.state == wanted.state)
    if wanted.process_id:
        query = query.where(Instance.process_id == wanted.process_id)
    if wanted.version is not None:
        query = query.where(Instance.version == wanted.version)
    if named is not None:
        query = query.where(named)
    if wanted.element:
        task = exists().where(Task.instance_id == Instance.id, IS_OPEN, Task.element == wanted.element)
        job = exists().where(Job.instance_id == Instance.id, IS_UNDECIDED, Job.element == wanted.element)
        query = query.where(IS_UNDER_WAY, or_(task, job))
    if wanted.incident:
        query = query.where(IS_UNDER_WAY, exists().where(Job.instance_id == Instance.id, Job.state == "incident"))
    return query


@dataclass(frozen=True)
class _Named:
    """Which instances have a part in their number: `narrowed` looks them up, but only some when there are `many`."""

    condition: ColumnElement[bool]
    narrowed: ColumnElement[bool]
    many: bool


def _named(session: Session, part: str) -> _Named:
    holds = Instance.business_key.icontains(part, autoescape=True)
    places = select(NumberPart.business_key).where(numbers.begins(NumberPart.part, part))
    many = len(session.scalars(places.limit(FEW + 1)).all()) > FEW
    looked_up = places.limit(2 * FEW if many else FEW).subquery()  # a number may have the part several times
    narrowed: ColumnElement[bool] = and_(Instance.business_key.in_(select(looked_up.c.business_key)), holds)
    identified = _identifier(part)
    if identified is not None:
        either = union_all(select(Instance.id).where(narrowed), select(Instance.id).where(Instance.id == identified))
        narrowed, holds = Instance.id.in_(either), or_(holds, Instance.id == identified)
    return _Named(holds if many else narrowed, narrowed, many)


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
