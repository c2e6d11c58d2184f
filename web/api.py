"""REST under /api/v1, for programs: bearer tokens (web/auth.py), JSON in and out, errors as RFC 9457."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response, request
from sqlalchemy import func, select, text
from werkzeug.exceptions import RequestEntityTooLarge

from engine import clock, definitions, history, instances, messages, payloads, replay, seals, tasks
from engine.errors import N_, ConflictError, DiaoquError, NotAllowedError, NotFoundError, OversizedError
from engine.models import Instance, Job, ProcessDefinition, Task
from web import openapi, sources
from web.auth import person, public
from web.edge import reading, settings, transaction
from web.requests import PROCESS, WITHDRAW, withdrawal
from web.visibility import may_see, visible_instance

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

MAX_BODY = 8 * 1024 * 1024
MAX_NAME, MAX_KEY = 200, 100
"""Characters of a message's name and of a business key: the tables end there."""
DEPLOYERS = frozenset({"owner", "admin"})


class BadRequestError(DiaoquError):
    """The request is not what this address takes."""


def json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body, default=str), status=status, content_type="application/json")


@contextmanager
def limited() -> Iterator[None]:
    """Within the block, no more than MAX_BODY is read, whether or not the sender says how much there is.

    What is read as a whole ends at the limit without a word: one byte more is read, so that it can be told.

    Raises:
        OversizedError
    """
    request.max_content_length = MAX_BODY + 1
    try:
        yield
    except RequestEntityTooLarge as error:
        raise OversizedError(N_("More than %(limit)s MB are not accepted."), limit=MAX_BODY // 2**20) from error


def body() -> dict[str, Any]:
    """The JSON object that was posted.

    Raises:
        OversizedError, BadRequestError
    """
    with limited():
        posted = request.get_data(cache=False)
        if len(posted) > MAX_BODY:
            raise RequestEntityTooLarge
    try:
        found = orjson.loads(posted or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequestError(N_("The body is not JSON: %(reason)s."), reason=str(error)) from error
    if not isinstance(found, dict):
        raise BadRequestError(N_("The body must be a JSON object."))
    return found


def member(found: dict[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    value = found.get(name, default)
    if not isinstance(value, kind):
        raise BadRequestError(N_("%(name)s is missing or of the wrong type."), name=name)
    return value


def identifier(value: str) -> UUID:
    """Raises NotFoundError for what is no id: nothing can be there."""
    try:
        return UUID(value)
    except ValueError:
        raise NotFoundError(N_("There is no %(id)s."), id=value[:60]) from None


def instance_json(found: Instance) -> dict[str, Any]:
    return {
        "id": found.id,
        "process_id": found.process_id,
        "version": found.version,
        "business_key": found.business_key,
        "state": found.state,
        "started_by": found.started_by,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "seq": found.seq,
        "head": found.head,
        "data": found.data,
    }


def task_json(found: Task) -> dict[str, Any]:
    names = (
        "id instance_id element name lane form state assignee owner claimed_by candidate_group candidate_users "
        "excluded signature qualification priority due_at remind_at created_at completed_by completed_at"
    )
    return {name: getattr(found, name) for name in names.split()}


@blueprint.get("/openapi.json")
@public
def openapi_document() -> Response:
    return json(openapi.document())


@blueprint.get("/health")
@public
def health() -> Response:
    reading().execute(text("select 1"))
    return json({"status": "ok", "at": clock.now()})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus text: instances, open tasks and jobs by state."""
    session = reading()
    lines = []
    for name, column, model in (
        ("instances", Instance.state, Instance),
        ("tasks", Task.state, Task),
        ("jobs", Job.state, Job),
    ):
        lines += [f"# HELP diaoqu_{name} {name} by state", f"# TYPE diaoqu_{name} gauge"]
        for state, count in session.execute(select(column, func.count()).select_from(model).group_by(column)):
            lines.append(f'diaoqu_{name}{{state="{state}"}} {count}')
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.post("/deployments")
def deploy() -> Response:
    if not person().groups & DEPLOYERS:
        raise NotAllowedError(N_("Only process owners deploy diagrams."))
    with limited():
        received = list(request.files.items(multi=True))
    files: dict[str, bytes] = {}
    for _field, posted in received:
        name = posted.filename or "unnamed.bpmn"
        if name in files:
            raise BadRequestError(N_("The file %(name)s was posted twice."), name=name[:100])
        files[name] = posted.read()
    if not files:
        raise BadRequestError(N_("Post the files as multipart/form-data."))
    with transaction() as session:
        deployed = definitions.deploy(
            session, definitions.decoded(files), by=person().username, note=request.form.get("note", "")
        )
        answer = [{"process_id": found.process_id, "version": found.version} for found in deployed]
    return json({"definitions": answer}, 201)


@blueprint.get("/definitions")
def list_definitions() -> Response:
    rows = reading().scalars(
        select(ProcessDefinition).order_by(ProcessDefinition.process_id, ProcessDefinition.version)
    )
    return json([{"process_id": r.process_id, "version": r.version, "name": r.name, "digest": r.digest} for r in rows])


@blueprint.post("/instances")
def start_instance() -> Response:
    found = body()
    process_id = member(found, "process_id", str)
    data, name = member(found, "data", dict, {}), person().username
    with transaction() as session:
        # whoever starts a request is its applicant: nobody applies in another's name
        started = instances.start(session, process_id, {**data, "applicant": name}, by=name)
        answer = instance_json(started)
    return json(answer, 201)


@blueprint.get("/instances/<id>")
def get_instance(id: str) -> Response:
    return json(instance_json(visible_instance(reading(), identifier(id), person())))


@blueprint.get("/instances/<id>/history")
def instance_history(id: str) -> Response:
    found = visible_instance(reading(), identifier(id), person())
    rows = [
        {
            "seq": event.seq,
            "at": event.at,
            "kind": event.kind,
            "actor": event.actor,
            "payload": orjson.Fragment(event.payload),
            "lookups": orjson.Fragment(event.lookups),
            "derived": orjson.Fragment(event.derived),
            "digest": event.digest,
        }
        for event in history.events(reading(), found.id)
    ]
    return json(rows)


@blueprint.get("/instances/<id>/verification")
def verification(id: str) -> Response:
    found = visible_instance(reading(), identifier(id), person())
    verdict = replay.verify(reading(), found.id, trusted=seals.trusted_keys(settings()))
    findings = [str(finding) for finding in verdict.findings]
    answer = {"ok": verdict.ok, "events": verdict.events, "sealed": verdict.sealed, "findings": findings}
    erased = verdict.erasure
    erasure = {"event": erased.seq, "disposal": erased.disposal, "inputs": list(erased.inputs)} if erased else None
    return json({**answer, "erasure": erasure})


@blueprint.get("/tasks")
def list_tasks() -> Response:
    """Open tasks: of one instance that the caller may see, or of the caller's own inbox."""
    session, user = reading(), person()
    wanted, assignee = request.args.get("instance"), request.args.get("assignee")
    if wanted:
        found = visible_instance(session, identifier(wanted), user)
        query = select(Task).where(Task.instance_id == found.id, Task.state.in_(("open", "claimed")))
        rows = list(session.scalars(query.order_by(Task.created_at)))
    else:
        rows = tasks.inbox(session, user, at=clock.now())
    if assignee:
        rows = [row for row in rows if assignee in (row.assignee, row.claimed_by)]
    return json([task_json(row) for row in rows])


def visible_task(id: str) -> Task:
    found = tasks.get(reading(), identifier(id))
    if not may_see(reading(), reading().get_one(Instance, found.instance_id), person()):
        raise NotFoundError(N_("There is no task %(id)s, or it is not for you."), id=id)
    return found


@blueprint.get("/tasks/<id>")
def get_task(id: str) -> Response:
    return json(task_json(visible_task(id)))


@blueprint.post("/tasks/<id>/claim")
def claim_task(id: str) -> Response:
    found = visible_task(id)
    with transaction() as session:
        tasks.claim(session, found.id, by=person())
        answer = task_json(tasks.get(session, found.id))
    return json(answer)


@blueprint.post("/tasks/<id>/complete")
def complete_task(id: str) -> Response:
    """`{"data": {…}}`, and where the task is to be signed `"signature": {"password": …}`."""
    posted = body()
    password = member(posted, "signature", dict, {}).get("password")
    signature = tasks.SignatureRequest(password=password) if isinstance(password, str) else None
    data = member(posted, "data", dict, {})
    try:
        with transaction() as session:
            lists = sources.Lists(session)
            done = tasks.complete(session, identifier(id), data, by=person(), signature=signature, sources=lists)
            answer = task_json(done)
    except NotAllowedError:
        visible_task(id)  # whoever has no part in the case is not to learn that there is such a task
        raise
    return json(answer)


@blueprint.post("/messages")
def send_message() -> Response:
    """`{"name", "correlation", "data"}`; from whoever started the instance, or an administrator (docs/messages.md).

    `correlation` names the receiver by `instance` or by `business_key`; without either, what the data carries is
    compared as the diagrams say. A message of an administrator that nobody waits for may start a process, or is kept.
    """
    posted, user = body(), person()
    name, payload = member(posted, "name", str), member(posted, "data", dict, {})
    wanted = member(posted, "correlation", dict, {})
    for unknown in sorted(set(wanted) - {"instance", "business_key"}):
        raise BadRequestError(N_("%(name)s is not something to correlate a message by."), name=unknown[:60])
    key = member(wanted, "business_key", str, "")
    payloads.encode({"name": name, "payload": payload, "business_key": key})
    if not 0 < len(name) <= MAX_NAME or len(key) > MAX_KEY:
        raise BadRequestError(N_("%(name)s is missing or of the wrong type."), name="name")
    if "instance" in wanted:
        target: UUID | None = identifier(str(wanted["instance"]))
    else:
        target = _receiver(name, payload, key)
    if target is None:
        return _send_to_nobody(name, payload, key)
    found = visible_instance(reading(), target, user)
    if found.started_by != user.username and "admin" not in user.groups:
        raise NotAllowedError(N_("Only the person who started the case may send it a message."))
    if (found.process_id, name) == (PROCESS, WITHDRAW):
        payload = withdrawal(payload.get("reason"))
    with transaction() as session:
        instances.send_message(session, found.id, name, payload, by=user.username)
    return json({"delivered": 1}, 202)


def _receiver(name: str, payload: dict[str, Any], key: str) -> UUID | None:
    """Raises ConflictError when more than one waits; only an administrator may send to whoever it is for."""
    is_admin = "admin" in person().groups
    try:
        found = (
            messages.receiver(reading(), name, payload, at=clock.now(), business_key=key) if key or is_admin else None
        )
    except ConflictError:
        if is_admin:
            raise
        found = None  # whose they are is not for everybody
    if found is None and not is_admin:
        raise NotFoundError(N_("Nobody waits for the message %(name)s."), name=name)
    return found


def _send_to_nobody(name: str, payload: dict[str, Any], key: str) -> Response:
    with transaction() as session:
        sent = messages.send(session, name, payload, by=person().username, business_key=key)
        answer = {"delivered": int(sent.state == "delivered"), "message": sent.id, "instance": sent.received_by}
    return json(answer, 202)


@blueprint.post("/signals")
def send_signal() -> Response:
    """`{"name", "data"}` to everybody who listens now; administrators only."""
    posted = body()
    name, payload = member(posted, "name", str), member(posted, "data", dict, {})
    if "admin" not in person().groups:
        raise NotAllowedError(N_("Only an administrator sends signals."))
    with transaction() as session:
        return json({"listening": messages.broadcast(session, name, payload, by=person().username)}, 202)
