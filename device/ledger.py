"""The cases' part of the ledger: their chains are sealed too, and every seal is copied into the backup store."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from device.access import stored_case_events, verify_case_chain
from device.models import Case
from device.storage import hash_bytes, open_stores
from engine import seals
from engine.history import Finding
from engine.models import Seal
from engine.settings import Settings

seals.chain("custody", Case.instance_id, Case.seq, Case.head)


@seals.keeper
def copy_to_backup(settings: Settings, name: str, content: bytes) -> None:
    """Raises AlreadyStoredError when the store holds another seal of this number, and as Store.put."""
    _primary, backup = open_stores(settings)
    with TemporaryDirectory() as folder:
        source = Path(folder) / "seal"
        source.write_bytes(content)
        backup.put(name, source, hash_bytes(content))


def store_problems(session: Session, settings: Settings) -> list[str]:
    """Where the ledger in the database is not the one in the backup store: removed, added or altered seals."""
    _primary, backup = open_stores(settings)
    stored = {name: backup.digest(name) for name in backup.keys("ledger")}
    problems = []
    for number, entry in enumerate(seals.entries(session), 1):
        name = seals.file_name(number)
        kept = stored.pop(name, None)
        if kept is not None and kept != hash_bytes(entry.line()):
            problems.append(f"seal {number}: the backup store holds another one")
        elif kept is None and session.scalar(select(Seal.kept_at).where(Seal.number == number)):
            problems.append(f"seal {number}: its copy in the backup store is gone")
    problems += [f"{name}: the backup store holds a seal that the database does not" for name in sorted(stored)]
    return problems


def verify_custody(session: Session, instance_id: UUID, ledger: seals.Ledger) -> tuple[list[Finding], int, int]:
    """Check the chain of the case of an instance against itself and the ledger.

    Answers the findings, the number of events and the last sealed one. An instance without a case has none of these,
    unless the ledger knows of one.
    """
    case = session.scalar(select(Case).where(Case.instance_id == instance_id))
    stored = stored_case_events(session, case) if case else []
    found = {seq: texts["digest"].decode(errors="replace") for seq, texts in stored}
    findings, sealed = ledger.compare("custody", instance_id, found)
    return (verify_case_chain(session, case) if case else []) + findings, len(found), sealed


def custody_jsonl(session: Session, instance_ids: Iterable[UUID]) -> Iterator[bytes]:
    """The logs of the cases of these instances, an object a line, every text exactly as it was hashed."""
    query = select(Case).where(Case.instance_id.in_(list(instance_ids))).order_by(Case.number)
    for case in session.scalars(query).all():
        for seq, stored in stored_case_events(session, case):
            texts = {name: text.decode(errors="replace") for name, text in stored.items()}
            yield orjson.dumps({"instance": str(case.instance_id), "seq": seq, **texts}) + b"\n"
