"""The engine's tables. History is the truth; everything else here is a projection of it or a register of people."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, event, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from engine import numbers
from engine.columns import Base, Json, Told
from engine.errors import Sentence

# ---- people ---------------------------------------------------------------------------------------------------------


class Department(Base):
    """An organisational unit; the superior of its head is the head of its parent."""

    __tablename__ = "departments"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("departments.id"))
    head_username: Mapped[str | None] = mapped_column(String(64))
    parent: Mapped["Department | None"] = relationship(remote_side=[id])


class User(Base):
    """A person who signs in. Process data refers to people by `username`, which never changes."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    name_en: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str] = mapped_column(String(256))
    department_id: Mapped[int | None] = mapped_column(ForeignKey("departments.id"))
    title: Mapped[str] = mapped_column(String(200), default="")
    employee_no: Mapped[str] = mapped_column(String(64), default="")
    phone: Mapped[str] = mapped_column(String(64), default="")
    email: Mapped[str] = mapped_column(String(200), default="")
    locale: Mapped[str] = mapped_column(String(8), default="zh")
    active: Mapped[bool] = mapped_column(default=True)
    failed_logins: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    department: Mapped[Department | None] = relationship(lazy="joined")
    memberships: Mapped[list["Membership"]] = relationship(lazy="selectin", cascade="all, delete-orphan")

    @property
    def groups(self) -> set[str]:
        return {membership.group for membership in self.memberships}


class Membership(Base):
    """A person's role. Group keys: employee reviewer operator archivist committee chair owner auditor admin."""

    __tablename__ = "memberships"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    group: Mapped[str] = mapped_column("group_key", String(64), primary_key=True)


class Deputy(Base):
    """`deputy` acts for `username` from `from_at` until `until_at`."""

    __tablename__ = "deputies"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), index=True)
    deputy: Mapped[str] = mapped_column(String(64), index=True)
    from_at: Mapped[datetime]
    until_at: Mapped[datetime]


class Qualification(Base):
    """A training record (clause N1, F2): valid from `valid_from` up to, not including, `valid_until`."""

    __tablename__ = "qualifications"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), index=True)
    key: Mapped[str] = mapped_column(String(64))
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    trainer: Mapped[str] = mapped_column(String(200), default="")
    score: Mapped[int | None]


class ApiToken(Base):
    """A bearer token of the REST API; only its SHA-256 is stored."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[str] = mapped_column(String(80), unique=True)
    label: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined")


class Notification(Base):
    """An in-app notice: `template`, a message of the site or of a diagram, with `params`; read in either language."""

    __tablename__ = "notifications"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64))
    template: Mapped[str] = mapped_column(Text)
    params: Mapped[dict[str, Any]]
    link: Mapped[str] = mapped_column(String(300), default="")
    instance_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "username", "read_at"),)


# ---- definitions ----------------------------------------------------------------------------------------------------


class Deployment(Base):
    """One act of deploying a set of files, with a note of what changed and why (clause F3)."""

    __tablename__ = "deployments"
    id: Mapped[int] = mapped_column(primary_key=True)
    deployed_at: Mapped[datetime]
    deployed_by: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text, default="")
    files: Mapped[list["DeployedFile"]] = relationship(order_by="DeployedFile.name", cascade="all, delete-orphan")


class DeployedFile(Base):
    """The exact text of one deployed file: *.bpmn, *.dmn, forms/*.form, translations/*.json."""

    __tablename__ = "deployed_files"
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))


class ProcessDefinition(Base):
    """A version of a process. Immutable: running instances stay on theirs."""

    __tablename__ = "process_definitions"
    id: Mapped[int] = mapped_column(primary_key=True)
    process_id: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    name: Mapped[str] = mapped_column(String(300))
    file: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(80))
    deployment_id: Mapped[int] = mapped_column(ForeignKey("deployments.id"))
    deployment: Mapped[Deployment] = relationship()
    __table_args__ = (UniqueConstraint("process_id", "version"),)


# ---- instances ------------------------------------------------------------------------------------------------------


_UNDER_WAY = "state IN ('running', 'suspended')"


class Instance(Base):
    """A process instance: the head of its history, and a cache of where that history leads.

    `state`: running, suspended, completed, cancelled. `revision` guards every write (optimistic lock);
    `head` is the chain hash of the newest history event, whose `seq` is `seq` and whose time is `changed_at`.
    `restarted_from` is the instance of which this one repeats a part (engine.modification).
    """

    __tablename__ = "instances"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    definition_id: Mapped[int] = mapped_column(ForeignKey("process_definitions.id"), index=True)
    process_id: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    business_key: Mapped[str] = mapped_column(String(100), default="", index=True)
    state: Mapped[str] = mapped_column(String(16))
    started_by: Mapped[str] = mapped_column(String(64), index=True)
    started_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    seq: Mapped[int]
    head: Mapped[str] = mapped_column(String(80))
    data: Mapped[dict[str, Any]]
    snapshot: Mapped[str | None] = mapped_column(Text, deferred=True)
    snapshot_seq: Mapped[int] = mapped_column(default=0)
    restarted_from: Mapped[UUID | None] = mapped_column(index=True)
    revision: Mapped[int] = mapped_column()
    definition: Mapped[ProcessDefinition] = relationship()
    __mapper_args__ = {"version_id_col": revision}  # noqa: RUF012 - SQLAlchemy wants the column itself
    __table_args__ = (
        Index(None, "state", "started_at", "id"),
        Index(None, "process_id", "started_at", "id", "version"),
        Index("ix_instances_newest", "started_at", "id", "business_key"),
        Index("ix_instances_under_way", "started_at", "id",
              sqlite_where=text(_UNDER_WAY), postgresql_where=text(_UNDER_WAY)),
    )  # fmt: skip


class NumberPart(Base):
    """A case number from one of its characters on, in lower case: the index of engine.numbers, kept by triggers."""

    __tablename__ = "number_parts"
    part: Mapped[str] = mapped_column(
        String(numbers.PIECE).with_variant(String(numbers.PIECE, collation="C"), "postgresql"), primary_key=True
    )
    business_key: Mapped[str] = mapped_column(String(100), primary_key=True)
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy wants a dictionary here


_NUMBER_PARTS = Base.metadata.tables["number_parts"]
_NUMBER_PARTS.add_is_dependent_on(Base.metadata.tables["instances"])
event.listen(_NUMBER_PARTS, "after_create", numbers.keep)
event.listen(_NUMBER_PARTS, "before_drop", numbers.forget)


class HistoryEvent(Base):
    """One input event and what followed from it. TEXT columns hold the exact hashed bytes; never updated or deleted.

    `kind`: start, submit, result, error, timer, message, signal, cancel, retry, suspend, resume, modify and migrate are
    inputs of the execution; those of engine.history.DECISIONS are for the record and do not move a token.
    `lookups` are the recorded answers of synchronous operators, `derived` the changes that re-execution must repeat.
    """

    __tablename__ = "history"
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(64))
    payload: Mapped[str] = mapped_column(Text)
    lookups: Mapped[str] = mapped_column(Text)
    derived: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))


_OPEN_TASKS = "state IN ('open', 'claimed')"


class Task(Base):
    """A user task, open or finished: the projection that the inbox reads.

    `state`: open, claimed, completed, cancelled. Who may take it: `assignee` alone when set by the diagram;
    otherwise members of `candidate_group` or `candidate_users`; never anybody in `excluded` (rules of conduct).
    `owner` is in whose place `assignee` acts when the task was delegated; `remind_at` is when the next notice is due
    that it is due soon or overdue (engine.reminders).
    """

    __tablename__ = "tasks"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), index=True)
    element: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(300))
    lane: Mapped[str] = mapped_column(String(200), default="")
    form: Mapped[str] = mapped_column(String(200), default="")
    variable: Mapped[str] = mapped_column(String(100), default="")
    state: Mapped[str] = mapped_column(String(16))
    assignee: Mapped[str | None] = mapped_column(String(64))
    owner: Mapped[str | None] = mapped_column(String(64))
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    claimed_at: Mapped[datetime | None]
    candidate_group: Mapped[str] = mapped_column(String(64), default="")
    candidate_users: Mapped[list[str]] = mapped_column(default=list)
    excluded: Mapped[list[str]] = mapped_column(default=list)
    signature: Mapped[bool] = mapped_column(default=False)
    qualification: Mapped[str] = mapped_column(String(64), default="")
    priority: Mapped[int] = mapped_column(default=50)
    due_at: Mapped[datetime | None]
    remind_at: Mapped[datetime | None] = mapped_column(index=True)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    completed_by: Mapped[str | None] = mapped_column(String(64))
    completed_at: Mapped[datetime | None]
    instance: Mapped[Instance] = relationship()
    __table_args__ = (
        Index("ix_tasks_open", "claimed_by", "assignee", "candidate_group", "element",
              sqlite_where=text(_OPEN_TASKS), postgresql_where=text(_OPEN_TASKS)),
        Index("ix_tasks_open_at", "element", "instance_id",
              sqlite_where=text(_OPEN_TASKS), postgresql_where=text(_OPEN_TASKS)),
        Index(None, "completed_by", "completed_at"),
    )  # fmt: skip


class Signature(Base):
    """A signed decision (clause 1.2): the exact text, its SHA-256, who, when, how the signer proved who they are."""

    __tablename__ = "signatures"
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"), unique=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), index=True)
    username: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))
    method: Mapped[str] = mapped_column(String(32))
    signed_at: Mapped[datetime]


class Draft(Base):
    """What a person has typed so far into the form of a task (`key` is its id) or of a start (`start:<process>`)."""

    __tablename__ = "drafts"
    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    data: Mapped[dict[str, Any]]
    saved_at: Mapped[datetime]


_UNDECIDED_JOBS = "state IN ('ready', 'running', 'held', 'incident')"


class Job(Base):
    """An asynchronous service task: this row, with lease and epoch, is the truth about who works on it.

    `state`: ready, running, done, failed (a BPMN error was delivered), held, incident, cancelled. A held job has ended
    while its instance was suspended; `outcome` is what it reported, `{"value"}` or `{"code", "message"}`.
    A row without operator is a script or condition that failed inside a step: always an incident.
    `retries` and `backoff` (seconds) stand in for the operator's own when the diagram gives them.
    `exclusive_key` (a recorder, say) limits how many jobs with the same key run at once to `exclusive_limit`.
    """

    __tablename__ = "jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), index=True)
    task_id: Mapped[UUID] = mapped_column(index=True)
    element: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(300), default="")
    operator: Mapped[str] = mapped_column(String(100))
    params: Mapped[dict[str, Any]]
    site: Mapped[str] = mapped_column(String(64), default="main")
    state: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime]
    owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[datetime | None]
    epoch: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int | None]
    backoff: Mapped[int | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[Sentence] = mapped_column(Told, default=Sentence(""))
    outcome: Mapped[dict[str, Any] | None]
    exclusive_key: Mapped[str] = mapped_column(String(100), default="")
    exclusive_limit: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    instance: Mapped[Instance] = relationship()
    __table_args__ = (
        Index(None, "state", "due_at"),
        Index(None, "exclusive_key", "state"),
        Index("ix_jobs_undecided_at", "element", "instance_id",
              sqlite_where=text(_UNDECIDED_JOBS), postgresql_where=text(_UNDECIDED_JOBS)),
    )  # fmt: skip


# ---- messages -------------------------------------------------------------------------------------------------------


class Subscription(Base):
    """A message or signal that an instance waits for (engine.subscriptions).

    `correlation` is the digest of the key that the message must carry; empty for a receiver that takes any. A row of
    the kind `unknown` says that nobody has asked yet what an instance of an earlier release waits for.
    """

    __tablename__ = "subscriptions"
    instance_id: Mapped[UUID] = mapped_column(ForeignKey("instances.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    correlation: Mapped[str] = mapped_column(String(80), primary_key=True)
    definition_id: Mapped[int] = mapped_column(ForeignKey("process_definitions.id"))
    __table_args__ = (Index(None, "kind", "name", "definition_id", "correlation"),)


class StartEvent(Base):
    """A start event of the newest version of a process that waits for its message, its signal or its time.

    `schedule` of a timer: `{"next", "cycles", "duration"}` as in engine.spiff.starts; `due_at` is its next start.
    """

    __tablename__ = "start_events"
    definition_id: Mapped[int] = mapped_column(ForeignKey("process_definitions.id"), primary_key=True)
    element: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(200), default="")
    schedule: Mapped[dict[str, Any] | None] = mapped_column(Json)
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    __table_args__ = (Index(None, "kind", "name"),)


class Message(Base):
    """A message on its way to its one receiver, or a signal on its way to one of those that listened for it.

    `state`: waiting, delivered, expired (nobody waited for it in time), discarded (by a person), missed (a signal whose
    receiver had gone on). `ended_by` is the person who had it delivered or discarded by hand, `reason` why.
    `expires_at` is set when the diagram says how long it waits; else the service's setting holds. `sender_id`,
    `sender_seq` and `sender_element` say which event of which instance threw it; without them a person or a program
    sent it: `sent_by`. A signal names its receiver: the instance `target_id`, or the start event `target_element` of
    `target_definition_id`. `received_by` is the instance that has got it, whose history keeps the payload from then on.
    """

    __tablename__ = "messages"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(200))
    payload: Mapped[Any] = mapped_column(Json, nullable=True)
    business_key: Mapped[str] = mapped_column(String(100), default="")
    sender_id: Mapped[UUID | None] = mapped_column(ForeignKey("instances.id"), index=True)
    sender_seq: Mapped[int | None]
    sender_element: Mapped[str] = mapped_column(String(200), default="")
    sent_by: Mapped[str] = mapped_column(String(64))
    sent_at: Mapped[datetime]
    place: Mapped[int] = mapped_column(default=0)
    target_id: Mapped[UUID | None]  # no foreign key: it would lock the row of another instance inside a step
    target_definition_id: Mapped[int | None] = mapped_column(ForeignKey("process_definitions.id"))
    target_element: Mapped[str] = mapped_column(String(200), default="")
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    due_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    received_by: Mapped[UUID | None] = mapped_column(ForeignKey("instances.id"), index=True)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[Sentence] = mapped_column(Told, default=Sentence(""))
    __table_args__ = (Index(None, "state", "due_at"), Index(None, "state", "name"))


# ---- personal data --------------------------------------------------------------------------------------------------


class PersonalKey(Base):
    """The key of one case's personal fields, itself encrypted (engine/personal.py); destroyed by its disposal.

    `id` is that of the process instance, or of a draft (web/drafts.py), whose key goes with it.
    """

    __tablename__ = "personal_keys"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    wrapped: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime]


# ---- seals ----------------------------------------------------------------------------------------------------------


class Seal(Base):
    """A signed statement about the heads of all chains that changed since the seal before (docs/ledger-format.md).

    `statement` is the exact text that was signed; `kept_at` is when a copy of the seal lay in the backup store.
    """

    __tablename__ = "seals"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    statement: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(String(100))
    public_key: Mapped[str] = mapped_column(Text)
    kept_at: Mapped[datetime | None]


class SealedHead(Base):
    """One leaf of a seal's Merkle tree: event `seq` of a chain had `digest`. `kind`: process, custody."""

    __tablename__ = "sealed_heads"
    seal_number: Mapped[int] = mapped_column(ForeignKey("seals.number"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    stream_id: Mapped[UUID]
    seq: Mapped[int]
    digest: Mapped[str] = mapped_column(String(80))
    __table_args__ = (Index(None, "stream_id", "kind", "seq"),)
