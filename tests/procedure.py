"""A house that runs the deployed procedure: the demo's people and cameras, and requests that are led as far as needed.

Everything goes through the engine's public functions, as the pages and the worker do it. Only the recorder is played:
its three operators answer from a short film that is encoded once per test run.
"""

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

import device.operators  # noqa: F401 - registers what the service tasks call
from device import cases, evidence, registers
from device.evidence import Described
from device.models import Case, EvidenceItem
from device.recorders.base import AcquisitionReport, ClockOffset, Gap, RecorderIdentity, Span
from device.storage import hash_file
from engine import clock, definitions, identity, instances, jobs, operators, tasks
from engine.columns import Base
from engine.db import Database
from engine.errors import BpmnError
from engine.forms import Option
from engine.jobs import ClaimedJob
from engine.models import Instance, Task, User
from engine.operators import JobContext
from engine.settings import ROOT, Settings
from engine.tasks import SignatureRequest
from web import seed

FILM_SECONDS = 6

APPROVED: dict[str, tuple[str, dict[str, Any]]] = {
    "sign_application": ("head", {"decision": "approve"}),
    "review_request": (
        "reviewer",
        {
            "decision": "approve",
            "comment": "目的正当，范围必要",
            "lawful": True,
            "legitimate": True,
            "minimal": True,
            "identity_checked": True,
        },
    ),
    "decide_partial": ("applicant", {"decision": "accept"}),
    "vote_committee": ("", {"decision": "approve"}),
    "confirm_readiness": ("operator", {"decision": "ready", "equipment_ready": True}),
    "check_playback": (
        "operator",
        {"decision": "ok", "complete": True, "clear": True, "continuous": True, "undamaged": True},
    ),
    "countersign_record": ("archivist", {"decision": "approve"}),
    "register_shelf": ("archivist", {"shelf": "A-03-17", "medium": "disk_array", "custodian": "archivist"}),
}
"""Who does what at each task of a request that goes through; a task that names its assignee is done by them."""


@functools.cache
def _prepared(at: datetime | None) -> Path:
    """A database with people, cameras and the procedure, made once for each time at which tests begin."""
    path = Path(tempfile.mkdtemp(prefix="diaoqu-tests-")) / "prepared.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.writer)
    with database.transaction() as session:
        seed.people(session)
        seed.cameras(session, _settings(path), url="http://127.0.0.1:9/onvif/device_service", username="", password="")
    with database.transaction() as session:
        definitions.deploy(session, definitions.read_folder(ROOT / "bpmn"), by="owner", note="首次部署")
    with database.writer.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    database.dispose()
    return path


def _settings(path: Path) -> Settings:
    data = path.parent
    return Settings(
        data=data,
        database_url=f"sqlite:///{path}",
        store_primary=(data / "store" / "primary").as_uri(),
        store_backup=(data / "store" / "backup").as_uri(),
        secret_key="a secret of more than thirty-two characters",
        demo=True,
    )


@functools.cache
def film() -> Path:
    """Some seconds of a moving picture with a tone, as a recorder would deliver them."""
    path = Path(tempfile.mkdtemp(prefix="diaoqu-tests-")) / "film.mkv"
    source = f"testsrc2=size=640x360:rate=12.5:duration={FILM_SECONDS}"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-f", "lavfi", "-i"]
    command += [f"sine=frequency=440:duration={FILM_SECONDS}", "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-pix_fmt", "yuv420p", "-g", "12", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


@dataclass
class House:
    """`settings.data` is the folder of everything; `gaps` is what the recorder misses of each camera."""

    settings: Settings
    database: Database
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    unreachable: bool = False

    @classmethod
    def open(cls, folder: Path) -> "House":
        """A house of its own in `folder`, as it is on the first day."""
        path = folder / "diaoqu.db"
        shutil.copyfile(_prepared(clock.now() if clock.is_held() else None), path)
        settings = _settings(path)
        return cls(settings, Database.of(settings))

    def copied_to(self, folder: Path) -> "House":
        """The same house as it stands now, in another folder: what happens there does not happen here."""
        with self.database.writer.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        shutil.copytree(self.settings.data, folder, dirs_exist_ok=True)
        settings = _settings(folder / "diaoqu.db")
        return House(settings, Database.of(settings), dict(self.gaps))

    # ---- people

    def person(self, username: str) -> User:
        with self.database.reading() as session:
            found = identity.find(session, username)
            assert found is not None, username
            return found

    def token(self, username: str) -> str:
        with self.database.transaction() as session:
            found = identity.find(session, username)
            assert found is not None, username
            return identity.issue_token(session, found)

    # ---- a request

    def request(self, *cameras: str, by: str = "applicant", to: str = "", **application: Any) -> UUID:
        """Start a request and lead it to the element `to` (or to its end); answers the instance."""
        end = (clock.now() - timedelta(hours=3)).replace(second=0, microsecond=0)
        with self.database.transaction() as session:
            instance = instances.start(session, "footage_retrieval", {"applicant": by}, by=by).id
        given = {
            **an_application(list(cameras or ("gate",)), end - timedelta(seconds=FILM_SECONDS), end),
            **application,
        }
        if to != "fill_application":
            self.submit(instance, "fill_application", given, by=by)
            self.lead(instance, to=to)
        return instance

    def lead(self, instance: UUID, *, to: str = "") -> None:
        """Do everything that is open or due, as in a request that goes through, until `to` is open."""
        while True:
            waiting = self.waiting(instance)
            if to and to in {task.element for task in waiting}:
                return
            if waiting:
                self._do(instance, waiting[0])
            elif not self.work(until=to):
                return

    def _do(self, instance: UUID, task: Task) -> None:
        if task.element == "complete_record":
            self.submit(instance, task.element, self._record(instance), by="operator")
            return
        who, answer = APPROVED[task.element]
        self.submit(instance, task.element, answer, by=task.assignee or who)

    def submit(self, instance: UUID, element: str, data: Mapping[str, Any], *, by: str) -> None:
        """One person fills in the form of the task that is open for them at `element`."""
        found = [task for task in self.waiting(instance) if task.element == element and task.assignee in (None, by)]
        assert found, f"{element} is not open for {by}"
        user = self.person(by)
        with self.database.transaction() as session:
            signature = SignatureRequest(seed.PASSWORD) if found[0].signature else None
            tasks.complete(session, found[0].id, data, by=user, signature=signature, sources=_lists(session))

    def _record(self, instance: UUID) -> dict[str, Any]:
        with self.database.reading() as session:
            task = next(task for task in self.waiting(instance) if task.element == "complete_record")
            found = instances.get(session, instance)
            return definitions.form(session, found.definition_id, task.form).initial(task.data)

    def waiting(self, instance: UUID) -> list[Task]:
        with self.database.reading() as session:
            return [task for task in tasks.of_instance(session, instance) if task.state in ("open", "claimed")]

    def instance(self, instance: UUID) -> Instance:
        with self.database.reading() as session:
            return instances.get(session, instance)

    def requests(self) -> list[UUID]:
        """All requests, oldest first."""
        with self.database.reading() as session:
            return list(session.scalars(select(Case.instance_id).order_by(Case.id)))

    def case(self, instance: UUID) -> Case:
        with self.database.reading() as session:
            return cases.of_instance(session, instance)

    def items(self, instance: UUID, kind: str) -> list[EvidenceItem]:
        with self.database.reading() as session:
            return evidence.items_of(session, self.case(instance), kind)

    # ---- the worker, and the recorder that it plays

    def work(self, *, until: str = "") -> int:
        """Run the jobs that are due, except one at the element `until`; answers how many ran."""
        done = 0
        while not (until and self._waits(until)):
            job = jobs.claim(self.database, owner="tests", site="main")
            if job is None:
                return done
            done += 1
            try:
                jobs.finish(self.database, job, self._answer(job))
            except BpmnError as error:
                jobs.fail(self.database, job, error)
        return 0

    def _waits(self, element: str) -> bool:
        with self.database.reading() as session:
            return session.query(jobs.Job).filter_by(element=element, state="ready").first() is not None

    def _answer(self, job: ClaimedJob) -> Any:
        played = {
            "recorder/coverage": self._coverage,
            "recorder/preflight": self._preflight,
            "recorder/acquire": self._acquire,
        }
        if job.operator in played:
            if self.unreachable:
                raise BpmnError("RECORDER_UNREACHABLE", "1号录像机: no answer")
            return played[job.operator](job)
        return operators.get(job.operator).function(self._context(job), **job.params)

    def _context(self, job: ClaimedJob) -> JobContext:
        return JobContext(
            job_id=job.id,
            epoch=job.epoch,
            task_id=job.task_id,
            instance_id=job.instance_id,
            business_key=job.business_key,
            data=job.data,
            database=self.database,
            settings=self.settings,
            progress=lambda **_facts: None,
        )

    def _missing(self, job: ClaimedJob, camera: str) -> list[Gap]:
        start = datetime.fromisoformat(job.params["start_at"])
        return [
            Gap(start + timedelta(seconds=begin), start + timedelta(seconds=end))
            for begin, end in self.gaps.get(camera, [])
        ]

    def _coverage(self, job: ClaimedJob) -> dict[str, Any]:
        start, end = job.params["start_at"], job.params["end_at"]
        overwritten = (datetime.fromisoformat(start) + timedelta(days=30)).isoformat()
        cameras = []
        for key, name, *_ in seed.CAMERAS:
            if key not in job.params["cameras"]:
                continue
            gaps = [[gap.start.isoformat(), gap.end.isoformat(), gap.cause] for gap in self._missing(job, key)]
            edges = [start, *(edge for gap in gaps for edge in gap[:2]), end]
            cameras.append(
                {
                    "camera": key,
                    "name": name,
                    "recorder": "1号录像机",
                    "status": "partial" if gaps else "complete",
                    "recorded": [[a, b] for a, b in zip(edges[::2], edges[1::2], strict=True) if a != b],
                    "gaps": gaps,
                    "overwritten_at": overwritten,
                    "clock_offset_seconds": 37.2,
                    "clock_uncertainty_seconds": 0.4,
                }
            )
        status = "partial" if any(camera["gaps"] for camera in cameras) else "complete"
        return {"status": status, "overwritten_at": overwritten, "cameras": cameras}

    def _preflight(self, job: ClaimedJob) -> dict[str, Any]:
        checks = [{"camera": key, "name": key, "ok": True, "detail": "answers"} for key in job.params["cameras"]]
        return {"ready": True, "checks": checks, "estimated_bytes": 1_000_000, "free_bytes": 9_000_000_000}

    def _acquire(self, job: ClaimedJob) -> dict[str, Any]:
        camera = job.params["camera"]
        span = Span(*(datetime.fromisoformat(job.params[key]) for key in ("start_at", "end_at")))
        path = f"masters/{camera}-{job.task_id.hex[:8]}.mkv"
        copied = self._context(job).scratch / Path(path).name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film(), copied)
        gaps = tuple(self._missing(job, camera))
        report = AcquisitionReport(
            recording=camera,
            requested=span,
            file=copied.name,
            complete=not gaps,
            end_reason="end_of_range",
            confidence="frame_times",
            first_frame=span.start,
            last_frame=span.end,
            frames=75,
            packets_lost=0,
            size=copied.stat().st_size,
            sha256=hash_file(copied),
            codecs=("h264", "aac"),
            width=640,
            height=360,
            gaps=gaps,
            clock=ClockOffset(timedelta(seconds=37.2), timedelta(seconds=0.4), "GetSystemDateAndTime", clock.now()),
            recorder=RecorderIdentity("Diaoqu", "Simulated NVR", "1.0", "SIM-0001", "onvif"),
            replay_uri=f"rtsp://127.0.0.1/{camera}",
        ).to_json()
        with self.database.reading() as session:
            case = cases.of_instance(session, job.instance_id).id
        described = Described("master", path, "video/x-matroska", camera, facts={"report": report})
        item = evidence.add_file(self.database, self.settings, case, copied, described, event="acquired")
        return {"camera": camera, "item": item, "report": report, "complete": not gaps}


def _lists(session: Session) -> dict[str, list[Option]]:
    """The lists that forms offer by name."""
    return {
        "cameras": [Option(camera.key, camera.name) for camera in registers.all_cameras(session)],
        "people": [Option(user.username, user.name) for user in session.query(User)],
        "departments": [],
        "max_span_hours": [Option("24", "24")],
        "max_hours": [Option("24", "24")],
    }


def an_application(cameras: list[str], start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "cameras": cameras,
        "start_at": start.astimezone(UTC).isoformat(),
        "end_at": end.astimezone(UTC).isoformat(),
        "clock_basis": "standard",
        "reason": "核实一起车辆刮擦的经过",
        "purpose": "incident",
        "legal_basis": "internal_rules",
        "incident_no": "SG-2026-017",
        "urgency": "normal",
        "mode": "copy",
        "third_party": "no",
        "minors": "no",
        "secret": "no",
        "use_until": (clock.now() + timedelta(days=14)).date().isoformat(),
        "recipient": "李申请",
        "applicant_kind": "internal",
        "position": "班组长",
        "employee_no": "D0001",
        "phone": "+8613800000001",
        "undertaking": True,
    }
