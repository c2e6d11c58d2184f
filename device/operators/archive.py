"""One BagIt bag per case, on both stores (clause 5.1). What is in it: docs/evidence-format.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access, bags, cases, documents, evidence
from device.bags import Bag, BagError, Content
from device.cases import Run
from device.evidence import SYSTEM, Described
from device.models import ArchiveEntry, Case, CaseEvent, EvidenceItem
from device.operators.evidence import accepted
from device.operators.running import DISK_FULL, STORE_FAILED, bytes_done, case_of, modelled
from device.storage import AlreadyStoredError, FolderStore, Store, open_stores, write_file
from engine import clock
from engine.errors import N_
from engine.history import events, stored_instant, verify_chain
from engine.models import DeployedFile, HistoryEvent, Instance
from engine.operators import JobContext, operator

_FOLDERS = {
    "master": "footage",
    "native": "native",
    "viewing_copy": "viewing",
    "report": "reports",
    "redacted_copy": "redaction",
    "regions": "redaction",
}
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
_ATTEMPTS = 100


@operator("archive/bag", zh="归档封包", en="Seal into the archive", errors=(STORE_FAILED, DISK_FULL))
def bag(context: JobContext) -> dict[str, Any]:
    """Build the case's bag in the scratch folder, validate it, put it on both stores, and validate it there.

    The bag depends on what was recorded before this task began, so an attempt that follows a killed one ends with the
    same bag. It is registered as an evidence item whose digest is that of its tag manifest.
    """
    case = case_of(context)
    with modelled(context):
        stores = open_stores(context.settings)
        finished = context.scratch / "bag"
        made = bags.read_bag(finished) if finished.exists() else _build(context, case, finished)
        watch = bytes_done(context, made.octets * len(stores), stage="copying")
        key = _put(made, stores, case.number, watch)
        valid = _valid_everywhere(stores, key)
        _keep_forms(context, case, made)
        _register(context, case, made, key, stores)
    primary, backup = (_place(store, key) for store in stores)
    return {
        "key": key,
        "path": primary,
        "backup": backup,
        "bag_digest": made.digest,
        "files": made.files,
        "valid": valid,
    }


# ---- building -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Past:
    """The case up to the event that called for archiving: what the bag holds does not depend on anything later.

    `histories` are those of its `runs`; the last one is archived, the others are its originals.
    """

    runs: list[Run]
    histories: list[list[HistoryEvent]]
    custody: list[CaseEvent]
    at: datetime


def _build(context: JobContext, case: Case, folder: Path) -> Bag:
    with context.database.reading() as session:
        past = _past(session, context, case)
        known = [item for item in evidence.items_of(session, case, *_FOLDERS) if item.created_at <= past.at]
        items = accepted(context, known)
        payload: dict[str, Content] = {
            _place_in_bag(item): evidence.verify_item(session, context.settings, item) for item in items
        }
        payload |= _forms(session, context, case, past.runs, items)
        payload |= _histories(case, past)
        payload |= _diagrams(session, past.runs)
        info = _info(session, case, past)
    total = sum(path.stat().st_size for path in payload.values() if isinstance(path, Path))
    return bags.write_bag(folder, payload, info, bytes_done(context, total, stage="bagging"))


def _place_in_bag(item: EvidenceItem) -> str:
    """Below data/: native files in a folder named after their master."""
    path = PurePosixPath(item.path)
    within = f"{path.parent.stem}/{path.name}" if item.kind == "native" else path.name
    return f"{_FOLDERS[item.kind]}/{within}"


def _past(session: Session, context: JobContext, case: Case) -> _Past:
    """Raises BagError when the history does not say what called for this task, or has been tampered with."""
    runs = cases.runs(session, case, context.instance_id)
    histories = [events(session, run.instance_id) for run in runs]
    task = str(context.task_id)
    begun = [event for event in histories[-1] if any(job[0] == task for job in _jobs(event))]
    if not begun:
        raise BagError(N_("The history of case %(number)s does not call for archiving it."), number=case.number)
    boundary = begun[-1]
    if any(verify_chain(session, run.instance_id) for run in runs) or access.verify_case_chain(session, case):
        raise BagError(N_("The history of case %(number)s has been changed: it is not archived."), number=case.number)
    custody = []
    for event in access.case_events(session, case):
        if event.at > boundary.at:
            break
        custody.append(event)
    before = [[event for event in each if event.at <= boundary.at] for each in histories[:-1]]
    own = [event for event in histories[-1] if event.seq <= boundary.seq]
    return _Past(runs, [*before, own], custody, boundary.at)


def _jobs(event: HistoryEvent) -> list[list[Any]]:
    derived = orjson.loads(event.derived)
    return list(derived.get("jobs", ())) if isinstance(derived, dict) else []


def _forms(
    session: Session, context: JobContext, case: Case, runs: list[Run], items: list[EvidenceItem]
) -> dict[str, Content]:
    data = context.data
    loaded = documents.facts.load(session, case, runs, data)
    signed = documents.facts.signatures(session, runs)
    by_id = {item.id: item for item in items}
    printed = [one for one in documents.facts.items(session, case) if one.kind != "redacted_copy" or one.id in by_id]
    described = [
        {
            "file": _place_in_bag(item),
            "kind": item.kind,
            "camera": item.camera,
            "media_type": item.media_type,
            "size": item.size,
            "sha256": item.digest,
            **({"name": item.facts["name"]} if item.kind == "native" else {}),
            "master_sha256": by_id[item.master_id].digest if item.master_id in by_id else None,
            "created_at": item.created_at.isoformat(),
            "copies": [
                {"store": copy.store, "key": copy.key, "verified_at": copy.verified_at.isoformat()}
                for copy in sorted(item.copies, key=lambda copy: copy.store)
            ],
        }
        for item in items
    ]
    return {
        "forms/application_form.pdf": documents.application_form(data, loaded, signed),
        "forms/record_form.pdf": documents.record_form(data, loaded, signed, printed),
        "forms/application.json": _json(data.get("application")),
        "forms/record.json": _json(data.get("record")),
        "forms/process_data.json": _json(data),
        "forms/signatures.json": _json(_signatures(session, runs)),
        "items.json": _json(described),
    }


def _signatures(session: Session, runs: list[Run]) -> list[dict[str, Any]]:
    """With the exact text that was signed: its SHA-256 is the digest."""
    return [
        {
            "task": str(signature.task_id),
            "element": task.element,
            "name": task.name,
            "username": signature.username,
            "signed_at": signature.signed_at.isoformat(),
            "method": signature.method,
            "digest": signature.digest,
            "text": signature.text,
        }
        for signature, task in cases.signatures(session, runs)
    ]


def _histories(case: Case, past: _Past) -> dict[str, Content]:
    """`process` is the history of the run that is archived; those of its originals lie beside it, in their order."""
    names = [*(bags.ORIGINAL % number for number in range(1, len(past.runs))), "process"]
    process = {
        f"history/{name}.jsonl": _lines([_process_line(event) for event in history])
        for name, history in zip(names, past.histories, strict=True)
    }
    custody = [
        {
            "seq": event.seq,
            "at": stored_instant(event.at),
            "kind": event.kind,
            "actor": event.actor,
            "item": event.item,
            "origin": event.origin,
            "details": event.details,
            "digest": event.digest,
        }
        for event in past.custody
    ]
    heads = {
        "case": case.number,
        **_head(past.runs[-1], past.histories[-1]),
        "originals": [
            {**_head(run, history), "until": run.until}
            for run, history in zip(past.runs[:-1], past.histories, strict=False)
        ],
        "custody": past.custody[-1].digest if past.custody else "",
        "custody_seq": len(past.custody),
        "custody_instance": str(case.instance_id),
    }
    return {
        **process,
        "history/custody.jsonl": _lines(custody),
        "history/heads.json": _json(heads),
    }


def _process_line(event: HistoryEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": stored_instant(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "payload": event.payload,
        "lookups": event.lookups,
        "derived": event.derived,
        "digest": event.digest,
    }


def _head(run: Run, history: list[HistoryEvent]) -> dict[str, Any]:
    return {"instance": str(run.instance_id), "process": history[-1].digest, "process_seq": history[-1].seq}


def _diagrams(session: Session, runs: list[Run]) -> dict[str, Content]:
    """The files of the versions that the case ran on, exactly as they were deployed."""
    files = _diagram(session, runs[-1].instance_id, "diagram")
    for number, run in enumerate(runs[:-1], 1):
        files |= _diagram(session, run.instance_id, f"diagram-{bags.ORIGINAL % number}")
    return files


def _diagram(session: Session, instance_id: UUID, folder: str) -> dict[str, Content]:
    definition = session.get_one(Instance, instance_id).definition
    query = select(DeployedFile).where(DeployedFile.deployment_id == definition.deployment_id)
    files: dict[str, Content] = {f"{folder}/{file.name}": file.content.encode() for file in session.scalars(query)}
    deployment = definition.deployment
    described = {
        "process": definition.process_id,
        "version": definition.version,
        "name": definition.name,
        "file": definition.file,
        "digest": definition.digest,
        "deployed_at": stored_instant(deployment.deployed_at),
        "deployed_by": deployment.deployed_by,
        "note": deployment.note,
    }
    return {**files, f"{folder}/definition.json": _json(described)}


def _info(session: Session, case: Case, past: _Past) -> list[tuple[str, str]]:
    archived, history = past.runs[-1], past.histories[-1]
    instance = session.get_one(Instance, archived.instance_id)
    versions = orjson.loads(history[0].payload).get("versions", {})
    return [
        ("External-Identifier", case.number),
        ("External-Description", "视频监控录像调取归档 footage retrieval case"),
        ("Bagging-Date", f"{past.at.astimezone(cases.LOCAL):%Y-%m-%d}"),
        ("Bag-Software-Agent", "diaoqu"),
        ("Internal-Sender-Identifier", str(archived.instance_id)),
        *(("Restarted-From", f"{run.instance_id} {run.until}") for run in past.runs[:-1]),
        ("Process-Definition", f"{instance.process_id} {instance.version} {instance.definition.digest}"),
        *((f"Version-Of-{name}", str(version)) for name, version in sorted(versions.items())),
        ("Process-History-Head", f"{history[-1].seq} {history[-1].digest}"),
        ("Custody-Log-Head", f"{len(past.custody)} {past.custody[-1].digest if past.custody else '-'}"),
    ]


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=_PRETTY) + b"\n"


def _lines(values: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


# ---- keeping --------------------------------------------------------------------------------------------------------


def _put(made: Bag, stores: tuple[Store, Store], number: str, watch: Any) -> str:
    """Copy the bag to both stores under the same key.

    A case that is archived again, after it was sent back, gets a bag of its own beside the earlier one.
    """
    for attempt in range(1, _ATTEMPTS):
        key = f"archive/{number}" if attempt == 1 else f"archive/{number}.{attempt}"
        try:
            for store in stores:
                bags.put_bag(made, store, key, watch)
        except AlreadyStoredError:
            continue
        return key
    raise BagError(N_("Case %(number)s has too many bags."), number=number)


def _valid_everywhere(stores: tuple[Store, Store], key: str) -> bool:
    """Raises BagError when a bag that has just been written does not validate."""
    for store in stores:
        if isinstance(store, FolderStore):
            problems = bags.verify_bag(store.path(key))
            if problems:
                raise BagError("%(problems)s", problems="; ".join(problems))
    return True


def _keep_forms(context: JobContext, case: Case, made: Bag) -> None:
    """The forms as they were archived become evidence items of the case."""
    for kind in ("application_form", "record_form"):
        path = f"forms/{context.task_id.hex[:8]}/{kind}.pdf"
        copy = context.scratch / f"{kind}.pdf"
        write_file(copy, (made.folder / "data" / "forms" / f"{kind}.pdf").read_bytes())
        described = Described(kind, path, "application/pdf")
        evidence.add_file(context.database, context.settings, case.id, copy, described, event="printed")


def _register(context: JobContext, case: Case, made: Bag, key: str, stores: tuple[Store, Store]) -> None:
    shelf: Mapping[str, Any] = context.data.get("shelf") or {}
    with context.database.transaction() as session:
        locked = session.get_one(Case, case.id, with_for_update=True)
        query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.path == key)
        item = session.scalar(query)
        at = clock.now()
        if item is None:
            item = EvidenceItem(
                case_id=case.id,
                kind="bag",
                path=key,
                media_type="application/x-bagit",
                size=made.octets,
                digest=made.digest,
                master_id=None,
                facts={"files": made.files},
                created_at=at,
                discarded_at=None,
            )
            session.add(item)
            session.flush()
            details = {"digest": made.digest, "files": made.files, "key": key}
            access.record(session, locked, "archived", SYSTEM, at=at, item=key, details=details)
        entry = session.scalar(select(ArchiveEntry).where(ArchiveEntry.case_id == case.id))
        if entry is None:
            entry = ArchiveEntry(case_id=case.id, archived_at=at)
            session.add(entry)
        entry.shelf, entry.medium = str(shelf.get("shelf", "")), str(shelf.get("medium", ""))
        entry.custodian, entry.bag_key = str(shelf.get("custodian") or shelf.get("by", "")), key
        session.flush()
        item_id = item.id
    for store in stores:
        evidence.record_copy(context.database, item_id, store.name, key, made.digest)


def _place(store: Store, key: str) -> str:
    return str(store.path(key)) if isinstance(store, FolderStore) else f"{store.url}/{key}"
