"""The registers and the custody tables: recorders, cameras, cases, evidence, grants, and each case's own chain."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

import engine.models  # noqa: F401 - the foreign keys name its tables
from engine.columns import Base


class Recorder(Base):
    """A recorder (NVR). `secret` is its password, encrypted with a key derived from DIAOQU_SECRET_KEY.

    `sessions`: playbacks at a time; `bandwidth`: bytes a second for all of them, 0 for no cap; `hours`: when footage
    may be fetched, like 22:00-06:00 in `zone`, empty for always.
    """

    __tablename__ = "recorders"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    driver: Mapped[str] = mapped_column(String(32), default="onvif")
    url: Mapped[str] = mapped_column(String(500))
    username: Mapped[str] = mapped_column(String(100), default="")
    secret: Mapped[str] = mapped_column(Text, default="")
    certificate: Mapped[str] = mapped_column(Text, default="")
    allow_basic: Mapped[bool] = mapped_column(default=False)
    site: Mapped[str] = mapped_column(String(64), default="main")
    sessions: Mapped[int] = mapped_column(default=1)
    retention_days: Mapped[int] = mapped_column(default=30)
    bandwidth: Mapped[int] = mapped_column(default=0)
    hours: Mapped[str] = mapped_column(String(32), default="")
    zone: Mapped[str] = mapped_column(String(64), default="Asia/Shanghai")


class Camera(Base):
    """A camera as people know it: a short key, a place, and where its recording is kept."""

    __tablename__ = "cameras"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    place: Mapped[str] = mapped_column(String(200))
    place_en: Mapped[str] = mapped_column(String(200), default="")
    recorder_id: Mapped[int] = mapped_column(ForeignKey("recorders.id"))
    recording: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    recorder: Mapped[Recorder] = relationship(lazy="joined")


class Case(Base):
    """One request for footage, for its whole life. `number` is what people quote: 调取-2026-0001.

    `outcome`: "" while it runs, then archived, refused, withdrawn, no_footage.
    """

    __tablename__ = "cases"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(32), unique=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), unique=True)
    applicant: Mapped[str] = mapped_column(String(64), index=True)
    department_id: Mapped[int | None] = mapped_column(ForeignKey("departments.id"))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(String(32), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    overwritten_at: Mapped[datetime | None]
    seq: Mapped[int] = mapped_column(default=0)
    head: Mapped[str] = mapped_column(String(80), default="")


class CaseEvent(Base):
    """The case's hash-chained stream: views, grants, copies, archive; also years after the last instance ended."""

    __tablename__ = "case_events"
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(64))
    item: Mapped[str] = mapped_column(String(200), default="")
    origin: Mapped[str] = mapped_column(String(100), default="")
    details: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))


class EvidenceItem(Base):
    """A file of a case. `kind`: master, native, viewing_copy, viewer_copy (watermarked), redacted_copy, faces
    (proposals), regions (what a person hides), application_form, record_form, report, bag.

    `path` is relative to the working folder of the case; `master_id` links a derivative to its master, a native file to
    the master that was joined from it, and the segments of a long span to the first one.
    """

    __tablename__ = "evidence_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    camera: Mapped[str] = mapped_column(String(64), default="")
    path: Mapped[str] = mapped_column(String(500))
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
    digest: Mapped[str] = mapped_column(String(80))
    master_id: Mapped[int | None] = mapped_column(ForeignKey("evidence_items.id"))
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    discarded_at: Mapped[datetime | None]
    copies: Mapped[list["EvidenceCopy"]] = relationship(lazy="selectin")


class EvidenceCopy(Base):
    """A write-once copy of an item on a store, verified by reading it back."""

    __tablename__ = "evidence_copies"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("evidence_items.id"), index=True)
    store: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(500))
    digest: Mapped[str] = mapped_column(String(80))
    stored_at: Mapped[datetime]
    verified_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("item_id", "store"),)


class Grant(Base):
    """A person's access to a case's footage (clause 4.1, N2): `mode` view, still or copy, until `expires_at`.

    `master`: the mode copy delivers the untouched master too. `redacted`: only redacted copies go out, and no master.
    """

    __tablename__ = "grants"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    username: Mapped[str] = mapped_column(String(64))
    mode: Mapped[str] = mapped_column(String(16))
    master: Mapped[bool] = mapped_column(default=False, server_default=false())
    redacted: Mapped[bool] = mapped_column(default=False, server_default=false())
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "username", "expires_at"),)


class ViewerCopy(Base):
    """What one grant shows of one film: the code that is burned in leads from a leaked clip back to the viewer (N2).

    `source` is what it is made from, `item` the file once it is made, `instance_id` the process that makes it. The row
    stays when the file is deleted at the end of the access.
    """

    __tablename__ = "viewer_copies"
    code: Mapped[str] = mapped_column(String(16), primary_key=True)
    grant_id: Mapped[int] = mapped_column(ForeignKey("grants.id"))
    source_id: Mapped[int] = mapped_column(ForeignKey("evidence_items.id"))
    item_id: Mapped[int | None] = mapped_column(ForeignKey("evidence_items.id"))
    instance_id: Mapped[UUID | None] = mapped_column(ForeignKey("instances.id"))
    asked_at: Mapped[datetime]
    grant: Mapped[Grant] = relationship(lazy="joined")
    source: Mapped[EvidenceItem] = relationship(lazy="joined", foreign_keys=[source_id])
    item: Mapped[EvidenceItem | None] = relationship(lazy="joined", foreign_keys=[item_id])
    __table_args__ = (UniqueConstraint("grant_id", "source_id"),)


class ArchiveEntry(Base):
    """Where the archive room keeps a case (clause 5.1): shelf number, medium, custodian."""

    __tablename__ = "archive_entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), unique=True)
    shelf: Mapped[str] = mapped_column(String(100))
    medium: Mapped[str] = mapped_column(String(100))
    custodian: Mapped[str] = mapped_column(String(64))
    bag_key: Mapped[str] = mapped_column(String(500))
    archived_at: Mapped[datetime]
