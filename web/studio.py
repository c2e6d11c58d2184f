"""The process owners' desk: revise a diagram, see what the engine would refuse, deploy it with a note (F3)."""

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import orjson
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage

import device.operators  # noqa: F401 - registers the operators that the modeler offers
from engine import definitions, lint, operators
from engine.errors import N_, ConflictError, DefinitionError, FieldError, InvalidFormError
from engine.models import Instance, Membership
from web import diagrams, findings, people
from web.auth import GROUPS, person, requires
from web.edge import reading, transaction
from web.forms_html import Sheet
from web.i18n import _, language
from web.sources import for_form, places

blueprint = Blueprint("studio", __name__, url_prefix="/studio")

EDITORS = ("owner", "admin")
READERS = (*EDITORS, "auditor")


# ---- looking --------------------------------------------------------------------------------------------------------


@blueprint.get("/")
@requires(*EDITORS)
def index() -> Any:
    return _index()


def _index(problems: Any = (), note: str = "") -> str:
    """All processes: newest version, who deployed it and why, how many cases are under way on which version."""
    session = reading()
    running: dict[str, dict[int, int]] = {}
    counted = select(Instance.process_id, Instance.version, func.count()).where(Instance.state == "running")
    for process_id, version, count in session.execute(counted.group_by(Instance.process_id, Instance.version)):
        running.setdefault(process_id, {})[version] = count
    processes = definitions.latest_versions(session)
    people.remember(found.deployment.deployed_by for found in processes)
    return render_template(
        "studio/index.html",
        processes=processes,
        names={found.id: diagrams.label(session, found.id, found.name) for found in processes},
        running=running,
        problems=problems,
        note=note,
    )


@blueprint.get("/<process_id>")
@requires(*EDITORS)
def edit(process_id: str) -> Any:
    """The modeler on the newest version, or on `?version=`, from which the next version is then deployed."""
    session = reading()
    newest = definitions.latest(session, process_id)
    definition = definitions.get(session, process_id, request.args.get("version", type=int))
    versions = definitions.versions(session, process_id)
    people.remember(found.deployment.deployed_by for found in versions)
    return render_template(
        "studio/edit.html",
        definition=definition,
        newest=newest,
        name=diagrams.label(session, definition.id, definition.name),
        versions=versions,
        embedded={
            "catalogue": catalogue(definitions.files(session, newest.id)),
            "words": words(),
            "base": newest.version,
        },
    )


@blueprint.get("/<process_id>/versions/<int:version>")
@requires(*READERS)
def show(process_id: str, version: int) -> Any:
    """A version as it was deployed, to look at."""
    session = reading()
    definition = definitions.get(session, process_id, version)
    names = diagrams.labels(session, definition.id)
    counted = select(Instance.state, func.count()).where(Instance.definition_id == definition.id)
    return render_template(
        "studio/version.html",
        definition=definition,
        name=names.get(definition.name, definition.name),
        position={"source": url_for("diagrams.xml", definition_id=definition.id), "events": [], "labels": names},
        files=sorted(definitions.files(session, definition.id)),
        counts=dict(session.execute(counted.group_by(Instance.state)).all()),
        may_edit=bool(person().groups & set(EDITORS)),
    )


@blueprint.get("/<process_id>/versions/<int:version>/forms/<name>")
@requires(*READERS)
def form(process_id: str, version: int, name: str) -> Any:
    """A form of a version as people see it, empty."""
    session = reading()
    definition = definitions.get(session, process_id, version)
    found = definitions.form(session, definition.id, name)
    sheet = Sheet(
        found,
        values={},
        sources=for_form(session, found),
        labels=diagrams.labels(session, definition.id),
        places=places(session),
    )
    return render_template("studio/form.html", definition=definition, form_name=name, sheet=sheet)


# ---- checking and deploying -----------------------------------------------------------------------------------------


@blueprint.post("/<process_id>/lint")
@requires(*EDITORS)
def check(process_id: str) -> Response:
    """What deploying the posted diagram would find, for the modeler to draw on its elements."""
    session = reading()
    definition = definitions.latest(session, process_id)
    files = {**definitions.files(session, definition.id), definition.file: posted_xml()}
    found = lint.lint(files, groups=_groups(session))
    return _json({"problems": [findings.as_json(problem) for problem in found]})


def _groups(session: Session) -> set[str]:
    """The groups that somebody is in, as a deployment knows them."""
    return set(session.scalars(select(Membership.group).distinct()))


@blueprint.post("/<process_id>/deploy")
@requires(*EDITORS)
def deploy(process_id: str) -> Response:
    """Deploy the posted diagram as the next version; cases under way stay on theirs.

    `base` is the newest version when the page was opened: what somebody else deployed meanwhile is not undone.
    """
    note = request.form.get("note", "").strip()
    if not note:
        raise InvalidFormError({"note": FieldError(N_("Say what changed and why."), {})})
    try:
        with transaction() as session:
            newest = definitions.latest(session, process_id)
            if request.form.get("base", type=int) not in (None, newest.version):
                raise ConflictError(
                    N_("%(person)s has deployed version %(version)s meanwhile: open it, and make your change there."),
                    person=newest.deployment.deployed_by,
                    version=newest.version,
                )
            new = definitions.deploy(session, {newest.file: posted_xml()}, by=person().username, note=note)
            _require(process_id, {found.process_id for found in new} | {newest.process_id})
            versions = {found.process_id: found.version for found in new}
    except DefinitionError as error:
        problems = [findings.as_json(problem) for problem in error.problems]
        return _json(
            {"message": _("Not deployed: %(count)s problem(s).", count=len(problems)), "problems": problems}, 422
        )
    if not versions:
        return _json({"message": _("Nothing has changed since version %(version)s.", version=newest.version)}, 409)
    message = _("Version %(version)s is deployed. Cases under way stay on theirs.", version=versions[process_id])
    flash(message, "success")
    return _json({"message": message, "version": versions[process_id], "location": url_for("studio.index")})


def _require(process_id: str, deployed: set[str]) -> None:
    """Raises ConflictError when the posted diagram is that of another process."""
    if process_id not in deployed:
        raise ConflictError(N_("The diagram does not define the process %(process)s."), process=process_id)


@blueprint.post("/deploy")
@requires(*EDITORS)
def upload() -> Any:
    """Deploy files from the computer: diagrams of other modelers, decision tables, forms."""
    posted = [file for file in request.files.getlist("files") if file.filename]
    note = request.form.get("note", "").strip()
    if not posted or not note:
        missing = {} if posted else {"files": FieldError(N_("Choose at least one file."), {})}
        raise InvalidFormError(missing or {"note": FieldError(N_("Say what changed and why."), {})})
    try:
        files = definitions.decoded({file_name(file.filename or ""): _content(file) for file in posted})
        with transaction() as session:
            new = definitions.deploy(session, files, by=person().username, note=note)
            names = [f"{found.name} {found.version}" for found in new]
    except DefinitionError as error:
        return _index([findings.as_json(problem) for problem in error.problems], note), 422
    flash(_("Deployed: %(names)s.", names=", ".join(names)) if names else _("Nothing has changed."), "success")
    return redirect(url_for("studio.index"))


def _content(file: FileStorage) -> bytes:
    with closing(file):
        return bytes(file.read())


def file_name(posted: str) -> str:
    """Where a posted file stands in a deployment: forms in forms/, everything else at the top; never a path."""
    name = re.sub(r"[^\w.\-]", "_", posted.replace("\\", "/").rsplit("/", 1)[-1])
    return f"forms/{name}" if name.endswith(".form") else name


def posted_xml() -> str:
    return request.form.get("xml", "").replace("\r\n", "\n")


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json")


# ---- what the modeler offers ----------------------------------------------------------------------------------------


def catalogue(files: Mapping[str, str]) -> dict[str, Any]:
    """Operators with typed parameters, forms, decisions and groups, for the properties panel."""
    chinese = language() == "zh"
    return {
        "operators": [
            {
                "id": found.id,
                "label": found.label_zh if chinese else found.label_en,
                "description": found.description.partition("\n\n")[0].replace("\n", " "),
                "parameters": [{"id": p.name, "type": p.type, "required": p.required} for p in found.parameters],
                "errors": list(found.errors),
            }
            for found in operators.catalogue()
        ],
        "forms": [
            {"value": name.removeprefix("forms/"), "label": name.removeprefix("forms/")}
            for name in sorted(files)
            if name.endswith(".form")
        ],
        "decisions": [
            {"value": element.get("id"), "label": _decision(element)}
            for name, text in files.items()
            if name.endswith(".dmn")
            for element in lint.read_xml(text).iter("{*}decision")
        ],
        "groups": [{"value": key, "label": _(label)} for key, label in GROUPS.items()],
    }


def _decision(element: Any) -> str:
    """The name of a decision and, in the words of the standard, how its table comes to a result."""
    table = element.find("{*}decisionTable")
    policy = filter(None, (table.get("hitPolicy") or "UNIQUE", table.get("aggregation")))
    return f"{element.get('name') or element.get('id')} ({' '.join(policy)})"


def words() -> dict[str, str]:
    """What the script says, in the reader's language; `{errors}` and `{count}` are filled in by the script."""
    return {
        "error": _("Error"),
        "warning": _("Warning"),
        "errors": _("%(errors)s error(s), %(count)s finding(s)", errors="{errors}", count="{count}"),
        "warnings": _("%(count)s warning(s)", count="{count}"),
        "clean": _("No problems found"),
        "large": _("The diagram is too large: nothing was stored."),
        "unreachable": _("The server does not answer. Your change is still in this page; try again."),
    }
