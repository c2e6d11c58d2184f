"""The engine's cost per step, with full history and commits, beside the bare library in the same run.

The bare library (SpiffWorkflow alone, peer_spiff.py) does only a JSON save and restore per task: no history, database
or authority, and nothing on a disk. CPU is that of the process, medians; the peer runs before and after.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, event, func, make_url, select, text

from engine import definitions, identity, instances, replay, tasks
from engine.db import Database
from engine.models import HistoryEvent, Task, User
from tests.bench import models

ROUNDS = 80
EARLY, LATE = 10, 2000
"""The rounds of a loop that are compared."""
THREADS = 8
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
POSTGRES_URL = os.environ.get("DIAOQU_TEST_POSTGRES_URL", "")


def run() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield from figures("sqlite, synchronous=FULL", f"sqlite:///{folder}/bench.db", Path(folder))
    if MEMORY.is_dir():  # what a step costs when it never waits: after each wait the processor's caches are cold
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            yield from in_memory(f"sqlite:///{folder}/bench.db")
    if POSTGRES_URL:
        with postgres_database() as url, tempfile.TemporaryDirectory() as folder:
            yield from figures("postgresql", url, Path(folder))


def in_memory(url: str) -> Iterator[dict[str, Any]]:
    bench = Bench(url)
    for model in ("footage13", "scripts6"):
        before, ours, after = peer(model), bench.measure(model), peer(model)
        yield {"database": "sqlite in memory", **compare(model, ours, [before, after])}
    bench.database.dispose()


def figures(database: str, url: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Everything that is measured on one database; `folder` lies on the disk that `fsync` is measured on."""
    bench = Bench(url)
    common = {"database": database}
    for model in ("footage13", "scripts6"):
        before = peer(model)
        ours = bench.measure(model)
        after = peer(model)
        yield {**common, **compare(model, ours, [before, after])}
        yield {
            **common,
            "figure": f"{model} instances per second (wall)",
            "engine": round(ours["per_second"], 1),
            f"engine_{THREADS}_threads": round(bench.in_parallel(model), 1),
            "bare_library_no_disk": round(statistics.mean(each["per_second"] for each in (before, after)), 1),
            "fsync_per_second": round(fsync_rate(folder)),
            "commits_per_instance": 1 + len(models.FORMS[model]),
        }
        yield {**common, "figure": f"{model} SQL of a step", **ours["sql"], "goal": "10 statements, 1 commit"}
        yield {
            **common,
            "figure": f"{model} verification by re-execution, instances per second and core",
            "engine": round(bench.verified(ours["ids"]), 1),
            "one_at_a_time": round(bench.verified_alone(ours["ids"]), 1),
            "goal": 250,
        }
        yield {
            **common,
            "figure": f"{model} storage per step",
            **ours["bytes"],
            "bare_library_blob_bytes": before["bytes"],
        }
    yield {**common, **bench.loop(), "bare_library": {k: round(v, 2) for k, v in peer("loop").items()}}
    bench.database.dispose()


def compare(model: str, ours: dict[str, Any], peers: list[dict[str, Any]]) -> dict[str, Any]:
    """CPU per completed user task; for a model without one, per instance."""
    if models.FORMS[model]:
        name, engine = "completed user task", statistics.mean(ours["tasks_ms"].values())
        bare = statistics.mean(value for each in peers for value in each["tasks_ms"].values())
    else:
        name, engine, bare = "instance", ours["start_ms"], statistics.mean(each["start_ms"] for each in peers)
    return {
        "figure": f"CPU per {name} ({model})",
        "bare_library_ms": round(bare, 2),
        "engine_ms": round(engine, 2),
        "ratio": round(engine / bare, 2),
        "goal_ratio": 1.0,
    }


def peer(model: str) -> dict[str, Any]:
    """The engine's patches stand in this process, so the peer runs in one of its own."""
    command = [sys.executable, "-m", "tests.bench.peer_spiff", model, str(ROUNDS)]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


class Bench:
    """A database with the models deployed and one person who may do everything."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.database.upgrade()
        forms = {f"forms/{name}.form": form(keys) for found in models.FORMS.values() for name, keys in found.items()}
        diagrams = {f"{model}.bpmn": with_forms(model) for model in models.FORMS}
        with self.database.transaction() as session:
            self.user: User = identity.create_user(
                session, "bench", "a long enough password", name="Bench", groups={"employee"}
            )
            definitions.deploy(session, {**diagrams, **forms}, by="bench")

    def start(self, model: str) -> UUID:
        with self.database.transaction() as session:
            return instances.start(session, model, {}, by="bench").id

    def open_task(self, instance: UUID) -> UUID:
        with self.database.reading() as session:
            return session.scalars(select(Task.id).where(Task.instance_id == instance, Task.state == "open")).one()

    def complete(self, task: UUID, data: dict[str, Any]) -> None:
        with self.database.transaction() as session:
            tasks.complete(session, task, data, by=self.user)

    def measure(self, model: str) -> dict[str, Any]:
        forms = models.FORMS[model]
        starts: list[float] = []
        times: dict[str, list[float]] = {name: [] for name in forms}
        ids: list[UUID] = []
        wall = 0.0
        size = self.size()
        for _ in range(ROUNDS):
            began, at = time.perf_counter(), time.process_time()
            ids.append(self.start(model))
            starts.append(time.process_time() - at)
            wall += time.perf_counter() - began
            for name, data in forms.items():
                task = self.open_task(ids[-1])
                began, at = time.perf_counter(), time.process_time()
                self.complete(task, data)
                times[name].append(time.process_time() - at)
                wall += time.perf_counter() - began
        steps = ROUNDS * (1 + len(forms))
        return {
            "start_ms": statistics.median(starts) * 1000,
            "tasks_ms": {name: statistics.median(found) * 1000 for name, found in times.items()},
            "per_second": ROUNDS / wall,
            "ids": ids,
            "bytes": {
                "history_bytes": round(self.history_size(ids) / steps),
                "database_growth_bytes": round((self.size() - size) / steps),
            },
            "sql": self.sql_of_a_step(model),
        }

    def sql_of_a_step(self, model: str) -> dict[str, int]:
        """Of the last one of an instance. On an engine of its own: one that is listened to stays slower for good."""
        timed, self.database = self.database, Database(self.database.url)
        try:
            with counting(self.database) as counted:
                instance = self.start(model)
                for data in models.FORMS[model].values():
                    task = self.open_task(instance)
                    counted.update(statements=0, commits=0)
                    self.complete(task, data)
                return dict(counted)
        finally:
            self.database.dispose()
            self.database = timed

    def in_parallel(self, model: str) -> float:
        """Instances per second that several people bring about at the same time."""

        def one(_number: int) -> None:
            instance = self.start(model)
            for data in models.FORMS[model].values():
                self.complete(self.open_task(instance), data)

        with ThreadPoolExecutor(THREADS) as pool:
            began = time.perf_counter()
            list(pool.map(one, range(ROUNDS)))
            return ROUNDS / (time.perf_counter() - began)

    def verified(self, ids: list[UUID]) -> float:
        """As `diaoqu verify --all` does it on one core."""
        at = time.process_time()
        found = list(replay.verify_many(self.database.url, ids, processes=1))
        assert all(verdict.ok for _id, verdict in found)
        return len(ids) / (time.process_time() - at)

    def verified_alone(self, ids: list[UUID]) -> float:
        """As the page of a case does it."""
        at = time.process_time()
        for each in ids:
            with self.database.reading() as session:
                assert replay.verify(session, each).ok
        return len(ids) / (time.process_time() - at)

    def loop(self) -> dict[str, Any]:
        """One instance that goes round and round: does a step cost more, or leave more behind, in a late round?"""
        old = self.start("loop")
        for _ in range(LATE - 1):
            self.again(old)
        early, late = [], []
        for _ in range(40):  # by turns, so that both meet the machine in the same mood
            fresh = self.start("loop")
            for _ in range(EARLY - 1):
                self.again(fresh)
            early.append(self.again(fresh))
            late.append(self.again(old))
        length = func.length(HistoryEvent.payload) + func.length(HistoryEvent.derived)
        with self.database.reading() as session:
            chosen = HistoryEvent.instance_id == old, HistoryEvent.seq.in_((1 + EARLY, 1 + LATE))
            sizes = session.scalars(select(length).where(*chosen).order_by(HistoryEvent.seq)).all()
        return {
            "figure": "cost of a step at the 2000th round of a loop",
            "round_10_ms": round(statistics.median(early), 2),
            "round_2000_ms": round(statistics.median(late), 2),
            "ratio": round(statistics.median(late) / statistics.median(early), 2),
            "goal_ratio": 2.0,
            "history_bytes": {"round_10": sizes[0], "round_2000": sizes[1]},
        }

    def again(self, instance: UUID) -> float:
        """One more round; its CPU milliseconds."""
        task = self.open_task(instance)
        at = time.process_time()
        self.complete(task, {"more": True})
        return (time.process_time() - at) * 1000

    def size(self) -> int:
        with self.database.reading() as session:
            if self.database.sqlite:
                pages, each = (session.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
                return int(pages or 0) * int(each or 0)
            return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)

    def history_size(self, ids: list[UUID]) -> int:
        row = HistoryEvent
        columns = (row.at, row.kind, row.actor, row.payload, row.lookups, row.derived, row.digest)
        length = func.sum(sum((func.length(column) for column in columns[1:]), func.length(columns[0])))
        with self.database.reading() as session:
            return int(session.scalar(select(length).where(row.instance_id.in_(ids))) or 0)


@contextmanager
def counting(database: Database) -> Iterator[dict[str, int]]:
    """Counts every statement, BEGIN included where the driver is sent one, and every commit of the writer."""
    counted = {"statements": 0, "commits": 0}
    lock = threading.Lock()

    def count(what: str) -> None:
        with lock:
            counted[what] += 1

    listeners = {
        "before_cursor_execute": lambda *_: count("statements"),
        "commit": lambda *_: count("commits"),
    }
    for name, listener in listeners.items():
        event.listen(database.writer, name, listener)
    try:
        yield counted
    finally:
        for name, listener in listeners.items():
            event.remove(database.writer, name, listener)


@contextmanager
def postgres_database() -> Iterator[str]:
    """A database of this run on the server of DIAOQU_TEST_POSTGRES_URL."""
    name = f"bench_{os.getpid()}"
    server = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(POSTGRES_URL).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        server.dispose()


def with_forms(model: str) -> str:
    """The diagram with a form and the group `employee` at each of its user tasks."""
    found = models.text(model)
    for name in models.FORMS[model]:
        extension = (
            '<bpmn:extensionElements><spiffworkflow:properties><spiffworkflow:property name="formJsonSchemaFilename" '
            f'value="{name}.form"/><spiffworkflow:property name="candidateGroup" value="employee"/>'
            "</spiffworkflow:properties></bpmn:extensionElements>"
        )
        task = f'<bpmn:userTask id="{name}" name="{name}">'
        found = found.replace(task, task + extension)
    namespace = 'xmlns:spiffworkflow="http://spiffworkflow.org/bpmn/schema/1.0/core"'
    return found.replace("<bpmn:definitions ", f"<bpmn:definitions {namespace} ", 1)


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
