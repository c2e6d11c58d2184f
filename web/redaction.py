"""Redacting footage: a person looks through the faces that were found, adds what was missed, and has a copy made (N2).

The page works without a script: regions are numbers. With one, a rectangle is drawn on the picture. What is submitted
becomes a list of its own beside the redacted copy (docs/derivatives.md).
"""

import hashlib
import math
import secrets
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, flash, redirect, request, send_file, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import evidence, regions, stills
from device.access import Permission
from device.evidence import Described
from device.models import Case, EvidenceItem
from device.operators.derivation import read_regions
from device.redaction import MANNERS
from device.regions import Region, RegionError
from device.storage import write_file
from engine import instances
from engine.errors import N_, ConflictError, FieldError, InvalidFormError, NotAllowedError, NotFoundError
from engine.models import User
from web import cases, copies, footage
from web.auth import person
from web.case_access import may_redact, visible_case
from web.edge import database, reading, settings, transaction
from web.i18n import _

blueprint = Blueprint("redaction", __name__, url_prefix="/cases/<int:case_id>/redaction/<int:item_id>")

ROWS = 4
"""Empty lines for regions of one's own; more appear when these are used up."""

NUMBERS = ("from", "to", "x", "y", "width", "height")


@dataclass(frozen=True)
class Desk:
    """What a reviewer works on: the master, its viewing copy, and the newest lists of regions about it."""

    case: Case
    master: EvidenceItem
    viewing: EvidenceItem
    permission: Permission
    faces: EvidenceItem | None
    reviewed: EvidenceItem | None
    redacted: EvidenceItem | None


def _desk(case_id: int, item_id: int) -> Desk:
    session, user = reading(), person()
    case, instance = visible_case(session, case_id, user)
    permission = may_redact(session, case, user)
    if permission is None:
        raise NotAllowedError(N_("Footage is redacted by retrieval operators, and by nobody on their own request."))
    found = [take for take in footage.takes(session, case, instance) if take.master.id == item_id and take.viewing]
    if not found or found[0].viewing is None:
        raise NotFoundError(N_("There is no such footage in this case."))
    take = found[0]
    faces, reviewed = (_newest(session, take.master, kind) for kind in ("faces", "regions"))
    return Desk(case, take.master, found[0].viewing, permission, faces, reviewed, take.redacted)


def _newest(session: Session, master: EvidenceItem, kind: str) -> EvidenceItem | None:
    query = select(EvidenceItem).where(
        EvidenceItem.master_id == master.id, EvidenceItem.kind == kind, EvidenceItem.discarded_at.is_(None)
    )
    return session.scalar(query.order_by(EvidenceItem.id.desc()).limit(1))


# ---- the page -------------------------------------------------------------------------------------------------------


@blueprint.get("")
def show(case_id: int, item_id: int) -> Any:
    """The faces that were found, each with pictures along its time, and lines for regions of one's own."""
    desk = _desk(case_id, item_id)
    proposed = _known(desk)
    own = [region for region in proposed if region.source == "person"]
    return cases.page(
        case_id,
        "redaction",
        desk=desk,
        proposed=[region for region in proposed if region.source == "detector"],
        own=own,
        rows=range(len(own) + ROWS),
        size=_size(desk),
        under_way=copies.under_way(reading(), desk.case, person()),
        moments=_moments,
        crop=_crop,
        corners=corners,
    )


def _known(desk: Desk) -> list[Region]:
    """What was reviewed last, or what was proposed since then; a proposal that is newer counts again."""
    session = reading()
    listed = [item for item in (desk.faces, desk.reviewed) if item is not None]
    if not listed:
        return []
    newest = max(listed, key=lambda item: item.id)
    return read_regions(evidence.locate(session, settings(), newest))


def _size(desk: Desk) -> tuple[int, int]:
    report = desk.master.facts.get("report") or {}
    return int(report.get("width") or 0), int(report.get("height") or 0)


def _moments(region: Region) -> list[float]:
    """Three times along a region at which it is shown: where it was really seen, not in its margins."""
    first, last = region.keyframes[0][0], region.keyframes[-1][0]
    return sorted({round(at, 3) for at in (first, (first + last) / 2, last)})


def _crop(region: Region, at: float) -> str:
    box = region.box(at)
    return ",".join(str(max(0, round(value))) for value in (box.x, box.y, box.width, box.height))


@blueprint.get("/frame")
def frame(case_id: int, item_id: int) -> Response:
    """The picture `?at=` of the footage as JPEG, or the part `&box=x,y,width,height` of it."""
    desk = _desk(case_id, item_id)
    at = request.args.get("at", -1.0, type=float)
    if not 0 <= at < 10**6:
        raise InvalidFormError({"at": FieldError(N_("Say how many seconds after the beginning."), {})})
    found = stills.picture(evidence.locate(reading(), settings(), desk.viewing), at, _box())
    if found is None:
        raise NotFoundError(N_("The footage is shorter than that."))
    footage.log(desk.case, desk.viewing, person(), desk.permission, "viewed")
    response = send_file(BytesIO(found), mimetype="image/jpeg")
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _box() -> tuple[int, int, int, int] | None:
    parts = request.args.get("box", "").split(",")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        return None
    x, y, width, height = map(int, parts)
    return x, y, width, height


# ---- what is asked for ----------------------------------------------------------------------------------------------


@blueprint.post("/faces")
def look_for_faces(case_id: int, item_id: int) -> Any:
    """Start looking for faces; the list of what is found is an item of the case."""
    desk = _desk(case_id, item_id)
    _start(desk, {"kind": "faces"})
    flash(_("Faces are being looked for."), "success")
    return redirect(url_for(".show", case_id=case_id, item_id=item_id))


@blueprint.post("")
def submit(case_id: int, item_id: int) -> Any:
    """Keep the reviewed regions as a list of their own, and have the redacted copy made from it."""
    desk = _desk(case_id, item_id)
    user = person()
    chosen = set(request.form.getlist("on"))
    found = [replace(each, on=each.id in chosen) for each in _known(desk) if each.source == "detector"]
    found += _own_regions()
    if not any(region.on for region in found):
        raise InvalidFormError(
            {"regions": FieldError(N_("Nothing would be painted over: choose or add a region."), {})}
        )
    manner = request.form.get("manner", "fill")
    if manner not in MANNERS:
        raise InvalidFormError({"manner": FieldError(N_("Choose how."), {})})
    _require_idle(desk)
    listed = _keep(desk, found, user)
    made = {"kind": "redaction", "regions": listed, "manner": manner, "audible": request.form.get("mute") != "1"}
    _start(desk, made)
    flash(_("The redacted copy is being made."), "success")
    return redirect(url_for(".show", case_id=case_id, item_id=item_id))


def _require_idle(desk: Desk) -> None:
    if copies.under_way(reading(), desk.case, person()):
        raise ConflictError(N_("Something that you asked for is still being made: wait until it is done."))


def _start(desk: Desk, data: dict[str, Any]) -> None:
    _require_idle(desk)
    with transaction() as session:
        given = {**data, "case": desk.case.number, "item": desk.master.id}
        instances.start(session, copies.PROCESS, given, by=person().username, business_key=desk.case.number)


def _keep(desk: Desk, found: list[Region], user: User) -> int:
    width, height = _size(desk)
    facts = {"master": desk.master.digest, "reviewed_by": user.username, "faces": desk.faces and desk.faces.digest}
    document = regions.to_json(found, width=width, height=height, **facts)
    content = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    name = f"{Path(desk.master.path).stem}-{hashlib.sha256(content).hexdigest()[:8]}.regions.json"
    file = settings().scratch / f"{secrets.token_hex(8)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, content)
    stated = {"reviewed_by": user.username, "regions": len([region for region in found if region.on])}
    described = Described(
        "regions", f"redaction/{name}", "application/json", desk.master.camera, desk.master.id, stated
    )
    return evidence.add_file(database(), settings(), desk.case.id, file, described, event="reviewed", by=user.username)


def _own_regions() -> list[Region]:
    """The lines that are filled in. Raises InvalidFormError naming each line that cannot be used."""
    found: list[Region] = []
    wrong: dict[str, FieldError] = {}
    for number in range(request.form.get("rows", 0, type=int)):
        if number >= regions.MOST_REGIONS:
            break
        given = {key: request.form.get(f"{key}-{number}", "").strip() for key in (*NUMBERS, "corners")}
        if not any(given.values()):
            continue
        try:
            found.append(_region(number, given))
        except (RegionError, ValueError):
            wrong[f"from-{number}"] = FieldError(
                N_("Line %(number)s: say from when to when, and a rectangle or three corners at least."),
                {"number": number + 1},
            )
    if wrong:
        raise InvalidFormError(wrong)
    return found


def _region(number: int, given: dict[str, str]) -> Region:
    name = f"own-{number + 1}"
    if given["corners"]:
        start, end = float(given["from"]), float(given["to"])
        polygon = [[float(value) for value in pair.split(",")] for pair in given["corners"].split()]
        shape: dict[str, Any] = {"polygon": polygon}
    else:
        start, end, x, y, width, height = (float(given[key]) for key in NUMBERS)
        shape = {"keyframes": [[start, x, y, width, height]]}
    if not all(map(math.isfinite, (start, end))):
        raise RegionError("not a time")
    said = {"id": name, "from": start, "to": end, **shape}
    return regions.from_json({"schema": regions.SCHEMA, "regions": [said]})[0]


def corners(region: Region) -> str:
    """A polygon as it is typed: `x,y x,y x,y`."""
    return " ".join(f"{x:g},{y:g}" for x, y in region.polygon)
