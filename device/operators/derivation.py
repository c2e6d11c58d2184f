"""What is made of footage on demand: viewers' own copies, proposals of faces, redacted copies (clauses P3, N2).

The process `footage_derivation` calls these; its start data name the case.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from device import cases, copies, evidence, faces, media, redaction, regions, watermark
from device.derivatives import Derivative
from device.documents.fonts import font_path
from device.evidence import Described
from device.models import Case, EvidenceItem, ViewerCopy
from device.storage import open_stores, write_file
from engine import clock
from engine.errors import N_, ConflictError
from engine.operators import JobContext, operator


@operator("footage/watermark", zh="制作个人观看件", en="Make copies for a viewer")
def watermark_(context: JobContext, *, case: str, codes: list[str]) -> dict[str, Any]:
    """One watermarked copy for each code; a copy whose access has ended meanwhile is left out."""
    made = []
    for number, code in enumerate(codes):
        item = _viewer_copy(context, case, code, _part(context, number, len(codes)))
        if item is not None:
            made.append({"code": code, "item": item})
    return {"copies": made}


def _viewer_copy(context: JobContext, number: str, code: str, tell: Callable[[dict[str, Any]], None]) -> int | None:
    with context.database.reading() as session:
        case = cases.find(session, number)
        copy = session.get_one(ViewerCopy, code)
        grant, source = copy.grant, copy.source
        now = clock.now()
        if grant.case_id != case.id or grant.revoked_at is not None or grant.expires_at <= now:
            return None
        path = evidence.verify_item(session, context.settings, source)
        mark = copies.mark_of(session, case, copy, now)
        master = session.get(EvidenceItem, source.master_id)
    target = f"copies/{Path(source.path).stem}-{code}.mp4"
    item = _present(context, case, target)
    if item is None:
        file = _draft(context, target)
        done = watermark.watermarked(path, file, mark, font_path(), tell)
        facts = _derivation(done, source, master, asked_by=grant.username, grant=grant.id, code=code)
        described = Described("viewer_copy", target, "video/mp4", source.camera, source.master_id, facts)
        item = evidence.add_file(context.database, context.settings, case.id, file, described, event="marked")
    with context.database.transaction() as session:
        session.get_one(ViewerCopy, code).item_id = item
    return item


@operator("footage/detect_faces", zh="查找人脸", en="Look for faces")
def detect_faces(context: JobContext, *, case: str, item: int) -> dict[str, Any]:
    """A list of regions with the faces in a master, for a person to look through."""
    found, master, path = _master(context, case, item)
    target = f"redaction/{Path(master.path).stem}-{context.task_id.hex[:8]}.faces.json"
    present = _present(context, found, target)
    if present is None:
        seconds = media.probe(path).seconds
        proposals = faces.propose(path, seconds, _telling(context, master.camera))
        known = {"master": master.digest, "seconds": proposals.seconds, "detector": proposals.detector}
        document = regions.to_json(proposals.regions, width=proposals.width, height=proposals.height, **known)
        file = _draft(context, target)
        write_file(file, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        facts = {"regions": len(proposals.regions), "detector": proposals.detector}
        described = Described("faces", target, "application/json", master.camera, master.id, facts)
        present = evidence.add_file(context.database, context.settings, found.id, file, described, event="proposed")
    return {"item": present}


@operator("footage/redact", zh="制作遮挡件", en="Make a redacted copy")
def redact(
    context: JobContext, *, case: str, item: int, regions_item: int, manner: str = "fill", audible: bool = True
) -> dict[str, Any]:
    """A copy of a master in which the reviewed regions are painted over, on both stores."""
    if manner not in redaction.MANNERS:
        raise ConflictError(N_("%(manner)s is no manner of redaction: it is fill or pixelate."), manner=manner)
    found, master, path = _master(context, case, item)
    with context.database.reading() as session:
        listed = evidence.find_item(session, regions_item)
        hidden = read_regions(evidence.verify_item(session, context.settings, listed))
    target = f"redaction/{Path(master.path).stem}-{context.task_id.hex[:8]}.mp4"
    present = _present(context, found, target)
    if present is None:
        file = _draft(context, target)
        tell = _telling(context, master.camera)
        done = redaction.redacted(path, file, hidden, manner=manner, audible=audible, progress=tell)
        reviewed = {"asked_by": listed.facts["reviewed_by"], "regions": listed.digest}
        facts = _derivation(done, master, master, **reviewed)
        described = Described("redacted_copy", target, "video/mp4", master.camera, master.id, facts)
        present = evidence.add_file(context.database, context.settings, found.id, file, described, event="redacted")
    for store in open_stores(context.settings):
        for kept in (regions_item, present):
            evidence.back_up(context.database, context.settings, kept, store)
    return {"item": present}


def read_regions(path: Path) -> list[regions.Region]:
    """Raises RegionError."""
    return regions.from_json(orjson.loads(path.read_bytes()))


def _master(context: JobContext, number: str, item: int) -> tuple[Case, EvidenceItem, Path]:
    with context.database.reading() as session:
        case, master = cases.find(session, number), evidence.find_item(session, item)
        if master.case_id != case.id or master.kind != "master":
            raise ConflictError(N_("There is no such footage in this case."))
        return case, master, evidence.verify_item(session, context.settings, master)


def _present(context: JobContext, case: Case, path: str) -> int | None:
    """The item that an earlier attempt of the job has published."""
    with context.database.reading() as session:
        query = select(EvidenceItem.id).where(EvidenceItem.case_id == case.id, EvidenceItem.path == path)
        return session.scalar(query)


def _draft(context: JobContext, target: str) -> Path:
    file = context.scratch / str(context.epoch) / Path(target).name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _derivation(made: Derivative, source: EvidenceItem, master: EvidenceItem | None, **facts: Any) -> dict[str, Any]:
    """What an item says about how it was made (SWGDE 20-V-002)."""
    digests = {"master": master.digest if master else "", "source": source.digest}
    return {"derivation": {"parameters": made.parameters, "tools": made.tools, **digests, **facts}}


def _telling(context: JobContext, camera: str) -> Callable[[dict[str, Any]], None]:
    return lambda facts: context.progress(**facts, camera=camera)


def _part(context: JobContext, number: int, total: int) -> Callable[[dict[str, Any]], None]:
    """Progress of one file of several as a fraction of all."""
    return lambda facts: context.progress(**{**facts, "fraction": (number + facts["fraction"]) / total})
