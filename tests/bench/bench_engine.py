"""The engine's cost per completed user task, with full history and commits, beside the bare library in the same run.

The bare library (SpiffWorkflow alone) does only a JSON save and restore per task: no history, database or authority.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event, select

from engine import definitions, identity, instances, replay, tasks
from engine.db import Database
from engine.models import Task, User

HERE = Path(__file__).parent
ROUNDS = 80
FORMS = {"fill": {"camera": "cam-07", "reason": "x" * 40}, "approve": {"approved": True}, "receipt": {"received": True}}


def run() -> Iterator[dict[str, Any]]:
    bare = bare_library()
    with tempfile.TemporaryDirectory() as folder:
        ours = public_functions(Path(folder))
    yield {
        "figure": "CPU per completed user task (footage13)",
        "bare_library_ms": round(bare["task_ms"], 2),
        "engine_ms": round(ours["task_ms"], 2),
        "ratio": round(ours["task_ms"] / bare["task_ms"], 2),
        "goal_ratio": 1.0,
        "database": "sqlite, synchronous=FULL",
    }
    yield {
        "figure": "footage13 instances per second (wall)",
        "bare_library": round(bare["per_second"], 1),
        "engine": round(ours["per_second"], 1),
        "fsync_per_second": round(ours["fsync"], 0),
    }
    yield {"figure": "SQL per completed user task", "statements": ours["statements"], "commits": ours["commits"]}
    yield {
        "figure": "verification by re-execution, instances per second and core",
        "engine": round(ours["verified"], 1),
    }


def bare_library() -> dict[str, float]:
    """The engine's patches stand in this process, so the peer runs in one of its own."""
    command = [sys.executable, str(HERE / "peer_spiff.py"), str(ROUNDS), json.dumps(FORMS)]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def public_functions(folder: Path) -> dict[str, float]:
    database = Database(f"sqlite:///{folder / 'bench.db'}")
    database.upgrade()
    forms = {f"forms/{name}.form": form(keys) for name, keys in FORMS.items()}
    text = (HERE / "footage13.bpmn").read_text()
    for name in FORMS:
        extension = (
            '<bpmn:extensionElements><spiffworkflow:properties><spiffworkflow:property name="formJsonSchemaFilename" '
            f'value="{name}.form"/><spiffworkflow:property name="candidateGroup" value="employee"/>'
            "</spiffworkflow:properties></bpmn:extensionElements>"
        )
        text = text.replace(
            f'<bpmn:userTask id="{name}" name="{name}">', f'<bpmn:userTask id="{name}" name="{name}">{extension}'
        )
    text = text.replace(
        "<bpmn:definitions ",
        '<bpmn:definitions xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core" ',
        1,
    )
    with database.transaction() as session:
        definitions.deploy(session, {"footage13.bpmn": text, **forms}, by="bench")
        user = identity.create_user(session, "bench", "a long enough password", name="Bench", groups={"employee"})
    counted = {"statements": 0, "commits": 0}
    event.listen(
        database.writer, "before_cursor_execute", lambda *_: counted.update(statements=counted["statements"] + 1)
    )
    event.listen(database.writer, "commit", lambda *_: counted.update(commits=counted["commits"] + 1))
    times, ids, began = [], [], time.perf_counter()
    for _ in range(ROUNDS):
        with database.transaction() as session:
            ids.append(instances.start(session, "footage13", {}, by="bench").id)
        for name, data in FORMS.items():
            with database.reading() as session:
                task = session.scalars(select(Task.id).where(Task.instance_id == ids[-1], Task.state == "open")).one()
            counted.update(statements=0, commits=0)
            start = time.process_time()
            complete(database, task, data, user)
            times.append(time.process_time() - start)
            assert name
    per_second = ROUNDS / (time.perf_counter() - began)
    start = time.process_time()
    with database.reading() as session:
        assert all(replay.verify(session, each).ok for each in ids)
    verified = ROUNDS / (time.process_time() - start)
    database.dispose()
    return {
        "task_ms": statistics.median(times) * 1000,
        "per_second": per_second,
        "verified": verified,
        "fsync": fsync_rate(folder),
        **counted,
    }


def complete(database: Database, task: Any, data: dict[str, Any], user: User) -> None:
    with database.transaction() as session:
        tasks.complete(session, task, data, by=user)


def form(keys: dict[str, Any]) -> str:
    """A form-js form with a field for each key."""
    components = [
        {"type": "checkbox" if isinstance(value, bool) else "textfield", "key": key, "label": key, "id": key}
        for key, value in keys.items()
    ]
    return json.dumps({"type": "default", "id": "form", "schemaVersion": 16, "components": components})


def fsync_rate(folder: Path) -> float:
    with (folder / "fsync").open("wb") as file:
        start = time.perf_counter()
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        return 100 / (time.perf_counter() - start)
