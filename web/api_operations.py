"""REST for those who operate the service: instances suspended, moved and restarted, tasks passed on, jobs resolved.

What an operator may do without a part in the case is answered without the data of the case (web/visibility.py).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from engine import (
    assignments,
    definitions,
    instances,
    jobs,
    listing,
    messages,
    migration,
    modification,
    suspension,
    tasks,
)
from engine.errors import N_, DiaoquError, NotAllowedError, NotFoundError
from engine.listing import Wanted
from engine.migration import Reason, Verdict
from engine.models import Instance, Job, Message
from engine.modification import Change
from web.api import BadRequestError, body, identifier, json, member, task_json, visible_task
from web.auth import person
from web.edge import database, reading, transaction
from web.errors import message_of
from web.i18n import _, told
from web.visibility import (
    ADMINISTRATORS,
    OPERATORS,
    OWNERS,
    check_not_own,
    operable_instance,
    operable_message,
    visible_instance,
)

blueprint = Blueprint("api_operations", __name__, url_prefix="/api/v1")

LISTED = 100


def state_json(found: Instance) -> dict[str, Any]:
    """An instance without its data."""
    names = "id process_id version business_key state started_by started_at ended_at seq head restarted_from"
    return {name: getattr(found, name) for name in names.split()}


# ---- instances ------------------------------------------------------------------------------------------------------


@blueprint.get("/instances")
def list_instances() -> Response:
    """For operators and auditors: `?state=&process=&version=&key=&element=&incident=1&page=`, newest first."""
    if not person().groups & (OPERATORS | {"auditor"}):
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    asked = request.args
    wanted = Wanted(
        state=asked.get("state", ""),
        process_id=asked.get("process", ""),
        version=asked.get("version", type=int),
        key=asked.get("key", ""),
        element=asked.get("element", ""),
        incident=asked.get("incident") == "1",
    )
    page = max(1, asked.get("page", 1, type=int))
    found, _total = listing.find(reading(), wanted, limit=LISTED, offset=(page - 1) * LISTED)
    standing = listing.standing(reading(), [one.id for one in found])
    return json(
        [
            {**state_json(one), "elements": standing[one.id].elements, "incidents": standing[one.id].incidents}
            for one in found
        ]
    )


def _act(id: str, offices: frozenset[str], act: Callable[..., Any]) -> Response:
    """Do to an instance what needs nothing but a reason; answers the state that it is in then."""
    found = operable_instance(reading(), identifier(id), person(), offices)
    reason = member(body(), "reason", str)
    with transaction() as session:
        act(session, found.id, reason, by=person().username)
        answer = state_json(instances.get(session, found.id))
    return json(answer)


@blueprint.post("/instances/<id>/suspend")
def suspend_instance(id: str) -> Response:
    return _act(id, OPERATORS, suspension.suspend)


@blueprint.post("/instances/<id>/resume")
def resume_instance(id: str) -> Response:
    return _act(id, OPERATORS, suspension.resume)


@blueprint.post("/instances/<id>/cancel")
def cancel_instance(id: str) -> Response:
    return _act(id, ADMINISTRATORS, instances.cancel)


def _change(posted: dict[str, Any]) -> Change:
    lists = {name: member(posted, name, list, []) for name in ("cancel", "start", "unset")}
    return Change(**lists, set=member(posted, "set", dict, {}))


@blueprint.post("/instances/<id>/modify")
def modify_instance(id: str) -> Response:
    """`{"cancel": [element], "start": [element], "set": {name: value}, "unset": [name], "reason"}`."""
    found = operable_instance(reading(), identifier(id), person(), ADMINISTRATORS)
    posted = body()
    change, reason = _change(posted), member(posted, "reason", str)
    with transaction() as session:
        modification.modify(session, found.id, change, reason, by=person().username)
        answer = state_json(instances.get(session, found.id))
    return json(answer)


@blueprint.post("/instances/<id>/preview")
def preview_modification(id: str) -> Response:
    """What `modify` with the same body would lead to; nothing is changed."""
    found = operable_instance(reading(), identifier(id), person(), ADMINISTRATORS)
    posted = body()
    change, reason = _change(posted), member(posted, "reason", str)
    with transaction() as session:
        seen = modification.preview(session, found.id, change, reason, by=person().username)
    fails = {element: told(sentence) for element, sentence in seen.fails.items()}
    return json(
        {**{name: getattr(seen, name) for name in ("state", "active", "opens", "runs", "data")}, "fails": fails}
    )


@blueprint.post("/instances/<id>/restart")
def restart_instance(id: str) -> Response:
    """`{"element", "until", "version": number or "newest", "reason"}`; `until` is the event that ended the stay."""
    found = operable_instance(reading(), identifier(id), person(), ADMINISTRATORS)
    posted = body()
    version = member(posted, "version", int | str | None)
    if isinstance(version, str) and version != "newest":
        raise BadRequestError(N_("%(name)s is missing or of the wrong type."), name="version")
    element, reason = member(posted, "element", str), member(posted, "reason", str)
    until = member(posted, "until", int | None)
    with transaction() as session:
        copy = modification.restart(
            session,
            found.id,
            element,
            reason,
            by=person().username,
            until=until,
            version=version if isinstance(version, int) else None,
            newest=version == "newest",
        )
        answer = state_json(copy)
    return json(answer, 201)


@blueprint.post("/instances/<id>/migrate")
def migrate_instance(id: str) -> Response:
    """`{"version", "reason", "preview"}`; with `preview` only what would be met, and no reason is needed."""
    found = operable_instance(reading(), identifier(id), person(), OWNERS)
    posted = body()
    version = member(posted, "version", int)
    if member(posted, "preview", bool, False):
        return json(verdict_json(migration.preview(reading(), found.id, version)))
    reason = member(posted, "reason", str)
    with transaction() as session:
        migration.migrate(session, found.id, version, by=person().username, reason=reason)
        answer = state_json(instances.get(session, found.id))
    return json(answer)


@blueprint.post("/migrations")
def migrate_many() -> Response:
    """`{"process_id", "version", "ids" or "from", "reason", "preview"}`: many instances, each for itself.

    `ids` names them, or `from` the version they are on (the hundred that have been under way longest). With `preview`
    nothing is changed, no reason is needed, and each has its verdict. Nobody's own request goes over.
    """
    if not person().groups & OWNERS:
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    posted = body()
    version = member(posted, "version", int)
    target = definitions.get(reading(), member(posted, "process_id", str), version)
    chosen = _chosen(posted, target.process_id)
    refused = {asked: refusal for asked, found in chosen.items() if (refusal := _refusal(asked, found)) is not None}
    verdicts: dict[str, Verdict] = {}
    if member(posted, "preview", bool, False):
        verdicts = {asked: migration.preview(reading(), one.id, version) for asked, one in chosen.items() if one}
    else:
        reason = member(posted, "reason", str)
        going = {one.id: asked for asked, one in chosen.items() if one and asked not in refused}
        for outcome in migration.migrate_all(database(), going, version, by=person().username, reason=reason):
            if outcome.refusal is not None:
                refused[going[outcome.instance_id]] = outcome.refusal
    return json(
        [
            {
                "id": asked,
                "business_key": one.business_key if one else "",
                "migrated": asked not in refused and asked not in verdicts,
                "refusal": message_of(refused[asked]) if asked in refused else "",
                "verdict": verdict_json(verdicts[asked]) if asked in verdicts else None,
            }
            for asked, one in chosen.items()
        ]
    )


def _chosen(posted: dict[str, Any], process_id: str) -> dict[str, Instance | None]:
    """The instances of that process that are asked for, as they were named; None for one that is not there."""
    ids = member(posted, "ids", list | None)
    if ids is None:
        before = member(posted, "from", int)
        return {str(one.id): one for one in migration.under_way(reading(), process_id, before, limit=LISTED)}
    if len(ids) > LISTED or not all(isinstance(one, str) for one in ids):
        raise BadRequestError(N_("Name the instances to take over: `ids`, at most %(count)s."), count=LISTED)
    found = {asked: _instance(asked) for asked in ids}
    return {asked: one if one and one.process_id == process_id else None for asked, one in found.items()}


def _refusal(asked: str, found: Instance | None) -> DiaoquError | None:
    """Why an instance stays whatever the versions are: it is not there, or it is the caller's own request."""
    if found is None:
        return NotFoundError(N_("There is no case %(id)s, or you have no part in it."), id=asked[:100])
    try:
        check_not_own(found, person())
    except NotAllowedError as error:
        return error
    return None


def _instance(asked: str) -> Instance | None:
    try:
        return instances.get(reading(), asked)
    except NotFoundError:
        return None


def verdict_json(found: Verdict) -> dict[str, Any]:
    def told(reasons: list[Reason]) -> list[dict[str, str]]:
        return [{"code": one.code, "element": one.element, "message": _(one.template) % one.params} for one in reasons]

    return {
        "from": found.instance.version,
        "to": found.target,
        "possible": found.possible,
        "refused": told(found.refused),
        "warnings": told(found.warnings),
        "active": found.active,
    }


# ---- user tasks -----------------------------------------------------------------------------------------------------


@blueprint.post("/tasks/<id>/unclaim")
def unclaim_task(id: str) -> Response:
    found = visible_task(id)
    with transaction() as session:
        answer = task_json(tasks.unclaim(session, found.id, by=person()))
    return json(answer)


@blueprint.post("/tasks/<id>/delegate")
def delegate_task(id: str) -> Response:
    """`{"to": username, "reason"}`, by whoever holds the task or may take it."""
    found, posted = visible_task(id), body()
    to, reason = member(posted, "to", str), member(posted, "reason", str)
    with transaction() as session:
        answer = task_json(assignments.delegate(session, found.id, to, reason, by=person()))
    return json(answer)


@blueprint.post("/tasks/<id>/assign")
def assign_task(id: str) -> Response:
    """`{"to": username or "", "reason"}`, by an administrator; "" gives the task back to its group."""
    found, posted = visible_task(id), body()
    to, reason = member(posted, "to", str), member(posted, "reason", str)
    with transaction() as session:
        answer = task_json(assignments.assign(session, found.id, to, reason, by=person()))
    return json(answer)


@blueprint.post("/tasks/<id>/change")
def change_task(id: str) -> Response:
    """`{"priority", "due_at", "remind_at", "reason"}`, by an administrator; what is not named stays."""
    found, posted = visible_task(id), body()
    changes: dict[str, Any] = {name: posted[name] for name in ("priority", "due_at", "remind_at") if name in posted}
    for name in changes.keys() - {"priority"}:
        if changes[name] is not None:
            changes[name] = _instant(name, changes[name])
    with transaction() as session:
        answer = task_json(assignments.change(session, found.id, changes, member(posted, "reason", str), by=person()))
    return json(answer)


def _instant(name: str, value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise BadRequestError(N_("%(name)s is no ISO 8601 time with its offset."), name=name) from error
    if found.tzinfo is None:
        raise BadRequestError(N_("%(name)s is no ISO 8601 time with its offset."), name=name)
    return found


# ---- jobs -----------------------------------------------------------------------------------------------------------


def job_json(found: Job) -> dict[str, Any]:
    names = (
        "id instance_id task_id element name operator site state due_at attempts error progress created_at started_at "
        "ended_at"
    )
    return {name: told(getattr(found, name)) for name in names.split()}


@blueprint.get("/jobs")
def list_jobs() -> Response:
    """All jobs of one instance that the caller may see, or, for operators, everything that has stopped."""
    wanted = request.args.get("instance")
    if wanted:
        found = jobs.of_instance(reading(), visible_instance(reading(), identifier(wanted), person()).id)
    elif person().groups & OPERATORS:
        found = jobs.incidents(reading())
    else:
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    return json([job_json(one) for one in found])


def _operable_job(id: str) -> Job:
    if not person().groups & OPERATORS:
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    found = jobs.get(reading(), identifier(id))
    check_not_own(instances.get(reading(), found.instance_id), person())
    return found


@blueprint.post("/jobs/<id>/retry")
def retry_job(id: str) -> Response:
    """`{"params": {…}}`: other parameters, or none to try the same again; for a failed script, corrected data."""
    found, posted = _operable_job(id), body()
    params = member(posted, "params", dict | None)
    with transaction() as session:
        answer = job_json(jobs.retry(session, found.id, by=person().username, params=params))
    return json(answer)


@blueprint.post("/jobs/<id>/cancel")
def cancel_job(id: str) -> Response:
    """`{"reason"}`: give an incident up; the diagram goes on by its error path where it has one."""
    found = _operable_job(id)
    reason = instances.checked_reason(body().get("reason"))
    with transaction() as session:
        answer = job_json(jobs.cancel(session, found.id, by=person().username, reason=reason))
    return json(answer)


# ---- messages without receiver --------------------------------------------------------------------------------------


def message_json(found: Message) -> dict[str, Any]:
    """A message without its contents."""
    names = (
        "id name business_key state sender_id sender_element sent_by sent_at error received_by ended_at ended_by reason"
    )
    return {name: told(getattr(found, name)) for name in names.split()}


@blueprint.get("/messages")
def list_messages() -> Response:
    """For operators and auditors: what nobody has taken; with `?state=discarded` what was discarded."""
    if not person().groups & (OPERATORS | {"auditor"}):
        raise NotAllowedError(N_("This is for administrators and, in part, for operators."))
    asked = messages.discarded if request.args.get("state") == "discarded" else messages.undelivered
    return json([message_json(one) for one in asked(reading())])


@blueprint.post("/messages/<id>/deliver")
def deliver_message(id: str) -> Response:
    """`{"reason"}`: deliver it at once; 409 says why it cannot be, and it stays."""
    found = operable_message(reading(), identifier(id), person())
    reason = member(body(), "reason", str)
    return json(message_json(messages.deliver_now(database(), found.id, reason, by=person().username)))


@blueprint.post("/messages/<id>/discard")
def discard_message(id: str) -> Response:
    """`{"reason"}`: it never arrives."""
    found = operable_message(reading(), identifier(id), person())
    reason = member(body(), "reason", str)
    with transaction() as session:
        answer = message_json(messages.discard(session, found.id, reason, by=person().username))
    return json(answer)
