"""Seals the heads of all chains at intervals, so that whoever owns the database cannot rewrite it unseen.

The private key lies in the data folder, the seals also outside the database (docs/ledger-format.md). What is sealed and
where copies go is registered: this module knows the chains of process instances; `device` adds those of the cases and
the backup store.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from engine import clock, ledger
from engine.db import Database
from engine.errors import N_, ConflictError, DiaoquError
from engine.history import Finding, stored_instant
from engine.ledger import Entry, Head, Statement
from engine.models import Instance, Seal, SealedHead
from engine.settings import Settings

MOST = 10_000
"""Heads in one seal: bounds how long the database is locked for writing. What remains goes into the next at once."""

_LOG = logging.getLogger(__name__)


# ---- what is sealed, and where copies go ----------------------------------------------------------------------------

Columns = tuple[InstrumentedAttribute[UUID], InstrumentedAttribute[int], InstrumentedAttribute[str]]

_CHAINS: dict[str, Columns] = {"process": (Instance.id, Instance.seq, Instance.head)}

Keep = Callable[[Settings, str, bytes], None]
"""Stores a seal under a name, once and for all; storing the same again does nothing."""

_KEEPERS: list[Keep] = []


def chain(kind: str, stream: Any, seq: Any, head: Any) -> None:
    """Have the chains of another table sealed: its columns with the instance's id, the last number and the head."""
    _CHAINS[kind] = (stream, seq, head)


def keeper(keep: Keep) -> Keep:
    """Have every seal stored by `keep` too."""
    _KEEPERS.append(keep)
    return keep


# ---- keys -----------------------------------------------------------------------------------------------------------


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The key of this installation, made on first use: `<data>/ledger/signing_key.pem`, readable by its owner only.

    Its public half is written beside it; a copy belongs into the hands of the auditors.

    Raises:
        ConflictError: the file holds no Ed25519 key, or others may read it.
    """
    path = settings.data / "ledger" / "signing_key.pem"
    if not path.exists():
        _make_key(path)
    if path.stat().st_mode & 0o077:
        raise ConflictError(N_("%(path)s may be read by others than its owner: chmod 600 it."), path=str(path))
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise ConflictError(N_("%(path)s is no private key."), path=str(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConflictError(N_("%(path)s is no private key."), path=str(path))
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = path.with_name(f"{ledger.fingerprint(key.public_key()).removeprefix('sha256:')[:16]}.pub.pem")
    temporary = path.with_name(f".{uuid4().hex}.part")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # the first of several processes wins
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    public.write_text(ledger.public_pem(key.public_key()))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def trusted_keys(settings: Settings) -> set[str]:
    """Fingerprints of the keys whose seals count here: every `<data>/ledger/*.pub.pem`, and the signing key's own.

    An earlier key of a moved installation is trusted by putting its public half there.
    """
    folder = settings.data / "ledger"
    found = {ledger.fingerprint(ledger.load_public(path.read_text())) for path in folder.glob("*.pub.pem")}
    if (folder / "signing_key.pem").exists():
        found.add(ledger.fingerprint(signing_key(settings).public_key()))
    return found


# ---- sealing --------------------------------------------------------------------------------------------------------


def seal_if_due(database: Database, settings: Settings) -> int:
    """As `seal`, unless the last seal is younger than `settings.seal_minutes`; copies that are missing are made."""
    made = 0
    if settings.seal_minutes:
        with database.reading() as session:
            last = session.scalar(select(func.max(Seal.at)))
        if last is None or last + timedelta(minutes=settings.seal_minutes) <= clock.now():
            made = seal(database, settings)
    keep(database, settings)
    return made


def seal(database: Database, settings: Settings) -> int:
    """Seal every chain that has changed since it was last sealed; answers how many seals were made.

    The heads are gathered without a lock; the short transaction that stores a seal gives way when another process has
    stored one meanwhile.
    """
    made = 0
    while _seal_some(database, settings):
        made += 1
    return made


def _seal_some(database: Database, settings: Settings) -> bool:
    with database.reading() as session:
        previous = _last(session)
        heads = unsealed(session, MOST)
    if not heads:
        return False
    at = stored_instant(clock.now())
    made = ledger.sign(heads, previous, max(at, previous.at) if previous else at, signing_key(settings))
    try:
        with database.transaction() as session:
            if _last(session) != previous:
                return False
            _store(session, made, heads)
    except IntegrityError:
        return False  # on PostgreSQL another process took the number at the same moment
    return True


def _store(session: Session, made: Entry, heads: list[Head]) -> None:
    statement = Statement.parse(made.statement)
    row = Seal(number=statement.number, at=datetime.fromisoformat(statement.at), statement=made.statement)
    row.signature, row.public_key = made.signature, made.public_key
    session.add(row)
    session.flush()
    leaves = [
        {
            "seal_number": statement.number,
            "place": place,
            "kind": head.kind,
            "stream_id": head.stream,
            "seq": head.seq,
            "digest": head.digest,
        }
        for place, head in enumerate(heads)
    ]
    session.execute(insert(SealedHead), leaves)


def _last(session: Session) -> Statement | None:
    text = session.scalar(select(Seal.statement).order_by(Seal.number.desc()).limit(1))
    return None if text is None else Statement.parse(text)


def unsealed(session: Session, most: int) -> list[Head]:
    """At most so many heads of chains that have grown since they were last sealed, or never were."""
    found: list[Head] = []
    for kind, (stream, seq, head) in sorted(_CHAINS.items()):
        covered = exists().where(SealedHead.stream_id == stream, SealedHead.kind == kind, SealedHead.seq >= seq)
        query = select(stream, seq, head).where(seq > 0, ~covered).order_by(stream).limit(most - len(found))
        found += [Head(kind, *row) for row in session.execute(query)]
    return found


def keep(database: Database, settings: Settings) -> int:
    """Give the seals that have no copy yet to every keeper, oldest first; answers how many.

    A copy that cannot be stored is logged and tried again next time; no later seal overtakes it.
    """
    if not _KEEPERS:
        return 0
    with database.reading() as session:
        waiting = list(session.scalars(select(Seal.number).where(Seal.kept_at.is_(None)).order_by(Seal.number)))
    for done, number in enumerate(waiting):
        with database.reading() as session:
            (content,) = (entry.line() for entry in entries(session, number=number))
        try:
            for store in _KEEPERS:
                store(settings, file_name(number), content)
        except DiaoquError:
            _LOG.exception("seal %s could not be copied out of the database", number)
            return done
        with database.transaction() as session:
            session.execute(update(Seal).where(Seal.number == number).values(kept_at=clock.now()))
    return len(waiting)


def file_name(number: int) -> str:
    """The name of a seal's copy; in the order of their names, the files together are the ledger."""
    return f"ledger/{number:09}.jsonl"


# ---- reading and checking -------------------------------------------------------------------------------------------


def entries(session: Session, *, number: int | None = None) -> Iterator[Entry]:
    """The whole ledger as stored in the database, or one seal of it."""
    seals, leaves = select(Seal).order_by(Seal.number), select(SealedHead)
    if number is not None:
        seals, leaves = seals.where(Seal.number == number), leaves.where(SealedHead.seal_number == number)
    rows = session.scalars(leaves.order_by(SealedHead.seal_number, SealedHead.place).execution_options(yield_per=5000))
    pending = next(rows, None)
    for row in session.scalars(seals).all():
        heads = []
        while pending is not None and pending.seal_number == row.number:
            heads.append(str(Head(pending.kind, pending.stream_id, pending.seq, pending.digest)))
            session.expunge(pending)
            pending = next(rows, None)
        yield Entry(row.statement, row.signature, row.public_key, tuple(heads))


class Ledger:
    """The ledger of one database during one verification: what it has checked it does not check again.

    `trusted` are fingerprints of keys; without them a seal's own key is taken at its word, so that only somebody who
    can sign anew stays unseen (`diaoqu verify` gives the keys of the data folder).
    """

    def __init__(self, session: Session, trusted: Collection[str] | None = None) -> None:
        self.session = session
        self.trusted = trusted
        self._genuine: dict[int, bool] = {}

    @cached_property
    def problems(self) -> list[str]:
        """Everything wrong with the ledger itself, and the chains that it holds but the database no longer does."""
        found = list(ledger.problems_of(entries(self.session), self.trusted))
        for kind, (stream, _seq, _head) in sorted(_CHAINS.items()):
            gone = select(SealedHead.stream_id).distinct()
            gone = gone.where(SealedHead.kind == kind, ~exists().where(stream == SealedHead.stream_id))
            found += [
                f"the {kind} chain of {each} is sealed but no longer there" for each in self.session.scalars(gone)
            ]
        return found

    def compare(self, kind: str, stream: UUID, digests: Mapping[int, str]) -> tuple[list[Finding], int]:
        """Hold the digests of a chain (by sequence number) against every seal that covers it.

        Answers what contradicts a seal, and the number of the last event that is sealed.
        """
        query = select(SealedHead).where(SealedHead.stream_id == stream, SealedHead.kind == kind)
        rows = self.session.scalars(query.order_by(SealedHead.seq)).all()
        false = [
            Finding(row.seq, f"seal {row.seal_number}, which holds it, is not genuine")
            for row in rows
            if not self.is_genuine(row.seal_number)
        ]
        held = [
            (row.seal_number, Head(row.kind, row.stream_id, row.seq, row.digest))
            for row in rows
            if self.is_genuine(row.seal_number)
        ]
        findings, sealed = ledger.contradictions(digests, held)
        return false + findings, sealed

    def is_genuine(self, number: int) -> bool:
        """Whether a seal's heads are those that were signed with a trusted key."""
        if number not in self._genuine:
            (entry,) = entries(self.session, number=number)
            self._genuine[number] = not ledger.entry_problems(entry, self.trusted)
        return self._genuine[number]
