"""A worker killed with SIGKILL at any moment, and started again, ends in the same evidence (Done when; DESIGN, Flow).

One case is led as far as needed and copied: the copies are the same case at the same moment, so what an undisturbed
worker and a killed one make of them can be compared file by file.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from holdings import bagit, manifest, report_of, tree
from premises import Premises, RecorderProcess, of_this_morning
from processes import eventually
from sqlalchemy import select

from device.access import verify_case_chain
from device.evidence import verify_bag
from device.models import Case, EvidenceCopy, EvidenceItem
from engine import replay
from engine.models import Instance

Copy = Callable[..., Premises]

READY = {"decision": "ready", "equipment_ready": True}
SHELF = {"shelf": "A-03-17", "medium": "disk_array", "custodian": "archivist"}
SOUND = {"decision": "ok", "complete": True, "clear": True, "continuous": True, "undamaged": True}

BEFORE: dict[str, tuple[str, dict[str, Any]]] = {
    "acquire_footage": ("confirm_readiness", READY),
    "back_up_footage": ("check_playback", SOUND),
    "archive_case": ("register_shelf", SHELF),
}
"""Which task's completion calls for the job at an element."""


# ---- in the middle of the retrieval, as `kill -9` does it -----------------------------------------------------------


@pytest.fixture(scope="module")
def ready(founded: Premises, recorder: RecorderProcess, tmp_path_factory: pytest.TempPathFactory) -> Premises:
    """A case that asks for twelve minutes, ready to be retrieved; standing still."""
    return standing(founded, tmp_path_factory.mktemp("ready") / "data", ["gate"], minutes=12)


def standing(founded: Premises, folder: Path, cameras: list[str], *, minutes: float) -> Premises:
    """A copy in which one request waits for the operator to say that everything is ready."""
    premises = founded.copy(folder)
    premises.start_web()
    premises.start_worker()
    try:
        instance = premises.apply(cameras, *of_this_morning(minutes, seconds=3.47))
        premises.lead(instance, to="confirm_readiness")
    finally:
        premises.stop()
    return premises


def the_instance(premises: Premises) -> str:
    with premises.reading() as session:
        return str(session.scalars(select(Instance.id)).one())


def archived(premises: Premises, instance: str) -> Path:
    bag = Path(premises.lead(instance)["archive"]["path"])
    assert bagit(bag).returncode == 0
    assert verify_bag(bag) == []
    return bag


def in_the_middle(premises: Premises, instance: str) -> bool:
    """Whether a part of the footage has come, and not yet all of it."""
    job = premises.job(instance, "acquire_footage")
    assert job is None or job.state in {"ready", "running"}, f"too late: {job.state}"
    written = sum(path.stat().st_size for path in (premises.folder / "scratch").rglob("*.mkv*"))
    return written > 500_000


def test_a_worker_killed_in_the_middle_of_the_retrieval_ends_in_the_same_bag(ready: Premises, copied: Copy) -> None:
    undisturbed, killed = copied(ready), copied(ready)
    instance = the_instance(ready)
    undisturbed.start_web()
    undisturbed.start_worker()
    undisturbed.submit(instance, "confirm_readiness", READY)
    expected = archived(undisturbed, instance)
    undisturbed.stop()

    killed.start_web()
    worker = killed.start_worker()
    killed.submit(instance, "confirm_readiness", READY)
    eventually(lambda: in_the_middle(killed, instance), "the retrieval is in the middle", every=0.01)
    worker.kill()
    assert list((killed.folder / "cases").rglob("*.mkv")) == [], "nothing is published before it is whole"
    eventually(lambda: not children_in(killed.folder), "ffmpeg has gone with its worker", seconds=15)
    killed.start_worker()
    bag = archived(killed, instance)

    job = killed.job(instance, "acquire_footage")
    assert job is not None
    assert (job.state, job.epoch) == ("done", 2)
    assert manifest(bag, "footage") == manifest(expected, "footage")
    assert manifest(bag, "viewing") == manifest(expected, "viewing")
    assert timeless(report_of(bag, "gate")) == timeless(report_of(expected, "gate"))
    check_everything(killed, instance)


def children_in(folder: Path) -> list[str]:
    """Command lines of all processes that work on files below `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # it has just ended
                continue
            if str(folder) in line and "ffmpeg" in line:
                found.append(line)
    return found


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what depends on the moment: when it was made, and how the clock was measured then."""
    return {key: value for key, value in report.items() if key not in {"started", "finished", "clock", "received"}}


def check_everything(premises: Premises, instance: str) -> None:
    """The history verifies, the custody log verifies, every item and every copy is what its row says."""
    with premises.reading() as session:
        verdict = replay.verify(session, UUID(instance))
        assert (verdict.ok, verdict.findings) == (True, [])
        case = session.scalars(select(Case)).one()
        assert verify_case_chain(session, case) == []
        rows = {item.path: item.digest for item in session.scalars(select(EvidenceItem)) if item.kind != "bag"}
        copies = {(copy.store, copy.key): copy.digest for copy in session.scalars(select(EvidenceCopy))}
        number = case.number
    on_disk = tree(premises.folder / "cases" / number)
    assert {path: f"sha256:{digest}" for path, digest in on_disk.items()} == rows
    for (store, key), digest in copies.items():
        place = premises.folder / "store" / store / key
        if place.is_file():  # a bag is a folder, which bagit has checked
            assert f"sha256:{tree(place.parent)[place.name]}" == digest
    strays = [path for path in premises.folder.rglob("*.part") if path.parent.name != ".incoming"]
    assert strays == [], "what a killed process had begun lies beside the evidence, never among it"


# ---- at chosen steps ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stations(
    founded: Premises, recorder: RecorderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Premises]:
    """The same case standing still just before the job at an element, which is due; each is made once."""
    folder = tmp_path_factory.mktemp("stations")
    made: dict[str, Premises] = {}

    def at(element: str) -> Premises:
        recorder.start()
        if not made:
            made[""] = standing(founded, folder / "ready", ["gate", "garage"], minutes=0.3)
        before = made[""]
        for each, (task, answer) in BEFORE.items():
            if each not in made:
                made[each] = lead_on(before.copy(folder / each), task, answer)
            before = made[each]
            if each == element:
                break
        return made[element]

    return at


def lead_on(premises: Premises, task: str, answer: dict[str, Any]) -> Premises:
    """Let a standing case move to a user task, answer it, and let the job that it calls for wait."""
    instance = the_instance(premises)
    premises.start_web()
    try:
        if task not in {one["element"] for one in premises.open_tasks(instance)}:
            premises.start_worker()
            premises.lead(instance, to=task)
            premises.stop_worker()
        premises.submit(instance, task, answer)
    finally:
        premises.stop()
    return premises


def finished(premises: Premises, element: str) -> bool:
    """Whether all jobs at an element are done and nothing else is on its way."""
    assert premises.worker is not None
    premises.worker.check()
    jobs = premises.jobs(the_instance(premises))
    assert all(job.state != "incident" for job in jobs), [job.error for job in jobs]
    mine = [job for job in jobs if job.element == element]
    return bool(mine) and all(job.state in {"done", "failed", "cancelled"} for job in jobs)


def result(premises: Premises, element: str) -> Any:
    """What the job has made, without the moments at which it did: comparable between copies of one installation."""
    instance = the_instance(premises)
    check_everything(premises, instance)
    with premises.reading() as session:
        data = session.get_one(Instance, UUID(instance)).data
    if element == "archive_case":
        assert bagit(Path(data["archive"]["path"])).returncode == 0
        return data["archive"]["bag_digest"], stored(premises)
    if element == "back_up_footage":
        copies = [
            {key: value for key, value in copy.items() if key != "verified_at"} for copy in data["backup"]["copies"]
        ]
        return copies, stored(premises)
    return {path: digest for path, digest in tree(premises.folder / "cases").items() if not path.endswith(".json")}


def stored(premises: Premises) -> dict[str, str]:
    """Everything on both stores, but for what was begun and the seals, which come at their own times."""
    found = tree(premises.folder / "store")
    return {path: digest for path, digest in found.items() if "/.incoming/" not in path and "/ledger/" not in path}


def run(station: Premises, copied: Copy, element: str, *, doom: int) -> tuple[Premises, int]:
    """A copy in which the worker dies at that step and another goes on; and the steps that one makes that lives."""
    premises = copied(station)
    count = premises.folder / "steps"
    worker = premises.start_worker(doom=f"{element}:{doom}", DIAOQU_DOOM_COUNT=str(count))
    if doom:
        assert worker.wait(90) == -9, worker.printed()
        premises.start_worker()
    eventually(lambda: finished(premises, element), f"{element} is done", seconds=90)
    premises.stop()
    return premises, int(count.read_text()) if count.exists() else 0


SAMPLE = [("back_up_footage", 0.4), ("archive_case", 0.6)]


@pytest.mark.parametrize(("element", "share"), SAMPLE)
def test_a_worker_killed_between_two_steps_ends_in_the_same_files(
    stations: Callable[[str], Premises], copied: Copy, element: str, share: float
) -> None:
    station = stations(element)
    undisturbed, steps = run(station, copied, element, doom=0)
    assert steps > 10
    killed, _ = run(station, copied, element, doom=max(1, round(steps * share)))
    assert result(killed, element) == result(undisturbed, element)


@pytest.mark.long
@pytest.mark.parametrize("first", [1, 2, 3, 4])
@pytest.mark.parametrize("element", BEFORE)
def test_a_worker_killed_at_any_step_ends_in_the_same_files(
    stations: Callable[[str], Premises], tmp_path: Path, recorder: RecorderProcess, element: str, first: int
) -> None:
    """Some forty steps of each task, in four parts that run side by side."""
    station = stations(element)

    def copy(original: Premises) -> Premises:
        return original.copy(tmp_path / f"copy{len(list(tmp_path.iterdir()))}")

    undisturbed, steps = run(station, copy, element, doom=0)
    expected = result(undisturbed, element)
    apart = max(1, steps // 40)
    for step in range(1 + (first - 1) * apart, steps + 1, 4 * apart):
        killed, _ = run(station, copy, element, doom=step)
        assert result(killed, element) == expected, f"killed at step {step} of {steps}"
