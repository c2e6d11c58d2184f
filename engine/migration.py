"""Running instances go over to another version of their process: previewed, one by one or many, and back again.

A migration is one input of the instance's history, which names both versions with their digests; re-execution goes over
to the other version at that event. What is sound is decided in engine.spiff.migrating; going back is a migration to the
earlier version, under the same checks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from engine import definitions, instances, live, projections, subscriptions, versions
from engine.db import Database
from engine.errors import N_, ConflictError, DiaoquError
from engine.models import Instance, Job, ProcessDefinition, Task
from engine.projections import ENDED, OPEN, UNDECIDED
from engine.spiff import REFUSALS, WARNINGS, CompiledDefinition, OpenedTask, StepResult, called, differing

ENDED_ALREADY = N_("This case has ended (%(state)s); nothing was changed.")
THERE_ALREADY = N_("This case is on version %(version)s already.")


@dataclass(frozen=True)
class Reason:
    """Why an instance cannot go over, or what to know before it does: a code for programs, a text for people."""

    code: str
    element: str
    template: str
    params: dict[str, str]

    def __str__(self) -> str:
        return self.template % self.params


@dataclass(frozen=True)
class Verdict:
    """What a migration would meet. `active` are the elements at which the instance stands; it stays there."""

    instance: Instance
    target: int
    refused: list[Reason] = field(default_factory=list)
    warnings: list[Reason] = field(default_factory=list)
    active: list[str] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        return not self.refused


def preview(session: Session, instance_id: UUID | str, version: int) -> Verdict:
    """What would happen to an instance, from what is stored; nothing is changed.

    Raises:
        NotFoundError: there is no such instance or version.
    """
    instance = instances.get(session, instance_id)
    target = definitions.get(session, instance.process_id, version)
    if instance.state in ENDED:
        return Verdict(instance, version, [Reason("ended", "", ENDED_ALREADY, {"state": instance.state})])
    if target.id == instance.definition_id:
        return Verdict(instance, version, [Reason("same-version", "", THERE_ALREADY, {"version": str(version)})])
    old, new = (definitions.compiled(session, found) for found in (instance.definition_id, target.id))
    fit = live.rebuild(session, instance).fit(new)
    done = _done(session, instance) & differing(old, new)
    return Verdict(
        instance,
        version,
        refused=[_reason(REFUSALS, code, element, old, new) for code, element in fit.refused],
        warnings=[
            *(_reason(WARNINGS, "skipped", element, old, new) for element in fit.skipped),
            *(_reason(WARNINGS, "done-otherwise", element, old, new) for element in sorted(done)),
        ],
        active=instances.active_elements(session, instance.id),
    )


def _reason(
    texts: Mapping[str, str], code: str, element: str, old: CompiledDefinition, new: CompiledDefinition
) -> Reason:
    return Reason(code, element, texts[code], {"element": called(element, old, new)})


def _done(session: Session, instance: Instance) -> set[str]:
    events = instances.visible_events(session, instance.id)
    return {event["element"] for event in events if event["type"] == "leave"}


def migrate(session: Session, instance_id: UUID | str, version: int, *, by: str, reason: str) -> StepResult:
    """Let an instance go over to another version of its process; whoever has a task keeps it.

    An open task gets the name, the form and the conditions of the new version. Who may do it is decided again, and a
    claim released, only where the new version says otherwise; its priority and its due date stay.

    Raises:
        NotFoundError: there is no such instance or version. InvalidFormError: there is no reason.
        ConflictError: it has ended, is on that version already, or does not fit (says the first reason).
    """
    reason = instances.checked_reason(reason)
    instance = instances.lock(session, instance_id)
    target = definitions.get(session, instance.process_id, version)
    if target.id == instance.definition_id:
        raise ConflictError(THERE_ALREADY, version=str(version))
    before = definitions.by_id(session, instance.definition_id)
    facts = {"from": versions.reference(before), "to": versions.reference(target), "reason": reason}
    result = instances.step(session, instance, "migrate", facts, by=by, target=target)
    if result.state not in ENDED:
        _follow(session, instance, before, target, by)
    subscriptions.refresh(session, instance, instance.changed_at)
    return result


def _follow(
    session: Session, instance: Instance, before: ProcessDefinition, target: ProcessDefinition, by: str
) -> None:
    """Open tasks and jobs that are not done look as the new version has them."""
    old, new = (definitions.compiled(session, found.id).elements for found in (before, target))
    execution = live.take(session, instance)
    at = instance.changed_at
    query = select(Task).where(Task.instance_id == instance.id, Task.state.in_(OPEN))
    for task in session.scalars(query.order_by(Task.created_at, Task.id)):
        opened = OpenedTask(task.id, task.element, task.data)
        row = projections.task_row(instance, new[task.element], opened, execution, at)
        for name in ("name", "lane", "form", "variable", "signature", "qualification"):
            setattr(task, name, row[name])
        if task.element in old and projections.who(old[task.element]) != projections.who(new[task.element]):
            for name in ("assignee", "candidate_group", "candidate_users", "excluded"):
                setattr(task, name, row[name])
            task.state, task.owner, task.claimed_by, task.claimed_at = "open", None, None, None
            projections.tell_candidates(session, [row], by, at)
    for job in session.scalars(select(Job).where(Job.instance_id == instance.id, Job.state.in_(UNDECIDED))):
        job.name = new[job.element].name or job.element
    session.flush()
    live.keep(session, instance, execution)


# ---- many -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one instance: `refusal` is None when it has gone over."""

    instance_id: UUID
    refusal: DiaoquError | None


def under_way(session: Session, process_id: str, version: int, *, limit: int | None = None) -> Sequence[Instance]:
    """The instances on a version that have not ended, oldest first."""
    query = select(Instance).where(
        Instance.process_id == process_id, Instance.version == version, Instance.state.not_in(ENDED)
    )
    return session.scalars(query.order_by(Instance.started_at, Instance.id).limit(limit)).all()


def migrate_all(
    database: Database,
    instance_ids: Iterable[UUID],
    version: int,
    *,
    by: str,
    reason: str,
) -> list[Outcome]:
    """Migrate each instance in a transaction of its own; one that is refused stops none of the others.

    Raises:
        InvalidFormError: there is no reason.
    """
    reason = instances.checked_reason(reason)
    outcomes = []
    for instance_id in dict.fromkeys(instance_ids):
        try:
            with database.transaction() as session:
                migrate(session, instance_id, version, by=by, reason=reason)
        except DiaoquError as error:
            outcomes.append(Outcome(instance_id, error))
        else:
            outcomes.append(Outcome(instance_id, None))
    return outcomes
