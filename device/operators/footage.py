"""Footage that has been acquired: is it sound, and a copy that every browser plays (clause 3.2)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from device import derivatives, evidence, integrity
from device.evidence import SYSTEM, Described
from device.models import Case, EvidenceItem
from device.operators.running import DISK_FULL, STORE_FAILED, case_of, modelled
from device.storage import write_file
from engine.operators import JobContext, operator

Tell = Callable[[Mapping[str, Any]], None]

VERDICTS = ("sound", "warning", "damaged")
MAX_FINDINGS = 200


@operator("footage/check", zh="检查完整性", en="Check the footage", errors=(DISK_FULL, STORE_FAILED))
def check(context: JobContext, *, item: int) -> dict[str, Any]:
    """Lost packets, gaps, packets of the file, a full decode, black and frozen pictures: a verdict with findings.

    Each segment of a long span is checked by itself; the answer has the worst verdict, and times from the first frame
    of the whole.
    """
    case = case_of(context)
    verdicts, findings = [], []
    with modelled(context):
        masters = _masters(context, item)
        for place, master in enumerate(masters):
            known = _checked(context, case, master, place, len(masters))
            verdicts.append(known["verdict"])
            findings += [_later(each, _seconds_after(masters[0], master)) for each in known["findings"]]
    return {"verdict": max(verdicts, key=VERDICTS.index), "findings": findings[:MAX_FINDINGS]}


def _checked(context: JobContext, case: Case, master: EvidenceItem, place: int, count: int) -> dict[str, Any]:
    """The verdict on one master, which becomes a report of the case."""
    with context.database.reading() as session:
        path = evidence.verify_item(session, context.settings, master)
    stem = Path(master.path).stem
    target = f"reports/{stem}.verdict-{context.task_id.hex[:8]}.json"
    known = _known(context, target)
    if known is None:
        tell = _share(_telling(context, master.camera), place, count)
        verdict = integrity.check(path, master.facts.get("report"), tell).to_json()
        known = {"verdict": verdict["verdict"], "findings": verdict["findings"], "report": verdict}
    file = context.scratch / Path(target).name
    write_file(file, orjson.dumps(known["report"], option=orjson.OPT_INDENT_2))
    described = Described("report", target, "application/json", master.camera, master.id, {"verdict": known})
    evidence.add_file(context.database, context.settings, case.id, file, described, event="checked")
    return known


@operator("footage/viewing_copy", zh="制作观看件", en="Make a viewing copy", errors=(DISK_FULL, STORE_FAILED))
def viewing_copy(context: JobContext, *, item: int) -> dict[str, Any]:
    """An MP4 that every browser plays, beside each untouched master; H.265 is transcoded."""
    case = case_of(context)
    with modelled(context):
        masters = _masters(context, item)
        made = [_viewable(context, case, each, place, len(masters)) for place, each in enumerate(masters)]
    return {**made[0], "transcoded": any(each["transcoded"] for each in made)}


def _viewable(context: JobContext, case: Case, master: EvidenceItem, place: int, count: int) -> dict[str, Any]:
    target = f"viewing/{Path(master.path).stem}-{context.task_id.hex[:8]}.mp4"
    with context.database.reading() as session:
        path = evidence.verify_item(session, context.settings, master)
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == target)
        present = session.scalar(query)
        if present is not None:
            evidence.verify_item(session, context.settings, present)
            return {"item": present.id, **present.facts["viewing"]}
    file = context.scratch / str(context.epoch) / Path(target).name
    file.parent.mkdir(parents=True, exist_ok=True)
    copy = derivatives.viewing_copy(path, file, _share(_telling(context, master.camera), place, count))
    context.progress(fraction=(place + 1) / count)
    viewing = {"transcoded": copy.transcoded, "codec": copy.codec}
    made = {"parameters": copy.parameters, "tools": copy.tools, "master": master.digest, "asked_by": SYSTEM}
    facts = {"viewing": viewing, "derivation": made}
    described = Described("viewing_copy", target, "video/mp4", master.camera, master.id, facts)
    made_id = evidence.add_file(context.database, context.settings, case.id, file, described, event="derived")
    return {"item": made_id, **viewing}


def _masters(context: JobContext, item: int) -> list[EvidenceItem]:
    """The master and, of a long span, its further segments."""
    with context.database.reading() as session:
        return evidence.segments_of(session, evidence.find_item(session, item))


def _seconds_after(first: EvidenceItem, master: EvidenceItem) -> float:
    """How much later than the first one's footage that of this master begins."""
    if master is first:
        return 0.0
    begins = [datetime.fromisoformat(each.facts["report"]["first_frame"]) for each in (first, master)]
    return (begins[1] - begins[0]).total_seconds()


def _later(finding: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    at = finding.get("at_seconds")
    return {**finding, "at_seconds": None if at is None else round(at + seconds, 3)}


def _share(tell: Tell, place: int, count: int) -> Tell:
    """Progress of one of several files as progress of all of them."""

    def told(facts: Mapping[str, Any]) -> None:
        fraction = facts.get("fraction")
        tell(facts if fraction is None else {**facts, "fraction": (place + fraction) / count})

    return told


def _known(context: JobContext, path: str) -> dict[str, Any] | None:
    """The verdict that an earlier attempt of this job has published."""
    case = case_of(context)
    with context.database.reading() as session:
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == path)
        found = session.scalar(query)
        return dict(found.facts["verdict"]) if found else None


def _telling(context: JobContext, camera: str) -> Tell:
    def tell(facts: Mapping[str, Any]) -> None:
        context.progress(**{**facts, "camera": camera})

    return tell
