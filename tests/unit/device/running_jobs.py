"""Runs operators as a worker does, over a real database, real files and a simulated recorder."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import orjson
from case_room import INSTANCE, NOW
from sqlalchemy.orm import Session

from device import registers
from device.simulator import Simulator
from engine import history, instances, operators
from engine.db import Database
from engine.operators import JobContext, StepContext
from engine.settings import ROOT, Settings

RECORDED = (datetime.now(UTC) - timedelta(days=3)).replace(hour=2, minute=0, second=0, microsecond=0)
"""10:00 in Shanghai, days ago by the true clock, against which clock offsets are measured; all cameras recorded it."""

NOON = RECORDED + timedelta(hours=2)
"""The simulator's lobby recorded nothing for six and a half minutes from noon on."""

CAMERAS = {"gate": "大门", "lobby": "大厅", "garage": "车库", "counter": "收银台"}


@dataclass
class Jobs:
    """`run` calls an asynchronous operator, `step` a synchronous one, both with checked parameters."""

    database: Database
    settings: Settings
    data: dict[str, Any] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    def task(self, name: str) -> UUID:
        return uuid5(INSTANCE, name)

    def context(self, task: str, **changes: Any) -> JobContext:
        given: dict[str, Any] = {
            "job_id": uuid5(INSTANCE, f"job {task}"),
            "epoch": 1,
            "task_id": self.task(task),
            "instance_id": INSTANCE,
            "business_key": "",
            "data": self.data,
            "database": self.database,
            "settings": self.settings,
            "progress": self.tell,
        }
        return JobContext(**{**given, **changes})

    def tell(self, **facts: Any) -> None:
        self.told.append(facts)

    def run(self, operator: str, task: str, params: Mapping[str, Any], **changes: Any) -> Any:
        found = operators.get(operator)
        operators.check_parameters(found, params)
        return found.function(self.context(task, **changes), **params)

    def step(self, session: Session, operator: str, params: Mapping[str, Any], *, at: datetime = NOW) -> Any:
        found = operators.get(operator)
        operators.check_parameters(found, params)
        assert found.synchronous
        context = StepContext(session=session, at=at, instance_id=INSTANCE, actor="operator", data=self.data)
        return found.function(context, **params)


def register_cameras(session: Session, settings: Settings, simulator: Simulator, password: str) -> None:
    registers.add_recorder(
        session, settings, "nvr-1", name="一号录像机", url=simulator.url, username="viewer", password=password
    )
    for key, name in CAMERAS.items():
        registers.add_camera(session, key, name=name, place=f"{name}口", recorder="nvr-1", recording=key)


def began(session: Session, job: JobContext, at: datetime) -> None:
    """Write into the history that a step has called for this job, as the engine does."""
    instance = instances.lock(session, INSTANCE)
    if not instance.seq:
        versions = '{"versions": {"SpiffWorkflow": "3.2.0", "diaoqu": "0.1.0"}}'
        history.append(session, instance, at=NOW, kind="start", actor="applicant", payload=versions)
    derived = f'{{"events": [], "jobs": [["{job.task_id}", "archive_case", "archive/bag", {{}}]]}}'
    history.append(session, instance, at=at, kind="submit", actor="archivist", payload="{}", derived=derived)
    session.flush()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import device.operators
from running_jobs import Jobs
from engine.db import Database
from engine.settings import Settings
import orjson
from pathlib import Path
given = orjson.loads(sys.argv[2])
settings = Settings(**{**given["settings"], "data": Path(given["settings"]["data"])})
calls = 0
def tell(**facts):
    global calls
    calls += 1
    if calls == given["calls"]:
        os.kill(os.getpid(), signal.SIGKILL)
jobs = Jobs(Database.of(settings), settings, given["data"])
jobs.run(given["operator"], given["task"], given["params"], progress=tell)
"""


def run_and_kill(jobs: Jobs, operator: str, task: str, params: dict[str, Any], *, calls: int) -> int:
    """Run an operator in a process that is killed when it reports progress for the `calls`th time."""
    settings = {**vars(jobs.settings), "data": str(jobs.settings.data)}
    given = {"settings": settings, "data": jobs.data, "operator": operator, "task": task, "params": params}
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(Path(__file__).parent),
        orjson.dumps({**given, "calls": calls}).decode(),
    ]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode
