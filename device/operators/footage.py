"""Footage that has been acquired: is it sound, and a copy that every browser plays (clause 3.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from device import derivatives, evidence, integrity
from device.evidence import SYSTEM, Described
from device.models import EvidenceItem
from device.operators.running import DISK_FULL, STORE_FAILED, case_of, modelled
from device.storage import write_file
from engine.operators import JobContext, operator


@operator("footage/check", zh="检查完整性", en="Check the footage", errors=(DISK_FULL, STORE_FAILED))
def check(context: JobContext, *, item: int) -> dict[str, Any]:
    """Lost packets, gaps, packets of the file, a full decode, black and frozen pictures: a verdict with findings."""
    case = case_of(context)
    with modelled(context):
        with context.database.reading() as session:
            master = evidence.find_item(session, item)
            path = evidence.verify_item(session, context.settings, master)
            report = master.facts.get("report")
        stem = Path(master.path).stem
        target = f"reports/{stem}.verdict-{context.task_id.hex[:8]}.json"
        known = _known(context, target)
        if known is None:
            verdict = integrity.check(path, report, lambda facts: context.progress(**facts)).to_json()
            known = {"verdict": verdict["verdict"], "findings": verdict["findings"], "report": verdict}
        file = context.scratch / Path(target).name
        write_file(file, orjson.dumps(known["report"], option=orjson.OPT_INDENT_2))
        facts = {"verdict": known}
        described = Described("report", target, "application/json", master.camera, master.id, facts)
        evidence.add_file(context.database, context.settings, case.id, file, described, event="checked")
    return {"verdict": known["verdict"], "findings": known["findings"]}


@operator("footage/viewing_copy", zh="制作观看件", en="Make a viewing copy", errors=(DISK_FULL, STORE_FAILED))
def viewing_copy(context: JobContext, *, item: int) -> dict[str, Any]:
    """An MP4 that every browser plays, beside the untouched master; H.265 is transcoded."""
    case = case_of(context)
    with modelled(context):
        with context.database.reading() as session:
            master = evidence.find_item(session, item)
            path = evidence.verify_item(session, context.settings, master)
        target = f"viewing/{Path(master.path).stem}-{context.task_id.hex[:8]}.mp4"
        with context.database.reading() as session:
            query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == target)
            present = session.scalar(query)
            if present is not None:
                evidence.verify_item(session, context.settings, present)
                return {"item": present.id, **present.facts["viewing"]}
        file = context.scratch / str(context.epoch) / Path(target).name
        file.parent.mkdir(parents=True, exist_ok=True)
        copy = derivatives.viewing_copy(path, file, _telling(context, master.camera))
        context.progress(fraction=1.0)
        viewing = {"transcoded": copy.transcoded, "codec": copy.codec}
        made = {"parameters": copy.parameters, "tools": copy.tools, "master": master.digest, "asked_by": SYSTEM}
        facts = {"viewing": viewing, "derivation": made}
        described = Described("viewing_copy", target, "video/mp4", master.camera, master.id, facts)
        made_id = evidence.add_file(context.database, context.settings, case.id, file, described, event="derived")
    return {"item": made_id, **viewing}


def _known(context: JobContext, path: str) -> dict[str, Any] | None:
    """The verdict that an earlier attempt of this job has published."""
    case = case_of(context)
    with context.database.reading() as session:
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == path)
        found = session.scalar(query)
        return dict(found.facts["verdict"]) if found else None


def _telling(context: JobContext, camera: str) -> Any:
    def tell(facts: Mapping[str, Any]) -> None:
        context.progress(**{**facts, "camera": camera})

    return tell
