"""Evidence items: the working folder of a case, write-once files in it, and their copies on both stores.

A file counts from the moment its row is committed, and the row is written last: file, fsync, name, fsync folder, row.
So an operator that was killed finds either nothing, a finished file without a row (which it then registers), or both.
docs/evidence-format.md describes what lies where.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from device import access
from device.bags import verify_bag
from device.models import Case, EvidenceCopy, EvidenceItem
from device.storage import (
    AlreadyStoredError,
    DigestMismatchError,
    FileMissingError,
    FolderStore,
    Store,
    Watch,
    hash_file,
    open_stores,
    publish,
    translated,
)
from engine import clock
from engine.db import Database
from engine.errors import N_, NotFoundError
from engine.settings import Settings

__all__ = [
    "Described",
    "add_file",
    "back_up",
    "case_folder",
    "discard",
    "find_item",
    "items_of",
    "locate",
    "segments_of",
    "store_key",
    "verify_bag",
    "verify_item",
]

SYSTEM = "system"
"""The actor of what an operator does by itself."""

_PUBLISHING = threading.Lock()


@dataclass(frozen=True)
class Described:
    """What is said about a file when it becomes evidence. `path` is relative to the working folder of the case."""

    kind: str
    path: str
    media_type: str
    camera: str = ""
    master_id: int | None = None
    facts: Mapping[str, Any] | None = None


def case_folder(settings: Settings, number: str) -> Path:
    """The working folder of a case."""
    return settings.data / "cases" / number


def store_key(number: str, path: str) -> str:
    """Under which key the stores keep a file of a case."""
    return f"cases/{number}/{path}"


def add_file(
    database: Database,
    settings: Settings,
    case_id: int,
    source: Path,
    described: Described,
    *,
    event: str,
    by: str = SYSTEM,
) -> int:
    """Move `source` into the case as a read-only evidence item, record it, and answer the item's id.

    `source` lies on the same file system (in the job's scratch folder). Doing it again, also after a crash between any
    two of its steps, ends in the same item. `event` is the kind of the case event, `by` its actor.

    Raises:
        AlreadyStoredError: the case holds another file under this path.
        FileMissingError: there is neither a source nor a published file.
        DiskFullError, StoreError
    """
    with database.reading() as session:
        number = session.get_one(Case, case_id).number
    target = case_folder(settings, number) / described.path
    digest = _publish_once(source, target)
    size = target.stat().st_size
    with database.transaction() as session:
        case = session.get_one(Case, case_id, with_for_update=True)
        present = session.scalar(
            select(EvidenceItem).where(EvidenceItem.case_id == case_id, EvidenceItem.path == described.path)
        )
        if present is not None:
            if present.digest != digest:
                raise DigestMismatchError(str(target), "sha256", present.digest, digest)
            return present.id
        at = clock.now()
        item = EvidenceItem(
            case_id=case_id,
            kind=described.kind,
            camera=described.camera,
            path=described.path,
            media_type=described.media_type,
            size=size,
            digest=digest,
            master_id=described.master_id,
            facts=dict(described.facts or {}),
            created_at=at,
            discarded_at=None,
        )
        session.add(item)
        session.flush()
        details = {"kind": item.kind, "digest": digest, "size": size, "camera": item.camera, "master": item.master_id}
        access.record(session, case, event, by, at=at, item=item.path, details=details)
        return item.id


def _publish_once(source: Path, target: Path) -> str:
    """Publish, or find that it has been published; the digest is of what lies there."""
    with _PUBLISHING, translated(str(target)):
        if target.exists():
            digest = hash_file(target)
            if source.exists() and hash_file(source) != digest:
                raise AlreadyStoredError(N_("%(path)s is taken by another file."), path=str(target))
            source.unlink(missing_ok=True)
            return digest
        if not source.exists():
            raise FileMissingError(str(source))
        digest = hash_file(source)
        publish(source, target)
        return digest


def find_item(session: Session, item_id: int) -> EvidenceItem:
    """Raises NotFoundError."""
    item = session.get(EvidenceItem, item_id)
    if item is None:
        raise NotFoundError(N_("There is no evidence item %(id)s."), id=item_id)
    return item


def items_of(session: Session, case: Case, *kinds: str) -> list[EvidenceItem]:
    """The items of a case (of these kinds, or all) that have not been discarded, oldest first."""
    query = select(EvidenceItem).where(EvidenceItem.case_id == case.id, EvidenceItem.discarded_at.is_(None))
    if kinds:
        query = query.where(EvidenceItem.kind.in_(kinds))
    return list(session.scalars(query.order_by(EvidenceItem.id)))


def segments_of(session: Session, master: EvidenceItem) -> list[EvidenceItem]:
    """The masters of one retrieval: this one, which stands for all, and the further segments of a long span."""
    query = select(EvidenceItem).where(EvidenceItem.master_id == master.id, EvidenceItem.kind == "master")
    return [master, *session.scalars(query.order_by(EvidenceItem.id))]


def locate(session: Session, settings: Settings, item: EvidenceItem) -> Path:
    """A file with the item's content: the working copy, else a copy on a store. It is not hashed here.

    Raises:
        FileMissingError: neither is there, or only a store without folders has it.
    """
    case = session.get_one(Case, item.case_id)
    working = case_folder(settings, case.number) / item.path
    if item.discarded_at is None and working.is_file():
        return working
    stores = {store.name: store for store in open_stores(settings)}
    for copy in item.copies:
        store = stores.get(copy.store)
        if isinstance(store, FolderStore) and store.exists(copy.key):
            return store.path(copy.key)
    raise FileMissingError(str(working))


def verify_item(session: Session, settings: Settings, item: EvidenceItem) -> Path:
    """As `locate`, but read in full. Raises DigestMismatchError, FileMissingError, StoreError."""
    path = locate(session, settings, item)
    with translated(str(path)):
        found = hash_file(path)
    if found != item.digest:
        raise DigestMismatchError(str(path), "sha256", item.digest, found)
    return path


def back_up(
    database: Database, settings: Settings, item_id: int, store: Store, watch: Watch | None = None
) -> EvidenceCopy:
    """Put a copy of an item on a store, read it back, and record it (clause 3.3). Doing it again verifies it again.

    Raises:
        AlreadyStoredError, DigestMismatchError, FileMissingError, DiskFullError, StoreError
    """
    with database.reading() as session:
        item = find_item(session, item_id)
        path, digest = locate(session, settings, item), item.digest
        key = store_key(session.get_one(Case, item.case_id).number, item.path)
    store.put(key, path, digest, watch)
    return record_copy(database, item_id, store.name, key, digest)


def record_copy(database: Database, item_id: int, store: str, key: str, digest: str) -> EvidenceCopy:
    """Note a copy that has just been written and read back; one row per item and store."""
    with database.transaction() as session:
        item = find_item(session, item_id)
        case = session.get_one(Case, item.case_id, with_for_update=True)
        copy = session.scalar(select(EvidenceCopy).where(EvidenceCopy.item_id == item_id, EvidenceCopy.store == store))
        if copy is None:
            at = clock.now()
            copy = EvidenceCopy(item_id=item_id, store=store, key=key, digest=digest, stored_at=at, verified_at=at)
            session.add(copy)
            details = {"store": store, "key": key, "digest": digest}
            access.record(session, case, "copied", SYSTEM, at=at, item=item.path, details=details)
        return copy


def discard(database: Database, settings: Settings, case_id: int, reason: str) -> list[str]:
    """Delete the working copies of a case (clause N3) and record it; copies on the stores stay.

    Answers the paths that were deleted. The rows are marked first: a crash leaves files that nobody is shown any more
    and that the next call deletes.
    """
    with database.transaction() as session:
        case = session.get_one(Case, case_id, with_for_update=True)
        at = clock.now()
        for item in items_of(session, case):
            if item.kind == "bag":
                continue
            item.discarded_at = at
            details = {"digest": item.digest, "reason": reason, "copies": [copy.store for copy in item.copies]}
            access.record(session, case, "discarded", SYSTEM, at=at, item=item.path, details=details)
        folder = case_folder(settings, case.number)
        query = select(EvidenceItem.path).where(EvidenceItem.case_id == case_id, EvidenceItem.discarded_at.is_not(None))
        paths = list(session.scalars(query.order_by(EvidenceItem.id)))
    deleted = []
    for path in paths:
        with translated(str(folder / path)):
            if (folder / path).exists():
                (folder / path).unlink()
                deleted.append(path)
    return deleted
