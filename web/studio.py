"""The process owners' desk: revise a diagram, see what the engine would refuse, deploy it with a note (F3)."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy import func, select

import device.operators  # noqa: F401 - registers the operators that the modeler offers
from engine import definitions, lint, operators
from engine.errors import N_, DefinitionError, FieldError, InvalidFormError, Problem
from engine.models import Instance
from web import diagrams
from web.auth import GROUPS, person, requires
from web.edge import reading, transaction
from web.i18n import language

blueprint = Blueprint("studio", __name__, url_prefix="/studio")

EDITORS = ("owner", "admin")


@blueprint.get("/")
@requires(*EDITORS)
def index() -> Any:
    """All processes: newest version, who deployed it, how many cases are under way on which version."""
    session = reading()
    running: dict[str, dict[int, int]] = {}
    counted = select(Instance.process_id, Instance.version, func.count()).where(Instance.state == "running")
    for process_id, version, count in session.execute(counted.group_by(Instance.process_id, Instance.version)):
        running.setdefault(process_id, {})[version] = count
    return render_template("studio/index.html", processes=definitions.latest_versions(session), running=running)


@blueprint.get("/<process_id>")
@requires(*EDITORS)
def edit(process_id: str) -> Any:
    """The modeler on the newest version, or on `?version=`, from which a new version is then deployed."""
    session = reading()
    definition = definitions.get(session, process_id, request.args.get("version", type=int))
    return render_template(
        "studio/edit.html",
        definition=definition,
        versions=definitions.versions(session, process_id),
        embedded={"catalogue": catalogue(definitions.files(session, definition.id)), "words": words()},
        source=url_for("diagrams.xml", definition_id=definition.id),
    )


@blueprint.get("/<process_id>/versions/<int:version>")
@requires(*EDITORS, "auditor")
def show(process_id: str, version: int) -> Any:
    """A version as it was deployed, to look at."""
    session = reading()
    definition = definitions.get(session, process_id, version)
    return render_template(
        "studio/version.html",
        definition=definition,
        labels=diagrams.labels(session, definition.id),
        files=sorted(definitions.files(session, definition.id)),
    )


@blueprint.post("/<process_id>/lint")
@requires(*EDITORS)
def check(process_id: str) -> Response:
    """What deploying the posted diagram would find, for the modeler to draw on its elements."""
    return _json({"problems": [as_json(problem) for problem in lint.lint(_with_posted(process_id))]})


@blueprint.post("/<process_id>/deploy")
@requires(*EDITORS)
def deploy(process_id: str) -> Response:
    """Deploy the posted diagram as the next version; cases under way stay on theirs."""
    note = request.form.get("note", "").strip()
    if not note:
        raise InvalidFormError({"note": FieldError(N_("Say what changed and why."), {})})
    definition = definitions.latest(reading(), process_id)
    try:
        with transaction() as session:
            new = definitions.deploy(session, {definition.file: posted_xml()}, by=person().username, note=note)
            versions = [(found.process_id, found.version) for found in new]
    except DefinitionError as error:
        problems = [as_json(problem) for problem in error.problems]
        return _json(
            {"message": _("Not deployed: %(count)s problem(s).", count=len(problems)), "problems": problems}, 422
        )
    if not versions:
        return _json({"message": _("Nothing has changed since version %(version)s.", version=definition.version)}, 409)
    message = _("Version %(version)s is deployed. Cases under way stay on their version.", version=versions[0][1])
    flash(message, "success")
    return _json({"message": message, "location": url_for("studio.edit", process_id=process_id)})


@blueprint.post("/deploy")
@requires(*EDITORS)
def upload() -> Any:
    """Deploy files from the computer: diagrams of other modelers, decision tables, forms."""
    posted = [file for file in request.files.getlist("files") if file.filename]
    if not posted:
        raise InvalidFormError({"files": FieldError(N_("Choose at least one file."), {})})
    files = definitions.decoded({file_name(file.filename or ""): file.read() for file in posted})
    with transaction() as session:
        new = definitions.deploy(session, files, by=person().username, note=request.form.get("note", "").strip())
        names = [f"{found.process_id} {found.version}" for found in new]
    flash(_("Deployed: %(names)s.", names=", ".join(names)) if names else _("Nothing has changed."), "success")
    return redirect(url_for("studio.index"))


def file_name(posted: str) -> str:
    """Where a posted file stands in a deployment: forms in forms/, everything else at the top; never a path."""
    name = re.sub(r"[^\w.\-]", "_", posted.replace("\\", "/").rsplit("/", 1)[-1])
    return f"forms/{name}" if name.endswith(".form") else name


def posted_xml() -> str:
    return request.form.get("xml", "").replace("\r\n", "\n")


def _with_posted(process_id: str) -> dict[str, str]:
    definition = definitions.latest(reading(), process_id)
    return {**definitions.files(reading(), definition.id), definition.file: posted_xml()}


def as_json(problem: Problem) -> dict[str, Any]:
    names = ("file", "line", "element", "rule", "message", "severity")
    return {name: getattr(problem, name) for name in names}


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json")


def catalogue(files: Mapping[str, str]) -> dict[str, Any]:
    """What the properties panel offers: operators with typed parameters, forms, decisions, groups."""
    chinese = language() == "zh"
    decisions = []
    for name, text in files.items():
        if name.endswith(".dmn"):
            for element in lint.read_xml(text).iter("{*}decision"):
                label = element.get("name") or element.get("id") or ""
                decisions.append({"value": element.get("id"), "label": label})
    return {
        "operators": [
            {
                "id": found.id,
                "label": found.label_zh if chinese else found.label_en,
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
        "decisions": decisions,
        "groups": [{"value": key, "label": _(label)} for key, label in GROUPS.items()],
    }


def words() -> dict[str, str]:
    """What the script says, in the reader's language; `{count}` is filled in by the script."""
    return {
        "error": _("Error"),
        "warning": _("Warning"),
        "problems": _("%(count)s finding(s); errors must be corrected before deployment.", count="{count}"),
        "clean": _("No problems found."),
        "deploying": _("Deploying …"),
    }
